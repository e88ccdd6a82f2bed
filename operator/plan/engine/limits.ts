/** Which values an allowed flag may have: words, numbers, keys of its JSON. What the plan of the memory bounds: planned.ts. */
import type { Plain } from "./words.ts";

/** Flags whose value is a JSON object, with the keys that may be set (a key stands for everything below it). */
export const jsonPolicies: Readonly<Record<string, JsonPolicy>> = {
  "--attention-config": { only: ["backend"] },
  // Others name folders, passes and backends, which vLLM imports by name (vllm/config/compilation.py).
  "--compilation-config": {
    only: [
      "mode",
      "cudagraph_mode",
      "cudagraph_capture_sizes",
      "max_cudagraph_capture_size",
      "cudagraph_num_of_warmups",
    ],
  },
  "--custom-histogram-buckets": { except: [] },
  // vLLM refuses these two in a request; here they would replace the model's own template.
  "--default-chat-template-kwargs": { except: ["chat_template", "tokenize", "tools", "documents"] },
  "--kernel-config": { only: ["moe_backend", "linear_backend", "enable_flashinfer_autotune"] },
  "--limit-mm-per-prompt": { only: ["image", "video", "audio"] },
  "--media-io-kwargs": { only: ["video.num_frames", "video.fps", "image.rgba_background_color"] },
  "--mm-processor-kwargs": { only: ["use_fast"] },
  "--override-generation-config": {
    only: [
      "temperature",
      "top_p",
      "top_k",
      "min_p",
      "repetition_penalty",
      "presence_penalty",
      "frequency_penalty",
      "max_new_tokens",
    ],
  },
  "--pooler-config": {
    only: [
      "pooling_type",
      "seq_pooling_type",
      "tok_pooling_type",
      "normalize",
      "use_activation",
      "activation",
      "dimensions",
      "enable_chunked_processing",
      "max_embed_len",
    ],
  },
  "--reasoning-config": { only: ["reasoning_start_str", "reasoning_end_str"] },
  "--structured-outputs-config": {
    only: ["backend", "disable_any_whitespace", "disable_additional_properties", "enable_in_reasoning"],
  },
};

export type JsonPolicy = { readonly only: readonly string[] } | { readonly except: readonly string[] };

/** Flags whose value is a JSON list (CORS). */
export const jsonLists: ReadonlySet<string> = new Set(["--allowed-origins", "--allowed-methods", "--allowed-headers"]);

interface Words {
  readonly only: readonly string[];
  /** Why the others are left out. */
  readonly because: string;
}

/** Narrower than the parser's own choices. */
const WORDS: Readonly<Record<string, Words>> = {
  "--dtype": { only: ["auto", "bfloat16", "float16", "half"], because: "32-bit weights were not planned for" },
  "--generation-config": { only: ["auto", "vllm"], because: "other values name a folder" },
  "--kv-cache-dtype": {
    only: ["auto", "bfloat16", "float16", "fp8", "fp8_e4m3", "fp8_e5m2"],
    because: "the memory is planned for 16 or 8 bits of cache",
  },
  "--model-impl": {
    only: ["auto", "vllm"],
    because: "the memory was planned for vLLM's own classes, and others load code",
  },
  "--optimization-level": { only: ["0", "1", "2", "3"], because: "vLLM has no other level" },
  "--prefix-caching-hash-algo": {
    only: ["sha256", "sha256_cbor"],
    because: "with a hash that collides, one user's prompt could answer another's",
  },
  "--performance-mode": {
    only: ["balanced", "interactivity"],
    because: "throughput doubles the batch beyond what was planned for",
  },
  "--uvicorn-log-level": {
    only: ["critical", "error", "warning", "info"],
    because: "debug and trace can write requests into the log",
  },
  "--response-role": { only: ["assistant", "user", "system", "model"], because: "it is a role of a chat" },
  "--video-pruning-method": { only: ["evs", "vidcom2"], because: "others load code" },
  "--mamba-backend": { only: ["triton", "flashinfer"], because: "others load code" },
};

/** Names of vLLM's own tables; a path or a dotted class is none. */
const NAMES: ReadonlySet<string> = new Set(["--attention-backend", "--mm-encoder-attn-backend", "--cohere-format"]);

interface Range {
  readonly least: number;
  readonly most: number;
  readonly because: string;
}

const CAPTURE: Range = { least: 1, most: 512, because: "the graphs of larger batches were not planned for" };
const ALIVE: Range = { least: 1, most: 1e12, because: "the engine needs at least one" };

