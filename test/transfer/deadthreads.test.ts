// Threads that hash and die: what they held is hashed anew by others, within the same import, fetch or verification; never another digest.
import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import type { TestContext } from "node:test";
import type { Worker } from "node:worker_threads";
import { newFileStore } from "../../operator/adapters/store/file.ts";
import { createStoreApp } from "../../operator/http/store.ts";
import { serve } from "../../operator/http/serve.ts";
import type { ImportResult } from "../../operator/plan/model/importing.ts";
import type { ObjectStore } from "../../operator/ports.ts";
import { systemClock } from "../../operator/runtime/clock.ts";
import { newSender } from "../../operator/storesend.ts";
import { newRevisions } from "../../operator/storerevisions.ts";
import { fetchModel, newProgress } from "../../operator/transfer/fetch.ts";
import { newStoreClient } from "../../operator/transfer/fetchclient.ts";
import type { StoreClient } from "../../operator/transfer/fetchclient.ts";
import { newRedirects } from "../../operator/transfer/fetchredirects.ts";
import { newObjectHasher } from "../../operator/transfer/filehash.ts";
import { newHashThreads } from "../../operator/transfer/hashthreads.ts";
import { importModel } from "../../operator/transfer/import.ts";
import { newPartPlaces } from "../../operator/transfer/places.ts";
import { ThreadDiedError } from "../../operator/transfer/thread.ts";
import { startS3 } from "../cluster/s3.ts";
import type { S3Server } from "../cluster/s3.ts";
import { safetensors, tinyModel, uploadFiles } from "../models/tiny.ts";
import { newMemoryLog } from "../runtime/rig.ts";
import { hooked, jobFor, kinds, newObserver, newSource, newStore } from "./bench.ts";
import type { Seen } from "./bench.ts";

const PART = 5 << 20;
const PARTS = 6;
const PARTS_AT_ONCE = 2;
const weightBytes = PART * PARTS - 1_000;
const weights = safetensors({ w: { dtype: "U8", shape: [weightBytes], data_offsets: [0, weightBytes] } }, weightBytes);
randomBytes(weightBytes).copy(weights, weights.length - weightBytes);
const sha256 = createHash("sha256").update(weights).digest("hex");
const files = tinyModel({ "model.safetensors": weights, "medium.txt": randomBytes(3 << 20) });
const modelBytes = Object.values(files).reduce((sum, content) => sum + Buffer.from(content).length, 0);

let s3: S3Server;
before(async () => {
  s3 = await startS3();
  await s3.createBucket("source");
  const client = s3.client();
  await uploadFiles(client, "source", "m/", files);
  client.destroy();
});
after(() => s3.stop());

/** What ends a thread: a fault of its own (what it is sent makes it throw), or somebody else. */
const deaths: Readonly<Record<string, (worker: Worker) => unknown>> = {
  throws: (worker) => worker.postMessage(undefined),
  "is ended": (worker) => worker.terminate(),
};

/** Ends all threads that the test has started since. */
function newKiller(t: TestContext, end = deaths["throws"]): () => Promise<number> {
  const workers: Worker[] = [];
  const see = (worker: Worker): void => void workers.push(worker);
  process.on("worker", see);
  t.after(() => process.off("worker", see));
  return async () => {
    // They are told of a moment after they were made.
    await new Promise((resolve) => setImmediate(resolve));
    const all = workers.splice(0);
    await Promise.all(
      all.map((worker) => {
        const gone = new Promise((resolve) => worker.once("exit", resolve));
        end?.(worker);
        return gone;
      }),
    );
    return all.length;
  };
}

const place = "models/ns-uid/model-uid/1/";

async function assertWhole(store: ObjectStore): Promise<void> {
  const stored = await store.get(`${place}model.safetensors`, 1 << 30);
  assert.equal(createHash("sha256").update(stored ?? "").digest("hex"), sha256); // prettier-ignore
}

/** What an import does, as it is seen from without. */
interface Watched {
  /** Numbers of parts of the weights that were read from the source, and that were sent to the store, in order. */
  readonly read: number[];
  readonly sent: number[];
  readonly observer: Seen;
  run(): Promise<ImportResult>;
}

