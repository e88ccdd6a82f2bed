// Random inputs of the renderer: what parseback.test.ts reads back and parser.test.ts shows to vLLM's own parser.
import fc from "fast-check";
import type { EngineInput } from "../../../operator/plan/engine/args.ts";
import { extraArguments } from "../../../operator/plan/engine/extra.ts";
import { engineProfiles } from "../../../operator/plan/engine/profile.ts";
import type { Plain } from "../../../operator/plan/engine/words.ts";

const kubernetesName = fc.stringMatching(/^[a-z0-9]([a-z0-9-]{0,40}[a-z0-9])?$/);

/** Pieces of extraArgs that are taken in every version, with what each means. */
const pieces: readonly (readonly [words: string[], flag: string, value: Plain])[] = [
  [["--enforce-eager"], "--enforce-eager", true],
  [["--no-async-scheduling"], "--async-scheduling", false],
  [["--seed=7"], "--seed", "7"],
  [["--kv_cache_dtype", "fp8"], "--kv-cache-dtype", "fp8"],
  [["-O1"], "--optimization-level", "1"],
  [["--generation", "vllm"], "--generation-config", "vllm"],
  [["-cc.mode", "0"], "--compilation-config", { mode: 0 }],
  [["--limit-mm-per-prompt.image=2"], "--limit-mm-per-prompt", { image: 2 }],
  [["--cudagraph-capture-sizes", "1", "2", "4"], "--cudagraph-capture-sizes", ["1", "2", "4"]],
  [["--allowed-origins", '["https://a.example", "x y"]'], "--allowed-origins", ["https://a.example", "x y"]],
  [
    ["--default-chat-template-kwargs", '{"a": {"b": "it\'s = --x"}}'],
    "--default-chat-template-kwargs",
    { a: { b: "it's = --x" } },
  ],
  [["--fingerprint-value", "a=b c"], "--fingerprint-value", "a=b c"],
];

export const knownEverywhere = pieces.filter(([words]) =>
  engineProfiles.every(({ version }) => "values" in extraArguments(words, version)),
);

/** An input of the renderer, and the pieces that its extraArgs are made of. */
export const randomInputs = fc
  .record({
    servedName: kubernetesName,
    version: fc.constantFrom(...engineProfiles.map((profile) => profile.version)),
    gpuCount: fc.constantFrom(1, 2, 4, 8),
    contextLength: fc.integer({ min: 16, max: 10_485_760 }),
    task: fc.constantFrom("Generate", "Embed", "Classify", "Reward", undefined),
    shutdownSeconds: fc.integer({ min: 1, max: 86_400 }),
    maxNumSeqs: fc.integer({ min: 16, max: 1024 }),
    maxNumBatchedTokens: fc.integer({ min: 1024, max: 16_384 }),
    bits: fc.constantFrom(4, 8, 16),
    nativeBits: fc.constantFrom(4, 8, 16),
    pipelineParallel: fc.constantFrom(1, 2),
    expertParallel: fc.boolean(),
    vision: fc.boolean(),
    toolCallParser: fc.constantFrom(undefined, "none", "hermes", "llama3_json"),
    reasoningParser: fc.constantFrom(undefined, "none", "qwen3"),
    chosen: fc.uniqueArray(fc.integer({ min: 0, max: knownEverywhere.length - 1 })),
  })
  .map(({ contextLength, chosen, ...rest }) => {
    const own = chosen.map((i) => knownEverywhere[i]).filter((piece) => piece !== undefined);
    const { servedName, version, gpuCount, task, shutdownSeconds, vision, toolCallParser, reasoningParser } = rest;
    const { maxNumSeqs, maxNumBatchedTokens, bits, nativeBits, pipelineParallel, expertParallel } = rest;
    const input: EngineInput = {
      ...{ servedName, version, gpuCount, task, shutdownSeconds, vision, toolCallParser, reasoningParser },
      capacity: { contextLength, kvCacheTokens: contextLength, maxConcurrency: 1 },
      settings: {
        ...{ maxNumSeqs, maxNumBatchedTokens, bits, nativeBits, pipelineParallel, expertParallel },
        tensorParallel: gpuCount / Math.min(pipelineParallel, gpuCount),
      },
      extraArgs: own.flatMap(([words]) => words),
    };
    return { input, own };
  });
