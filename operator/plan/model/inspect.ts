/** From a listing, its small files and its safetensors headers to the facts of the model, or the first reason to refuse it. */
import type { ModelStatus } from "../../api/model.ts";
import {
  ropeTypeOf,
  architectureOf,
  contextLengthOf,
  isJson,
  parseConfig,
  quantizationOf,
  taskOf,
  withQuantization,
} from "./config.ts";
import type { Json, Task } from "./config.ts";
import type { Listing, SourceKind } from "./listing.ts";
import { isTemplatePath, templateProblem, templatesProblem, tooManyTemplates } from "./chattemplate.ts";
import { isProblem, printable, refusal, some } from "./problem.ts";
import type { ModelProblem } from "./problem.ts";
import { codeIn, codeProblem } from "./remotecode.ts";
import { MAX_MODEL_TENSORS } from "./safetensors.ts";
import type { Tensor } from "./safetensors.ts";
import { layersProblem } from "./sentencelayers.ts";
import { chatTemplateOf, wordsOf } from "./tokenizer.ts";
import { parsersOf } from "../engine/parsers.ts";
import { cacheOf } from "./cache.ts";
import { shapeOf } from "./shape.ts";
import { loadedBytes, weightPartsOf } from "./weightparts.ts";
import { dtypeOf, dtypesOf, parametersOf } from "./weights.ts";
import { kvBytesPerToken } from "../sizing/kv.ts";

/** What the headers tell, in the words of the Model's status. */
export type ModelFacts = Pick<
  ModelStatus,
  | "sizeBytes"
  | "weightBytes"
  | "recorded"
  | "architecture"
  | "task"
  | "parameters"
  | "dtype"
  | "quantization"
  | "contextLength"
  | "kvBytesPerToken"
  | "tokenizer"
  | "chatTemplate"
  | "parsers"
  | "ropeScaling"
  | "effectiveBits"
  | "dtypes"
  | "shape"
  | "weights"
  | "cache"
  | "unknown"
>;

export const INDEX_PATH = "model.safetensors.index.json";
const sentencePath = "sentence_bert_config.json";
const modelOptPath = "hf_quant_config.json";
const tokenizerPath = "tokenizer_config.json";
/** ModelOpt's mixed precision names every expert of every layer, in either of two files: some megabytes. */
const MAX_CONFIG_BYTES = 8 << 20;
/** As many as 1 MiB can hold, three for each of 190,000 matrices of experts: values more than bytes are what takes memory. */
const MAX_CONFIG_VALUES = 600_000;
/** Small files that are read for inspection where they exist, with the most bytes that each may have. */
export const inspectedFiles: Readonly<Record<string, number>> = {
  "config.json": MAX_CONFIG_BYTES,
  [tokenizerPath]: 16 << 20,
  "processor_config.json": 1 << 20,
  "preprocessor_config.json": 1 << 20,
  "video_preprocessor_config.json": 1 << 20,
  "generation_config.json": 1 << 20,
  "chat_template.json": 1 << 20,
  "adapter_config.json": 1 << 20,
  [modelOptPath]: MAX_CONFIG_BYTES,
  [sentencePath]: 1 << 20,
  [INDEX_PATH]: 64 << 20,
};
const mostValues: Readonly<Record<string, number>> = {
  "config.json": MAX_CONFIG_VALUES,
  [modelOptPath]: MAX_CONFIG_VALUES,
};

/** Of other configurations, which are read for code alone: each, and all of a model. */
const MAX_OTHER_BYTES = 1 << 20;
const MAX_OTHERS_BYTES = 16 << 20;
const MAX_OTHERS = 256;

const otherNames = new Set(["modules.json", "model_index.json", "params.json", "chat_template.json"]);

/** JSON that a library takes for a configuration where it is pointed at its folder, or lists parts of a model: of any folder and name. */
function isOtherConfig(path: string): boolean {
  if (Object.hasOwn(inspectedFiles, path)) return false;
  const name = path.slice(path.lastIndexOf("/") + 1).toLowerCase();
  return name.endsWith(".json") && (name.slice(0, -5).includes("config") || otherNames.has(name));
}

/** Whether inspection reads the whole of a file. */
export function isInspected(path: string): boolean {
  return Object.hasOwn(inspectedFiles, path) || isTemplatePath(path) || isOtherConfig(path);
}