/** `reading` is called before a part of the weights comes, from the source or from the store. */
function newImport(t: TestContext, store: ObjectStore, reading: (part: number) => Promise<void>): Watched {
  const source = newSource(t, s3, "source");
  const [read, sent]: [number[], number[]] = [[], []];
  const watched = hooked(source, async (object, offset) => {
    if (!object.key.endsWith(".safetensors")) return;
    read.push(offset / PART);
    await reading(offset / PART);
  });
  const upload: ObjectStore["upload"] = async (key, plan) => {
    const begun = await store.upload(key, plan);
    const { readBack } = begun;
    return {
      ...begun,
      ...(readBack ? { readBack: async (part, into) => (await reading(part), readBack(part, into)) } : {}),
      part: (...part) => (sent.push(part[0]), begun.part(...part)),
    };
  };
  const places = newPartPlaces({ clock: systemClock, bufferBytes: PARTS_AT_ONCE * PART, partBytes: PART });
  const observer = newObserver();
  const job = jobFor({ source: watched, store: { ...store, upload }, prefix: "m", places, observer });
  return { read, sent, observer, run: () => importModel(job) };
}

for (const [death, end] of Object.entries(deaths)) {
  test(
    `a hash whose thread ${death} is lost, begun or not, and those that are opened later are right`,
    { timeout: 20_000 },
    async (t) => {
      const kill = newKiller(t, end);
      const threads = newHashThreads(1);
      const bytes = new Uint8Array(new SharedArrayBuffer(8)).fill(7);
      const [begun, fresh] = [threads.open(), threads.open()];
      await begun.update(bytes);
      assert.equal(await kill(), 1);
      const lost = { name: "ThreadDiedError", message: /^a thread that hashes died: / };
      for (const work of [begun.update(bytes), begun.digest(), fresh.update(bytes)]) await assert.rejects(work, lost);
      const wanted = createHash("sha256").update(bytes).digest("hex");
      const later = threads.open();
      await later.update(bytes);
      assert.equal(await later.digest(), wanted);
      await assert.rejects(begun.digest(), lost, "its bytes are not in the new thread");
      const before = [await threads.crc32(bytes), await threads.gmac32(bytes), await threads.crc64(bytes, 0n)];
      assert.equal(await kill(), 1);
      assert.deepEqual(
        [await threads.crc32(bytes), await threads.gmac32(bytes), await threads.crc64(bytes, 0n)],
        before,
      );
      await threads.close();
    },
  );

  test(`what a thread was just asked when it ${death} is answered by another`, { timeout: 20_000 }, async (t) => {
    const kill = newKiller(t, end);
    const threads = newHashThreads(1);
    const bytes = new Uint8Array(new SharedArrayBuffer(64 << 20)).fill(7);
    const asked = Promise.all([threads.crc32(bytes), threads.sha256(bytes), threads.gmac32(bytes)]);
    assert.equal(await kill(), 1);
    assert.equal((await asked)[1], createHash("sha256").update(bytes).digest("hex"));
    await threads.close();
  });

  for (const kind of kinds) {
    test(
      `${kind}: a thread that ${death} in the middle of an import costs neither the import nor a part that is stored`,
      { timeout: 60_000 },
      async (t) => {
        const kill = newKiller(t, end);
        const store = await newStore(t, s3, kind);
        let hasDied = false;
        const { read, sent, observer, run } = newImport(t, store, async (part) => {
          if (part !== 3 || hasDied) return;
          hasDied = true;
          assert.ok((await kill()) > 0);
        });
        const result = await run();
        assert.equal(result.kind, "imported");
        await assertWhole(store);
        assert.deepEqual(
          [observer.copiedBytes + observer.skippedBytes, observer.files],
          [modelBytes, Object.keys(files).length],
        );
        assert.equal(new Set(sent).size, sent.length, `a part was sent twice: ${sent.join(" ")}`);
        // A bucket shows nothing of an open upload: what it has is read once more, for the hash alone.
        assert.ok(read.length <= (kind === "file" ? PARTS + PARTS_AT_ONCE : 2 * PARTS), read.join(" "));
      },
    );
  }
}

