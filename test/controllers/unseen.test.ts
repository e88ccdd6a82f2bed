// NodeClaims that came and went: those without a record are counted, once, and no others.
import assert from "node:assert/strict";
import { test } from "node:test";
import type { NodeClaim } from "../../operator/api/karpenter.ts";
import { newUnseen } from "../../operator/controllers/unseen.ts";
import { claimOf, unit } from "../plan/pool/facts.ts";

const nodeClaim = (uid: string, launched: boolean): NodeClaim => ({
  metadata: { name: `nc-${uid}`, uid, labels: { "berth.node-restriction.kubernetes.io/pool": "pool-1" } },
  status: { conditions: [{ type: "Launched", status: launched ? "True" : "Unknown" }] },
});
const record = (uid: string) =>
  claimOf(unit("a", { claimName: uid, ref: { provider: "karpenter", kind: "NodeClaim", name: `nc-${uid}`, uid } }));

test("a NodeClaim that was launched and gone without a record is counted", () => {
  const told: string[] = [];
  const unseen = newUnseen(({ cause, key, message }) => void told.push(`${cause} ${key}: ${message}`));
  unseen.claim({ object: record("known") });
  for (const type of ["added", "updated"] as const) unseen.nodeClaim({ type, object: nodeClaim("lost", true) });
  unseen.nodeClaim({ type: "deleted", object: nodeClaim("known", true) });
  unseen.nodeClaim({ type: "deleted", object: nodeClaim("no-stock", false) });
  assert.deepEqual(told, []);
  unseen.nodeClaim({ type: "deleted", object: nodeClaim("lost", true) });
  assert.equal(told.length, 1);
  assert.match(told[0] ?? "", /^unseen lost: NodeClaim nc-lost of pool pool-1 was launched and gone/);
});
