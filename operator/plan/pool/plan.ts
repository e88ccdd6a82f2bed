/** The plan of one pool. Same snapshot in, same plan out; `seen.now` is the only time. */
import type { CapacityOffer, CapacityUnit } from "../../ports.ts";
import type { Write } from "../plan.ts";
import { claimDates, closedClaims, removeClaims, voidClaims } from "./claims.ts";
import { karpenterActs } from "./karpenter.ts";
import { planRemoval, planVanished } from "./remove.ts";
import { isLiving, podsOn } from "./snapshot.ts";
import type { LivingSnapshot, PoolPlan, PoolSnapshot, ProviderActs, ResizeTarget } from "./snapshot.ts";
import { staticActs } from "./static.ts";
import { clearances, killPod, missingRecords } from "./steps.ts";
import { ignoredSince, livingState, poolStatus, transitionEvents } from "./status.ts";
import { chooseVictims, missingNodes, sortUnits } from "./units.ts";

/** Foreign pods are not watched; a free node that another pool reserved and did not take makes no event. */
const RECHECK_MS = { ForeignPods: 15_000, OutOfStock: 30_000 } as const;

export function actsOf(seen: PoolSnapshot): ProviderActs {
  return seen.facts.provider === "static" ? staticActs : karpenterActs;
}

/** Decides about one pool: living, being deleted, or vanished with something left behind. */
export function planPool(seen: PoolSnapshot): PoolPlan {
  if (!isLiving(seen)) return planVanished(seen, actsOf(seen));
  return seen.pool.metadata.deletionTimestamp ? planRemoval(seen, actsOf(seen)) : planLiving(seen, actsOf(seen));
}

function planLiving(seen: LivingSnapshot, acts: ProviderActs): PoolPlan {
  const { lost } = sortUnits(seen.facts.units, seen.now, seen.settings);
  const shrink = planShrink(seen);
  const offers = seen.offers.slice(0, missingNodes(seen));
  const target: ResizeTarget = { size: seen.pool.spec.size, offers, ...shrink };
  const forced = [...lost, ...shrink.forced].flatMap((unit) => podsOn(seen, unit));
  const taken = new Set(offers.map((offer: CapacityOffer) => offer.claimName));
  const steps = [
    [...missingRecords(seen), ...restores(seen, acts, lost)],
    forced.map(killPod),
    ...claimDates(seen, lost),
    lost.flatMap((unit) => acts.release(unit, seen.poolUID)),
    ...acts.resize(seen, target),
    clearances(seen, acts),
    ...removeClaims([...voidClaims(seen, taken), ...closedClaims(seen)]),
  ].filter((step) => step.length > 0);
  const state = livingState(seen);
  const again = offers.length > 0;
  return {
    steps,
    // The nodes taken in this pass are seen in the next one, which follows at once and writes one status for both.
    status: again ? undefined : poolStatus(seen, state),
    events: again ? [] : transitionEvents(seen, state),
    requeueAfterMs: nextLook(seen, shrink),
    because: because(steps, state.reason),
    close: false,
    again,
  };
}

function because(steps: readonly (readonly Write[])[], reason: string): string {
  return steps.length > 0 ? `converging: ${reason}` : reason;
}

interface Shrink extends Pick<ResizeTarget, "victims" | "waiting"> {
  /** Victims whose pods did not leave in time. */
  readonly forced: readonly CapacityUnit[];
}

/** The workload was lowered first; a node that still serves is waited for until the drain grace is over. */
function planShrink(seen: LivingSnapshot): Shrink {
  const { kept } = sortUnits(seen.facts.units, seen.now, seen.settings);
  const chosen = chooseVictims(seen, kept, kept.length - seen.pool.spec.size);
  const busy = chosen.filter((unit) => podsOn(seen, unit).length > 0);
  if (busy.length === 0) return { victims: chosen, waiting: 0, forced: [] };
  const since = seen.sizeSince === undefined ? seen.now : Date.parse(seen.sizeSince);
  if (seen.now - since >= seen.settings.drainGraceMs) return { victims: chosen, waiting: 0, forced: busy };
  return { victims: chosen.filter((unit) => !busy.includes(unit)), waiting: busy.length, forced: [] };
}

function restores(seen: LivingSnapshot, acts: ProviderActs, lost: readonly CapacityUnit[]): readonly Write[] {
  const damaged = seen.facts.units.filter((unit) => unit.damaged && !lost.includes(unit));
  return damaged.flatMap((unit) => acts.restore(unit, seen.poolUID));
}

function nextLook(seen: LivingSnapshot, shrink: Shrink): number | undefined {
  const { settings, now } = seen;
  const { kept } = sortUnits(seen.facts.units, now, settings);
  const ignored = ignoredSince(seen);
  const due = [
    ...kept.flatMap(({ unreadySince }) => (unreadySince === undefined ? [] : [unreadySince + settings.nodeLostMs])),
    ...(shrink.waiting > 0 && seen.sizeSince ? [Date.parse(seen.sizeSince) + settings.drainGraceMs] : []),
    ...(ignored === undefined ? [] : [ignored + settings.staticCapacityTimeoutMs]),
    ...recheck(seen),
  ].filter((at) => at > now);
  return due.length > 0 ? Math.min(...due) - now : undefined;
}

function recheck({ now, obstacle }: LivingSnapshot): readonly number[] {
  const reason = obstacle?.reason;
  return reason === "ForeignPods" || reason === "OutOfStock" ? [now + RECHECK_MS[reason]] : [];
}
