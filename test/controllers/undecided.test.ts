import assert from "node:assert/strict";
import { test } from "node:test";
import type { CapacityClaim } from "../../operator/api/capacityclaim.ts";
import type { Node } from "../../operator/api/kubernetes.ts";
import { isUndecided } from "../../operator/controllers/undecided.ts";
import { newStore } from "../../operator/runtime/store.ts";

const silentSince = Date.parse("2026-01-01T10:55:00Z");

function claim(provider: "static" | "karpenter", released: boolean): CapacityClaim {
  const at = { time: "2026-01-01T10:00:00Z", evidence: "Node/n managedFields[berth-claim].time" };
  const spec = { providerRef: { provider, kind: "Node", name: "n", uid: "u" } };
  return {
    metadata: { name: "c" },
    spec: spec as CapacityClaim["spec"],
    status: { claimedAt: at, ...(released ? { releasedAt: at } : {}) },
  };
}

function ask(status: string, minutesLater: number, of = claim("static", false)): boolean {
  const nodes = newStore<Node>({}, () => undefined);
  const condition = { type: "Ready", status, lastTransitionTime: "2026-01-01T10:55:00Z" };
  const metadata = { name: "n", uid: "u", resourceVersion: "1" };
  nodes.event("ADDED", { metadata, status: { conditions: [condition] } });
  return isUndecided(of, { nodes, now: silentSince + minutesLater * 60_000, nodeLostMs: 600_000 });
}

test("an hour waits for a silent static node until its claim must have been decided", () => {
  assert.equal(ask("Unknown", 8), true);
  assert.equal(ask("Unknown", 13), false);
  assert.equal(ask("True", 8), false);
  assert.equal(ask("Unknown", 8, claim("static", true)), false);
  assert.equal(ask("Unknown", 8, claim("karpenter", false)), false);
});
