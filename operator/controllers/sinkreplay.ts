/** Sends windows again that somebody asked for in the ledger, or only what was set aside of them; ids are the same, so nothing counts twice. */
import { sinkReplay } from "../api/sinks.ts";
import type { SinkReplay } from "../api/sinks.ts";
import { canonicalBytes } from "../plan/metering/canonical.ts";
import { secondsOf, startOfManifestKey } from "../plan/metering/windows.ts";
import { ackKey, replayPrefix, replayedKey, replayedPrefix } from "../plan/sinks/keys.ts";
import { messageOf } from "../runtime/errors.ts";
import { newestCheckpoint } from "./checkpoints.ts";
import { deliverBatch, sinkWindowOf, takeOut } from "./sinkbatches.ts";
import type { Refusal, Send, SinkDeps } from "./sinkbatches.ts";
import { othersIn } from "./sinkothers.ts";
import { quarantinedRecords } from "./sinkstate.ts";

/** Asked before each window: this process ends, or the request was withdrawn meanwhile. */
type Over = () => Promise<boolean>;

/** Windows that were sent; each request runs once. One that fails stays and holds up no other; its error is thrown at the end. */
export async function replay(deps: SinkDeps, send: Send, ended: () => boolean): Promise<number> {
  const { ledger, name } = deps;
  let windows = 0;
  const errors: unknown[] = [];
  const requests = await ledger.list(replayPrefix(name));
  const done = new Set(requests.length === 0 ? [] : await ledger.list(replayedPrefix(name)));
  for (const key of requests.filter((one) => !done.has(replayedKey(name, one)))) {
    if (ended()) return windows;
    const request = await requestAt(deps, key);
    if (!request) continue;
    // A sink of whole windows refuses no single record, and a part of a window would be a wrong file.
    const single = request.only !== undefined && Number.isFinite(deps.batchSize);
    const doneKey = replayedKey(name, key);
    const over: Over = async () => ended() || (await ledger.get(doneKey)) !== undefined;
    try {
      const sent = single ? await retry(deps, request, over) : await again(deps, send, { request, over });
      windows += sent;
      if (ended()) return windows;
      const isDone = (await ledger.putOnce(doneKey, canonicalBytes(request))) === "created";
      const what = isDone ? "windows were sent again" : "this replay was withdrawn, or another leader has done it";
      deps.log.info({ sink: name, key, ...request, windows: sent }, what);
    } catch (error) {
      deps.log.warn({ sink: name, key, error: messageOf(error) }, "this replay failed and stays");
      errors.push(error);
    }
  }
  if (errors.length > 0) throw errors[0];
  return windows;
}

/** One that was written wrong by hand must not hold up the others. */
async function requestAt({ ledger, name, log }: SinkDeps, key: string): Promise<SinkReplay | undefined> {
  try {
    return sinkReplay.parse(JSON.parse(Buffer.from((await ledger.get(key)) ?? []).toString()));
  } catch (error) {
    if (!(error instanceof SyntaxError || (error instanceof Error && error.name === "ZodError"))) throw error;
    log.error({ sink: name, key, error: messageOf(error) }, "this request for a replay is none and is left alone");
    return undefined;
  }
}

async function again(
  deps: SinkDeps,
  send: Send,
  { request, over }: { readonly request: SinkReplay; readonly over: Over },
): Promise<number> {
  const { ledger, batchSize } = deps;
  let windows = 0;
  await tellOfRemoved(deps, request);
  const keys = await deps.windows.keys(secondsOf(request.from), secondsOf(request.to));
  for (const [place, key] of keys.entries()) {
    if (await over()) return windows;
    const sealed = await deps.windows.read(key);
    const others = othersIn(deps.windows, sealed, { later: keys.slice(place + 1), windowOf: sinkWindowOf });
    const { records } = sealed;
    const window = sinkWindowOf(sealed);
    const areKnown = (await ledger.get(ackKey(deps.name, key))) !== undefined;
    for (let at = 0; at < records.length; at += batchSize) {
      const batch = records.slice(at, at + batchSize);
      const refused = new Set(await deliverBatch(deps, send, { key, batch, window, others, areKnown }));
      await takeOut(
        deps,
        batch.filter(({ id }) => !refused.has(id)),
      );
    }
    windows += 1;
  }
  return windows;
}

async function tellOfRemoved({ ledger, name, log }: SinkDeps, { from }: SinkReplay): Promise<void> {
  const found = await newestCheckpoint(ledger);
  if (found === undefined || typeof found === "string" || found.checkpoint.removedThrough <= from) return;
  const { removedThrough } = found.checkpoint;
  log.error(
    { sink: name, from, removedThrough },
    "retention removed the first of these hours, sent are those from there on",
  );
}

/**
 * Each record by itself, and a refusal is the answer: whoever asks knows that it was refused before. What the sink has taken
 * long ago is not sent, since receivers know an id for a limited time only.
 */
async function retry(deps: SinkDeps, { from, to, records: named }: SinkReplay, over: Over): Promise<number> {
  const { ledger, name, target } = deps;
  const alone: Send = async (records, window): Promise<Refusal[]> => {
    const refusals: Refusal[] = [];
    for (const record of records) {
      const answer = await target.deliver([record], window);
      if (!answer.accepted) refusals.push({ record, reason: answer.refused.slice(0, 500) });
    }
    return refusals;
  };
  const inRange = (await quarantinedRecords(ledger, name)).filter(({ manifest, recordId }) => {
    const start = startOfManifestKey(manifest) ?? -1;
    return start >= secondsOf(from) && start < secondsOf(to) && (named?.includes(recordId) ?? true);
  });
  let windows = 0;
  for (const [key, set] of Map.groupBy(inRange, ({ manifest }) => manifest)) {
    if (await over()) return windows;
    if (!(await ledger.get(key))) {
      // Retention counts what is set aside as delivered. Nothing is left to send; the note stays for whoever has to know.
      deps.log.error(
        { sink: name, key, records: set.length },
        "these records are not in the ledger any more, not sent",
      );
      continue;
    }
    const sealed = await deps.windows.read(key);
    const wanted = new Set(set.map(({ recordId }) => recordId));
    const batch = sealed.records.filter(({ id }) => wanted.has(id));
    const window = sinkWindowOf(sealed);
    const refused = new Set(await deliverBatch(deps, alone, { key, batch, window, others: () => Promise.resolve([]) }));
    await takeOut(
      deps,
      batch.filter(({ id }) => !refused.has(id)),
    );
    windows += 1;
  }
  return windows;
}