/** Inspected files that are too large, or too many, to be such. */
export function oversized(listing: Listing): ModelProblem | undefined {
  for (const file of listing.files) {
    const most = mostBytesOf(file.path);
    if (most === undefined || file.sizeBytes <= most) continue;
    const what = `${file.path} has ${String(file.sizeBytes)} bytes, more than the ${String(most)} that are read`;
    return refusal("ConfigInvalid", `${what}: replace it by a real one`);
  }
  const many = tooManyTemplates("the model", listing.files.filter(({ path }) => isTemplatePath(path)).length);
  if (many) return many;
  const others = listing.files.filter(({ path }) => isOtherConfig(path));
  const bytes = others.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  if (others.length <= MAX_OTHERS && bytes <= MAX_OTHERS_BYTES) return undefined;
  const what = `${String(others.length)} configurations with ${String(bytes)} bytes beside the model's own`;
  return refusal(
    "ConfigInvalid",
    `${what}, more than ${String(MAX_OTHERS)} or ${String(MAX_OTHERS_BYTES)} bytes: remove them`,
  );
}

function mostBytesOf(path: string): number | undefined {
  if (Object.hasOwn(inspectedFiles, path)) return inspectedFiles[path];
  const name = path.slice(path.lastIndexOf("/") + 1);
  if (!isOtherConfig(path)) return undefined;
  return name === tokenizerPath ? inspectedFiles[name] : MAX_OTHER_BYTES;
}

/** Files at the top whose tensors are the model's weights: those that the index names, else all. */
function weightFiles(listing: Listing, index: ReadonlyMap<string, string> | undefined): string[] {
  const top = listing.files.map((file) => file.path).filter((path) => /^[^/]+\.safetensors$/.test(path));
  if (!index) return top;
  const named = new Set(index.values());
  return top.filter((path) => named.has(path));
}

const badIndex = (what: string): ModelProblem =>
  refusal("IndexInvalid", `${INDEX_PATH} ${what}: upload the model again, completely`);

/** One for each tensor that a model may have, and what is said of them all. */
const MAX_INDEX_VALUES = MAX_MODEL_TENSORS + 1_000;

/** Tensor name → file by the index; undefined where there is none. */
function readIndex(texts: ReadonlyMap<string, string>): ReadonlyMap<string, string> | ModelProblem | undefined {
  const text = texts.get(INDEX_PATH);
  if (text === undefined) return undefined;
  const json = parseConfig(INDEX_PATH, text, MAX_INDEX_VALUES);
  if (isProblem(json)) return refusal("IndexInvalid", `${json.message}: upload the model again, completely`);
  const map = json["weight_map"];
  if (!isJson(map) || Object.keys(map).length === 0) return badIndex("has no weight_map");
  for (const file of Object.values(map)) {
    if (typeof file !== "string" || !/^[\w.-]+\.safetensors$/.test(file))
      return badIndex(`names the file '${printable(String(file))}', which is no *.safetensors beside it`);
  }
  return new Map(Object.entries(map) as [string, string][]);
}

function indexFault(
  index: ReadonlyMap<string, string>,
  headers: ReadonlyMap<string, readonly Tensor[]>,
): ModelProblem | undefined {
  const missing = [...new Set(index.values())].filter((file) => !headers.has(file));
  if (missing.length > 0) return badIndex(`names files that are not there: ${some(missing)}`);
  const held = new Map([...headers].map(([file, tensors]) => [file, new Set(tensors.map((t) => t.name))]));
  const lost = [...index].find(([tensor, file]) => !held.get(file)?.has(tensor));
  return lost && badIndex(`says that '${printable(lost[0])}' is in ${lost[1]}, but it is not`);
}

function parseAll(
  texts: ReadonlyMap<string, string>,
  kind: SourceKind = "bucket",
): ReadonlyMap<string, Json> | ModelProblem {
  const parsed = new Map<string, Json>();
  for (const [path, text] of texts) {
    if (path === INDEX_PATH) continue;
    if (isTemplatePath(path)) {
      const unsafe = templateProblem(path, text);
      if (unsafe) return unsafe;
      continue;
    }
    if (isOtherConfig(path)) {
      const problem = codeProblem(path, text, kind);
      if (problem) return problem;
      continue;
    }
    const json = parseConfig(path, text, mostValues[path]);
    if (isProblem(json)) return json;
    const code = codeIn(path, json, kind) ?? templatesProblem(path, json);
    if (code) return code;
    parsed.set(path, json);
  }
  return parsed;
}

