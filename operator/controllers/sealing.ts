/** One batch of windows that are due: what goes into each, in which order, and what is told of it. */
import { addQuantities } from "../plan/metering/fold.ts";
import { lateSpans } from "../plan/metering/late.ts";
import { nextWindowOf } from "../plan/metering/records.ts";
import { manifestBytes } from "../plan/metering/segment.ts";
import type { Line } from "../plan/metering/segment.ts";
import { dayOf, instantOfSeconds, manifestKey, windowAt } from "../plan/metering/windows.ts";
import type { Window } from "../plan/metering/windows.ts";
import type { ManifestSigner } from "../ports.ts";
import type { SeenFacts } from "./facts.ts";
import { keepHead } from "./headcheck.ts";
import type { Histories } from "./histories.ts";
import { lateLines } from "./late.ts";
import type { Head } from "./ledgerreads.ts";
import { ensureDayRoot } from "./dayroots.ts";
import type { SealerDeps } from "./sealer.ts";
import { sealWindow } from "./segments.ts";
import type { SealResult } from "./segments.ts";
import { signManifest, tellOfForeign } from "./signatures.ts";

/** What one batch is sealed by. */
export interface Knowledge {
  readonly facts: SeenFacts;
  readonly histories: Histories;
  /** Every window that ends by here, in seconds, is due. */
  readonly dueEnd: number;
  readonly signer: ManifestSigner | undefined;
}

export interface SealedDue {
  readonly sealed: readonly SealResult[];
  readonly head: Head | undefined;
  /** Everything before it may be forgotten, in seconds. */
  readonly settledThrough: number | undefined;
  /**
   * False where what became known late is in no window yet: none is due, or the one that had to carry it was found with other
   * bytes. Marks and ends of claims and closing objects are what leads to it again: none of them may move.
   */
  readonly isLateRecorded: boolean;
  /**
   * There are further windows. These are settled first, so that a long outage is not held in memory as a whole; then everything
   * is looked at anew, since by the marks that were known before, the whole fleet would be behind the head.
   */
  readonly more: boolean;
}

/** A day of hours. */
const mostWindowsAtOnce = 24;
/** Sums of deployments that wait for being settled, some 300 bytes each. */
const mostSumsAtOnce = 100_000;

/** Seals a batch of what is due after `from`, oldest first. */
export async function sealDue(deps: SealerDeps, knowledge: Knowledge, from: Head | undefined): Promise<SealedDue> {
  const { signer } = knowledge;
  const meters = knowledge.histories.byShard(shardsOf(deps));
  let late = await lateKnowledge(deps, knowledge, from);
  let head = from;
  let doubtful: number | undefined;
  let isLateLost = false;
  const sealed: SealResult[] = [];
  let sums = 0;
  for (;;) {
    const window = windowToSeal(deps, knowledge, { head, late });
    if (!window || sealed.length === mostWindowsAtOnce || sums >= mostSumsAtOnce) {
      const isLateRecorded = !late && !isLateLost;
      return { sealed, head, settledThrough: doubtful ?? head?.end, isLateRecorded, more: window !== undefined };
    }
    // No earlier: while a day's window is the newest, one more may follow in it.
    if (head && dayOf(head) !== dayOf(window)) await ensureDayRoot(deps, dayOf(head), signer);
    const { clusterId } = deps;
    const result = await sealWindow(deps.ledger, {
      ...{ window, meters, adjustments: late, clusterId, previous: head },
      announce: async (manifest) => deps.headKeeper?.announce(manifest),
    });
    isLateLost ||= late !== undefined && result.differing.length > 0;
    late = undefined;
    deps.noteSealed?.(window.end);
    report(deps, result);
    deps.counters?.sealed(result, knowledge.histories);
    if (signer) await signSealed(deps, result, signer);
    if (result.differing.length > 0) doubtful ??= window.start;
    sealed.push(result);
    sums += result.meters.length;
    head = headOf(result);
    await keepHead(deps, head);
  }
}

export function shardsOf({ shards = 1 }: Pick<SealerDeps, "shards">): number {
  return shards;
}

/** Adjustments that the first window after `head` has to carry. */
export async function lateKnowledge(
  deps: Pick<SealerDeps, "ledger" | "clusterId" | "windowSeconds" | "shards">,
  { facts, histories }: Pick<Knowledge, "facts" | "histories">,
  head: Head | undefined,
): Promise<Line[][] | undefined> {
  const spans = lateSpans(facts, head?.end);
  if (!head || spans.length === 0) return undefined;
  const { ledger, clusterId, windowSeconds } = deps;
  const { metersOf } = histories;
  return lateLines(ledger, { spans, metersOf, clusterId, windowSeconds, shards: shardsOf(deps), before: head.end });
}

/** Where adjustments wait and nobody has capacity, the newest window that is due carries them alone. */
function windowToSeal(
  { windowSeconds }: SealerDeps,
  { histories, dueEnd }: Knowledge,
  { head, late }: { readonly head: Head | undefined; readonly late: Line[][] | undefined },
): Window | undefined {
  const window = nextWindowOf(histories.lives, { sealedThrough: head?.end, dueEnd, windowSeconds });
  if (window || !late || !head || dueEnd <= head.end) return window;
  return windowAt(dueEnd - windowSeconds, windowSeconds, head.end);
}

export function headOf({ window, manifest, manifestSha256 }: SealResult): Head {
  return { key: manifestKey(window), ...window, sha256: manifestSha256, chains: manifest.chains };
}

/** Before anything of the window is forgotten: whoever comes after a death here must still be able to compute it. */
async function signSealed(deps: SealerDeps, sealed: SealResult, signer: ManifestSigner): Promise<void> {
  const key = manifestKey(sealed.window);
  if (sealed.differing.length > 0) {
    deps.log.error({ key }, "not signed, since its bytes are not what these facts give");
    return;
  }
  tellOfForeign(deps, key, await signManifest(deps.ledger, { key, bytes: manifestBytes(sealed.manifest) }, signer));
}

function report({ log, metrics }: SealerDeps, { window, manifest, meters, differing }: SealResult): void {
  for (const key of differing) {
    metrics.conflicts.inc();
    log.error({ key }, "ledger holds other bytes than these facts give, kept what is stored");
  }
  metrics.windowsSealed.inc();
  const { billableNodeSeconds } = addQuantities(meters);
  const { records, adjusts = [] } = manifest;
  if (adjusts.length > 0) log.warn({ windows: adjusts }, "what became known late was recorded as adjustments");
  log.info(
    { window: instantOfSeconds(window.start), records, billableNodeSeconds, segments: manifest.segments.length },
    "window sealed",
  );
}
