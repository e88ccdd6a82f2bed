// A rendered command line, read back by the grammar of the version's parser, says what was meant: no more and no less.
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { engineArgs, type EngineInput } from "../../../operator/plan/engine/args.ts";
import { profileOf } from "../../../operator/plan/engine/profile.ts";
import { parseWords, type Plain } from "../../../operator/plan/engine/words.ts";
import { GPU_MEMORY_UTILIZATION } from "../../../operator/plan/sizing/fit.ts";
import { knownEverywhere, randomInputs } from "./randominputs.ts";

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
    fc.property(randomInputs, ({ input, own }) => {
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