/** Numbers, also those of a list. */
const RANGES: Readonly<Record<string, Range>> = {
  "--cudagraph-capture-sizes": CAPTURE,
  "--max-cudagraph-capture-size": CAPTURE,
  "--max-logprobs": { least: 0, most: 100, because: "an answer would carry much of the vocabulary for each token" },
  "--max-num-seqs": ALIVE,
  "--max-num-batched-tokens": ALIVE,
  "--max-num-scheduled-tokens": ALIVE,
  "--mm-processor-cache-gb": { least: 0, most: 4, because: "the pod's memory request counts on it" },
  "--renderer-num-workers": { least: 1, most: 4, because: "the pod's CPUs count on it" },
};

/** Items of each modality in one request, at most; vLLM's own default is 999 of each (config/multimodal.py). */
export const MEDIA_LIMITS: Readonly<Record<string, number>> = { audio: 8, image: 8, video: 1 };

const DECODED = "it bounds what one request can make the server decode";

/** Numbers inside of JSON by flag and path: nothing else may stand there. */
const INNER: Readonly<Record<string, Readonly<Record<string, Range>>>> = {
  "--compilation-config": { cudagraph_capture_sizes: CAPTURE, max_cudagraph_capture_size: CAPTURE },
  "--limit-mm-per-prompt": Object.fromEntries(
    Object.entries(MEDIA_LIMITS).map(([modality, most]) => [modality, { least: 0, most, because: DECODED }]),
  ),
  "--media-io-kwargs": {
    "video.num_frames": { least: 1, most: 128, because: DECODED },
    "video.fps": { least: 1, most: 30, because: DECODED },
  },
};

/** The sentence about what is wrong with an allowed flag's value; undefined if nothing is. */
export function wrongValue(flag: string, value: Plain): string | undefined {
  const words = WORDS[flag];
  if (words && !words.only.includes(String(value)))
    return `may be ${words.only.join(", ")} only, since ${words.because}`;
  if (NAMES.has(flag) && !/^[A-Za-z][A-Za-z0-9_]{0,63}$/.test(String(value)))
    return "is a name out of vLLM's own table: letters, digits and '_'";
  const range = RANGES[flag];
  if (range) return outOf(range, value);
  const policy = jsonPolicies[flag];
  return policy ? (wrongKeys(policy, value) ?? wrongInner(INNER[flag], value)) : undefined;
}

function outOf({ least, most, because }: Range, value: Plain): string | undefined {
  const numbers = Array.isArray(value) ? value : [value];
  const isRight = (one: Plain): boolean =>
    /^\d{1,13}(\.\d+)?$/.test(String(one)) && Number(one) >= least && Number(one) <= most;
  if (numbers.length > 0 && numbers.every(isRight)) return undefined;
  const bounds = most === ALIVE.most ? `${String(least)} or more` : `from ${String(least)} to ${String(most)}`;
  return `may be ${bounds}: ${because}`;
}

function wrongInner(ranges: Readonly<Record<string, Range>> | undefined, value: Plain): string | undefined {
  for (const [path, leaf] of leavesOf(value)) {
    const key = ranges && Object.keys(ranges).find((name) => path === name || path.startsWith(`${name}.`));
    const wrong = ranges && key !== undefined ? outOf(ranges[key] ?? ALIVE, path === key ? leaf : {}) : undefined;
    if (wrong !== undefined) return `has the key ${JSON.stringify(path.slice(0, 80))}, which ${wrong}`;
  }
  return undefined;
}

function wrongKeys(policy: JsonPolicy, value: Plain): string | undefined {
  const paths = leavesOf(value).map(([path]) => path);
  const under = (path: string, keys: readonly string[]): boolean =>
    keys.some((key) => path === key || path.startsWith(`${key}.`));
  const bad =
    "only" in policy
      ? paths.find((path) => !under(path, policy.only))
      : paths.find((path) => under(path, policy.except));
  if (bad === undefined) return undefined;
  return "only" in policy
    ? `has the key ${JSON.stringify(bad.slice(0, 80))}: only ${policy.only.join(", ")} may be set`
    : `has the key ${JSON.stringify(bad.slice(0, 80))}, which may not be set`;
}

/** Everything that is no object by its dotted path; an empty object is its own leaf. */
function leavesOf(value: Plain, prefix = ""): [path: string, leaf: Plain][] {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return [[prefix, value]];
  const entries = Object.entries(value as Readonly<Record<string, Plain>>);
  if (entries.length === 0) return prefix === "" ? [] : [[prefix, value]];
  return entries.flatMap(([key, inner]) => leavesOf(inner, prefix === "" ? key : `${prefix}.${key}`));
}
