// Folders where none can be made: /proc answers ENOENT to every mkdir below it, and Node's own `recursive` asks it without an end. So each
// who makes folders is tried in a process of its own, with bounds of time and memory that a system ends it by.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, rmdirSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { makeFolders } from "../../operator/adapters/makefolders.ts";

const operator = join(import.meta.dirname, "../../operator");
const place = "/proc/berth/store";

const shared = "new Uint8Array(new SharedArrayBuffer(1))";

/** What the program says of its failure on standard output; fails where it has no end. */
function told(program: string): string {
  const script = `
    const store = async () =>
      (await import(${JSON.stringify(`${operator}/adapters/store/open.ts`)})).openStore({ url: "file://${place}", region: "us-east-1" });
    const work = async () => { ${program} };
    work().then(() => process.stdout.write("made"), (error) => process.stdout.write(error.message));`;
  const bounded = `ulimit -v 30000000; exec "$0" -e "$1"`;
  const ended = spawnSync("bash", ["-c", bounded, process.execPath, script], {
    encoding: "utf8",
    timeout: 20_000,
    killSignal: "SIGKILL",
  });
  assert.equal(ended.signal, null, "it was ended by the bound of time");
  assert.equal(ended.status, 0, ended.stderr);
  return ended.stdout;
}

const why =
  /no folder can be made in \/proc, although it is there \(ENOENT, \/proc\/berth\): give a folder of another file system/;

for (const [who, program] of [
  ["a small object of a store", `await (await store()).put("a/b", new Uint8Array(1));`],
  [
    "many that a thread writes",
    `const s = await store(); await Promise.all(Array.from({ length: 9 }, (_, n) => s.put("a/" + n, ${shared})));`,
  ],
  ["an upload into a store", `await (await store()).upload("a/b", { sizeBytes: 9, partBytes: 9, content: "x" });`],
  [
    "a ledger",
    `const { newDirectoryLedger } = await import("${operator}/adapters/ledger/directory.ts");
    await newDirectoryLedger("${place}").putOnce("a/b", new Uint8Array(1));`,
  ],
  [
    "a fetched model",
    `const { openFetchFolder } = await import("${operator}/transfer/fetchfolder.ts");
    await openFetchFolder("${place}", "sha256:0", []);`,
  ],
  [
    "the cache of a node",
    `const { enterCache } = await import("${operator}/transfer/fetchcache.ts");
    await enterCache({ root: "${place}", limitBytes: 1, nodeName: "n" }, "sha256:" + "0".repeat(64), 1);`,
  ],
] as const)
  // prettier-ignore
  test(`${who} below /proc ends with one clear error`, () => assert.match(told(program), why));

test("the thread that writes small files ends below /proc as well", () => {
  const file = `{ path: "${place}/.incoming/a", target: "${place}/a", bytes: ${shared}, ifAbsent: true }`;
  const program = `const { newPutThread } = await import("${operator}/adapters/store/putthread.ts"); await newPutThread()(${file});`;
  assert.match(told(program), /^ENOENT: no such file or directory, open '\/proc\/berth/);
});

function tempFolder(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), "berth-folders-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

test("it answers with the topmost folder that it made, and with nothing where all were there", async (t) => {
  const top = tempFolder(t);
  assert.equal(await makeFolders(join(top, "a/b/c")), join(top, "a"));
  assert.equal(await makeFolders(join(top, "a/b/d")), join(top, "a/b/d"));
  assert.equal(await makeFolders(join(top, "a/b/d")), undefined);
  assert.equal(await makeFolders("/"), undefined);
});

test("what stands in the way is named, and is no success", async (t) => {
  const top = tempFolder(t);
  writeFileSync(join(top, "file"), "");
  symlinkSync("/nowhere/at/all", join(top, "link"));
  symlinkSync(top, join(top, "folder"));
  const inTheWay = { code: "ENOTDIR", message: /is there and is no folder: give another one, or take it away$/ };
  await assert.rejects(makeFolders(join(top, "file")), inTheWay);
  await assert.rejects(makeFolders(join(top, "link/a")), inTheWay);
  await assert.rejects(makeFolders(join(top, "file/a")), { code: "ENOTDIR" });
  assert.equal(await makeFolders(join(top, "folder/a")), join(top, "folder/a"));
});

test("a parent that is swept away meanwhile is made anew", async (t) => {
  const top = tempFolder(t);
  const path = join(top, "a/b");
  const making = (async () => {
    // Where each of its turns was swept it says so, and is asked again, as by those who call it.
    for (let n = 0; n < 200; n++)
      await makeFolders(path).catch((error: { code?: string }) => assert.equal(error.code, "ENOENT"));
  })();
  let isMaking = true;
  const made = making.finally(() => (isMaking = false));
  while (isMaking) {
    for (const folder of [path, join(top, "a")])
      try {
        rmdirSync(folder);
      } catch (error) {
        assert.match(String((error as { code?: string }).code), /^(ENOENT|ENOTEMPTY)$/);
      }
    await new Promise((resolve) => setImmediate(resolve));
  }
  await made;
});
