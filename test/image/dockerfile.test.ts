// The Dockerfile bundles the same bytes as `make image`: what it copies is all that the bundle depends on.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
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
