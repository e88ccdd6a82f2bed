// A refusal for size says what of the platform would do, and what it says is true.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import type { NodeType } from "../../../operator/api/nodetype.ts";
import { modelFits } from "../../../operator/plan/deployment/checks.ts";
import { planDeployment } from "../../../operator/plan/deployment/plan.ts";
import type { Seen } from "../../../operator/plan/deployment/seen.ts";
import { deploymentOf, modelOf, nodeTypeOf, observed, serving } from "./observed.ts";
import { described, messageOf } from "./read.ts";

function typeOf(name: string, product: string, memory: string, perHour?: string, count = 1): NodeType {
  const price = perHour === undefined ? {} : { price: { perHour, currency: "USD" } };
  const gpu = { product, memory, count, resourceName: "nvidia.com/gpu" };
  return { metadata: { name }, spec: nodeTypeOf({ gpu, ...price }).spec };
}

const h100 = typeOf("h100-1", "NVIDIA H100 80GB", "79Gi");

const cases: readonly (readonly [what: string, seen: Partial<Seen>, says: RegExp])[] = [
  [
    "node types that would do, the cheapest first, none that is disabled",
    {
      model: modelOf({ weightBytes: 40e9 }),
      nodeTypes: [
        nodeTypeOf(),
        typeOf("h200-1", "NVIDIA H200", "139Gi", "5.00"),
        typeOf("h100-1", "NVIDIA H100 80GB", "79Gi", "6.00"),
        { metadata: { name: "b200-1" }, spec: nodeTypeOf({ disabled: true }).spec },
      ],
    },
    /needs 40\.\d GB of weights, 1 × 22Gi \(NVIDIA L4\) gives \d+\.\d GB: use node type h200-1 or h100-1$/,
  ],
  [
    "the context, the bits and the node type that would do",
    {
      deployment: deploymentOf({ contextLength: 65_536 }),
      model: modelOf({ contextLength: 131_072 }),
      nodeTypes: [nodeTypeOf(), h100],
    },
    /of 65536 tokens needs 8\.6 GB of KV cache on each GPU, \d\.\d GB are left beside 14\.\d GB of weights: set spec\.contextLength to \d{5} or less, or set spec\.quantization\.bits to 8, or use node type h100-1$/,
  ],
  [
    "that nothing of the platform would do",
    { model: modelOf({ weightBytes: 400e9 }), nodeTypes: [nodeTypeOf(), h100] },
    /no node type of the platform can: ask the platform for a larger one/,
  ],
  [
    "another node type where heads do not divide",
    { nodeType: typeOf("l4-5", "NVIDIA L4", "22Gi", undefined, 5), nodeTypes: [nodeTypeOf(), h100] },
    /32 attention heads cannot be divided over 5 GPUs: use node type l4 or h100-1$/,
  ],
  [
    "another node type where bits cannot be had",
    {
      deployment: deploymentOf({ quantization: { bits: 8 } }),
      nodeType: typeOf("t4", "Tesla T4", "16Gi"),
      nodeTypes: [typeOf("t4", "Tesla T4", "16Gi"), h100],
    },
    /8 bits at load need compute capability 8\.0, this GPU has 7\.5: use node type h100-1$/,
  ],
];

describe("a refusal for size names", () => {
  for (const [what, seen, says] of cases) {
    test(what, () => {
      const plan = planDeployment(observed(seen));
      assert.deepEqual(described(plan), []);
      assert.match(messageOf(plan), says);
    });
  }
});

test("what is proposed is accepted: node types, bits and context alike", () => {
  const memories = fc.constantFrom("22Gi", "44Gi", "79Gi", "139Gi", "178Gi");
  const products = fc.constantFrom("NVIDIA L4", "NVIDIA A100 80GB", "NVIDIA H100 80GB", "Tesla T4", "AMD MI300X");
  const type = fc.record({ memory: memories, product: products, count: fc.constantFrom(1, 2, 3, 4, 8) });
  const types = fc
    .array(type, { minLength: 1, maxLength: 6 })
    .map((list) => list.map(({ memory, product, count }, i) => typeOf(`n${i}`, product, memory, undefined, count)));
  const wishes = fc.record({
    weightBytes: fc.integer({ min: 1e9, max: 300e9 }),
    context: fc.option(fc.integer({ min: 16, max: 131_072 }), { nil: undefined }),
    bits: fc.option(fc.constantFrom(8, 16), { nil: undefined }),
  });
  fc.assert(
    fc.property(types, wishes, (nodeTypes, { weightBytes, context, bits }) => {
      const model = modelOf({ weightBytes, contextLength: 131_072 });
      const spec = {
        ...(context === undefined ? {} : { contextLength: context }),
        ...(bits === undefined ? {} : { quantization: { bits } }),
      } as const;
      const ask = (nodeType: NodeType | undefined, more = {}): string | undefined =>
        modelFits(observed({ model, nodeTypes, nodeType, deployment: deploymentOf({ ...spec, ...more }) }))?.message;
      const message = ask(nodeTypes[0]);
      if (message === undefined) return;
      const names = /use node type (.*)$/.exec(message)?.[1]?.split(" or ") ?? [];
      for (const name of names)
        assert.equal(ask(nodeTypes.find(({ metadata }) => metadata.name === name)), undefined, `${message} → ${name}`);
      const fewer = /spec\.quantization\.bits to 8/.test(message);
      if (fewer) assert.equal(ask(nodeTypes[0], { quantization: { bits: 8 } }), undefined, message);
      const most = Number(/spec\.contextLength to (\d+) or less/.exec(message)?.[1] ?? 0);
      if (most > 0) assert.equal(ask(nodeTypes[0], { contextLength: most }), undefined, message);
      const others = nodeTypes.slice(1).filter((entry) => ask(entry) === undefined);
      assert.equal(names.length > 0, others.length > 0, message);
    }),
  );
});

test("a dead engine's condition names node types by the matrix, the cheapest first", () => {
  const row = (nodeType: string, allowed: boolean) => ({
    nodeType,
    quantizations: [{ bits: 16, allowed, maxContextLength: allowed ? 8192 : 0 }],
  });
  const message = "ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_utilization`";
  const seen = serving({}, (was) => ({
    model: modelOf({ nodeSupport: [row("a100", true), row("h100-1", true), row("l4", true), row("t4", false)] }),
    nodeTypes: [nodeTypeOf(), h100, typeOf("a100", "NVIDIA A100 80GB", "79Gi", "9"), typeOf("t4", "Tesla T4", "16Gi")],
    pods: was.pods.map((pod) => ({
      ...pod,
      status: {
        ...pod.status,
        conditions: [],
        containerStatuses: [
          { name: "vllm", ready: false, restartCount: 1, state: { terminated: { exitCode: 1, message } } },
        ],
      },
    })),
  }));
  assert.match(messageOf(planDeployment(seen), "Serving"), /use node type a100 or h100-1, or serve a quantized model/);
});
