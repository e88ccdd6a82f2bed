// A store in a folder whose disk is full: at every kind of step of an import, and on real file systems without room for bytes or for files.
// One error names folder, bytes and remedy; nothing stands half; with room again the import goes on to the same digest.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import type { TestContext } from "node:test";
import { openStore } from "../../operator/adapters/store/open.ts";
import { problemOf } from "../../operator/controllers/modelimport.ts";
import type { ImportResult } from "../../operator/plan/model/importing.ts";
import type { ModelProblem } from "../../operator/plan/model/problem.ts";
import type { ObjectSource } from "../../operator/ports.ts";
import { systemClock } from "../../operator/runtime/clock.ts";
import { importModel } from "../../operator/transfer/import.ts";
import { newPartPlaces } from "../../operator/transfer/places.ts";
import { startS3 } from "../cluster/s3.ts";
import type { S3Server } from "../cluster/s3.ts";
import { newSmallDisk } from "../cluster/smalldisk.ts";
import { safetensors, tinyModel, uploadFiles } from "../models/tiny.ts";
import type { Files } from "../models/tiny.ts";
import { filesBelow } from "../models/upload.ts";
import { RECORD, digestOf, jobFor, newSource, withoutHash } from "./bench.ts";
import { newFailingDisk } from "./failingdisk.ts";

const mib = 2 ** 20;
const weightBytes = 3 * mib;
const weights = safetensors({ w: { dtype: "U8", shape: [weightBytes], data_offsets: [0, weightBytes] } }, weightBytes);
randomBytes(weightBytes).copy(weights, weights.length - weightBytes);
const files: Files = tinyModel({ "model.safetensors": weights });
const revision = "models/ns-uid/model-uid/1";

let s3: S3Server;
let bucket: string;
let digest: string;
before(async () => {
  s3 = await startS3();
  bucket = await s3.createBucket("full");
  const client = s3.client();
  await uploadFiles(client, bucket, "m/", files);
  client.destroy();
  const folder = mkdtempSync(join(tmpdir(), "berth-same-"));
  for (const [path, content] of Object.entries(files)) writeFileSync(join(folder, path), content);
  digest = digestOf(folder, Object.keys(files));
  rmSync(folder, { recursive: true });
});
after(() => s3.stop());

async function attempt(source: ObjectSource, root: string): Promise<ImportResult | ModelProblem> {
  const store = openStore({ url: `file://${root}`, region: "us-east-1" });
  const places = newPartPlaces({ clock: systemClock, bufferBytes: 8 * mib, partBytes: mib });
  try {
    return await importModel(jobFor({ source, store, prefix: "m", places }));
  } catch (error) {
    const problem = problemOf(error);
    if (!problem) throw error;
    return problem;
  }
}

/** What stands under its own name is whole. */
function assertNothingHalf(root: string, where: string): void {
  const there = filesBelow(root).filter((path) => path.startsWith(`${revision}/`));
  for (const [path, content] of Object.entries(files))
    if (there.includes(`${revision}/${path}`))
      assert.ok(readFileSync(join(root, revision, path)).equals(Buffer.from(content)), `${where}: ${path} is half`);
  const missing = Object.keys(files).filter((path) => !there.includes(`${revision}/${path}`));
  if (there.includes(`${revision}/MANIFEST.json`))
    assert.deepEqual(missing, [], `${where}: the manifest came too soon`);
}

function assertFull(result: ImportResult | ModelProblem, root: string, where: string): void {
  assert.ok("reason" in result, `${where}: ${JSON.stringify(result)}`);
  assert.deepEqual([result.reason, result.retryable], ["StoreFull", true], `${where}: ${result.message}`);
  assert.ok(result.message.startsWith(`the store file://${root} has no room (ENOSPC): `), result.message);
  assert.match(
    result.message,
    /: \d+ bytes were to be written, \d+ are free( but no file can be made)?: make room there or give it a larger volume/,
  );
}

async function assertGoesOn(source: ObjectSource, root: string, where: string): Promise<void> {
  const result = await attempt(source, root);
  assert.ok("kind" in result && result.kind === "imported", `${where}: ${JSON.stringify(result)}`);
  assert.equal(result.revisions.at(-1)?.digest, digest, where);
  const kept = [...Object.keys(files), RECORD, "MANIFEST.json"];
  assert.deepEqual(filesBelow(root).map(withoutHash).sort(), kept.map((path) => `${revision}/${path}`).sort(), where);
}

