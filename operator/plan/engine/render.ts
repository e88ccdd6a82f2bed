/**
 * The command line of `vllm serve` for one version: sorted, minimal, each argument with the reason why it is there.
 * What equals the version's own default is left out, but for what the promised context rests on. docs/engine.md has the sources.
 */
import type { ModelStatus } from "../../api/model.ts";
import { GPU_MEMORY_UTILIZATION, type Capacity } from "../sizing/fit.ts";
import { extraArguments, type ArgumentProblem } from "./extra.ts";
import { MEDIA_LIMITS } from "./limits.ts";
import type { Planned } from "./planned.ts";
import type { ModelParsers } from "../../api/modelfacts.ts";
import { servedArchitectures } from "../model/architectures.ts";
import { templateProblem } from "../model/chattemplate.ts";
import { CHAT_TEMPLATE_PATH } from "./files.ts";
import { knownTo, parserProblem, parsersOf } from "./parsers.ts";
import { noProfile, profileOf, type EngineProfile } from "./profile.ts";
import type { Plain } from "./words.ts";

export const SERVING_PORT = 8000;
/** Where the init step leaves the model's files. */
export const MODEL_PATH = "/model";
/** The version that is rendered for where none is named. */
export const DEFAULT_VERSION = "0.32.0";

export interface EngineInput {
  readonly servedName: string;
  readonly gpuCount: number;
  readonly capacity: Capacity;
  readonly task: ModelStatus["task"];
  /** Seconds that requests in flight get to finish once the server was told to stop. */
  readonly shutdownSeconds: number;
  /** vLLM's version; its profile decides which flags there are. */
  readonly version?: string | undefined;
  /** Settings that the capacity was computed with. */
  readonly settings?: EngineChoice | undefined;
  /** Class name in config.json, for the family's parsers. */
  readonly architecture?: string | undefined;
  /** What is recommended for the model; by its architecture alone where absent. */
  readonly parsers?: ModelParsers | undefined;
  /** Text of the model's spec.chatTemplate, which the pod finds as a file. */
  readonly chatTemplate?: string | undefined;
  /** True for a model that takes images. */
  readonly vision?: boolean | undefined;
  /** spec.engine.toolCallParser and reasoningParser: a name, or none. */
  readonly toolCallParser?: string | undefined;
  readonly reasoningParser?: string | undefined;
  /** Directory or name in place of MODEL_PATH, for command lines that people run themselves. */
  readonly modelPath?: string | undefined;
  /** spec.engine.extraArgs. */
  readonly extraArgs?: readonly string[] | undefined;
}

export interface EngineChoice {
  readonly maxNumSeqs: number;
  readonly maxNumBatchedTokens: number;
  /** Bits of the weights as served, and of the checkpoint; fewer mean that the engine quantizes at load. */
  readonly bits: number;
  readonly nativeBits: number;
  readonly tensorParallel: number;
  readonly pipelineParallel?: number;
  readonly expertParallel: boolean;
  /** The checkpoint's quantization is one that the engine serves on request only. */
  readonly deprecatedQuantization?: boolean;
}

export interface EngineArgument {
  /** Full name; the model's path has none. */
  readonly flag: string | undefined;
  readonly words: readonly string[];
  readonly why: string;
}

export type EngineLine = { readonly line: readonly EngineArgument[] } | { readonly problem: ArgumentProblem };

/** The whole line, the model first (several flags swallow a positional after them), then by name. */
export function engineLine(input: EngineInput): EngineLine {
  const version = input.version ?? DEFAULT_VERSION;
  const profile = profileOf(version);
  if (!profile) return refused(noProfile(version));
  const wrong =
    parserProblem("toolCallParser", input.toolCallParser, profile) ??
    parserProblem("reasoningParser", input.reasoningParser, profile);
  if (wrong !== undefined) return refused(wrong);
  const unsafe =
    input.chatTemplate === undefined ? undefined : templateProblem("the model's spec.chatTemplate", input.chatTemplate);
  if (unsafe) return refused(unsafe.message);
  const { settings } = input;
  const extra = extraArguments(input.extraArgs ?? [], version, settings ? plannedFor(input, settings) : {});
  if ("problem" in extra) return extra;
  const flags = new Map<string, EngineArgument>();
  for (const [flag, value, why] of [...promised(input), ...shared(input), ...spoken(input, profile)])
    flags.set(flag, argument(flag, value, why));
  for (const [flag, value] of extra.values)
    flags.set(flag, argument(flag, withLimits(flag, value), "spec.engine.extraArgs", profile));
  const model = { flag: undefined, words: [input.modelPath ?? MODEL_PATH], why: "the model's files" };
  const named = [...flags.values()].sort((a, b) => ((a.flag ?? "") < (b.flag ?? "") ? -1 : 1));
  return { line: [model, ...named] };
}

const MEDIA_FLAG = "--limit-mm-per-prompt";

/** A user's limit of one modality leaves those of the others: vLLM would take 999 for what is not named. */
function withLimits(flag: string, value: Plain): Plain {
  return flag === MEDIA_FLAG ? { ...MEDIA_LIMITS, ...(value as object) } : value;
}

const MULTIMODAL: ReadonlySet<string> = new Set(servedArchitectures.multimodal);

function plannedFor({ task, capacity }: EngineInput, { maxNumSeqs, maxNumBatchedTokens }: EngineChoice): Planned {
  const least = isPooling(task) ? capacity.contextLength : undefined;
  return {
    maxSequences: maxNumSeqs,
    maxBatchedTokens: Math.max(maxNumBatchedTokens, least ?? 0),
    ...(least === undefined ? {} : { leastBatchedTokens: least }),
  };
}

