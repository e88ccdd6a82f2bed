// Small files that are written by a thread: in what order their bytes are flushed and named, what is left where that fails, and that the
// thread writes the same as Node's pool does.
import assert from "node:assert/strict";
import * as fs from "node:fs";
import { mkdtempSync, readFileSync, readdirSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { newFileStore } from "../../../operator/adapters/store/file.ts";
import { PUT_PROGRAM } from "../../../operator/adapters/store/putthread.ts";
import type { Put, WholeFile } from "../../../operator/adapters/store/putthread.ts";
import { sha256Hex } from "../../../operator/transfer/hash.ts";

function tempFolder(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), "berth-put-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

type Callback = (error: Error | undefined, put?: Put) => void;
type PutWhole = (files: object, file: WholeFile, done: Callback) => void;

/** The thread's own program, over another file system. */
const putWhole = new Function("require", `${PUT_PROGRAM}; return putWhole;`)(
  createRequire(import.meta.url),
) as PutWhole;

const run = (files: object, file: WholeFile): Promise<Put | undefined> =>
  new Promise((resolve, reject) => putWhole(files, file, (error, put) => (error ? reject(error) : resolve(put))));

/** Says which calls were made, and fails those of one name. */
function traced(calls: string[], failing = ""): object {
  return new Proxy(fs, {
    get: (target, name: keyof typeof fs) =>
      typeof target[name] !== "function"
        ? target[name]
        : (...args: unknown[]): unknown => {
            calls.push(name);
            const error = Object.assign(new Error("no space left on device"), { code: "ENOSPC" });
            const last = args.at(-1);
            if (name === failing && typeof last === "function") return void (last as Callback)(error);
            if (name === failing) throw error;
            return (target[name] as (...all: unknown[]) => unknown)(...args);
          },
  });
}

function fileIn(folder: string, ifAbsent = true): WholeFile {
  const path = join(folder, ".incoming", "a.000000000001");
  return { path, target: join(folder, "a"), bytes: Buffer.from("weights"), ifAbsent };
}

test("bytes are flushed before the file has its name, and the name is given by a link that cannot replace", async (t) => {
  const folder = tempFolder(t);
  const calls: string[] = [];
  assert.equal(await run(traced(calls), fileIn(folder)), "written");
  const after = (name: string): number => calls.lastIndexOf(name);
  assert.ok(after("writeSync") < after("fsync") && after("fsync") < after("linkSync"), calls.join(" "));
  assert.equal(readFileSync(join(folder, "a"), "utf8"), "weights");
  const other = { ...fileIn(folder), bytes: Buffer.from("others") };
  assert.equal(await run(fs, other), "exists");
  assert.equal(readFileSync(join(folder, "a"), "utf8"), "weights");
  assert.deepEqual(readdirSync(join(folder, ".incoming")), []);
  assert.equal(await run(fs, { ...other, ifAbsent: false }), "written");
  assert.equal(readFileSync(join(folder, "a"), "utf8"), "others");
});

test("where the target's folder is gone the flushed file stays at its path, for whoever makes the folder", async (t) => {
  const folder = tempFolder(t);
  const file = { ...fileIn(folder), target: join(folder, "below", "a") };
  assert.equal(await run(fs, file), "unnamed");
  assert.equal(readFileSync(file.path, "utf8"), "weights");
});

for (const failing of ["writeSync", "fsync", "linkSync"]) {
  test(`a ${failing} that fails leaves neither a piece of the file nor a descriptor, and is told`, async (t) => {
    const folder = tempFolder(t);
    const open = readdirSync("/proc/self/fd").length;
    await assert.rejects(run(traced([], failing), fileIn(folder)), { code: "ENOSPC" });
    assert.deepEqual(readdirSync(join(folder, ".incoming")), []);
    assert.deepEqual(readdirSync(folder), [".incoming"]);
    assert.equal(readdirSync("/proc/self/fd").length, open);
  });
}

/** Bytes that a thread can see. */
function shared(text: string): Uint8Array {
  const bytes = new Uint8Array(new SharedArrayBuffer(text.length));
  bytes.set(Buffer.from(text));
  return bytes;
}

test("many small files at once out of shared memory are all there, once each, and nothing is left beside them", async (t) => {
  const folder = tempFolder(t);
  const store = newFileStore(folder);
  const keys = Array.from({ length: 300 }, (_, n) => `a/${String(n % 3)}/b/${String(n)}`);
  const puts = keys.flatMap((key) => [key, key].map((k) => store.put(k, shared(k), { ifAbsent: true })));
  const outcomes = await Promise.all(puts);
  assert.equal(outcomes.filter((outcome) => outcome === "written").length, keys.length);
  for (const key of keys) assert.equal(sha256Hex(readFileSync(join(folder, key))), sha256Hex(key));
  for await (const { key } of store.listUploads("")) assert.fail(`${key} was left behind`);
});
