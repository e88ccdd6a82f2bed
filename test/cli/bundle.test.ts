// The program as users get it: dist/berth.mjs as a process, its words and its exit codes.
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { once } from "node:events";
import { test, type TestContext } from "node:test";
import { llamaFolder } from "../models/llama.ts";

const bundle = join(import.meta.dirname, "../../dist/berth.mjs");

interface Ended {
  readonly code: number | null;
  readonly out: string;
  readonly complaint: string;
}

function berth(args: readonly string[], env: NodeJS.ProcessEnv = {}): Ended {
  assert.ok(existsSync(bundle), "make test builds dist/berth.mjs first");
  const { status, stdout, stderr } = spawnSync(process.execPath, [bundle, ...args], {
    encoding: "utf8",
    env: { PATH: process.env["PATH"], ...env },
    timeout: 60_000,
  });
  return { code: status, out: stdout, complaint: stderr };
}

/** A kubeconfig for this server, with a token. */
function kubeconfig(t: TestContext, server: string): string {
  const folder = mkdtempSync(join(tmpdir(), "berth-cli-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const path = join(folder, "config");
  const named = (name: string, rest: object): object => ({ name, ...rest });
  writeFileSync(
    path,
    JSON.stringify({
      apiVersion: "v1",
      kind: "Config",
      "current-context": "here",
      clusters: [named("here", { cluster: { server, "insecure-skip-tls-verify": true } })],
      users: [named("me", { user: { token: "of-the-kubeconfig" } })],
      contexts: [named("here", { context: { cluster: "here", user: "me", namespace: "team-a" } })],
    }),
  );
  return path;
}

const commands = ["operator", "importer", "store", "fetch", "uninstall-check", "usage", "inspect"];

test("each command is listed and has help of its own", () => {
  const { code, out } = berth(["--help"]);
  assert.equal(code, 0);
  for (const command of commands) {
    assert.match(out, new RegExp(`^  ${command}`, "m"));
    const help = berth([command, "--help"]);
    assert.deepEqual([help.code, help.complaint], [0, ""], command);
    assert.match(help.out, new RegExp(`^Usage: berth ${command}`), command);
  }
  assert.match(berth(["--version"]).out, /^\d+\.\d+\.\d+\n$/);
});

const wrong: readonly (readonly [args: readonly string[], words: RegExp])[] = [
  [["bogus"], /unknown command 'bogus'/],
  [["operator", "--bogus"], /unknown option '--bogus'/],
  [["operator"], /--ledger-url is missing: give the flag or set BERTH_LEDGER_URL/],
  [["fetch", "--store", "http://127.0.0.1:1"], /--into is missing/],
  [["usage", "-o", "xml"], /Allowed choices are table, wide, chart, json, csv/],
  [["inspect"], /missing required argument 'place'/],
];
for (const [args, words] of wrong) {
  test(`berth ${args.join(" ")} ends with 2 and says what is wrong`, () => {
    const { code, out, complaint } = berth(args);
    assert.deepEqual([code, out], [2, ""]);
    assert.match(complaint, words);
  });
}

test("berth usage takes namespace and token of a kubeconfig", (t) => {
  const config = kubeconfig(t, "https://127.0.0.1:1");
  const { code, complaint } = berth(["usage", "--kubeconfig", config, "--server", "http://127.0.0.1:1"]);
  assert.equal(code, 1);
  assert.match(complaint, /127\.0\.0\.1:1/);
  assert.ok(!complaint.includes("of-the-kubeconfig") && !complaint.includes("module"), complaint);
});

test("berth inspect reads a folder", () => {
  const { code, out, complaint } = berth(["inspect", llamaFolder()]);
  assert.deepEqual([code, complaint], [0, ""]);
  assert.match(out, /LlamaForCausalLM/);
});

test("a role that is told to end while it starts ends with 0", async (t) => {
  // Takes connections and never answers: the start hangs at its first question.
  const silent = createServer().listen(0, "127.0.0.1");
  t.after(() => silent.close());
  await once(silent, "listening");
  const config = kubeconfig(t, `https://127.0.0.1:${String((silent.address() as AddressInfo).port)}`);
  const connected = once(silent, "connection");
  const folder = mkdtempSync(join(tmpdir(), "berth-cli-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const flags = ["--kubeconfig", config, "--store-url", `file://${folder}`];
  const child = spawn(process.execPath, [bundle, "importer", ...flags, "--namespace", "x"], { stdio: "ignore" });
  t.after(() => child.kill("SIGKILL"));
  await Promise.race([connected, once(child, "exit")]);
  child.kill("SIGTERM");
  const [code, signal] = (await once(child, "exit")) as [number | null, string | null];
  assert.deepEqual([code, signal], [0, null]);
});