/** Configuration and architecture alone, decided before any safetensors header is read. */
export function inspectConfig(
  listing: Pick<Listing, "kind" | "files" | "leftOut">,
  texts: ReadonlyMap<string, string>,
): ModelProblem | undefined {
  const configs = parseAll(texts, listing.kind);
  if (isProblem(configs)) return configs;
  const architecture = architectureOf(configs.get("config.json") ?? {});
  if (typeof architecture !== "string") return architecture;
  const index = readIndex(texts);
  return index && isProblem(index) ? index : layersProblem(listing, texts);
}

/** A hostile configuration may hold numbers whose product no status field can carry: unknown, then. */
function isFact(value: unknown): boolean {
  if (typeof value === "number") return Number.isFinite(value) && Math.abs(value) <= Number.MAX_SAFE_INTEGER;
  if (Array.isArray(value)) return value.every(isFact);
  return value !== undefined && (!isJson(value) || Object.values(value).every(isFact));
}

/**
 * Facts of the model. `texts` holds the inspected files that exist, `headers` the tensors of every safetensors file of
 * the listing by path.
 */
export function inspect(
  listing: Listing,
  texts: ReadonlyMap<string, string>,
  headers: ReadonlyMap<string, readonly Tensor[]>,
): ModelFacts | ModelProblem {
  const configs = parseAll(texts, listing.kind);
  if (isProblem(configs)) return configs;
  const config = withQuantization(configs.get("config.json") ?? {}, configs.get(modelOptPath));
  const architecture = architectureOf(config);
  if (typeof architecture !== "string") return architecture;
  const index = readIndex(texts);
  if (index && isProblem(index)) return index;
  const fault = index && indexFault(index, headers);
  if (fault) return fault;
  const tensors = weightFiles(listing, index).flatMap((path) => headers.get(path) ?? []);
  const paths = new Set(listing.files.map((file) => file.path));
  const task = taskOf(architecture, paths.has("modules.json") && paths.has("1_Pooling/config.json"));
  const facts = factsOf(architecture, task, config, tensors);
  const tokenizer = configs.get(tokenizerPath);
  const contextLength = contextLengthOf(config, task, { sentence: configs.get(sentencePath), tokenizer });
  const parsers =
    task === "Generate" ? parsersOf({ architecture, chatTemplate: chatTemplateOf(texts, configs) }) : undefined;
  const words = { ...wordsOf(paths, tokenizer), parsers, ropeScaling: ropeTypeOf(config) };
  return withoutUnknown({ sizeBytes: listing.sizeBytes, ...facts, contextLength, ...words }, task);
}

function factsOf(architecture: string, task: Task, config: Json, tensors: readonly Tensor[]): ModelFacts {
  const quantization = quantizationOf(config);
  const shape = shapeOf(config, tensors);
  const weights = weightPartsOf(tensors, config, quantization !== undefined);
  const parameters = parametersOf(tensors, config, quantization);
  const cache = cacheOf(architecture, task, config, shape);
  const storedBytes = tensors.reduce((sum, tensor) => sum + tensor.bytes, 0);
  return {
    weightBytes: loadedBytes(weights),
    architecture,
    task,
    parameters,
    dtype: dtypeOf(tensors),
    quantization,
    kvBytesPerToken: cache && kvBytesPerToken(cache),
    effectiveBits: parameters ? Math.round((storedBytes * 800) / parameters) / 100 : undefined,
    dtypes: dtypesOf(tensors),
    ...(Object.keys(shape).length > 0 ? { shape } : {}),
    weights,
    cache: cache && [...cache],
  };
}

/** Facts that carry a number no status field can hold are unknown; what is missing is named with what depends on it. */
function withoutUnknown(facts: ModelFacts, task: Task): ModelFacts {
  const unknown = [
    ...(facts.parameters === undefined ? ["parameters: the packing of the quantized tensors is not known"] : []),
    ...(facts.contextLength === undefined
      ? ["contextLength: config.json names no length; no context can be promised"]
      : []),
    ...(facts.cache === undefined && task !== "Unknown"
      ? ["cache: config.json leaves open what the layers keep; no context can be promised"]
      : []),
  ];
  const all: ModelFacts = { ...facts, ...(unknown.length > 0 ? { unknown } : {}) };
  return Object.fromEntries(Object.entries(all).filter(([, value]) => isFact(value)));
}
