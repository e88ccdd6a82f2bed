// The Dockerfile bundles the same bytes as `make image`: what it copies is all that the bundle depends on; and its image says
// the same of itself.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { configuration } from "../../image/operator.ts";
import { repoDir } from "../cluster/paths.ts";

/** Names that the first stage copies, and those that .dockerignore lets through to it. */
function copied(): { readonly names: readonly string[]; readonly sent: readonly string[] } {
  const [stage = ""] = readFileSync(join(repoDir, "Dockerfile"), "utf8").split(/^FROM .*distroless.*$/m);
  const lines = [...stage.matchAll(/^COPY (.+) \S+$/gm)];
  const sent = readFileSync(join(repoDir, ".dockerignore"), "utf8").split("\n");
  return {
    names: lines.flatMap(([, words = ""]) => words.split(" ")),
    sent: sent.filter((line) => line.startsWith("!")).map((line) => line.slice(1)),
  };
}

test("a bundle of what the Dockerfile copies is the one that make image takes", (t) => {
  const folder = mkdtempSync(join(tmpdir(), "berth-dockerfile-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const { names, sent } = copied();
  for (const name of names) {
    assert.ok(sent.includes(name), `.dockerignore keeps ${name} away`);
    cpSync(join(repoDir, name), join(folder, name), { recursive: true });
  }
  symlinkSync(join(repoDir, "node_modules"), join(folder, "node_modules"));
  const { status, stderr } = spawnSync(process.execPath, ["operator/bundle.mjs"], { cwd: folder, encoding: "utf8" });
  assert.equal(status, 0, stderr);
  const bundle = (root: string): Buffer => readFileSync(join(root, "dist", "berth.mjs"));
  assert.ok(
    bundle(folder).equals(bundle(repoDir)),
    "dist/berth.mjs differs: run make dist/berth.mjs, or copy what is missing",
  );
});

/** What the last stage says about the image, as `make image` writes it. */
function said() {
  const [, stage = ""] = readFileSync(join(repoDir, "Dockerfile"), "utf8").split(/^FROM .*distroless.*$/m);
  const values = (word: string): string[] =>
    [...stage.matchAll(new RegExp(`^${word} (.+)$`, "gm"))].map(([, value = ""]) => value);
  const [Entrypoint, Cmd] = ["ENTRYPOINT", "CMD"].map((word) => JSON.parse(values(word)[0] ?? "[]") as string[]);
  const labels = values("LABEL").map((line): [string, unknown] => {
    const [name = "", value = ""] = line.split(/=(.*)/);
    return [name, JSON.parse(value)];
  });
  const [User] = values("USER");
  const [WorkingDir] = values("WORKDIR");
  return { Env: values("ENV"), said: { User, WorkingDir, Entrypoint, Cmd, Labels: Object.fromEntries(labels) } };
}

test("the Dockerfile's image has the labels, user, folder and command of the one that make image assembles", () => {
  const { Env, ...rest } = configuration();
  const dockerfile = said();
  assert.deepEqual(dockerfile.said, rest);
  // PATH and the certificates' file are set by the image that the Dockerfile begins with.
  const ofTheBase = /^(PATH|SSL_CERT_FILE)=/;
  assert.deepEqual(
    dockerfile.Env,
    Env?.filter((line) => !ofTheBase.test(line)),
  );
});