for (const kind of kinds) {
  test(
    `${kind}: an import whose threads die again and again fails, and the next one goes on`,
    { timeout: 60_000 },
    async (t) => {
      const kill = newKiller(t);
      const store = await newStore(t, s3, kind);
      let deaths = 0;
      const dying = newImport(t, store, async (part) => {
        if (part === PARTS - 1) deaths += (await kill()) > 0 ? 1 : 0;
      });
      await assert.rejects(dying.run(), ThreadDiedError);
      assert.ok(deaths >= 1, "no thread died");
      const next = newImport(t, store, () => Promise.resolve());
      assert.equal((await next.run()).kind, "imported");
      await assertWhole(store);
      assert.ok(next.sent.length <= PARTS_AT_ONCE, `sent again were ${next.sent.join(" ")}`);
    },
  );

  test(`${kind}: objects are verified by other threads where those died that did`, { timeout: 60_000 }, async (t) => {
    const kill = newKiller(t);
    const store = await newStore(t, s3, kind);
    await store.put("a", weights);
    const hasher = newObjectHasher(store, { clock: systemClock, tries: 2, baseMs: 1 });
    const hash = async (): Promise<readonly unknown[]> => {
      const found = await hasher.hash("a", weights.length);
      return [found.sha256, found.sizeBytes];
    };
    assert.deepEqual(await hash(), [sha256, weights.length]);
    assert.ok((await kill()) > 0);
    assert.deepEqual(await hash(), [sha256, weights.length]);
    const hashing = hash();
    assert.ok((await kill()) > 0);
    assert.deepEqual(await hashing, [sha256, weights.length]);
    await hasher.close();
  });
}

/** A client of the store role's own routes over a store that holds the model. */
async function newClient(t: TestContext, folder: string): Promise<StoreClient> {
  const store = newFileStore(join(folder, "store"));
  const done = await newImport(t, store, () => Promise.resolve()).run();
  assert.ok(done.kind === "imported");
  const grant = { folder: place, digest: done.revisions.at(-1)?.digest ?? "" };
  const app = createStoreApp({
    log: newMemoryLog(),
    authorize: () => Promise.resolve({ grant, podUID: "pod" }),
    revision: newRevisions(store),
    send: newSender(store).send,
    enter: () => Promise.resolve(() => undefined),
    onReport: () => undefined,
    onAnswer: () => undefined,
    onBytes: () => undefined,
    leaving: () => false,
  });
  const serving = await serve(app, 0, "127.0.0.1");
  t.after(() => serving.stop());
  const tokenFile = join(folder, "token");
  writeFileSync(tokenFile, "token");
  const redirects = newRedirects({ origin: undefined, log: newMemoryLog(), nowMs: () => 0 });
  const url = `http://127.0.0.1:${String(serving.port)}`;
  const client = newStoreClient({ url, tokenFile, maxSockets: 4, redirects, silenceMs: 20_000 });
  t.after(() => client.close());
  return client;
}

test(
  "a thread that dies in the middle of a fetch does not end it, and no byte is counted twice",
  { timeout: 60_000 },
  async (t) => {
    const folder = mkdtempSync(join(tmpdir(), "berth-dead-"));
    t.after(() => rmSync(folder, { recursive: true, force: true }));
    const client = await newClient(t, folder);
    const kill = newKiller(t);
    let hasDied = false;
    const part: StoreClient["part"] = async (wanted, ...rest) => {
      if (wanted.sha256 === sha256 && wanted.offset > PART * 3 && !hasDied) {
        hasDied = true;
        assert.ok((await kill()) > 0);
      }
      return client.part(wanted, ...rest);
    };
    const progress = newProgress();
    const into = join(folder, "into");
    mkdirSync(into);
    const signal = new AbortController().signal;
    await fetchModel({
      client: { ...client, part },
      into,
      partsAtOnce: 2,
      patienceMs: 10_000,
      clock: systemClock,
      log: newMemoryLog(),
      signal,
      progress,
    });
    assert.ok(hasDied);
    assert.ok(readFileSync(join(into, "model.safetensors")).equals(weights));
    assert.deepEqual([progress.doneBytes, progress.files], [modelBytes, Object.keys(files).length]);
  },
);
