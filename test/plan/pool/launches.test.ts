// Which of Karpenter's events tell that a NodeClaim of ours was launched.
import assert from "node:assert/strict";
import { test } from "node:test";
import type { CoreEvent } from "../../../operator/api/karpenter.ts";
import { launchesIn } from "../../../operator/plan/pool/launches.ts";

const poolUID = "5f0c6a1e-8a55-4f0e-9d3b-0d4f4c1e2a77";
const event = (uid: string, more: Partial<CoreEvent> = {}): CoreEvent => ({
  metadata: { name: `e-${uid}` },
  involvedObject: { kind: "NodeClaim", name: `berth-${poolUID}-${uid}`, uid },
  reason: "Launched",
  message: "Status condition transitioned, Type: Launched, Status: Unknown -> True, Reason: Launched",
  firstTimestamp: "2026-11-21T10:00:07Z",
  ...more,
});

test("a launch is told once for each NodeClaim of a pool of ours; failures, other reasons and other names are none", () => {
  const foreign = { kind: "NodeClaim", name: "default-x7k2p", uid: "c" };
  const events = [
    event("a"),
    event("a", { firstTimestamp: "2026-11-21T10:05:00Z" }),
    event("b", {
      message: "Status condition transitioned, Type: Launched, Status: Unknown -> False, Reason: LaunchFailed",
    }),
    event("c", { involvedObject: foreign }),
    event("d", { reason: "Registered" }),
    event("e", { firstTimestamp: null, eventTime: "2026-11-21T10:00:09.123456Z" }),
  ];
  const start = Date.parse("2026-11-21T10:00:00Z") / 1000;
  assert.deepEqual(launchesIn(events), [
    { uid: "a", name: `berth-${poolUID}-a`, poolUID, toldAt: start + 7 },
    { uid: "e", name: `berth-${poolUID}-e`, poolUID, toldAt: start + 9 },
  ]);
});