function newRoot(t: TestContext): string {
  const root = mkdtempSync(join(tmpdir(), "berth-full-"));
  t.after(() => rmSync(root, { recursive: true, force: true }));
  return root;
}

test("wherever the disk is full, the import says so once, leaves nothing half and goes on with room", async (t) => {
  const source = newSource(t, s3, bucket);
  const calm = newRoot(t);
  const counting = newFailingDisk(calm);
  t.after(() => counting.restore());
  await assertGoesOn(source, calm, "with room");
  counting.restore();
  const kinds = [...new Set(counting.steps)];
  // What the test is for; renamed files would else go unnoticed.
  for (const kind of [/^write .*\/data$/, /^write .*\/journal$/, /^sync .*\/data$/, /^link .*\/model\.safetensors$/, /^open .*MANIFEST\.json$/,
    /^write .*MANIFEST\.json$/, /^sync .*MANIFEST\.json$/, /^link .*MANIFEST\.json$/, /^(link|rename) .*\.berth\/import/, /^sync .*\/1$/, /^mkdir /])
    assert.ok(kinds.some((step) => kind.test(step)), `${String(kind)} is none of ${kinds.join(", ")}`); // prettier-ignore
  let failed = 0;
  for (const kind of kinds) {
    const root = newRoot(t);
    const disk = newFailingDisk(root);
    try {
      disk.fullAt = kind;
      const result = await attempt(source, root);
      // Some folders are made anew only where somebody took them away meanwhile.
      if (!disk.isFull) {
        assert.ok("kind" in result && result.kind === "imported", `${kind}: ${JSON.stringify(result)}`);
        continue;
      }
      failed++;
      assertFull(result, root, kind);
      assertNothingHalf(root, kind);
      Object.assign(disk, { fullAt: undefined, isFull: false });
      await assertGoesOn(source, root, kind);
    } finally {
      disk.restore();
    }
  }
  t.diagnostic(`full at ${String(failed)} of ${String(kinds.length)} kinds of steps`);
  assert.ok(failed > kinds.length - 8);
});

for (const [code, reason] of [
  ["ENOSPC", "StoreFull"],
  ["EIO", "StoreError"],
] as const)
  // prettier-ignore
  test(`${code} when the manifest has its name but no flush yet: no import calls the revision complete until it is flushed`, async (t) => {
    const source = newSource(t, s3, bucket);
    const root = newRoot(t);
    const disk = newFailingDisk(root, code);
    t.after(() => disk.restore());
    const flush = `sync /${revision}`;
    Object.assign(disk, { fullAt: flush, fullAfter: `link /${revision}/MANIFEST.json` });
    for (const where of ["its own import", "the next one, which finds the manifest"]) {
      const result = await attempt(source, root);
      assert.ok("reason" in result, `${where}: ${JSON.stringify(result)}`);
      assert.deepEqual([result.reason, result.retryable], [reason, true], `${where}: ${result.message}`);
      assert.ok(existsSync(join(root, revision, "MANIFEST.json")));
    }
    Object.assign(disk, { fullAt: undefined, isFull: false });
    const since = disk.steps.length;
    await assertGoesOn(source, root, "with a disk that flushes again");
    assert.ok(disk.steps.slice(since).includes(flush), disk.steps.slice(since).join(", "));
  });

test("bytes whose flush failed are not believed, whatever the kernel shows of them: they come again", async (t) => {
  const source = newSource(t, s3, bucket);
  const root = newRoot(t);
  const disk = newFailingDisk(root, "EIO");
  t.after(() => disk.restore());
  disk.fullAt = `sync /.incoming/${revision}/model.safetensors/data`;
  assert.ok("reason" in (await attempt(source, root)));
  assert.ok(disk.isFull);
  Object.assign(disk, { fullAt: undefined, isFull: false });
  const since = disk.steps.length;
  await assertGoesOn(source, root, "with a disk that flushes again");
  const written = disk.steps.slice(since).filter((step) => step.startsWith("write ") && step.endsWith("/data"));
  assert.ok(written.length >= weightBytes / mib, disk.steps.slice(since).join(", "));
});

