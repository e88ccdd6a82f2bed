/** One batch of a window to one sink: sent, halved where it is refused, and what the sink will never take set aside. */
import type { UsageRecord } from "../api/ledger.ts";
import { quarantined } from "../api/sinks.ts";
import { canonicalBytes } from "../plan/metering/canonical.ts";
import { secondsOf } from "../plan/metering/windows.ts";
import { quarantineKey } from "../plan/sinks/keys.ts";
import type { Clock, Ledger, Log, SinkTarget, SinkWindow } from "../ports.ts";
import { RetryError } from "../runtime/errors.ts";
import type { ReadWindow } from "./ledgerreads.ts";
import type { SinkMetrics } from "./sinkmetrics.ts";
import type { Others } from "./sinkothers.ts";
import type { SealedWindows } from "./vouched.ts";

export interface SinkDeps {
  readonly name: string;
  readonly startAt?: string;
  /** Records a delivery; Infinity for a sink that takes whole windows only. */
  readonly batchSize: number;
  readonly target: SinkTarget<UsageRecord>;
  readonly ledger: Ledger;
  /** What is delivered. */
  readonly windows: SealedWindows;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: SinkMetrics;
}

/** `others` are asked for where all records are refused. */
export type Send = (records: readonly UsageRecord[], window: SinkWindow, others: Others) => Promise<readonly Refusal[]>;

export interface Refusal {
  readonly record: UsageRecord;
  readonly reason: string;
}

export interface OwedWindow {
  readonly key: string;
  readonly sealed: ReadWindow;
}

/** A lone record that is refused by a sink which never took any is more likely a wrong address than a wrong record. */
const patientRefusals = 10;

export function sinkWindowOf({ window, manifest, records }: ReadWindow): SinkWindow {
  const { previousWindowEnd } = manifest;
  const previousEnd = previousWindowEnd === undefined ? undefined : secondsOf(previousWindowEnd);
  return { ...window, previousEnd, positions: new Map(records.map(({ id }, position) => [id, position])) };
}

export interface Batch {
  /** Of the manifest. */
  readonly key: string;
  readonly window: SinkWindow;
  readonly batch: readonly UsageRecord[];
  readonly others: Others;
  /** Their window is acknowledged: each record was taken, or lies in quarantine already. */
  readonly areKnown?: boolean;
}

/** Sends one batch; ids of the records that the sink will never take. They lie in the ledger when this resolves. */
export async function deliverBatch(
  { ledger, name, metrics, log }: SinkDeps,
  send: Send,
  { key, batch, window, others, areKnown = false }: Batch,
): Promise<string[]> {
  const refusals = await send(batch, window, others);
  metrics.records.inc({ sink: name, result: "delivered" }, batch.length - refusals.length);
  if (areKnown) {
    // Set aside they would be sent by a later retry, when the receiver has forgotten the ids that it counted.
    for (const { record, reason } of refusals) {
      log.warn({ sink: name, recordId: record.id, manifest: key, reason }, "sink refuses a record that it had before");
    }
    return refusals.map(({ record }) => record.id);
  }
  for (const { record, reason } of refusals) {
    const body = { sink: name, recordId: record.id, manifest: key, reason };
    const stored = quarantined.parse({ schema: "berth.dev/sink-quarantine.v1", ...body });
    await ledger.putOnce(quarantineKey(name, record.id), canonicalBytes(stored));
    log.error({ ...body }, "sink refuses a record, which is set aside; the others go on");
  }
  metrics.records.inc({ sink: name, result: "quarantined" }, refusals.length);
  return refusals.map(({ record }) => record.id);
}

/** Records that the sink has taken after all leave quarantine. */
export async function takeOut({ ledger, name }: SinkDeps, taken: readonly UsageRecord[]): Promise<void> {
  for (const { id } of taken) await ledger.remove(quarantineKey(name, id));
}

/**
 * Halves a refused batch until the refused records stand alone. Where all of it is refused, the records are at fault only if the sink
 * takes another one now; one that takes none is broken itself, and nothing is set aside.
 */
export function newSender({ target, name }: Pick<SinkDeps, "target" | "name">): Send {
  let loneRefusals = 0;
  async function takes(records: readonly UsageRecord[], window: SinkWindow): Promise<string | undefined> {
    const answer = await target.deliver(records, window);
    if (answer.accepted) loneRefusals = 0;
    return answer.accepted ? undefined : answer.refused.slice(0, 500);
  }
  async function halves(records: readonly UsageRecord[], window: SinkWindow): Promise<Refusal[]> {
    const reason = await takes(records, window);
    if (reason === undefined) return [];
    const [only] = records;
    if (only && records.length === 1) return [{ record: only, reason }];
    const middle = Math.ceil(records.length / 2);
    return [...(await halves(records.slice(0, middle), window)), ...(await halves(records.slice(middle), window))];
  }
  return async (records, window, others) => {
    const refusals = await halves(records, window);
    if (refusals.length < records.length || records.length === 0) return refusals;
    for (const other of await others(records)) {
      if ((await takes([other.record], other.window)) === undefined) return refusals;
    }
    if (records.length === 1 && ++loneRefusals >= patientRefusals) {
      loneRefusals = 0;
      return refusals;
    }
    const why = `sink ${name} refuses every record (${refusals[0]?.reason ?? ""}): look at its address, credentials and meters`;
    throw new RetryError(new Error(why));
  };
}
