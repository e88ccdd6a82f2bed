// kill -9 of the importer when a random number of bytes have passed between it, the source and the store; again and again, until an
// import ends. What is counted is what it asked of the source, at the proxy, and what the store held at each death.
import assert from "node:assert/strict";
import { cpSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import type { TestContext } from "node:test";
import type { AnswersFor } from "../../operator/plan/model/answers.ts";
import { llamaFolder } from "../models/llama.ts";
import { safetensors, tinyModel } from "../models/tiny.ts";
import { filesBelow } from "../models/upload.ts";
import { digestOf, hashesOf } from "./bench.ts";
import type { StoreKind } from "./bench.ts";
import {
  heldIn,
  leftIn,
  markOf,
  newKilledStore,
  partName,
  putSource,
  revision,
  runImporter,
  startKillRig,
} from "./killrig.ts";
import type { Asked, Held, KillRig, KilledStore, RunEnd, RunOptions } from "./killrig.ts";
import { chooser, fuzzSeed } from "./mutate.ts";

const KIB = 1 << 10;
const MIB = 1 << 20;
/** Records of files up to this size are written together, so many at once: the last may be lost with the process. */
const BATCHED = { bytes: 256 * KIB, files: 64 } as const;
/** Where a bucket shows nothing of an unfinished upload, so many files are open. */
const OPEN_FILES = 2;
/** How bytes come into a store: sent into a bucket, written into a folder, or copied by the service of both buckets. */
const ways = ["s3", "file", "copy"] as const;
type Way = (typeof ways)[number];
const storeOf = { s3: "s3", file: "file", copy: "s3" } as const satisfies Record<Way, StoreKind>;
const tells = {
  s3: "StreamedUpload: server-side copy is not enabled",
  file: "Directory: the store is a directory",
  copy: "ServerSideCopy: source and store are buckets of one service",
} as const;
/** S3 takes no smaller parts. */
const shapes = {
  s3: { partBytes: 5 * MIB, partsAtOnce: 2 },
  file: { partBytes: MIB, partsAtOnce: 4 },
} as const;
/** More shards than are open at once in a bucket, each larger than what may be lost: one that is lost would be seen. */
const shards = { s3: { shards: 4, weightBytes: 44e6 }, file: { shards: 4, weightBytes: 24e6 } } as const;

const kills = process.env["BERTH_SOAK"] === "1" ? 100 : 10;

interface SourceModel {
  readonly prefix: string;
  readonly files: readonly string[];
  readonly bytes: number;
  readonly hashes: ReadonlyMap<string, string>;
  readonly digest: string;
}

let rig: KillRig;
/** Shards of some parts, files of a part at most, and many whose records are written together. */
const large = {} as Record<Way, SourceModel>;
/** One file of some parts, and few others. */
const small = {} as Record<Way, SourceModel>;

function writeLarge(folder: string, kind: StoreKind): void {
  cpSync(llamaFolder(shards[kind]), folder, { recursive: true });
  const choose = chooser(7);
  const notes = (name: string, count: number, bytes: () => number): void => {
    for (let n = 0; n < count; n++) writeFileSync(join(folder, `${name}-${String(n)}.txt`), Buffer.alloc(bytes(), `${name} ${String(n)}, `)); // prettier-ignore
  };
  notes("medium", 6, () => 300 * KIB + choose(600 * KIB));
  notes("small", 100, () => 1 + choose(128 * KIB));
}

function writeSmall(folder: string): void {
  const length = 6 * MIB;
  const weights = safetensors({ w: { dtype: "U8", shape: [length], data_offsets: [0, length] } }, length);
  for (const [path, content] of Object.entries(tinyModel({ "model.safetensors": weights })))
    writeFileSync(join(folder, path), content);
}

const sumOf = (counts: Iterable<number>): number => [...counts].reduce((sum, count) => sum + count, 0);

async function putModel(way: Way, name: string, write: (folder: string) => void): Promise<SourceModel> {
  const prefix = `${name}-${way}/`;
  const folder = mkdtempSync(join(tmpdir(), "berth-model-"));
  try {
    write(folder);
    await putSource(rig, prefix, folder, { checksums: way !== "copy" });
    const files = filesBelow(folder);
    const bytes = sumOf(files.map((path) => statSync(join(folder, path)).size));
    return { prefix, files, bytes, hashes: hashesOf(folder), digest: digestOf(folder, files) };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

before(async () => {
  rig = await startKillRig();
  for (const way of ways) {
    large[way] = await putModel(way, "large", (folder) => writeLarge(folder, storeOf[way]));
    small[way] = await putModel(way, "small", writeSmall);
  }
});
after(() => rig.stop());

/** Beside the proxy's own: what a kernel takes of an answer that nobody reads, at both ends of a connection. */
const KERNEL_BYTES = ["rmem", "wmem"].reduce((sum, name) => sum + Number(readFileSync(`/proc/sys/net/ipv4/tcp_${name}`, "utf8").split(/\s+/)[2]), MIB); // prettier-ignore

const rangeOf = ({ path, offset, lengthBytes }: Asked): string => `${path} ${String(offset)} ${String(lengthBytes)}`;

/** What was asked for to be copied: each range that inspection reads has been read once before. */
function copiedOf({ asked }: RunEnd, inspected: readonly string[]): Asked[] {
  const left = [...inspected];
  return asked.filter((one) => {
    const at = left.indexOf(rangeOf(one));
    if (at >= 0) left.splice(at, 1);
    return at < 0;
  });
}

const bytesHeld = ({ finished, parts }: Held): number =>
  sumOf([...finished.values()].map(({ bytes }) => bytes)) + openBytes({ parts });
const openBytes = ({ parts }: Pick<Held, "parts">): number => sumOf([...parts.values()].flatMap((one) => [...one.values()])); // prettier-ignore
const askedBytes = (asked: readonly Asked[]): number => sumOf(asked.map(({ lengthBytes }) => lengthBytes));

interface Course {
  readonly kind: StoreKind;
  readonly asks: AnswersFor;
  readonly copied: readonly Asked[];
  readonly sent: readonly string[];
  /** What the store held when the run began, and when it was over. */
  readonly begun: Held;
  readonly ended: Held;
}

/** Whether only a record that is written together with others can be missing: then it may be read again, but it is no loss of this death. */
const isStanding = ({ finished }: Held, path: string): boolean => {
  const file = finished.get(path);
  return file !== undefined && (file.isRecorded || file.bytes <= BATCHED.bytes);
};

/** Nothing that has its name is written again, and of what stands only small files are read again. */
function checkFinished({ copied, begun, ended }: Course): void {
  for (const [path, { mark }] of begun.finished) assert.equal(ended.finished.get(path)?.mark, mark, `${path} was touched`); // prettier-ignore
  const again = copied.filter(({ path }) => isStanding(begun, path));
  const others = again.filter(({ path }) => begun.finished.get(path)?.isRecorded).map(rangeOf);
  assert.deepEqual(others, [], "finished files were read again");
  assert.ok(again.length <= BATCHED.files, `${String(again.length)} small files that were finished were read again`);
}

const partsOf = ({ parts }: Held): string[] =>
  [...parts].flatMap(([path, numbers]) => [...numbers.keys()].map((number) => partName(path, number)));

/** The parts of which something came, and how much. */
function piecesOf(
  { offset, cameBytes }: Asked,
  kind: StoreKind,
): { readonly number: number; readonly bytes: number }[] {
  const { partBytes } = shapes[kind];
  const first = offset / partBytes;
  return Array.from({ length: Math.ceil(cameBytes / partBytes) }, (_, n) => ({
    number: first + n,
    bytes: Math.min(partBytes, cameBytes - n * partBytes),
  }));
}

/** A folder's parts are read from the disk. A bucket shows nothing of an open upload: its parts are read for their hash alone, and not sent. */
function checkParts({ kind, copied, sent, begun, ended }: Course): void {
  const known = new Set(partsOf(begun));
  const read = copied.flatMap((one) => piecesOf(one, kind).map(({ number }) => partName(one.path, number)));
  const brought = kind === "file" ? read : sent;
  assert.deepEqual(brought.filter((part) => known.has(part)), [], "parts that were there were brought again"); // prettier-ignore
  const kept = new Set(partsOf(ended));
  const open = partsOf({ ...begun, parts: new Map([...begun.parts].filter(([path]) => !ended.finished.has(path))) });
  assert.deepEqual(open.filter((part) => !kept.has(part)), [], "parts that were there are gone"); // prettier-ignore
  if (kind === "s3") assert.ok(ended.parts.size <= OPEN_FILES, `open were ${[...ended.parts.keys()].join(", ")}`);
}

/** What docs/import.md states of a death at any byte: each range that was read is stored, or was in flight. */
function checkCourse(course: Course): void {
  const { kind, asks, copied, ended } = course;
  const { partBytes, partsAtOnce } = shapes[kind];
  checkFinished(course);
  checkParts(course);
  assert.equal(new Set(copied.map(rangeOf)).size, copied.length, "ranges were read twice by one process");
  const lost = copied
    .filter(({ path }) => !isStanding(ended, path))
    .flatMap((one) => piecesOf(one, kind).map((piece) => ({ ...piece, path: one.path })))
    .filter(({ path, number }) => ended.parts.get(path)?.has(number) !== true);
  const bytes = sumOf(lost.map((piece) => piece.bytes));
  const answers = asks === "Files" ? new Set(lost.map(({ path }) => path)).size : 0;
  const words = lost.map(({ path, number }) => partName(path, number)).join("\n");
  assert.ok(bytes <= partsAtOnce * partBytes + answers * KERNEL_BYTES, `${String(bytes)} bytes were lost:\n${words}`);
}

async function checkWhole(model: SourceModel, store: KilledStore, { code, digest, said }: RunEnd): Promise<void> {
  assert.deepEqual([code, digest], [0, model.digest], said);
  assert.deepEqual(hashesOf(join(store.root, revision), model.files), model.hashes);
  assert.deepEqual(await leftIn(rig, store, model.files), []);
}

const nothing: Held = { finished: new Map(), parts: new Map() };

/** Each process goes the way that is meant, and no other, from its first part to its death; one that finds all of it there goes none. */
function checkWay(way: Way, { ways: told, sent, copiedThere, said }: RunEnd): void {
  if (told.length + sent.length > 0) assert.deepEqual(told, [tells[way]], said);
  assert.deepEqual(copiedThere, way === "copy" ? sent : []);
}

/** Runs importers of that model that way, into stores which are gone with the test. */
async function newImporters(t: TestContext, way: Way, answersFor: AnswersFor, { prefix }: SourceModel) {
  const kind = storeOf[way];
  let stores = 0;
  const newStore = async (): Promise<KilledStore> => {
    const store = await newKilledStore(rig, kind, `${prefix.slice(0, -1)}-${String(stores++)}`);
    t.after(() => store.remove());
    return store;
  };
  const run = async (store: KilledStore, change: Partial<RunOptions> = {}): Promise<RunEnd> => {
    const serverSideCopy = way === "copy";
    const end = await runImporter(rig, {
      prefix,
      ...shapes[kind],
      storeUrl: store.url,
      serverSideCopy,
      answersFor,
      ...change,
    });
    if (change.copy !== false) checkWay(way, end);
    return end;
  };
  const inspected = (await run(await newStore(), { copy: false })).asked.map(rangeOf);
  return { newStore, run, copied: (end: RunEnd) => copiedOf(end, inspected) };
}

/** What the service copies is always asked for in parts. */
const courses = ways.flatMap((way) =>
  (way === "copy" ? (["Parts"] as const) : (["Files", "Parts"] as const)).map((asks) => ({ way, asks })),
);
for (const { way, asks } of courses) {
  const kind = storeOf[way];
  const { partBytes } = shapes[kind];
  test(`${way}, answers for ${asks}: killed at ${String(kills)} random bytes, an import loses what was in flight and nothing else`, async (t) => {
    t.diagnostic(`seed ${String(fuzzSeed)} (SEED= repeats it)`);
    const choose = chooser(fuzzSeed);
    const model = large[way];
    const { newStore, run, copied } = await newImporters(t, way, asks, model);
    const before = rig.gate.passed;
    const unhurt = await newStore();
    const end = await run(unhurt);
    const wholeBytes = rig.gate.passed - before;
    await checkWhole(model, unhurt, end);
    assert.equal(askedBytes(copied(end)), model.bytes, "unhurt, it reads each byte once");
    let killed = 0;
    const live = async (store: KilledStore, begun: Held): Promise<Held | undefined> => {
      // Some more than what is left, so that lives end before their deaths are near to each other.
      const left = Math.ceil(wholeBytes * Math.max(1 / 4, 1 - bytesHeld(begun) / model.bytes));
      const ended = await run(store, killed < kills ? { killAfterBytes: 1 + choose(left) } : {});
      const held = await heldIn(rig, store, partBytes);
      checkCourse({ kind, asks, copied: copied(ended), sent: ended.sent, begun, ended: held });
      if (ended.isKilled) killed++;
      else await checkWhole(model, store, ended);
      return ended.isKilled ? held : undefined;
    };
    for (let lives = 0; killed < kills; lives++) {
      const store = await newStore();
      try {
        for (let held: Held | undefined = nothing; held;) held = await live(store, held);
      } catch (error) {
        const where = `seed ${String(fuzzSeed)}, life ${String(lives)}, after ${String(killed)} kills`;
        throw new Error(`${where}: ${(error as Error).message}`, { cause: error });
      }
      store.remove();
    }
  });

  test(`${way}, answers for ${asks}: killed in place of each request after its last file, an import reads nothing again and loses nothing`, async (t) => {
    const { newStore, run, copied } = await newImporters(t, way, asks, small[way]);
    let deaths = 0;
    for (; ; deaths++) {
      const store = await newStore();
      const dying = await run(store, { diesAt: deaths });
      if (!dying.isKilled) break;
      const begun = await heldIn(rig, store, partBytes);
      assert.deepEqual([...begun.finished.keys()].sort(), small[way].files);
      const manifest = markOf(store, "MANIFEST.json");
      const end = await run(store);
      assert.deepEqual(copied(end), []);
      checkFinished({ kind, asks, copied: [], sent: [], begun, ended: await heldIn(rig, store, partBytes) });
      assert.equal(markOf(store, "MANIFEST.json"), manifest ?? markOf(store, "MANIFEST.json"), "it was written again");
      await checkWhole(small[way], store, end);
    }
    assert.ok(deaths >= 5, `it was killed before the manifest, behind it, and amid the tidying up: ${String(deaths)}`);
  });
}
