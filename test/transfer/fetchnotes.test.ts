// The notes of how far a file is: what a slow or unwilling disk does to them costs progress at most, and a fetch that was killed goes on
// where the last of them says. Real folders, threads and processes.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, statSync } from "node:fs";
import { open } from "node:fs/promises";
import type { IncomingHttpHeaders } from "node:http";
import { join } from "node:path";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { fetchFile, FETCH_PART_BYTES } from "../../operator/transfer/fetchfile.ts";
import type { FileWork } from "../../operator/transfer/fetchfile.ts";
import { openFetchFolder } from "../../operator/transfer/fetchfolder.ts";
import { sha256Hex } from "../../operator/transfer/hash.ts";
import { newHashThreads } from "../../operator/transfer/hashthreads.ts";
import { newSlots } from "../../operator/transfer/slots.ts";
import { eventually } from "../cluster/eventually.ts";
import { newSmallDisk } from "../cluster/smalldisk.ts";
import { newMemoryLog } from "../runtime/rig.ts";
import { startRole } from "./rolerig.ts";
import { newFolder, startFetch } from "./storerig.ts";

const MIB = 1 << 20;

/** Starts a fetch whose file comes no further than that byte. */
async function startStalled(t: TestContext, weights: Uint8Array, atBytes: number, into?: string) {
  const folder = newFolder(t);
  const { proxy } = await startRole(t, folder, weights);
  const stalled = proxy.add({
    match: ({ headers }) => firstByte(headers) >= atBytes,
    fault: { kind: "stall" },
  });
  const start = () => startFetch(folder, { url: proxy.url, token: "token", ...(into === undefined ? {} : { into }) });
  return { proxy, stalled, start, killed: start() };
}

const firstByte = ({ range }: IncomingHttpHeaders): number => Number(/^bytes=(\d+)/.exec(range ?? "")?.[1]);

/** Bytes without a pattern that parts could be mistaken by. */
function bytesOf(sizeBytes: number): Buffer {
  const block = Array.from({ length: MIB + 7 }, (_none, index) => (index * 31 + (index >> 9)) % 251);
  return Buffer.alloc(sizeBytes, Buffer.from(block));
}

/** A file of zeros whose bytes are there as soon as they are asked for; `sha256` is no digest of it, so its notes stay. */
async function zeros(t: TestContext, sizeBytes: number) {
  const root = newFolder(t);
  const file = { path: "weights.safetensors", sizeBytes, sha256: "0".repeat(64) };
  const folder = await openFetchFolder(root, "sha256:0", [file]);
  const hashes = newHashThreads();
  t.after(() => hashes.close());
  const log = newMemoryLog();
  const free: Uint8Array[] = [];
  let doneBytes = 0;
  const work: FileWork = {
    folder,
    slots: newSlots(8),
    borrow: () => free.pop() ?? new Uint8Array(new SharedArrayBuffer(FETCH_PART_BYTES)),
    lend: (buffer) => void free.push(buffer),
    hashes,
    fill: () => Promise.resolve(),
    onDone: (bytes) => void (doneBytes += bytes),
    log,
    signal: new AbortController().signal,
  };
  const note = join(root, ".berth-fetch", "0.bytes");
  const sha256 = sha256Hex(new Uint8Array(sizeBytes));
  return { note, log, sha256, done: () => doneBytes, fetch: () => fetchFile(0, file, work, true) };
}

test(
  "a file whose next note is due before the disk has taken the one before comes whole",
  { timeout: 60_000 },
  async (t) => {
    const { note, sha256, done, fetch } = await zeros(t, 320 * MIB);
    // Whoever writes the note waits here until somebody reads.
    execFileSync("mkfifo", [`${note}.new`]);
    const running = fetch();
    try {
      await eventually(() => done() === 320 * MIB, { what: "the bytes do not wait for a note", deadlineMs: 30_000 });
      const slow = await open(`${note}.new`, "r");
      assert.equal(await slow.readFile("utf8"), String(64 * MIB));
      await slow.close();
    } finally {
      if (existsSync(`${note}.new`)) closeSync(openSync(`${note}.new`, "r+"));
    }
    assert.equal((await running).sha256, sha256);
    // Those between were out of date before their turn came; there is none of the whole file, which has its name by then.
    assert.equal(readFileSync(note, "utf8"), String(312 * MIB));
  },
);

test("a note that cannot be written is told, and costs the file nothing", { timeout: 60_000 }, async (t) => {
  const { note, log, sha256, fetch } = await zeros(t, 136 * MIB);
  mkdirSync(`${note}.new`);
  assert.equal((await fetch()).sha256, sha256);
  const told = log.lines.filter(({ level }) => level === "warn").map(({ fields }) => fields);
  assert.equal(told.length, 2);
  assert.match(JSON.stringify(told[0]), /"path":"weights.safetensors","bytes":67108864,"error":"EISDIR/);
});

test(
  "a fetch that was killed in the middle of a large file asks for no byte that was noted",
  { timeout: 120_000 },
  async (t) => {
    const weights = bytesOf(208 * MIB);
    const { proxy, stalled, start, killed } = await startStalled(t, weights, 152 * MIB);
    const note = join(killed.into, ".berth-fetch", "0.bytes");
    await eventually(() => stalled.hits > 0 && existsSync(note) && readFileSync(note, "utf8") === String(128 * MIB), {
      what: "two thirds of the file are noted",
      deadlineMs: 60_000,
    });
    killed.kill();
    await killed.done;
    stalled.remove();
    const before = proxy.seen.length;
    const run = start();
    const { code, message } = await run.done;
    assert.equal(code, 0, message);
    assert.ok(readFileSync(join(run.into, "weights.safetensors")).equals(weights));
    const asked = proxy.seen.slice(before).map(({ headers }) => firstByte(headers));
    assert.equal(Math.min(...asked.filter((at) => !Number.isNaN(at))), 128 * MIB);
    const told = run.lines().find(({ msg }) => msg === "fetched and verified");
    assert.equal(told?.["receivedBytes"], 80 * MIB);
  },
);

test(
  "what a killed fetch has written but not noted needs no second place on a tight disk",
  { timeout: 60_000 },
  async (t) => {
    const disk = await newSmallDisk("size=72m");
    if ("reason" in disk) return t.skip(disk.reason);
    t.after(() => disk.remove());
    const weights = bytesOf(48 * MIB);
    const { stalled, start, killed } = await startStalled(t, weights, 40 * MIB, join(disk.folder, "model"));
    const part = join(killed.into, ".berth-fetch", "0.part");
    await eventually(() => existsSync(part) && statSync(part).blocks * 512 >= 40 * MIB, {
      what: "all but the last part is on the disk",
      deadlineMs: 30_000,
    });
    killed.kill();
    await killed.done;
    stalled.remove();
    const run = start();
    const { code, message } = await run.done;
    assert.equal(code, 0, message);
    assert.ok(readFileSync(join(run.into, "weights.safetensors")).equals(weights));
  },
);
