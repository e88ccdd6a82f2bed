// What an import leaves be: files that it opens at once, requests that a server asked it not to make, a part that never ends.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { after, before, test } from "node:test";
import type { Clock, ObjectSource } from "../../operator/ports.ts";
import { systemClock } from "../../operator/runtime/clock.ts";
import { importModel } from "../../operator/transfer/import.ts";
import { newPartPlaces } from "../../operator/transfer/places.ts";
import type { PartPlaces } from "../../operator/transfer/places.ts";
import { openStore } from "../../operator/adapters/store/open.ts";
import { startFaultProxy } from "../cluster/faultproxy.ts";
import type { FaultProxy, SeenRequest } from "../cluster/faultproxy.ts";
import { startS3 } from "../cluster/s3.ts";
import type { S3Server } from "../cluster/s3.ts";
import { llamaFolder } from "../models/llama.ts";
import { safetensors, tinyModel, uploadFiles } from "../models/tiny.ts";
import { uploadFolder } from "../models/upload.ts";
import { jobFor, newObserver, newSource, newStore } from "./bench.ts";

const PART = 5 << 20;
const PARTS = 16;
const weightBytes = PART * PARTS - 1_000;
const weights = safetensors({ w: { dtype: "U8", shape: [weightBytes], data_offsets: [0, weightBytes] } }, weightBytes);
randomBytes(weightBytes).copy(weights, weights.length - weightBytes);

let s3: S3Server;
let proxy: FaultProxy;
before(async () => {
  s3 = await startS3();
  proxy = await startFaultProxy({ target: s3.endpoint, dialect: "s3" });
  await s3.createBucket("source");
  const client = s3.client();
  await uploadFiles(client, "source", "one/", tinyModel({ "model.safetensors": weights }));
  await uploadFolder(client, "source", "six/", llamaFolder({ weightBytes: 72e6, shards: 6 }));
  client.destroy();
});
after(async () => {
  await proxy.close();
  await s3.stop();
});

const isPartOfWeights = ({ method, path, headers }: SeenRequest): boolean =>
  method === "GET" && path === "/source/one/model.safetensors" && headers.range !== "bytes=0-65535";

test("bucket to bucket, two large files are open at once, never more", async (t) => {
  await s3.createBucket("open");
  const { region, accessKeyId, secretAccessKey } = s3;
  const credentials = { accessKeyId, secretAccessKey };
  const store = openStore({ url: "s3://open/p", endpoint: proxy.url, region, credentials });
  t.after(() => store.close());
  const before_ = proxy.seen.length;
  const places = newPartPlaces({ clock: systemClock, bufferBytes: 16 * PART, partBytes: PART });
  const result = await importModel(jobFor({ source: newSource(t, s3, "source"), store, places, prefix: "six" }));
  assert.equal(result.kind, "imported");
  let open = 0;
  const counts: number[] = [];
  // A file is open from the request that begins its upload to the one that completes it.
  for (const { method, query } of proxy.seen.slice(before_)) {
    if (method !== "POST") continue;
    if (query.has("uploads")) counts.push(++open);
    else if (query.has("uploadId")) open--;
  }
  assert.deepEqual([counts.length, Math.max(...counts), open], [6, 2, 0], counts.join(" "));
});

/** Windows of the pace never end, so that nothing grows again; a long pause is noted and over at once. */
function newClock(longMs: number) {
  const pauses: number[] = [];
  const clock: Clock = {
    now: () => systemClock.now(),
    monotonicMs: () => 0,
    after: (delayMs, run) => {
      if (delayMs !== longMs) return systemClock.after(delayMs, run);
      pauses.push(delayMs);
      return systemClock.after(0, run);
    },
  };
  return { clock, pauses };
}

