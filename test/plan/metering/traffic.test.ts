// Records are a function of desired sizes and of claims: whatever requests do to a deployment is no input, and neither are labels.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import type { CapacityClaim } from "../../../operator/api/capacityclaim.ts";
import type { GPUNodePool } from "../../../operator/api/gpunodepool.ts";
import type { ModelDeployment } from "../../../operator/api/modeldeployment.ts";
import { historiesOf } from "../../../operator/plan/metering/history.ts";
import { recordsOf } from "../../../operator/plan/metering/records.ts";
import { canonicalJson } from "../../../operator/plan/metering/canonical.ts";
import { claim, deployment, pool } from "../../controllers/meteringobjects.ts";
import { CLUSTER, hour } from "./histories.ts";

interface World {
  readonly deployments: readonly ModelDeployment[];
  readonly pools: readonly GPUNodePool[];
  readonly claims: readonly CapacityClaim[];
}

const world: World = {
  deployments: [deployment("chat")],
  pools: [
    pool({
      deployment: "chat",
      sizes: [
        ["09:12:00", 1],
        ["10:30:00", 2],
      ],
    }),
  ],
  claims: [
    claim({ id: "n1", deployment: "chat", claimed: "09:14:20" }),
    claim({ id: "n2", deployment: "chat", claimed: "10:33:00", released: "10:50:00" }),
  ],
};

const bytes = (seen: World): string =>
  canonicalJson(recordsOf(historiesOf({ ...seen, closings: [] }), hour(10), { clusterId: CLUSTER }));

const text = fc.string({ maxLength: 20 });
const labels = fc.dictionary(text, text, { maxKeys: 3 });
const count = fc.nat(1_000_000_000);

/** Everything that load, failures and people who edit counters can leave on the objects that metering reads. */
const traffic = fc.record({
  labels,
  annotations: fc.record({
    "vllm/prompt_tokens_total": count.map(String),
    "vllm/generation_tokens_total": count.map(String),
  }),
  resourceVersion: count.map(String),
  generation: count,
  ready: fc.nat(50),
  replicas: fc.nat(50),
  message: text,
  holds: fc.boolean(),
  heard: fc.constantFrom("10:05:00", "10:59:59", "11:20:00"),
});

type Traffic = typeof traffic extends fc.Arbitrary<infer T> ? T : never;

function under(load: Traffic): World {
  const meta = <T extends { metadata: object }>(object: T): T => {
    const { labels: own, annotations, resourceVersion, generation } = load;
    return { ...object, metadata: { ...object.metadata, labels: own, annotations, resourceVersion, generation } };
  };
  const condition = { type: "Ready", status: load.holds ? "True" : "False", reason: "Serving", message: load.message };
  const conditions = [{ ...condition, lastTransitionTime: `2026-11-21T${load.heard}Z` }];
  const { replicas, ready, heard } = load;
  return {
    deployments: world.deployments.map((one) => ({
      ...meta(one),
      status: {
        replicas,
        readyReplicas: ready,
        updatedReplicas: ready,
        phase: "Error",
        conditions,
      } as ModelDeployment["status"],
    })),
    pools: world.pools.map((one) => ({
      ...meta(one),
      status: { ...one.status, claimed: replicas, ready, conditions } as GPUNodePool["status"],
    })),
    claims: world.claims.map((one) => ({
      ...meta(one),
      status: { ...one.status, lastSeenAt: `2026-11-21T${heard}Z` },
    })),
  };
}

describe("traffic", () => {
  test("heavy, none or failing, and counters that were edited: the bytes of the records are equal", () => {
    const quiet = bytes(world);
    fc.assert(fc.property(traffic, (load) => assert.equal(bytes(under(load)), quiet)));
  });

  test("what is no traffic does change them", () => {
    const [first] = world.pools;
    assert.ok(first);
    const wider = { ...world, pools: [{ ...first, status: { sizeLog: (first.status?.sizeLog ?? []).slice(0, 1) } }] };
    assert.notEqual(bytes(wider), bytes(world));
    assert.notEqual(bytes({ ...world, claims: world.claims.slice(1) }), bytes(world));
  });
});

test("a namespace, or a deployment, that is made anew under its name shares nothing with the one before", () => {
  const renewed = (suffix: string): World => ({
    deployments: world.deployments.map((one) => ({ ...one, metadata: { ...one.metadata, uid: `uid-chat-${suffix}` } })),
    pools: world.pools.map((one) => ({
      ...one,
      metadata: { ...one.metadata, uid: `pool-chat-${suffix}` },
      spec: { ...one.spec, deploymentRef: { name: "chat", uid: `uid-chat-${suffix}`, namespaceUID: `team-${suffix}` } },
    })),
    claims: world.claims.map((one) => ({
      ...one,
      metadata: { ...one.metadata, name: `${one.metadata.name}-${suffix}` },
      spec: {
        ...one.spec,
        deploymentUID: `uid-chat-${suffix}`,
        poolUID: `pool-chat-${suffix}`,
        namespaceUID: `team-${suffix}`,
      },
    })),
  });
  const [old, young] = [renewed("old"), renewed("young")];
  const both = {
    deployments: young.deployments,
    pools: [...old.pools, ...young.pools],
    claims: [...old.claims, ...young.claims],
  };
  const records = recordsOf(historiesOf({ ...both, closings: [] }), hour(10), { clusterId: CLUSTER });
  assert.deepEqual(records.map(({ namespaceUID }) => namespaceUID).sort(), ["team-old", "team-young"]);
  assert.equal(new Set(records.map(({ id }) => id)).size, 2);
  const [a, b] = records.map(({ claims }) => claims.map(({ id }) => id));
  assert.ok(a?.every((id) => !b?.includes(id)));
  const alone = recordsOf(historiesOf({ ...young, closings: [] }), hour(10), { clusterId: CLUSTER });
  assert.deepEqual(
    records.find(({ namespaceUID }) => namespaceUID === "team-young"),
    alone[0],
  );
});
