/**
 * Inputs of the renderer whose command lines the real parser must take (parser.test.ts): every branch of engineArgs and the
 * odd values that users can choose. A new branch or flag wants a line here.
 */
import fc from "fast-check";
import { engineArgs } from "../../../operator/plan/engine/args.ts";
import { parsersOf } from "../../../operator/plan/engine/parsers.ts";
import type { EngineInput } from "../../../operator/plan/engine/args.ts";
import { randomInputs } from "./randominputs.ts";

const capacity = { contextLength: 8192, kvCacheTokens: 16_384, maxConcurrency: 2 };
const chat: EngineInput = { servedName: "chat", gpuCount: 1, capacity, task: "Generate", shutdownSeconds: 570 };

const settings = {
  maxNumSeqs: 256,
  maxNumBatchedTokens: 2048,
  bits: 16,
  nativeBits: 16,
  tensorParallel: 1,
  expertParallel: false,
};

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
  "settings of the sizing": { ...chat, settings },
  "quantized at load": { ...chat, settings: { ...settings, bits: 8 } },
  "experts on two GPUs": { ...chat, gpuCount: 2, settings: { ...settings, tensorParallel: 2, expertParallel: true } },
  "a deprecated quantization": {
    ...chat,
    settings: { ...settings, bits: 8, nativeBits: 8, deprecatedQuantization: true },
  },
  "a long embedding": { ...chat, task: "Embed", settings },
  images: { ...chat, vision: true },
  sound: { ...chat, architecture: "WhisperForConditionalGeneration" },
  "a family's parsers": { ...chat, architecture: "GptOssForCausalLM" },
  "parsers of the user's": { ...chat, toolCallParser: "qwen3_coder", reasoningParser: "qwen3" },
  "groups of GPUs": { ...chat, gpuCount: 4, settings: { ...settings, tensorParallel: 2, pipelineParallel: 2 } },
  "a template of the model's": { ...chat, chatTemplate: "{{ messages[0].content }}" },
  "parsers by the template": {
    ...chat,
    parsers: parsersOf({ chatTemplate: "{% if tools %}<tool_call></tool_call>{% endif %}" }),
  },
  "many arguments of the user's": {
    ...chat,
    settings,
    extraArgs: [
      ...[
        "--max_num_seqs=16",
        "--max-num-batched-tokens",
        "1k",
        "-O1",
        "--no-async-scheduling",
        "--kv-cache-dtype=fp8",
      ],
      ...[
        "-cc.cudagraph_mode",
        "PIECEWISE",
        "--limit-mm-per-prompt.image",
        "2",
        "--allowed-origins",
        '["https://a.example"]',
      ],
      ...[
        "--default-chat-template-kwargs",
        '{"enable_thinking": false}',
        "--override-generation-config.temperature=0.1",
      ],
      ...[
        "--cudagraph-capture-sizes",
        "1",
        "2",
        "4",
        "--structured-outputs-config.backend",
        "xgrammar",
        "--media-io-kwargs.video.num_frames",
        "16",
      ],
    ],
  },
};

/** One rendered command line of `vllm serve`, without the program's name. */
export interface CommandLine {
  readonly what: string;
  readonly input: EngineInput;
  readonly args: readonly string[];
}

const RANDOM_LINES = 300;

/** The lines of `inputs`, and as many random ones for `version`; all rendered by the code under test. */
export function commandLines(version: string): CommandLine[] {
  const random = fc
    .sample(randomInputs, { seed: 1, numRuns: RANDOM_LINES })
    .map(({ input }, i) => [`random line ${i}`, { ...input, version }] as const);
  return [...Object.entries(inputs), ...random].map(([what, input]) => ({ what, input, args: engineArgs(input) }));
}

/** Words as users write them: vLLM's parser must make of them what it makes of the words that Berth renders in their place. */
export const spellings: readonly (readonly string[])[] = [
  ["--enforce-eager"],
  ["--enforce", "--no-async-sched"],
  ["--max_num_seqs=8", "--max-num-batched", "2K"],
  ["--max-num-batched-tokens", "1.5k"],
  ["-O1"],
  ["-O", "2"],
  ["-O=0"],
  ["--optimization_level=3"],
  ["--seed", "1", "--seed=2"],
  ["--kv_cache_dtype", "fp8_e4m3"],
  ["-cc.mode", "0", "-cc.cudagraph_mode=PIECEWISE"],
  ["--compilation_config", '{"mode": 3, "cudagraph_capture_sizes": [1, 2, 4]}'],
  ["--cudagraph-capture-sizes", "1", "2", "8", "--enforce-eager"],
  ["--limit-mm-per-prompt.image", "2", "--limit-mm-per-prompt.video=0", "--limit-mm-per-prompt.audio=0"],
  ["--default-chat-template-kwargs", '{"enable_thinking": false, "a": {"b": [1, "x"]}}'],
  ["--default-chat-template-kwargs.enable_thinking", "false"],
  ["--override-generation-config.temperature=0.1", "--override-generation-config.top_k", "5"],
  ["--allowed-origins", '["https://a.example"]', "--allow-credentials"],
  ["--generation", "vllm"],
  ["--structured-outputs-config.backend", "xgrammar"],
  ["--fingerprint-value", "a=b c"],
  ["--fingerprint_value=x=y"],
  ["--media-io-kwargs.video.num_frames", "16"],
  ["--no-enable-prefix-caching"],
];