for (const code of [503, 429]) {
  test(`after a ${String(code)} half as many parts are on their way, and Retry-After is kept`, async (t) => {
    const { clock, pauses } = newClock(7_000);
    const rule = proxy.add({ match: isPartOfWeights, times: 1, fault: { kind: "status", code, retryAfterSeconds: 7 } });
    t.after(() => rule.remove());
    const all = newPartPlaces({ clock, bufferBytes: 16 * PART, partBytes: PART });
    let held = 0;
    let share: PartPlaces | undefined;
    const refused = Promise.withResolvers<void>();
    let isRefused = false;
    /** Parts on their way at each further one that is begun after the refusal. */
    const later: number[] = [];
    const counted = (): PartPlaces => {
      const own = (share = all.share());
      const take: PartPlaces["take"] = async (lengthBytes, signal) => {
        const place = await own.take(lengthBytes, signal);
        if (lengthBytes <= PART / 2) return place;
        held++;
        if (isRefused) later.push(held);
        const release = (): void => {
          held--;
          place.release();
        };
        return { ...place, release };
      };
      return { partBytes: PART, take, allow: own.allow, came: own.came, slowDown: own.slowDown, limit: 0, share: counted }; // prettier-ignore
    };
    const direct = newSource(t, s3, "source", proxy.url);
    // Nothing else comes before the refusal: the first parts are on their way when it does.
    const fill: ObjectSource["fill"] = async (object, offset, ...rest) => {
      assert.ok(direct.fill);
      if (object.key.endsWith(".safetensors") && offset > 0) await refused.promise;
      return direct.fill(object, offset, ...rest);
    };
    const observer = newObserver();
    const { partRetried } = observer;
    observer.partRetried = () => {
      partRetried();
      isRefused = true;
      refused.resolve();
    };
    const job = {
      answersFor: "Parts" as const,
      source: { ...direct, fill },
      store: await newStore(t, s3, "file"),
      prefix: "one",
    };
    const result = await importModel(jobFor({ ...job, clock, observer, places: { ...all, share: counted } }));
    assert.equal(result.kind, "imported");
    assert.deepEqual([share?.limit, pauses], [4, [7_000]]);
    assert.ok(later.length >= PARTS - 8);
    assert.ok(Math.max(...later) <= 4, later.join(" "));
  });
}

/** Requests of the store, by what it is asked to keep: a part of the weights, or a small file. */
const storing: readonly (readonly [string, number, (request: SeenRequest) => boolean])[] = [
  ["a part", 503, ({ query }) => query.has("partNumber")],
  ["a small file", 429, ({ path }) => path.endsWith("/config.json")],
];
for (const [what, code, isOf] of storing) {
  test(`after the store's ${String(code)} to ${what} half as many are on their way, and Retry-After is kept`, async (t) => {
    const { clock, pauses } = newClock(7_000);
    const bucket = `slow-${String(code)}`;
    await s3.createBucket(bucket);
    const match = (request: SeenRequest): boolean =>
      request.method === "PUT" && request.path.startsWith(`/${bucket}/`) && isOf(request);
    const rule = proxy.add({ match, times: 1, fault: { kind: "status", code, retryAfterSeconds: 7 } });
    t.after(() => rule.remove());
    const { region, accessKeyId, secretAccessKey } = s3;
    const credentials = { accessKeyId, secretAccessKey };
    const store = openStore({ url: `s3://${bucket}/p`, endpoint: proxy.url, region, credentials });
    t.after(() => store.close());
    const all = newPartPlaces({ clock, bufferBytes: 16 * PART, partBytes: PART });
    const shares: PartPlaces[] = [];
    const share = (): PartPlaces => {
      const own = all.share();
      shares.push(own);
      return own;
    };
    const source = newSource(t, s3, "source");
    const result = await importModel(jobFor({ source, store, prefix: "one", clock, places: { ...all, share } }));
    assert.equal(result.kind, "imported");
    assert.deepEqual([rule.hits, pauses], [1, [7_000]]);
    assert.deepEqual(shares.map(({ limit }) => limit), [4]); // prettier-ignore
  });
}

test(
  "a part that only trickles is given up when its time is over, and asked for again",
  { timeout: 60_000 },
  async (t) => {
    const deadlineMs = (PART * 1000) / (64 << 10);
    const running = new Set<() => void>();
    const clock: Clock = {
      ...systemClock,
      after: (delayMs, run) => {
        if (delayMs !== deadlineMs) return systemClock.after(delayMs, run);
        running.add(run);
        return () => void running.delete(run);
      },
    };
    let isOver = false;
    const onByte = (sent: number): void => {
      if (sent < 3 || isOver) return;
      isOver = true;
      for (const run of running) run();
    };
    const rule = proxy.add({ match: isPartOfWeights, times: 1, fault: { kind: "trickle", everyMs: 5, onByte } });
    t.after(() => rule.remove());
    const observer = newObserver();
    const places = newPartPlaces({ clock, bufferBytes: 4 * PART, partBytes: PART });
    const before_ = proxy.seen.length;
    const job = { source: newSource(t, s3, "source", proxy.url), store: await newStore(t, s3, "file"), prefix: "one" };
    const result = await importModel(jobFor({ ...job, clock, observer, places }));
    assert.equal(result.kind, "imported");
    assert.ok(isOver && observer.retries > 0);
    const [first, ...others] = proxy.seen.slice(before_).filter(isPartOfWeights);
    assert.ok(others.some(({ headers }) => headers.range === first?.headers.range), "the same bytes, once more"); // prettier-ignore
  },
);