test("parts that the disk does not give back are brought again, and hold up no import", async (t) => {
  const source = newSource(t, s3, bucket);
  const root = newRoot(t);
  const disk = newFailingDisk(root, "EIO");
  t.after(() => disk.restore());
  disk.fullAt = `link /${revision}/model.safetensors`;
  assert.ok("reason" in (await attempt(source, root)));
  assert.ok(disk.isFull);
  Object.assign(disk, {
    fullAt: undefined,
    isFull: false,
    unreadable: `/.incoming/${revision}/model.safetensors/data`,
  });
  await assertGoesOn(source, root, "with a disk that takes what it does not give");
  assert.ok(disk.failedReads > 0);
});

/** What is left of 16 MiB, or of 64 files and folders. */
const rooms: readonly (readonly [string, string, (folder: string) => void])[] = [
  ...[0, 64 * 1024, 1.5 * mib, 2.5 * mib, 3 * mib + 8 * 1024].map((freeBytes) => {
    const ballast = (folder: string): void => writeFileSync(join(folder, "bytes"), Buffer.alloc(16 * mib - freeBytes));
    return [`${String(freeBytes / 1024)} KiB`, "size=16m", ballast] as const;
  }),
  ...[2, 6, 10, 13].map((freeFiles) => {
    const ballast = (folder: string): void => {
      for (let n = 0; n < 64 - 3 - freeFiles; n++) writeFileSync(join(folder, String(n)), "");
    };
    return [`${String(freeFiles)} files`, "size=16m,nr_inodes=64", ballast] as const;
  }),
];

/** A small file system with a folder for a store, and what fills the rest until `empty`. */
async function newFullDisk(t: TestContext, options: string, fill: (folder: string) => void) {
  const disk = await newSmallDisk(options);
  if ("reason" in disk) return disk;
  t.after(() => disk.remove());
  const [root, ballast] = [join(disk.folder, "store"), join(disk.folder, "ballast")];
  for (const folder of [root, ballast]) mkdirSync(folder);
  fill(ballast);
  return { root, empty: () => rmSync(ballast, { recursive: true }) };
}

/** So many that all but the first are written by a thread, out of memory that it can see, and that no room holds them all. */
const many = Array.from({ length: 20 }, (_, n) => ({
  key: `notes/${String(n % 2)}/${String(n)}`,
  bytes: new Uint8Array(new SharedArrayBuffer(200 << 10)).fill(n),
}));
/** So many go through Node's pool. */
const BESIDE_AFTER = 4;

for (const [name, options, fill] of rooms) {
  test(`a file system with room for ${name} says so, and the import goes on when there is more`, async (t) => {
    const disk = await newFullDisk(t, options, fill);
    if ("reason" in disk) return t.skip(disk.reason);
    const { root } = disk;
    const source = newSource(t, s3, bucket);
    assertFull(await attempt(source, root), root, name);
    assertNothingHalf(root, name);
    assert.ok(!existsSync(join(root, revision, "MANIFEST.json")));
    disk.empty();
    await assertGoesOn(source, root, name);
  });

  test(`a file system with room for ${name}: many small objects at once are whole or nowhere`, async (t) => {
    const disk = await newFullDisk(t, options, fill);
    if ("reason" in disk) return t.skip(disk.reason);
    const { root } = disk;
    const store = openStore({ url: `file://${root}`, region: "us-east-1" });
    const put = ({ key, bytes }: (typeof many)[number]) => store.put(key, bytes, { ifAbsent: true });
    const outcomes = await Promise.allSettled(many.map(put));
    const beside = outcomes.slice(BESIDE_AFTER);
    assert.ok(
      beside.some(({ status }) => status === "rejected"),
      "the thread had room for all",
    );
    for (const outcome of outcomes) {
      if (outcome.status === "fulfilled") continue;
      const problem = problemOf(outcome.reason);
      assert.ok(problem, String(outcome.reason));
      assertFull(problem, root, name);
    }
    const written = many.filter((_, n) => outcomes[n]?.status === "fulfilled");
    assert.deepEqual(filesBelow(root).sort(), written.map(({ key }) => key).sort());
    disk.empty();
    await Promise.all(many.map(put));
    for (const { key, bytes } of many) assert.ok(readFileSync(join(root, key)).equals(bytes), `${key} is not whole`);
    assert.deepEqual([filesBelow(root).length, readdirSync(join(root, ".incoming"))], [many.length, []]);
  });
}
