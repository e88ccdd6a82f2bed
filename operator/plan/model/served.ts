/** Which files of a source an engine reads, by their paths: all others are left out. */
import { extensionOf, isManifestName } from "./keynames.ts";

const servedExtensions = new Set(["safetensors", "json", "txt", "model", "jinja", "tiktoken", "md"]);
const servedNames = /^(LICEN[CS]E|NOTICE|USE_POLICY|COPYING)[^/]*$/i;
const consolidated = /^consolidated[^/]*\.safetensors$/;
/** Sentencepiece models of Mistral's own tokenizer, with their version. */
const mistralTokenizer = /^tokenizer\.model\.v\d+(m\d+)?$/;

/** Formats that the platform lets along beside safetensors. */
export interface ExtraFormats {
  readonly gguf: boolean;
}

/**
 * Below the root vLLM (0.28 to 0.32) reads weights of layers of sentence-transformers, by a file of one name beside the layer's
 * config.json (adapters.py _load_dense_weights), and Kimi Audio's encoder (kimi_audio.py). Other folders hold second copies:
 * `original/` of gpt-oss doubled what each node had to fetch.
 */
function isReadBelow(path: string, paths: ReadonlySet<string>): boolean {
  const at = path.lastIndexOf("/");
  const folder = path.slice(0, at);
  if (folder === "whisper-large-v3") return true;
  const isLayer = path.slice(at + 1) === "model.safetensors" && paths.has(`${folder}/config.json`);
  return isLayer && paths.has("modules.json");
}

/** Tells of each path of a source whether it is served. */
export function servedOf(paths: ReadonlySet<string>, extra: ExtraFormats): (path: string) => boolean {
  const hasShards = [...paths].some((path) => /^model[^/]*\.safetensors$/.test(path));
  return (path) => {
    const segments = path.split("/");
    if (segments.some((segment) => segment.startsWith("."))) return false;
    // Mistral's second copy of the same weights: one layout is enough.
    if (hasShards && consolidated.test(path)) return false;
    const extension = extensionOf(path);
    if (extension === "gguf") return extra.gguf;
    if (extension === "safetensors" && segments.length > 1) return isReadBelow(path, paths);
    return servedExtensions.has(extension) || servedNames.test(path) || mistralTokenizer.test(path);
  };
}

/** Whether a file is, or lies below, what a file system may take for the manifest of Berth's own store. */
export const isManifestPath = (path: string): boolean => isManifestName(path.split("/")[0] ?? "");

const tokenizerNames = [
  "tokenizer.json",
  "tokenizer.model",
  "tekken.json",
  "tiktoken.model",
  "vocab.txt",
  // Sentencepiece by the names of T5 and ALBERT, DeBERTa, XLM-RoBERTa.
  "spiece.model",
  "spm.model",
  "sentencepiece.bpe.model",
] as const;

/** `served` alone counts: vLLM takes Mistral's numbered files only beside Mistral's own weights (tokenizers/registry.py). */
export function hasTokenizer(served: ReadonlySet<string>): boolean {
  if (served.has("vocab.json") && served.has("merges.txt")) return true;
  if (tokenizerNames.some((name) => served.has(name))) return true;
  const top = [...served].filter((path) => !path.includes("/"));
  if (top.some((path) => path.endsWith(".tiktoken"))) return true;
  return top.some((path) => mistralTokenizer.test(path)) && top.some((path) => consolidated.test(path));
}

/** What to add where there is none. */
export const wantedTokenizers =
  "tokenizer.json, tokenizer.model, tekken.json, vocab.txt, a sentencepiece model, or vocab.json with merges.txt";
