// A rendered command line, read back by the grammar of the version's parser, says what was meant: no more and no less.
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { engineArgs, type EngineInput } from "../../../operator/plan/engine/args.ts";
import { extraArguments } from "../../../operator/plan/engine/extra.ts";
import { engineProfiles, profileOf } from "../../../operator/plan/engine/profile.ts";
import { parseWords, type Plain } from "../../../operator/plan/engine/words.ts";
import { GPU_MEMORY_UTILIZATION } from "../../../operator/plan/sizing/fit.ts";

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

const knownEverywhere = pieces.filter(([words]) =>
  engineProfiles.every(({ version }) => "values" in extraArguments(words, version)),
);

const inputs = fc
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

/** What the input means, written down without the renderer. */
function meaning(input: EngineInput): Record<string, Plain> {
  const { settings, task, capacity } = input;
  assert.ok(settings);
  const isPooling = task === "Embed" || task === "Classify" || task === "Reward";
  const batch = isPooling
    ? Math.max(capacity.contextLength, settings.maxNumBatchedTokens)
    : settings.maxNumBatchedTokens;
  const named = (name: string | undefined): string | undefined => (isPooling || name === "none" ? undefined : name);
  const [tool, reasoning] = [named(input.toolCallParser), named(input.reasoningParser)];
  const all: Record<string, Plain | undefined> = {
    "--served-model-name": [input.servedName],
    "--load-format": "safetensors",
    "--port": "8000",
    "--shutdown-timeout": String(input.shutdownSeconds),
    "--disable-fastapi-docs": true,
    "--disable-uvicorn-access-log": true,
    "--max-model-len": String(capacity.contextLength),
    "--gpu-memory-utilization": String(GPU_MEMORY_UTILIZATION),
    "--max-num-seqs": String(settings.maxNumSeqs),
    "--max-num-batched-tokens": String(batch),
    "--tensor-parallel-size": settings.tensorParallel > 1 ? String(settings.tensorParallel) : undefined,
    "--pipeline-parallel-size": (settings.pipelineParallel ?? 1) > 1 ? String(settings.pipelineParallel) : undefined,
    "--enable-expert-parallel": settings.expertParallel ? true : undefined,
    "--quantization": settings.bits < settings.nativeBits ? "fp8" : undefined,
    "--runner": isPooling ? "pooling" : undefined,
    "--enable-force-include-usage": isPooling ? undefined : true,
    "--enable-prompt-tokens-details": isPooling ? undefined : true,
    "--generation-config": isPooling ? undefined : "auto",
    "--limit-mm-per-prompt": input.vision ? { audio: 8, image: 8, video: 1 } : undefined,
    "--tool-call-parser": tool,
    "--enable-auto-tool-choice": tool === undefined ? undefined : true,
    "--reasoning-parser": reasoning,
  };
  return Object.fromEntries(Object.entries(all).filter((entry): entry is [string, Plain] => entry[1] !== undefined));
}

test("arguments parse back to what was meant, in every version", () => {
  assert.ok(knownEverywhere.length >= 10, "most pieces are known to every version");
  fc.assert(
    fc.property(inputs, ({ input, own }) => {
      const expected = meaning(input);
      for (const [, flag, value] of own)
        expected[flag] = flag === "--limit-mm-per-prompt" ? { audio: 8, image: 2, video: 1 } : value;
      const [model, ...words] = engineArgs(input);
      assert.equal(model, "/model");
      const profile = profileOf(input.version ?? "");
      assert.ok(profile);
      const parsed = parseWords(words, profile);
      assert.ok("settings" in parsed, JSON.stringify(parsed));
      assert.equal(new Set(parsed.settings.map(({ flag }) => flag)).size, parsed.settings.length, "each flag once");
      const read = Object.fromEntries(parsed.settings.map(({ flag, value }) => [flag, plain(flag, value)]));
      assert.deepEqual(read, expected);
    }),
    { numRuns: 500 },
  );
});

/** JSON of flags that are not the user's is read as text by the grammar. */
function plain(flag: string, value: Plain): Plain {
  return flag === "--limit-mm-per-prompt" && typeof value === "string" ? (JSON.parse(value) as Plain) : value;
}
