/**
 * Delivery of sealed windows to one sink: in order, at least once, with acknowledgements in the ledger. It remembers nothing
 * that the ledger does not say, so it may die anywhere; what was sent and not acknowledged is sent again under the same ids.
 */
import { quarantined, sinkReplay } from "../api/sinks.ts";
import type { UsageRecord } from "../api/ledger.ts";
import { canonicalBytes } from "../plan/metering/canonical.ts";
import { secondsOf } from "../plan/metering/windows.ts";
import {
  ackKey,
  acksPrefix,
  partKey,
  quarantineKey,
  rangeOfPartKey,
  replayPrefix,
  replayedKey,
} from "../plan/sinks/keys.ts";
import type { Clock, Ledger, Log, SinkTarget, SinkWindow } from "../ports.ts";
import { RetryError, messageOf } from "../runtime/errors.ts";
import type { SinkMetrics } from "./sinkmetrics.ts";
import { readSealed, sealedKeys } from "./ledgerreads.ts";
import type { ReadWindow } from "./ledgerreads.ts";

export interface SinkDeps {
  readonly name: string;
  readonly startAt?: string;
  /** Records a delivery; Infinity for a sink that takes whole windows only. */
  readonly batchSize: number;
  readonly target: SinkTarget<UsageRecord>;
  readonly ledger: Ledger;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: SinkMetrics;
}

export interface Sink {
  /** Begins to deliver; on the leader only. */
  start(): void;
  stop(): Promise<void>;
  /** Delivers what is owed now; the number of windows. For start() and tests. */
  pass(): Promise<number>;
}

const firstRetryMs = 1_000;
const longestRetryMs = 300_000;
const lookEveryMs = 15_000;
/** A lone record that is refused by a sink which never took any is more likely a wrong address than a wrong record. */
const patientRefusals = 10;

export function newSink(deps: SinkDeps): Sink {
  const delivery = newDelivery(deps);
  let cancel = (): void => undefined;
  let running: Promise<void> = Promise.resolve();
  let stopped = false;
  let failures = 0;
  const again = (delayMs: number): void => {
    if (!stopped) cancel = deps.clock.after(delayMs, () => void (running = turn()));
  };
  async function turn(): Promise<void> {
    try {
      await delivery.pass(() => stopped);
      failures = 0;
      again(lookEveryMs);
    } catch (error) {
      failures += 1;
      deps.metrics.failures.inc({ sink: deps.name });
      deps.log.warn({ sink: deps.name, error: messageOf(error), failures }, "delivery failed, will be repeated");
      again(Math.min(longestRetryMs, firstRetryMs * 2 ** Math.min(failures - 1, 10)));
    }
  }
  return {
    pass: () => delivery.pass(() => false),
    start() {
      if (stopped) return;
      deps.metrics.followLag(deps.name, delivery.lagSeconds);
      running = turn();
    },
    async stop() {
      stopped = true;
      cancel();
      // Cuts a request short: what was not acknowledged is sent again by the next leader.
      deps.target.close();
      await running;
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
      const keys = await owed();
      for (const key of keys) {
        if (ended()) break;
        const sealed = await readSealed(ledger, key);
        oldestOwedEnd = sealed.window.end;
        await deliverWindow(deps, send, { key, sealed });
        acked.add(ackKey(name, key));
        since = sealed.window.start;
        windows += 1;
      }
      if (!ended()) oldestOwedEnd = undefined;
      // After what is owed, so that the lag is known while a broken sink holds up both.
      return windows + (await replay(deps, send, ended));
    },
    lagSeconds: () =>
      oldestOwedEnd === undefined ? 0 : Math.max(0, Math.floor(deps.clock.now() / 1000) - oldestOwedEnd),
  };
}

type Send = (records: readonly UsageRecord[], window: SinkWindow) => Promise<readonly Refusal[]>;

interface Refusal {
  readonly record: UsageRecord;
  readonly reason: string;
}

interface OwedWindow {
  readonly key: string;
  readonly sealed: ReadWindow;
}

