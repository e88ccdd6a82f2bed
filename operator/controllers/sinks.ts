/**
 * Delivery of sealed windows to one sink: in order, at least once, with acknowledgements in the ledger. It remembers nothing
 * that the ledger does not say, so it may die anywhere; what was sent and not acknowledged is sent again under the same ids.
 */
import { canonicalBytes } from "../plan/metering/canonical.ts";
import { secondsOf, startOfManifestKey } from "../plan/metering/windows.ts";
import { ackKey, acksPrefix, partKey, quarantineKey, quarantinePrefix, rangeOfPartKey } from "../plan/sinks/keys.ts";
import { messageOf } from "../runtime/errors.ts";
import { sealedKeys } from "./ledgerreads.ts";
import { newRepeating } from "./repeating.ts";
import { deliverBatch, newSender, sinkWindowOf, takeOut } from "./sinkbatches.ts";
import type { OwedWindow, Send, SinkDeps } from "./sinkbatches.ts";
import { othersIn } from "./sinkothers.ts";
import { replay } from "./sinkreplay.ts";

export interface Sink {
  /** Begins to deliver; on the leader only. */
  start(): void;
  stop(): Promise<void>;
  /** Delivers what is owed now; the number of windows. For start() and tests. */
  pass(): Promise<number>;
}

const longestRetryMs = 300_000;
const lookEveryMs = 15_000;

export function newSink(deps: SinkDeps): Sink {
  const delivery = newDelivery(deps);
  const work = newRepeating({
    clock: deps.clock,
    longestRetryMs,
    async pass() {
      await delivery.pass(work.isStopped);
      return lookEveryMs;
    },
    failed(error, failures) {
      deps.metrics.failures.inc({ sink: deps.name });
      deps.log.warn({ sink: deps.name, error: messageOf(error), failures }, "delivery failed, will be repeated");
    },
  });
  return {
    pass: () => delivery.pass(() => false),
    start() {
      if (work.isStopped()) return;
      deps.metrics.followLag(deps.name, delivery.lagSeconds);
      work.start();
    },
    async stop() {
      // Cuts a request short: what was not acknowledged is sent again by the next leader.
      await work.stop(() => deps.target.close());
      deps.metrics.followLag(deps.name, () => 0);
    },
  };
}

function newDelivery(deps: SinkDeps) {
  const { ledger, name } = deps;
  const send = newSender(deps);
  const acked = new Set<string>();
  let listed = false;
  let oldestOwedEnd: number | undefined;
  let firstLook = Infinity;
  const nowSeconds = (): number => Math.floor(deps.clock.now() / 1000);
  const replays = newReplays(deps, send);
  /** Windows that begin before are delivered or not owed; grows, so that a look does not list the whole ledger. */
  let since = deps.startAt === undefined ? 0 : secondsOf(deps.startAt);

  async function owed(): Promise<readonly string[]> {
    const keys = await sealedKeys(ledger, since, Infinity);
    if (!listed) for (const key of await ledger.list(acksPrefix(name))) acked.add(key);
    listed = true;
    return keys.filter((key) => !acked.has(ackKey(name, key)));
  }
  return {
    async pass(ended: () => boolean): Promise<number> {
      let windows = 0;
      firstLook = Math.min(firstLook, nowSeconds());
      const waiting = await owed();
      // Its begin until it is read, so that a window which cannot be read shows.
      oldestOwedEnd = startOfManifestKey(waiting[0] ?? "");
      const keys = await vouchedOf(deps, waiting);
      for (const [at, key] of keys.entries()) {
        if (ended()) break;
        const sealed = await deps.windows.read(key);
        oldestOwedEnd = sealed.window.end;
        await deliverWindow(deps, send, { key, sealed, later: keys.slice(at + 1) });
        acked.add(ackKey(name, key));
        since = sealed.window.start;
        windows += 1;
      }
      if (!ended()) oldestOwedEnd = startOfManifestKey(waiting[keys.length] ?? "");
      // After what is owed, so that the lag is known while a broken sink holds up both.
      return windows + (await replays(ended));
    },
    lagSeconds(): number {
      // A ledger that never answered may hold what is owed: at least since the first look nobody knows.
      return Math.max(0, nowSeconds() - (oldestOwedEnd ?? (listed ? Infinity : firstLook)));
    },
  };
}

/** The first of them: what is newer than the head that the cluster keeps is not known to be ours yet. */
async function vouchedOf({ windows }: SinkDeps, waiting: readonly string[]): Promise<readonly string[]> {
  const begin = startOfManifestKey(waiting[0] ?? "");
  const ours = new Set(begin === undefined ? [] : await windows.keys(begin, Infinity));
  return waiting.filter((key) => ours.has(key));
}

/** Replays back off by themselves: one that fails must not slow down what is owed. */
function newReplays(deps: SinkDeps, send: Send): (ended: () => boolean) => Promise<number> {
  const { clock, metrics, name } = deps;
  let failures = 0;
  let notBeforeMs = 0;
  return async (ended) => {
    if (clock.now() < notBeforeMs) return 0;
    try {
      const windows = await replay(deps, send, ended);
      failures = 0;
      return windows;
    } catch {
      // Told in the log, request by request.
      failures += 1;
      metrics.failures.inc({ sink: name });
      notBeforeMs = clock.now() + Math.min(longestRetryMs, lookEveryMs * 2 ** Math.min(failures - 1, 10));
      return 0;
    }
  };
}

async function deliverWindow(
  deps: SinkDeps,
  send: Send,
  { key, sealed, later }: OwedWindow & { readonly later: readonly string[] },
): Promise<void> {
  const { ledger, name, batchSize } = deps;
  const { records, sha256 } = sealed;
  const window = sinkWindowOf(sealed);
  const others = othersIn(deps.windows, sealed, { later, windowOf: sinkWindowOf });
  const done = (await ledger.list(ackKey(name, key).replace(/done\.json$/, ""))).flatMap(
    (one) => rangeOfPartKey(one) ?? [],
  );
  const isDone = (at: number): boolean => done.some(({ start, end }) => at >= start && at < end);
  const setAside = new Set(await ledger.list(quarantinePrefix(name)));
  const kept: string[] = [];
  for (let start = 0; start < records.length; start += batchSize) {
    const end = Math.min(records.length, start + batchSize);
    const batch = records.slice(start, end).filter((_, i) => !isDone(start + i));
    if (batch.length === 0) continue;
    const refused = await deliverBatch(deps, send, { key, batch, window, others });
    kept.push(...refused);
    // Set aside before a death, and taken now: a note that stayed would have it sent once more.
    const taken = batch.filter(({ id }) => setAside.has(quarantineKey(name, id)) && !refused.includes(id));
    await takeOut(deps, taken);
    if (records.length > batchSize)
      await ledger.putOnce(partKey(name, key, { start, end }), canonicalBytes({ quarantined: kept }));
  }
  const ack = { sink: name, manifest: key, sha256, records: records.length, quarantined: kept };
  await ledger.putOnce(ackKey(name, key), canonicalBytes({ schema: "berth.dev/sink-ack.v1", ...ack }));
}
