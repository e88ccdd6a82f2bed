/**
 * What config.json says about a model. Keys differ between families and versions of transformers; a number that is not
 * there is absent here too, but for the class defaults that configdefaults.ts states with their source.
 */
import type { ModelStatus } from "../../api/model.ts";
import { withClassDefaults } from "./configdefaults.ts";
import { pluginArchitectures, removedArchitectures, servedArchitectures } from "./architectures.ts";
import type { ArchitectureKind } from "./architectures.ts";
import { isProblem, printable, refusal } from "./problem.ts";
import type { ModelProblem } from "./problem.ts";
import { jsonFault, withoutNotFinite } from "./strictjson.ts";

export type Json = Readonly<Record<string, unknown>>;
export type Task = NonNullable<ModelStatus["task"]>;

export function isJson(value: unknown): value is Json {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Deepest nesting of a configuration; real ones have about six levels. */
const MAX_DEPTH = 32;
/** Numbers, words, lists and objects of a configuration: each costs memory, however few bytes it has. */
const MAX_VALUES = 2_000_000;

/** What a JSON file of the source holds, undefined where it is no JSON, or why the model is refused. */
export function parseJson(
  path: string,
  text: string,
  maxValues = MAX_VALUES,
): { readonly value: unknown } | ModelProblem {
  const clean = withoutNotFinite(text);
  const fault = jsonFault(clean, MAX_DEPTH, maxValues);
  if (fault?.what === "twice")
    return refusal("ConfigInvalid", `${printable(path)} has the key '${printable(fault.word)}' twice`);
  if (fault?.what === "many") return refusal("ConfigInvalid", `${printable(path)} has more than ${fault.word} values`);
  if (fault) return refusal("ConfigInvalid", `${printable(path)} is nested deeper than ${String(MAX_DEPTH)} levels`);
  try {
    return { value: JSON.parse(clean) as unknown };
  } catch {
    // The parser's message may quote the file.
    return { value: undefined };
  }
}

/** A JSON object out of a file of the source, or why the model is refused. */
export function parseConfig(path: string, text: string, maxValues = MAX_VALUES): Json | ModelProblem {
  const json = parseJson(path, text, maxValues);
  if (!("value" in json)) return json;
  if (!isJson(json.value)) return refusal("ConfigInvalid", `${printable(path)} is not a JSON object`);
  // It would be taken for a refusal, with a reason and words of its author's.
  if (isProblem(json.value))
    return refusal("ConfigInvalid", `${printable(path)} is no configuration of a model: upload a real one`);
  return json.value;
}

/** Part of a configuration that describes the language model, also of a multimodal one. */
export function textConfig(config: Json): Json {
  for (const key of ["text_config", "llm_config", "language_config"]) {
    const inner = config[key];
    if (isJson(inner)) return withClassDefaults(inner);
  }
  const thinker = config["thinker_config"];
  return isJson(thinker) ? textConfig(thinker) : config;
}

/** Family by model_type; empty where that is no word. */
export const modelTypeOf = (text: Json): string => (typeof text["model_type"] === "string" ? text["model_type"] : "");

/** First of several keys that holds a whole number of at least `least`. */
export function count(config: Json, keys: readonly string[], least = 1): number | undefined {
  for (const key of keys) {
    const value = config[key];
    if (typeof value === "number" && Number.isSafeInteger(value) && value >= least) return value;
  }
  return undefined;
}

function kindsOf(architecture: string): ArchitectureKind[] {
  const kinds = Object.keys(servedArchitectures) as ArchitectureKind[];
  return kinds.filter((kind) => kind !== "draft" && servedArchitectures[kind].includes(architecture));
}

function ownerOf(table: Readonly<Record<string, readonly string[]>>, architecture: string): string | undefined {
  return Object.keys(table).find((key) => table[key]?.includes(architecture));
}

/** First of `architectures`, or why vLLM cannot serve it. */
export function architectureOf(config: Json): string | ModelProblem {
  const { architectures } = config;
  const named: unknown = Array.isArray(architectures) ? architectures[0] : undefined;
  if (typeof named !== "string" || named === "") {
    return refusal("ArchitectureUnsupported", 'config.json names no architecture: add its "architectures" list');
  }
  const shown = printable(named);
  if (kindsOf(named).length > 0) return named.slice(0, 128);
  const last = ownerOf(removedArchitectures, named);
  if (last !== undefined) {
    return refusal("ArchitectureRemoved", `vLLM no longer serves ${shown}: the last version that did is ${last}`);
  }
  const plugin = ownerOf(pluginArchitectures, named);
  if (plugin !== undefined) {
    return refusal(
      "ArchitectureUnsupported",
      `vLLM serves ${shown} only with a plugin that its image lacks (${plugin})`,
    );
  }
  if (servedArchitectures.draft.includes(named)) {
    return refusal(
      "ArchitectureUnsupported",
      `${shown} is a draft model for speculative decoding: it cannot be served alone`,
    );
  }
  return refusal("ArchitectureUnsupported", `vLLM does not list the architecture ${shown}`);
}

/**
 * What vLLM will do with the model by itself: a sentence-transformers folder with pooling makes a generating architecture
 * embed, as vLLM's own choice of runner does.
 */
export function taskOf(architecture: string, hasPooling: boolean): Task {
  const kinds = kindsOf(architecture);
  const is = (...wanted: ArchitectureKind[]): boolean => wanted.some((kind) => kinds.includes(kind));
  if (is("reward")) return "Reward";
  if (is("sequenceClassification", "tokenClassification")) return "Classify";
  if (hasPooling) return "Embed";
  if (is("textGeneration", "multimodal", "transformersSupported")) return "Generate";
  return is("embedding", "lateInteraction") ? "Embed" : "Unknown";
}

/** Quantization method by config.json, as the engine resolves it; undefined for plain weights. */
export function quantizationOf(config: Json): string | undefined {
  for (const place of [config, textConfig(config)]) {
    const quantization = place["quantization_config"] ?? place["compression_config"];
    if (!isJson(quantization)) continue;
    const method = quantization["quant_method"];
    if (typeof method !== "string" || method === "") return "unknown";
    return method === "modelopt" ? modelOptOf(quantization["quant_algo"]) : method.slice(0, 64);
  }
  return undefined;
}

/** modelopt.py override_quantization_method: the algorithm decides which of ModelOpt's methods runs. */
function modelOptOf(algorithm: unknown): string {
  const name = typeof algorithm === "string" ? algorithm.toUpperCase() : "";
  if (name.includes("NVFP4")) return "modelopt_fp4";
  if (name.includes("MXFP8")) return "modelopt_mxfp8";
  return name === "MIXED_PRECISION" ? "modelopt_mixed" : "modelopt";
}

/**
 * ModelOpt until 0.29 kept its quantization in hf_quant_config.json, which the engine reads where config.json names none
 * (transformers_utils/config.py get_config).
 */
export function withQuantization(config: Json, separate: Json | undefined): Json {
  const quantization = separate?.["quantization"];
  if (!isJson(quantization) || isJson(config["quantization_config"])) return config;
  return { ...config, quantization_config: { ...quantization, quant_method: "modelopt" } };
}

/** Name of the rope scaling by config.json; undefined where the context was not stretched. */
export function ropeTypeOf(config: Json): string | undefined {
  const text = textConfig(config);
  const rope = text["rope_scaling"] ?? text["rope_parameters"];
  const type = isJson(rope) ? (rope["rope_type"] ?? rope["type"]) : undefined;
  return typeof type === "string" && type !== "default" ? type.slice(0, 64) : undefined;
}

/** Rope types whose factor does not stretch the configured length. */
const unstretchedRopes = new Set(["default", "su", "longrope", "llama3", "mrope"]);

/** Stretched length by rope scaling, as vLLM derives max-model-len (config/model.py _get_and_verify_max_len). */
function stretched(config: Json, length: number): number {
  const rope = config["rope_parameters"] ?? config["rope_scaling"];
  // Gemma 3 states the length with its factor applied.
  if (!isJson(rope) || modelTypeOf(config).includes("gemma3")) return length;
  const nested = Object.values(rope).filter(isJson);
  // Transformers 5 may state it for each kind of layers: lengths follow the first that stretches.
  const all = (nested.length > 0 ? nested : [rope]).map((one) => stretchedBy(one, length));
  return all.find((one) => one !== length) ?? length;
}

function stretchedBy(rope: Json, length: number): number {
  const type = rope["rope_type"] ?? rope["type"];
  const factor = rope["factor"];
  if (typeof type !== "string" || unstretchedRopes.has(type) || typeof factor !== "number" || !(factor >= 1))
    return length;
  const original = type === "yarn" ? count(rope, ["original_max_position_embeddings"]) : undefined;
  return Math.floor((original ?? length) * factor);
}

const lengthKeys = [
  "max_position_embeddings",
  "n_positions",
  "max_seq_len",
  "seq_length",
  "model_max_length",
  "max_target_positions",
  "max_sequence_length",
  "max_seq_length",
  "seq_len",
];

/** Cohere's model_max_length goes before all others, else the smallest counts (model_arch_config_convertor.py). */
function ownLength(text: Json): number | undefined {
  const lengths = lengthKeys.flatMap((key) => count(text, [key]) ?? []);
  return count(text, ["model_max_length"]) ?? (lengths.length > 0 ? Math.min(...lengths) : undefined);
}

export interface LengthFiles {
  readonly sentence?: Json | undefined;
  readonly tokenizer?: Json | undefined;
}

/**
 * Largest context in tokens, by config.json and a sentence-transformers limit; undefined where nothing says it. Poolers with
 * absolute positions are held to their tokenizer's limit: RoBERTa's 514 positions carry 512 tokens.
 */
export function contextLengthOf(config: Json, task: Task, files: LengthFiles = {}): number | undefined {
  const text = textConfig(config);
  const plain = ownLength(text) ?? ownLength(config);
  const own = plain === undefined ? undefined : stretched(text, plain);
  const isAbsolute = task !== "Generate" && config["position_embedding_type"] === "absolute";
  const limits = [
    files.sentence && count(files.sentence, ["max_seq_length"]),
    isAbsolute && files.tokenizer ? count(files.tokenizer, ["model_max_length"]) : undefined,
    own,
  ].filter((limit) => limit !== undefined);
  return limits.length > 0 ? Math.min(...limits) : undefined;
}
