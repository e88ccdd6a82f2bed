/** Lives of deployments → the history of their objects, as a cluster would tell it. */
import fc from "fast-check";

import { finalizers } from "../../operator/api/keys.ts";
import { instantOfSeconds, secondsOf } from "../../operator/plan/metering/windows.ts";
import { claimSpec, deploymentSpec, template } from "../controllers/meteringobjects.ts";
import type { Change, MeteredKind } from "./changes.ts";

export interface LifeOfClaim {
  readonly start: number;
  /** Seconds from `start`. */
  readonly readyAfter: number;
  readonly end: number | undefined;
  readonly isEndEstimated: boolean;
  /** Seconds until begin and end are known beyond the usual delay: late knowledge. */
  readonly lateBegin: number;
  readonly lateEnd: number;
}

export interface LifeOfDeployment {
  readonly name: string;
  /** Begin, size and account, in the order of time; at least one. */
  readonly sizes: readonly { readonly since: number; readonly size: number; readonly account: string }[];
  readonly claims: readonly LifeOfClaim[];
  /** Deletion of the deployment; every claim has an end then. */
  readonly endedAt: number | undefined;
  /** Seconds until anything is known. */
  readonly delay: number;
}

/** In the order of time. */
export function historyOf(lives: readonly LifeOfDeployment[]): Change[] {
  return lives.flatMap(changesOf).sort((a, b) => (a.at < b.at ? -1 : a.at > b.at ? 1 : 0));
}

function changesOf(life: LifeOfDeployment): Change[] {
  const { name, sizes, endedAt, delay } = life;
  const [uid, poolUID] = [`uid-${name}`, `pool-${name}`];
  const told = (second: number, kind: MeteredKind, of: string, change: object | null): Change => ({
    at: `${instantOfSeconds(second + delay).slice(0, -1)}.000Z`,
    ...{ kind, uid: of, change },
  });
  const first = sizes[0]?.since ?? 0;
  const metadata = { name, namespace: "team-a" };
  const ref = { deploymentRef: { name, uid }, nodeType: "l4", template: template(), tags: {} };
  const log = sizes.map(({ since, ...rest }) => ({ since: instantOfSeconds(since), ...rest }));
  const claims = life.claims.flatMap((claim, i) => changesOfClaim(life, claim, `${name}-${String(i)}`, told));
  const lastTold = claims.reduce((last, { at }) => Math.max(last, secondsOf(at) - delay), endedAt ?? 0);
  const deleted = endedAt === undefined ? {} : { metadata: { deletionTimestamp: instantOfSeconds(endedAt) } };
  return [
    told(first, "ModelDeployment", uid, { metadata, spec: deploymentSpec() }),
    told(first, "GPUNodePool", poolUID, { metadata, spec: ref }),
    ...sizes.map(({ since, size, account }, i) =>
      told(since, "GPUNodePool", poolUID, { spec: { size, account }, status: { sizeLog: log.slice(0, i + 1) } }),
    ),
    ...claims,
    ...(endedAt === undefined
      ? []
      : [
          told(endedAt, "ModelDeployment", uid, deleted),
          told(endedAt, "GPUNodePool", poolUID, deleted),
          told(lastTold + 1, "GPUNodePool", poolUID, null),
          told(lastTold + 1, "ModelDeployment", uid, null),
        ]),
  ];
}

function changesOfClaim(
  { name }: LifeOfDeployment,
  { start, readyAfter, end, isEndEstimated, lateBegin, lateEnd }: LifeOfClaim,
  id: string,
  told: (second: number, kind: MeteredKind, of: string, change: object | null) => Change,
): Change[] {
  const at = (second: number) => ({ time: instantOfSeconds(second), evidence: "a history" });
  const status = (second: number, fields: object): Change =>
    told(second, "CapacityClaim", `claim-${id}`, { status: fields });
  const ready = start + readyAfter;
  const begun = start + lateBegin;
  const intended = { metadata: { name: id, finalizers: [finalizers.metering] }, spec: claimSpec(name, id) };
  return [
    told(start, "CapacityClaim", `claim-${id}`, intended),
    status(begun, { claimedAt: at(start) }),
    ...(end === undefined || ready < end ? [status(Math.max(ready, begun), { readyAt: at(ready) })] : []),
    ...(end === undefined
      ? []
      : [
          status(Math.max(end + lateEnd, begun), {
            releasedAt: { ...at(end), ...(isEndEstimated && { estimated: true }) },
          }),
        ]),
  ];
}

export interface Bounds {
  readonly from: number;
  readonly to: number;
  /** The longest that anything is told after it happened, where it is not late. */
  readonly longestDelay: number;
  /** The longest that begins and ends of claims stay unknown beyond it. */
  readonly longestLate: number;
}

/** Several deployments within the bounds: sizes, accounts, nodes that come and go, deletions. */
export function arbitraryLives(bounds: Bounds): fc.Arbitrary<LifeOfDeployment[]> {
  const one = fc.tuple(...["a", "b", "c"].map((name) => arbitraryLife(name, bounds)));
  return fc.tuple(one, fc.integer({ min: 1, max: 3 })).map(([lives, count]) => lives.slice(0, count));
}

function arbitraryLife(name: string, bounds: Bounds): fc.Arbitrary<LifeOfDeployment> {
  const { from, to, longestDelay, longestLate } = bounds;
  const second = fc.integer({ min: from, max: to - 1 });
  const late = fc.oneof(fc.constant(0), fc.nat(longestLate));
  const claim = fc.record({
    start: second,
    readyAfter: fc.integer({ min: 0, max: 3600 }),
    length: fc.option(fc.integer({ min: 1, max: to - from })),
    isEndEstimated: fc.boolean(),
    lateBegin: late,
    lateEnd: late,
  });
  const size = fc.record({
    since: second,
    size: fc.integer({ min: 0, max: 3 }),
    account: fc.constantFrom("team-a", "team-b"),
  });
  return fc
    .record({
      sizes: fc.uniqueArray(size, { minLength: 1, maxLength: 4, selector: ({ since }) => since }),
      claims: fc.array(claim, { maxLength: 4 }),
      deleted: fc.option(second),
      delay: fc.nat(longestDelay),
    })
    .map(({ sizes, claims, deleted, delay }) => {
      const inOrder = sizes.toSorted((a, b) => a.since - b.since);
      const first = inOrder[0]?.since ?? from;
      const endedAt = deleted === null || deleted <= first ? undefined : deleted;
      const held = claims
        .map(({ length, ...rest }) => ({ ...rest, end: endOf(rest.start, length, { to, endedAt }) }))
        .filter(({ start }) => start >= first && start < (endedAt ?? to));
      const wanted = inOrder.filter(({ since }) => since < (endedAt ?? to));
      return { name, sizes: wanted, claims: held, endedAt, delay };
    });
}

/** Nodes of a deployment that is deleted are given back soon. */
function endOf(
  start: number,
  length: number | null,
  { to, endedAt }: { readonly to: number; readonly endedAt: number | undefined },
): number | undefined {
  const soon = endedAt === undefined ? Infinity : endedAt + 20;
  const end = Math.min(length === null ? Infinity : start + length, soon);
  return end < (endedAt === undefined ? to : Infinity) ? end : undefined;
}
