// The ledger's last window against a cluster that may have been set back.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import type { CapacityClaim, CapacityClaimStatus } from "../../../operator/api/capacityclaim.ts";
import type { Evidence } from "../../../operator/api/ledger.ts";
import { clip, evidenceOf } from "../../../operator/plan/metering/clip.ts";
import {
  forgottenClaims,
  isSuspicious,
  newSightings,
  reopenedClaims,
} from "../../../operator/plan/metering/continuity.ts";
import type { Behind, LastWindow } from "../../../operator/plan/metering/continuity.ts";
import { historyOfPool } from "../../../operator/plan/metering/history.ts";
import { recordsOf } from "../../../operator/plan/metering/records.ts";
import { settleClaim } from "../../../operator/plan/metering/settle.ts";
import { instantOfSeconds, secondsOf } from "../../../operator/plan/metering/windows.ts";
import { claim as claimObject, instant, pool } from "../../controllers/meteringobjects.ts";
import { CLUSTER, hour } from "./histories.ts";

const evidence = "Node/a managedFields[berth-claim].time";

/** A claim of deployment chat, made when it began. */
function claim(id: string, status: CapacityClaimStatus): CapacityClaim {
  const one = claimObject({ id, deployment: "chat" });
  return { ...one, metadata: { ...one.metadata, creationTimestamp: status.claimedAt?.time }, status };
}

const from = (time: string) => ({ claimedAt: { time: instant(time), evidence } });

const poolWith = (claims: readonly CapacityClaim[]) =>
  historyOfPool(pool({ deployment: "chat", sizes: [["08:00:00", 2]] }), undefined, claims);
const keyOf = (h: number) => `v1/dt=2026-11-21/hr=${String(h).padStart(2, "0")}/manifest.json`;
const linesOf = (claims: readonly CapacityClaim[], h: number, rev = 0): Evidence[] => {
  const clipped = clip(poolWith(claims), hour(h));
  return clipped ? [evidenceOf(clipped, hour(h), rev)] : [];
};

/** The hour from ten as it was sealed when these claims were known. */
const sealed = (claims: readonly CapacityClaim[]): LastWindow => ({
  key: keyOf(10),
  records: recordsOf([poolWith(claims)], hour(10), { clusterId: CLUSTER }),
});

type Segments = Readonly<Record<number, readonly Evidence[]>>;

/** The hours from eight to ten, each as it was sealed when the claim was known with `status`. */
const hoursOf = (status: CapacityClaimStatus | undefined): Segments =>
  Object.fromEntries([8, 9, 10].map((h) => [h, linesOf(status ? [claim("a", status)] : [], h)]));

const head = { key: keyOf(10), end: hour(10).end };

/** What becomes of the claim in a cluster that is `windows` behind a ledger of these segments. */
function ends(now: CapacityClaim, segments: Segments, { windows }: Pick<Behind, "windows"> = { windows: 3 }) {
  if (!isSuspicious(now, head.end)) return [];
  const sightings = newSightings([now]);
  for (const h of [10, 9, 8]) {
    for (const line of segments[h] ?? []) sightings.add(line, keyOf(h));
    sightings.decide(hour(h).start);
  }
  const at = { head, windows };
  return reopenedClaims([now], sightings.found, at).map(({ releasedAt }) => [releasedAt.time, releasedAt.estimated]);
}

const proven = (time: string) => [[instant(time), undefined]];
const estimated = (time: string) => [[instant(time), true]];
const released = (time: string) => ({ releasedAt: { time: instant(time), evidence } });
const marked = (time: string) => ({ ...from("08:10:00"), sealedThrough: instant(time) });

