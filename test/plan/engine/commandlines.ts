/**
 * Inputs of the renderer whose command lines the real parser must take (parser.test.ts): every branch of engineArgs and the
 * odd values that users can choose. A new branch or flag wants a line here.
 */
import { engineArgs } from "../../../operator/plan/engine/args.ts";
import type { EngineInput } from "../../../operator/plan/engine/args.ts";

const capacity = { contextLength: 8192, kvCacheTokens: 16_384, maxConcurrency: 2 };
const chat: EngineInput = { servedName: "chat", gpuCount: 1, capacity, task: "Generate", shutdownSeconds: 570 };

/** What is special about a line → its input. */
export const inputs: Readonly<Record<string, EngineInput>> = {
  "one GPU": chat,
  "eight GPUs": { ...chat, gpuCount: 8 },
  "a long context": { ...chat, capacity: { ...capacity, contextLength: 1_048_576 } },
  embeddings: { ...chat, servedName: "embed", task: "Embed" },
  "a classifier": { ...chat, task: "Classify" },
  "a reward model": { ...chat, task: "Reward" },
  "a task that is not known": { ...chat, task: undefined },
  "a name as Kubernetes allows it": { ...chat, servedName: `0${"a-".repeat(30)}z.model` },
  "the user's own argument": { ...chat, extraArgs: ["--enforce-eager"] },
};

/** One rendered command line of `vllm serve`, without the program's name. */
export interface CommandLine {
  readonly what: string;
  readonly args: readonly string[];
}

/** All of them, rendered by the code under test. */
export function commandLines(): CommandLine[] {
  return Object.entries(inputs).map(([what, input]) => ({ what, args: engineArgs(input) }));
}
