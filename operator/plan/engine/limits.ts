/** Which values an allowed flag may have: words, keys of its JSON, and the most that was planned for. */
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
  "--eplb-config": { only: ["window_size", "step_interval", "log_balancedness"] },
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
  "--model-impl": {
    only: ["auto", "vllm", "transformers"],
    because: "others load code that is not part of the engine",
  },
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

/** What was planned for; a user's number may be smaller. */
export interface Planned {
  readonly maxSequences?: number;
  readonly maxBatchedTokens?: number;
}

/** The sentence about what is wrong with an allowed flag's value; undefined if nothing is. */
export function wrongValue(flag: string, value: Plain): string | undefined {
  const words = WORDS[flag];
  if (words && !words.only.includes(String(value)))
    return `may be ${words.only.join(", ")} only, since ${words.because}`;
  if (flag === "--mm-processor-cache-gb" && !(Number(value) <= 4))
    return "may be 4 at most: the pod's memory request counts on it";
  if (flag === "--renderer-num-workers" && !(Number(value) <= 4)) return "may be 4 at most: the pod's CPUs count on it";
  const policy = jsonPolicies[flag];
  return policy ? wrongKeys(policy, value) : undefined;
}

/** A number beyond what the promised context was computed with: a conflict, not a forbidden value. */
export function beyondPlan(flag: string, value: Plain, planned: Planned): string | undefined {
  const most =
    flag === "--max-num-seqs"
      ? planned.maxSequences
      : flag === "--max-num-batched-tokens" || flag === "--max-num-scheduled-tokens"
        ? planned.maxBatchedTokens
        : undefined;
  if (most === undefined || Number(value) <= most) return undefined;
  return `is ${String(value)}, but the memory was planned for ${most}: set ${most} or less, or a smaller spec.contextLength on a larger node type`;
}

function wrongKeys(policy: JsonPolicy, value: Plain): string | undefined {
  const paths = leaves(value);
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

/** Dotted paths of everything that is no object; an empty object is its own leaf. */
function leaves(value: Plain, prefix = ""): string[] {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return [prefix];
  const entries = Object.entries(value as Readonly<Record<string, Plain>>);
  if (entries.length === 0) return prefix === "" ? [] : [prefix];
  return entries.flatMap(([key, inner]) => leaves(inner, prefix === "" ? key : `${prefix}.${key}`));
}