describe("claims that an older state opens again", () => {
  const rows: readonly (readonly [what: string, ledger: Segments, now: CapacityClaimStatus, end: unknown])[] = [
    ["held through the newest window", hoursOf(from("08:10:00")), from("08:10:00"), []],
    ["ended in it", hoursOf({ ...from("08:10:00"), ...released("10:20:00") }), marked("09:00:00"), proven("10:20:00")],
    [
      "ended in an earlier one",
      hoursOf({ ...from("08:10:00"), ...released("09:20:00") }),
      marked("09:00:00"),
      proven("09:20:00"),
    ],
    [
      "ended before it was ever marked",
      hoursOf({ ...from("08:10:00"), ...released("08:40:00") }),
      from("08:10:00"),
      proven("08:40:00"),
    ],
    ["marked with the newest window", hoursOf(undefined), marked("11:00:00"), []],
    ["begun after it", hoursOf(undefined), from("11:00:00"), []],
    ["in no window and never marked: late knowledge", hoursOf(undefined), from("08:10:00"), []],
    [
      "ended by the provider as soon as the older state was back",
      hoursOf({ ...from("08:10:00"), ...released("09:20:00") }),
      { ...marked("09:00:00"), ...released("11:30:00") },
      proven("09:20:00"),
    ],
    [
      "over in the cluster, too",
      hoursOf({ ...from("08:10:00"), ...released("10:30:00") }),
      { ...from("08:10:00"), ...released("10:30:00") },
      [],
    ],
    [
      "held through the window and over since",
      hoursOf(from("08:10:00")),
      { ...from("08:10:00"), ...released("11:30:00") },
      [],
    ],
    [
      "gone from the newest window without an end",
      { ...hoursOf(from("08:10:00")), 10: [] },
      marked("09:00:00"),
      estimated("10:00:00"),
    ],
    [
      "gone since its mark",
      { 8: linesOf([claim("a", from("08:10:00"))], 8) },
      marked("09:00:00"),
      estimated("09:00:00"),
    ],
    [
      "ended as a later window corrects",
      {
        ...hoursOf(from("08:10:00")),
        10: [9, 10].flatMap((h) => linesOf([claim("a", { ...from("08:10:00"), ...released("09:20:00") })], h, 1)),
      },
      marked("09:00:00"),
      proven("09:20:00"),
    ],
    [
      "ended in a window before which a later one corrects another claim",
      {
        ...hoursOf({ ...from("08:10:00"), ...released("09:20:00") }),
        10: linesOf([claim("a", from("08:10:00")), claim("b", from("08:50:00"))], 8, 1),
      },
      marked("08:30:00"),
      proven("09:20:00"),
    ],
  ];
  for (const [what, ledger, now, end] of rows)
    test(what, () => {
      assert.deepEqual(ends(claim("a", now), ledger), end);
    });

  test("one that has no end in the ledger is closed only in a cluster that is known to be well behind", () => {
    const gone = { ...hoursOf(from("08:10:00")), 10: [] };
    const over = hoursOf({ ...from("08:10:00"), ...released("09:20:00") });
    for (const windows of [undefined, 1] as const) {
      assert.deepEqual(ends(claim("a", marked("09:00:00")), gone, { windows }), []);
      assert.deepEqual(ends(claim("a", marked("09:00:00")), over, { windows }), proven("09:20:00"));
    }
  });

  test("no end lies in what is not sealed yet, and none before the begin", () => {
    const at = fc.integer({ min: secondsOf(instant("06:00:00")), max: secondsOf(instant("12:00:00")) });
    fc.assert(
      fc.property(at, fc.option(at), fc.option(at), (begin, mark, end) => {
        const claimedAt = { time: instantOfSeconds(begin), evidence };
        const known = { claimedAt, ...(end !== null && end >= begin && released(instantOfSeconds(end).slice(11, 19))) };
        const status = { claimedAt, ...(mark === null ? {} : { sealedThrough: instantOfSeconds(mark) }) };
        for (const [time] of ends(claim("a", status), hoursOf(known))) {
          assert.ok(typeof time === "string");
          assert.ok(secondsOf(time) >= begin && secondsOf(time) <= head.end);
        }
      }),
    );
  });
});

test("a claim that the ledger closed counts by that end, whatever the provider said since, and stays until its node has left", () => {
  const provider = { time: instant("11:30:00"), evidence: "NodeClaim/a condition InstanceTerminating" };
  const reopened = claim("a", { ...from("08:10:00"), releasedAt: provider });
  const end = JSON.stringify({ time: instant("09:00:00"), evidence: "ledger v1/x", estimated: true });
  const closed = { ...reopened, metadata: { ...reopened.metadata, annotations: { "berth.dev/sealed-end": end } } };
  assert.equal(isSuspicious(closed, head.end), false);
  const { claims } = historyOfPool(pool({ deployment: "chat", sizes: [["08:00:00", 2]] }), undefined, [closed]);
  assert.deepEqual(
    claims.map(({ releasedAt, estimatedEnd }) => [releasedAt, estimatedEnd]),
    [[secondsOf(instant("09:00:00")), true]],
  );
  assert.deepEqual(settleClaim(closed, secondsOf(instant("12:00:00")), undefined), []);
  assert.equal(settleClaim(reopened, secondsOf(instant("12:00:00")), undefined).at(-1)?.op, "delete");
});

test("names what was held when the window was sealed and is known to nobody", () => {
  const open = claim("a", from("08:10:00"));
  const over = claim("b", { ...from("08:10:00"), releasedAt: { time: instant("10:20:00"), evidence } });
  const last = sealed([open, over]);
  assert.deepEqual(forgottenClaims(new Set(["a"]), last), []);
  assert.deepEqual(
    forgottenClaims(new Set(), last).map(({ id, deploymentUID }) => [id, deploymentUID]),
    [["a", "uid-chat"]],
  );
});