type Derived = readonly [flag: string, value: Plain, why: string];

/** What the promised context rests on. */
function promised({ capacity, settings, gpuCount, task }: EngineInput): Derived[] {
  const tensor = settings?.tensorParallel ?? gpuCount;
  const pipeline = settings?.pipelineParallel ?? 1;
  return [
    ["--max-model-len", String(capacity.contextLength), "the context that was promised, as an exact number"],
    ["--gpu-memory-utilization", String(GPU_MEMORY_UTILIZATION), "the share of GPU memory that was planned with"],
    ...only(tensor > 1, ["--tensor-parallel-size", String(tensor), "all GPUs of the node hold a part of each layer"]),
    ...only(pipeline > 1, ["--pipeline-parallel-size", String(pipeline), "groups of GPUs hold different layers"]),
    ...(settings ? planned(settings, isPooling(task) ? capacity.contextLength : 0) : []),
  ];
}

/** A pooling model may need its whole input in one step (vLLM refuses a batch below the context without chunked prefill). */
function planned(
  { maxNumSeqs, maxNumBatchedTokens, bits, nativeBits, expertParallel, deprecatedQuantization }: EngineChoice,
  leastTokens: number,
): Derived[] {
  const batched = Math.max(maxNumBatchedTokens, leastTokens);
  return [
    ["--max-num-seqs", String(maxNumSeqs), "requests at once that the reserve was computed for"],
    ["--max-num-batched-tokens", String(batched), "tokens of a step that the reserve was computed for"],
    ...only(expertParallel, [
      "--enable-expert-parallel",
      true,
      "whole experts on each GPU: their width cannot be divided",
    ]),
    ...only(bits < nativeBits, ["--quantization", "fp8", "16-bit weights are quantized when they are loaded"]),
    ...only(deprecatedQuantization === true, [
      "--allow-deprecated-quantization",
      true,
      "the engine refuses the checkpoint's quantization without it",
    ]),
  ];
}

function shared({ servedName, task, shutdownSeconds, vision, architecture }: EngineInput): Derived[] {
  const takesMedia = vision === true || (architecture !== undefined && MULTIMODAL.has(architecture));
  return [
    ["--served-model-name", servedName, "requests name the deployment as their model"],
    ["--load-format", "safetensors", "no other format is ever read"],
    ["--port", String(SERVING_PORT), "the Service's target"],
    ["--shutdown-timeout", String(shutdownSeconds), "requests in flight may finish within the pod's grace period"],
    ["--disable-fastapi-docs", true, "no pages for developers in production"],
    ["--disable-uvicorn-access-log", true, "probes and requests do not fill the log"],
    ...(isPooling(task)
      ? ([["--runner", "pooling", "the model answers with vectors or scores"]] as const)
      : ([
          ["--enable-force-include-usage", true, "streams end with their token counts, for metering"],
          ["--enable-prompt-tokens-details", true, "cached prompt tokens are told apart, for metering"],
          ["--generation-config", "auto", "sampling defaults are the model's own"],
        ] as const)),
    ...only(takesMedia, [MEDIA_FLAG, MEDIA_LIMITS, "bounds what one request can make the server decode"]),
  ];
}

function isPooling(task: EngineInput["task"]): boolean {
  return task === "Embed" || task === "Classify" || task === "Reward";
}

function spoken(input: EngineInput, profile: EngineProfile): Derived[] {
  if (input.task !== undefined && input.task !== "Generate") return [];
  const { architecture, parsers = parsersOf({ architecture }) } = input;
  const found = knownTo(profile, parsers);
  const tool = chosen(input.toolCallParser, found.toolCallParser);
  const reasoning = chosen(input.reasoningParser, found.reasoningParser);
  const { because } = found;
  return [
    ...only(input.chatTemplate !== undefined, ["--chat-template", CHAT_TEMPLATE_PATH, "the model's spec.chatTemplate"]),
    ...(tool === undefined
      ? []
      : ([
          ["--enable-auto-tool-choice", true, "the model may decide to call a tool"],
          ["--tool-call-parser", tool, input.toolCallParser ? "spec.engine.toolCallParser" : because],
        ] as const)),
    ...(reasoning === undefined
      ? []
      : ([
          ["--reasoning-parser", reasoning, input.reasoningParser ? "spec.engine.reasoningParser" : because],
        ] as const)),
  ];
}

function chosen(wanted: string | undefined, found: string | undefined): string | undefined {
  return wanted === "none" ? undefined : (wanted ?? found);
}

function only(condition: boolean, derived: Derived): Derived[] {
  return condition ? [derived] : [];
}

function argument(flag: string, value: Plain, why: string, profile?: EngineProfile): EngineArgument {
  return { flag, words: wordsOf(flag, value, profile), why };
}

function wordsOf(flag: string, value: Plain, profile?: EngineProfile): string[] {
  if (value === true) return [flag];
  if (value === false) return [profile?.flags[flag]?.negation ?? flag];
  if (value === "") return [flag];
  if (typeof value === "string" || typeof value === "number") return [flag, String(value)];
  if (Array.isArray(value) && profile?.flags[flag]?.kind === "list") return [flag, ...value.map(String)];
  return [flag, JSON.stringify(value)];
}

function refused(message: string): { readonly problem: ArgumentProblem } {
  return { problem: { reason: "EngineArgumentRefused", message } };
}
