// The ledger's last window against a cluster that may have been set back.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import type { CapacityClaim, CapacityClaimStatus } from "../../../operator/api/capacityclaim.ts";
import { forgottenClaims, isSuspicious, reopenedClaims } from "../../../operator/plan/metering/continuity.ts";
import type { LastWindow } from "../../../operator/plan/metering/continuity.ts";
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

/** The hour from ten as it was sealed when these claims were known. */
function sealed(claims: readonly CapacityClaim[]): LastWindow {
  const history = historyOfPool(pool({ deployment: "chat", sizes: [["08:00:00", 2]] }), undefined, claims);
  return {
    key: "v1/dt=2026-11-21/hr=10/manifest.json",
    window: hour(10),
    records: recordsOf([history], hour(10), { clusterId: CLUSTER }),
  };
}

describe("claims that an older state opens again", () => {
  const rows: readonly (readonly [
    what: string,
    known: CapacityClaimStatus | undefined,
    now: CapacityClaimStatus,
    end: string | undefined,
  ])[] = [
    ["held through the window", from("08:10:00"), from("08:10:00"), undefined],
    [
      "ended in the window",
      { ...from("08:10:00"), releasedAt: { time: instant("10:20:00"), evidence } },
      from("08:10:00"),
      "10:20:00",
    ],
    ["ended before the window", undefined, { ...from("08:10:00"), sealedThrough: instant("09:00:00") }, "09:00:00"],
    ["ended before it was ever marked", undefined, from("08:10:00"), "08:10:00"],
    ["marked with this very window", undefined, { ...from("08:10:00"), sealedThrough: instant("11:00:00") }, undefined],
    ["begun after the window", undefined, from("11:00:00"), undefined],
    [
      "ended by the provider as soon as the older state was back",
      undefined,
      {
        ...from("08:10:00"),
        sealedThrough: instant("09:00:00"),
        releasedAt: { time: instant("11:30:00"), evidence },
      },
      "09:00:00",
    ],
    [
      "over in the cluster, too",
      undefined,
      { ...from("08:10:00"), releasedAt: { time: instant("10:30:00"), evidence } },
      undefined,
    ],
    [
      "held through the window and over since",
      from("08:10:00"),
      { ...from("08:10:00"), releasedAt: { time: instant("11:30:00"), evidence } },
      undefined,
    ],
  ];
  for (const [what, known, now, end] of rows) {
    test(what, () => {
      const last = sealed(known ? [claim("a", known)] : []);
      const [found, ...more] = reopenedClaims([claim("a", now)], last);
      assert.equal(found?.releasedAt.time, end && instant(end));
      assert.deepEqual(more, []);
    });
  }

  test("a record that was made anew since is late knowledge, no older state", () => {
    const late = claim("a", from("08:10:00"));
    const anew = { ...late, metadata: { ...late.metadata, creationTimestamp: instant("10:59:00") } };
    assert.deepEqual(reopenedClaims([anew], sealed([])), []);
  });

  test("no end lies in what is not sealed yet, and none before the begin", () => {
    const at = fc.integer({ min: secondsOf(instant("06:00:00")), max: secondsOf(instant("12:00:00")) });
    fc.assert(
      fc.property(at, fc.option(at), (begin, mark) => {
        const status = {
          claimedAt: { time: instantOfSeconds(begin), evidence },
          ...(mark === null ? {} : { sealedThrough: instantOfSeconds(mark) }),
        };
        const last = sealed([]);
        for (const { releasedAt, claim: closed } of reopenedClaims([claim("a", status)], last)) {
          assert.ok(isSuspicious(closed, last.window.end));
          const end = secondsOf(releasedAt.time);
          assert.ok(end >= begin && end < last.window.end);
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
  assert.deepEqual(reopenedClaims([closed], sealed([])), []);
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
