// Cost of planning: one deployment, and the matrix of 100 models × 30 node types; and how far sizing is from real start-up reports.
import type { NodeType } from "../../operator/api/nodetype.ts";
import { fitOneNode, type ModelFacts } from "../../operator/plan/sizing/fit.ts";
import { nodeSupportOf } from "../../operator/plan/sizing/matrix.ts";
import { allReports, compare, errorTable, isStated, median } from "../plan/sizing/reported.ts";
import { print, say } from "./figures.ts";

const products = [
  "NVIDIA L4",
  "NVIDIA A10G",
  "NVIDIA L40S",
  "NVIDIA A100",
  "NVIDIA H100 80GB",
  "NVIDIA H200",
  "NVIDIA B200",
];
const memories = ["24Gi", "24Gi", "48Gi", "80Gi", "80Gi", "141Gi", "180Gi"];

/** Llama-shaped models from 1 to 100 billion parameters, every fourth with windows. */
function modelOf(index: number): ModelFacts {
  const layers = 16 + index;
  const linearBytes = 2e9 * (1 + index);
  const heads = { heads: 8, keySize: 128, valueSize: 128 };
  return {
    weightBytes: linearBytes + 2e9,
    contextLength: 131_072,
    task: "Generate",
    shape: { layers, hiddenSize: 4096, attentionHeads: 32, keyValueHeads: 8, headSize: 128, vocabularySize: 128_256, intermediateSize: 14_336 },
    weights: { embeddingBytes: 2e9, linearBytes, dividedBytes: 0, replicatedBytes: 1e6, visionBytes: 0, expertBytes: 0, extraBytes: 0 },
    cache:
      index % 4 === 0
        ? [{ kind: "Full", layers: 8, ...heads }, { kind: "Sliding", layers: layers - 8, ...heads, window: 4096 }]
        : [{ kind: "Full", layers, ...heads }],
  };
} // prettier-ignore

const nodeTypeOf = (index: number): NodeType =>
  ({
    metadata: { name: `type-${String(index)}` },
    spec: {
      gpu: {
        product: products[index % 7] ?? "",
        memory: memories[index % 7] ?? "",
        count: [1, 2, 4, 8][index % 4] ?? 1,
        resourceName: "nvidia.com/gpu",
      },
    },
  }) as NodeType;

/** Milliseconds of the fastest of some runs: the machine is shared. */
function fastest(runs: number, work: () => void): number {
  let best = Infinity;
  for (let run = 0; run < runs; run += 1) {
    const startedMs = performance.now();
    work();
    best = Math.min(best, performance.now() - startedMs);
  }
  return best;
}

export async function sizing(): Promise<void> {
  const models = Array.from({ length: 100 }, (_, index) => modelOf(index));
  const types = Array.from({ length: 30 }, (_, index) => nodeTypeOf(index));
  const matrixMs = fastest(10, () => models.forEach((model) => void nodeSupportOf(model, types)));
  print({ name: "matrix of 100 models × 30 node types", value: matrixMs, unit: "ms", limit: 100, against: "target" });
  const planMs = fastest(10, () => {
    for (const [index, model] of models.entries()) fitOneNode(model, nodeTypeOf(index).spec.gpu, 16_384);
  });
  print({ name: "sizing of one deployment", value: planMs / models.length, unit: "ms", limit: 0.2, against: "target" });
  accuracy();
  await Promise.resolve();
}

/** How far both numbers are from start-up reports; those that count state all of model, GPU, version, utilization and length. */
function accuracy(): void {
  const rows = allReports().flatMap((report) => compare(report) ?? []);
  say(
    `reported tokens, expected and safe beside them, of ${String(rows.length)} start-up reports:\n${errorTable(rows)}`,
  );
  const counted = rows.filter(({ report }) => isStated(report));
  print({ name: "start-up reports that count", value: counted.length, unit: "", limit: 40, against: "target" });
  const weights = counted.flatMap(({ weightBytes, reportedWeightBytes }) =>
    reportedWeightBytes === undefined ? [] : [Math.abs(weightBytes / reportedWeightBytes - 1) * 100],
  );
  print({ name: "weights, median absolute error", value: median(weights), unit: "%", limit: 2, against: "target" });
  print({ name: "weights, largest absolute error", value: Math.max(...weights), unit: "%" });
  const errors = counted.map(({ expected, reported }) => Math.abs(expected / reported - 1) * 100);
  print({ name: "KV tokens, median absolute error", value: median(errors), unit: "%", limit: 8, against: "target" });
  const within = (errors.filter((error) => error <= 20).length / errors.length) * 100;
  print({ name: "KV tokens, reports within 20 %", value: within, unit: "%", limit: 90, against: "target" });
  const share = median(counted.map(({ safe, expected }) => (expected > 0 ? safe / expected : 1))) * 100;
  print({ name: "safe over expected, median", value: share, unit: "%", limit: 75, against: "target" });
  const over = counted.filter(({ safe, reported }) => safe > reported).length;
  print({ name: "safe exceeds", value: over, unit: "reports", limit: counted.length / 40, against: "target" });
}
