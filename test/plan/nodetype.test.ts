import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { NodeType } from "../../operator/api/nodetype.ts";
import { nodeTypeStatus } from "../../operator/plan/nodetype.ts";
import type { NodeTypeSnapshot } from "../../operator/plan/nodetype.ts";
import { NOW, poolOf } from "./pool/facts.ts";

const nodeType: NodeType = {
  metadata: { name: "l4", generation: 3 },
  spec: {
    gpu: { product: "NVIDIA L4", count: 1, memory: "24Gi", resourceName: "nvidia.com/gpu" },
    vcpus: 8,
    memory: "32Gi",
    provider: { static: { nodeSelector: { type: "l4" } } },
    disabled: false,
    quota: {},
  },
};

function statusOf(seen: Partial<NodeTypeSnapshot>): string {
  const { stock, conditions } = nodeTypeStatus({ now: NOW, nodeType, pools: [], providerInstalled: true, ...seen });
  const [ready] = conditions ?? [];
  return `${stock} ${ready?.status} ${ready?.reason}: ${ready?.message}`;
}

const said = (status: "True" | "False", reason: string, message: string) =>
  poolOf(
    {},
    {},
    {
      claimed: 1,
      conditions: [{ type: "Ready", status, reason, message, lastTransitionTime: "2026-11-23T11:00:00Z" }],
    },
  );

describe("stock of a node type", () => {
  const rows: readonly (readonly [Partial<NodeTypeSnapshot>, string])[] = [
    [{ nodes: { matching: 20, free: 5 } }, "Available True Available: 5 of 20 nodes are free"],
    [{ nodes: { matching: 20, free: 2 } }, "LowStock True LowStock: 2 of 20 nodes are free"],
    [{ nodes: { matching: 1, free: 1 } }, "Available True Available: 1 of 1 nodes are free"],
    [{ nodes: { matching: 3, free: 0 } }, "OutOfStock False OutOfStock: 0 of 3 nodes are free"],
    [
      { nodes: { matching: 0, free: 0 } },
      "OutOfStock False OutOfStock: no node carries the labels of provider.static.nodeSelector",
    ],
    [{}, "Unknown Unknown Unknown: Karpenter has not been asked for this type"],
    [{ pools: [said("True", "NodesReady", "1 of 1")] }, "Available True Available: the last nodes ordered have come"],
    [
      { pools: [said("True", "NodesReady", "1 of 1"), said("False", "OutOfStock", "no such capacity")] },
      "OutOfStock False OutOfStock: no such capacity",
    ],
    [{ providerInstalled: false }, "Unknown False KarpenterNotInstalled: the cluster serves no nodepools.karpenter.sh"],
  ];
  for (const [seen, expected] of rows) test(expected, () => assert.equal(statusOf(seen), expected));

  test("counts pools, wanted and held nodes", () => {
    const pools = [
      poolOf({ size: 2 }),
      poolOf({ size: 3 }, { deletionTimestamp: "2026-11-23T11:00:00Z" }, { claimed: 3 }),
    ];
    const { desiredNodes, claimedNodes, freeNodes, observedGeneration } = nodeTypeStatus({
      now: NOW,
      nodeType,
      pools,
      nodes: { matching: 9, free: 4 },
      providerInstalled: true,
    });
    assert.deepEqual([desiredNodes, claimedNodes, freeNodes, observedGeneration], [2, 3, 4, 3]);
  });

  test("disabled and deleted types say so", () => {
    const disabled = { ...nodeType, spec: { ...nodeType.spec, disabled: true } };
    assert.match(statusOf({ nodeType: disabled }), /False Disabled/);
    const leaving = { ...nodeType, metadata: { ...nodeType.metadata, deletionTimestamp: "2026-11-23T11:00:00Z" } };
    assert.match(statusOf({ nodeType: leaving, pools: [poolOf()] }), /False InUse: 1 pools/);
  });
});
