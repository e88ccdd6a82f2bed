// How long `berth fetch` goes on against faults: from the first of them since a byte came, not from the byte. The role's own routes over a
// real store, with faults put in between, and a clock that is moved on where a large model would take long.
import assert from "node:assert/strict";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import type { TestContext } from "node:test";
import type { Clock } from "../../operator/ports.ts";
import { systemClock } from "../../operator/runtime/clock.ts";
import { fetchModel, newProgress } from "../../operator/transfer/fetch.ts";
import type { FetchJob } from "../../operator/transfer/fetch.ts";
import { cacheFolderOf, enterCache } from "../../operator/transfer/fetchcache.ts";
import { newStoreClient } from "../../operator/transfer/fetchclient.ts";
import { newRedirects } from "../../operator/transfer/fetchredirects.ts";
import { eventually } from "../cluster/eventually.ts";
import type { FaultRule, SeenRequest } from "../cluster/faultproxy.ts";
import { newMemoryLog } from "../runtime/rig.ts";
import { startRole } from "./rolerig.ts";
import { newFolder } from "./storerig.ts";

const weights = Buffer.from(Array.from({ length: 9 << 20 }, (_none, index) => (index * 31 + (index >> 9)) % 251));
const PATIENCE_MS = 120_000;
const isBlob = ({ path }: SeenRequest): boolean => path.startsWith("/v1/blobs/");

/** The clock of this machine, which can be moved on. */
function newClock(): Clock & { skip(ms: number): void } {
  let skippedMs = 0;
  return {
    ...systemClock,
    monotonicMs: () => systemClock.monotonicMs() + skippedMs,
    skip: (ms) => void (skippedMs += ms),
  };
}

async function newJob(t: TestContext) {
  const folder = newFolder(t);
  const { proxy, digest } = await startRole(t, folder, weights);
  const tokenFile = join(folder, "token");
  writeFileSync(tokenFile, "token");
  const redirects = newRedirects({ origin: undefined, log: newMemoryLog(), nowMs: () => 0 });
  const client = newStoreClient({ url: proxy.url, tokenFile, maxSockets: 2, redirects, silenceMs: 20_000 });
  t.after(() => client.close());
  const root = join(folder, "cache");
  const into = cacheFolderOf(root, digest);
  mkdirSync(into, { recursive: true });
  const [clock, log] = [newClock(), newMemoryLog()];
  const signal = new AbortController().signal;
  const settings = { client, into, partsAtOnce: 1, patienceMs: PATIENCE_MS, clock, log, signal };
  const job: FetchJob = { ...settings, progress: newProgress() };
  return {
    job,
    proxy,
    clock,
    log,
    digest,
    root,
    isWhole: () => readFileSync(join(into, "weights.safetensors")).equals(weights),
  };
}

const broken: FaultRule = { match: isBlob, times: 1, fault: { kind: "reset" } };
const busy: FaultRule = { match: isBlob, times: 1, fault: { kind: "status", code: 503 } };
const refusing: FaultRule["fault"] = {
  kind: "rewrite",
  status: 403,
  body: () => JSON.stringify({ reason: "PodGone", error: "x" }),
};

test("a fetch that hashed what lay on its disk for longer than its patience goes on over a broken connection and a 503", async (t) => {
  const { job, proxy, clock, isWhole } = await newJob(t);
  const damaged = Buffer.from(weights);
  damaged[0] = (damaged[0] ?? 0) ^ 1;
  writeFileSync(join(job.into, "weights.safetensors"), damaged);
  const [resets, refusals] = [proxy.add(broken), proxy.add(busy)];
  let doneBytes = 0;
  const progress = Object.defineProperty(newProgress(), "doneBytes", {
    get: () => doneBytes,
    set(bytes: number) {
      doneBytes = bytes;
      if (!proxy.seen.some(isBlob)) clock.skip(2 * PATIENCE_MS);
    },
  });
  await fetchModel({ ...job, progress });
  assert.deepEqual([isWhole(), resets.hits, refusals.hits], [true, 1, 1]);
});

test("a fetch that waited for the cache of its node for longer than its patience has it still", async (t) => {
  const { job, proxy, clock, log, digest, root, isWhole } = await newJob(t);
  const cache = { root, limitBytes: 1e9, nodeName: "node-1" };
  const signal = new AbortController().signal;
  const held = await enterCache({ ...cache, clock: systemClock, log, signal }, digest, weights.length);
  const rule = proxy.add(broken);
  const running = fetchModel({ ...job, cache });
  await eventually(() => Promise.resolve(log.lines.some(({ message }) => /^waiting for another fetch/.test(message))), {
    what: "the fetch waits for the lock",
  });
  clock.skip(2 * PATIENCE_MS);
  await held.release();
  await running;
  assert.deepEqual([isWhole(), rule.hits], [true, 1]);
});

test("a refusal after an outage is asked about again, since it may come from old facts", async (t) => {
  const { job, proxy, clock, isWhole } = await newJob(t);
  proxy.add(broken);
  const match = (request: SeenRequest): boolean => isBlob(request) && (clock.skip(60_000), true);
  const rule = proxy.add({ match, times: 1, fault: refusing });
  await fetchModel(job);
  assert.deepEqual([isWhole(), rule.hits], [true, 1]);
});

test("faults without a byte between them end a fetch after its patience, refusals sooner", async (t) => {
  for (const [fault, everyMs, words, most] of [
    [{ kind: "status", code: 503 }, 50_000, /503/, 4],
    [refusing, 12_000, /PodGone|403/, 4],
  ] as const) {
    const { job, proxy, clock } = await newJob(t);
    const rule = proxy.add({ match: (request) => isBlob(request) && (clock.skip(everyMs), true), fault });
    await assert.rejects(fetchModel(job), words);
    assert.equal(rule.hits, most, JSON.stringify(fault));
  }
});
