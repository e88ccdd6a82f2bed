/**
 * What config.json says about a model. Keys differ between families and versions of transformers; a number that is not
 * there is absent here too, but for the class defaults that configdefaults.ts states with their source.
 */
import type { ModelStatus } from "../../api/model.ts";
import { withClassDefaults } from "./configdefaults.ts";
import { pluginArchitectures, removedArchitectures, servedArchitectures } from "./architectures.ts";
import type { ArchitectureKind } from "./architectures.ts";
import { printable, refusal } from "./problem.ts";
import type { ModelProblem } from "./problem.ts";
import { jsonFault, withoutNotFinite } from "./strictjson.ts";

export type Json = Readonly<Record<string, unknown>>;
export type Task = NonNullable<ModelStatus["task"]>;

export function isJson(value: unknown): value is Json {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Deepest nesting of a configuration; real ones have about six levels. */
const MAX_DEPTH = 32;

/** A JSON object out of a file of the source, or why the model is refused. */
export function parseConfig(path: string, text: string): Json | ModelProblem {
  const clean = withoutNotFinite(text);
  const fault = jsonFault(clean, MAX_DEPTH);
  if (fault?.what === "twice")
    return refusal("ConfigInvalid", `${printable(path)} has the key '${printable(fault.word)}' twice`);
  if (fault) return refusal("ConfigInvalid", `${printable(path)} is nested deeper than ${String(MAX_DEPTH)} levels`);
  try {
    const value: unknown = JSON.parse(clean);
    if (isJson(value)) return value;
  } catch {
    // The parser's message may quote the file: say only that it is not JSON.
  }
  return refusal("ConfigInvalid", `${printable(path)} is not a JSON object`);
}

const codeRemedy = "Berth runs no code of a model: use a model whose architecture vLLM knows";

/** Keys of a configuration at any depth; parseConfig has bounded it. */
function* placesIn(value: unknown): Generator<Json> {
  if (Array.isArray(value)) for (const entry of value) yield* placesIn(entry);
  if (!isJson(value)) return;
  yield value;
  for (const entry of Object.values(value)) yield* placesIn(entry);
}

/** The refusal of a configuration that names code of its own, or asks for its execution, at any depth. */
export function autoMapIn(path: string, config: Json): ModelProblem | undefined {
  for (const place of placesIn(config)) {
    for (const key of ["auto_map", "custom_pipelines"]) {
      if (!Object.hasOwn(place, key)) continue;
      return refusal(
        "CustomCode",
        `${printable(path)} names code of its own (${key}): ${codeRemedy}, and remove ${key}`,
      );
    }
    const trust = place["trust_remote_code"];
    if (trust !== undefined && trust !== false && trust !== null)
      return refusal("CustomCode", `${printable(path)} asks for trust_remote_code: ${codeRemedy}, and remove it`);
  }
  return undefined;
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

/** Quantization method by config.json; undefined for plain weights. */
export function quantizationOf(config: Json): string | undefined {
  for (const place of [config, textConfig(config)]) {
    const quantization = place["quantization_config"] ?? place["compression_config"];
    if (!isJson(quantization)) continue;
    const method = quantization["quant_method"];
    return typeof method === "string" && method !== "" ? method.slice(0, 64) : "unknown";
  }
  return undefined;
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

/** Factor by which rope scaling stretches `length`, and from which length, as vLLM derives max-model-len. */
function stretched(config: Json, length: number): number {
  const rope = config["rope_scaling"] ?? config["rope_parameters"];
  if (!isJson(rope)) return length;
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
];

/** Largest context in tokens, by config.json and a sentence-transformers limit; undefined where nothing says it. */
export function contextLengthOf(config: Json, sentenceConfig: Json | undefined): number | undefined {
  const text = textConfig(config);
  const own = count(text, lengthKeys) ?? count(config, lengthKeys);
  const sentence = sentenceConfig && count(sentenceConfig, ["max_seq_length"]);
  if (sentence !== undefined) return own === undefined ? sentence : Math.min(sentence, own);
  return own === undefined ? undefined : stretched(text, own);
}