async function deliverWindow(deps: SinkDeps, send: Send, { key, sealed }: OwedWindow): Promise<void> {
  const { ledger, name, batchSize } = deps;
  const { records, sha256 } = sealed;
  const done = (await ledger.list(ackKey(name, key).replace(/done\.json$/, ""))).flatMap(
    (one) => rangeOfPartKey(one) ?? [],
  );
  const isDone = (at: number): boolean => done.some(({ start, end }) => at >= start && at < end);
  const kept: string[] = [];
  for (let start = 0; start < records.length; start += batchSize) {
    const end = Math.min(records.length, start + batchSize);
    const batch = records.slice(start, end).filter((_, i) => !isDone(start + i));
    if (batch.length === 0) continue;
    kept.push(...(await deliverBatch(deps, send, { key, batch, sealed })));
    if (records.length > batchSize)
      await ledger.putOnce(partKey(name, key, { start, end }), canonicalBytes({ quarantined: kept }));
  }
  const ack = { sink: name, manifest: key, sha256, records: records.length, quarantined: kept };
  await ledger.putOnce(ackKey(name, key), canonicalBytes({ schema: "berth.dev/sink-ack.v1", ...ack }));
}

export function sinkWindowOf({ window, manifest }: ReadWindow): SinkWindow {
  const { previousWindowEnd } = manifest;
  return { ...window, previousEnd: previousWindowEnd === undefined ? undefined : secondsOf(previousWindowEnd) };
}

/** Sends one batch; ids of the records that the sink will never take. They lie in the ledger when this resolves. */
async function deliverBatch(
  { ledger, name, metrics, log }: SinkDeps,
  send: Send,
  { key, batch, sealed }: OwedWindow & { readonly batch: readonly UsageRecord[] },
): Promise<string[]> {
  const refusals = await send(batch, sinkWindowOf(sealed));
  for (const { record, reason } of refusals) {
    const body = { sink: name, recordId: record.id, manifest: key, reason };
    const stored = quarantined.parse({ schema: "berth.dev/sink-quarantine.v1", ...body });
    await ledger.putOnce(quarantineKey(name, record.id), canonicalBytes(stored));
    log.error({ ...body }, "sink refuses a record, which is set aside; the others go on");
  }
  metrics.records.inc({ sink: name, result: "delivered" }, batch.length - refusals.length);
  metrics.records.inc({ sink: name, result: "quarantined" }, refusals.length);
  return refusals.map(({ record }) => record.id);
}

/** Halves a refused batch until the refused records stand alone. A sink that refuses all of several is broken itself. */
function newSender({ target, name }: Pick<SinkDeps, "target" | "name">): Send {
  let everAccepted = false;
  let loneRefusals = 0;
  async function halves(records: readonly UsageRecord[], window: SinkWindow): Promise<Refusal[]> {
    const answer = await target.deliver(records, window);
    if (answer.accepted) {
      everAccepted = true;
      return [];
    }
    const [only] = records;
    if (only && records.length === 1) return [{ record: only, reason: answer.refused.slice(0, 500) }];
    const middle = Math.ceil(records.length / 2);
    return [...(await halves(records.slice(0, middle), window)), ...(await halves(records.slice(middle), window))];
  }
  return async (records, window) => {
    const refusals = await halves(records, window);
    if (refusals.length < records.length || records.length === 0) return refusals;
    loneRefusals += 1;
    const suspicious = records.length > 1 || (!everAccepted && loneRefusals < patientRefusals);
    if (!suspicious) return refusals;
    const why = `sink ${name} refuses every record (${refusals[0]?.reason ?? ""}): look at its address, credentials and meters`;
    throw new RetryError(new Error(why));
  };
}

/** Sends windows again that somebody asked for; ids are the same, so nothing counts twice. */
async function replay(deps: SinkDeps, send: Send, ended: () => boolean): Promise<number> {
  const { ledger, name } = deps;
  let windows = 0;
  for (const request of await ledger.list(replayPrefix(name))) {
    if (ended() || (await ledger.get(replayedKey(name, request)))) continue;
    const { from, to } = sinkReplay.parse(JSON.parse(Buffer.from((await ledger.get(request)) ?? []).toString()));
    for (const key of await sealedKeys(ledger, secondsOf(from), secondsOf(to))) {
      if (ended()) return windows;
      const sealed = await readSealed(ledger, key);
      const { records } = sealed;
      for (let at = 0; at < records.length; at += deps.batchSize) {
        const batch = records.slice(at, at + deps.batchSize);
        const refused = new Set(await deliverBatch(deps, send, { key, batch, sealed }));
        const taken = batch.filter(({ id }) => !refused.has(id));
        for (const { id } of taken) await ledger.remove(quarantineKey(name, id));
      }
      windows += 1;
    }
    await ledger.putOnce(replayedKey(name, request), canonicalBytes({ from, to }));
    deps.log.info({ sink: name, from, to, windows }, "windows were sent again");
  }
  return windows;
}
