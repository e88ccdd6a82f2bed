// What a Node says of its claims: their times never overlap, whatever the servers' clocks do, and no beginning is invented.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import type { CapacityClaim } from "../../../operator/api/capacityclaim.ts";
import type { Node } from "../../../operator/api/kubernetes.ts";
import { claimTimesText, lastClaimOf, lastClaimText } from "../../../operator/api/lastclaim.ts";
import type { LastClaim } from "../../../operator/api/lastclaim.ts";
import {
  releaseTime,
  unitOfClaim,
  unitOfForgotten,
  unitOfLabel,
} from "../../../operator/adapters/providers/static/units.ts";
import { claimDates } from "../../../operator/plan/pool/claims.ts";
import type { CapacityQuery, CapacityUnit } from "../../../operator/ports.ts";
import { claimOf, NOW, POOL_UID, snapshot, unit } from "../../plan/pool/facts.ts";

const query: CapacityQuery = { poolUID: POOL_UID, size: 1, now: NOW, nodeLostMs: 600_000 };
const at = (seconds: number): string => new Date(NOW + seconds * 1000).toISOString().replace(".000Z", "Z");

interface Mark {
  readonly last: LastClaim;
  /** Server's time of the patch by `berth-claim`; undefined where somebody cleared managedFields. */
  readonly patchedAt?: string;
}

function node({ last, patchedAt }: Mark): Node {
  const managedFields =
    patchedAt === undefined ? [] : [{ manager: "berth-claim", operation: "Update", time: patchedAt }];
  return {
    metadata: {
      name: "a",
      uid: "uid-a",
      creationTimestamp: at(-90_000),
      annotations: { "berth.dev/last-claim": lastClaimText(last) },
      labels: last.held ? { "berth.node-restriction.kubernetes.io/pool": last.pool } : {},
      managedFields,
    },
    spec: {},
    status: { conditions: [{ type: "Ready", status: "True", lastTransitionTime: at(-80_000) }] },
  };
}

const record = (sequence: number, status: CapacityClaim["status"] = {}): CapacityClaim =>
  claimOf(unit("a", { claimName: `uid-a-${sequence}` }), status);

const held = (sequence: number, notBefore?: string): LastClaim => ({
  claim: `uid-a-${sequence}`,
  sequence,
  pool: POOL_UID,
  held: true,
  notBefore,
});

/** The claim's status as the plan writes it down from what the unit says. */
function dated(claim: CapacityClaim, of: CapacityUnit): NonNullable<CapacityClaim["status"]> {
  const writes = claimDates(snapshot({ units: [of], claims: [claim] }), []).flat();
  const patch = writes.find((write) => write.op === "patch" && write.subresource === "status");
  const body = patch?.op === "patch" ? (patch.body as { status: CapacityClaim["status"] }) : { status: {} };
  return { ...claim.status, ...body.status };
}

describe("a static node", () => {
  test("claims of one node never overlap and never end before they begin, whichever way the clocks run", () => {
    const clock = fc.array(fc.integer({ min: -500, max: 500 }), { minLength: 2, maxLength: 12 });
    fc.assert(
      fc.property(clock, fc.boolean(), (times, annotated) => {
        let before: string | undefined;
        times.forEach((offset, index) => {
          if (index + 1 >= times.length) return;
          const sequence = index + 1;
          const claimed = node({ last: held(sequence, before), patchedAt: at(offset) });
          const begun = dated(record(sequence), unitOfClaim(record(sequence), claimed, query));
          const free = node({ last: { ...held(sequence), held: false }, patchedAt: at(times[sequence] ?? 0) });
          const over = dated(record(sequence, begun), unitOfClaim(record(sequence, begun), free, query));
          const [start, end] = [over.claimedAt?.time ?? "", over.releasedAt?.time ?? ""];
          assert.ok(Date.parse(start) <= Date.parse(end));
          if (before !== undefined) assert.ok(Date.parse(start) >= Date.parse(before), "half-open and apart");
          // The end is on record in the claim, or only on the node: the later of the two binds the next.
          const ends = [releaseTime(free), annotated ? end : undefined, end].filter((time) => time !== undefined);
          before = ends.sort((a, b) => Date.parse(a) - Date.parse(b)).at(-1);
        });
      }),
    );
  });

  test("without managedFields and without a record no time is made up: the claim begins with its record", () => {
    const bare = node({ last: held(1) });
    const found = unitOfLabel(bare, query, new Set());
    assert.equal(found.state, "held");
    assert.equal(found.claimedAt, undefined);
    const made = { ...record(1), metadata: { ...record(1).metadata, creationTimestamp: at(-5) } };
    const { claimedAt } = unitOfClaim(made, bare, query);
    assert.deepEqual([claimedAt?.time, claimedAt?.estimated], [at(-5), true]);
  });

  test("a dead node that was given back ended at its proof of life, also where its record is lost", () => {
    const proof = { time: at(-300), evidence: "Lease/a spec.renewTime", estimated: true };
    const claimedAt = { time: at(-900), evidence: "test" };
    const last = { ...held(1), held: false, times: { claimedAt, releasedAt: proof } };
    const found = unitOfForgotten(node({ last, patchedAt: at(0) }));
    assert.deepEqual(found?.releasedAt, proof);
    assert.deepEqual(found?.claimedAt, claimedAt);
  });

  test("a node whose last claim's begin is unknown brings no claim back", () => {
    assert.equal(unitOfForgotten(node({ last: { ...held(1), held: false }, patchedAt: at(0) })), undefined);
    assert.equal(unitOfForgotten(node({ last: held(1), patchedAt: at(0) })), undefined);
  });

  test("a claim tells its own end, whoever holds the node by now", () => {
    const times = { claimedAt: { time: at(-900), evidence: "a" }, releasedAt: { time: at(-600), evidence: "b" } };
    const bare = record(1);
    const annotated = {
      ...bare,
      metadata: { ...bare.metadata, annotations: { "berth.dev/claim-times": claimTimesText(times) } },
    };
    const taken = node({ last: held(2), patchedAt: at(-10) });
    const { claimedAt, releasedAt } = dated(annotated, unitOfClaim(annotated, taken, query));
    assert.deepEqual({ claimedAt, releasedAt }, times);
  });

  test("annotations that were garbled say nothing", () => {
    for (const text of [
      "",
      "{",
      "[]",
      '{"claim":1}',
      '{"claim":"a","sequence":1,"pool":"p","held":true,"notBefore":"soon"}',
    ]) {
      const object = { metadata: { name: "a", annotations: { "berth.dev/last-claim": text } } };
      assert.equal(lastClaimOf(object), undefined, text);
    }
  });
});
