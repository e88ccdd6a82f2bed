/**
 * The engine's environment: what Berth sets, and which names a user may add. Names of vLLM's own are checked against the
 * version's list (vllm/envs.py), since vLLM only warns of a misspelt one. Everything is refused that is not known to be harmless.
 */
import { noProfile, profileOf } from "./profile.ts";

export interface EnvironmentVariable {
  readonly name: string;
  readonly value: string;
}

/** Names without VLLM_ that tune and do no more. NCCL has others that load plugins or name files. */
const OTHERS: ReadonlySet<string> = new Set([
  "CUDA_DEVICE_MAX_CONNECTIONS",
  "FORCE_COLOR",
  "GLOO_SOCKET_IFNAME",
  "NCCL_ALGO",
  "NCCL_BUFFSIZE",
  "NCCL_CUMEM_ENABLE",
  "NCCL_DEBUG",
  "NCCL_IB_DISABLE",
  "NCCL_MAX_NCHANNELS",
  "NCCL_MIN_NCHANNELS",
  "NCCL_NVLS_ENABLE",
  "NCCL_P2P_DISABLE",
  "NCCL_P2P_LEVEL",
  "NCCL_PROTO",
  "NCCL_SHM_DISABLE",
  "NCCL_SOCKET_IFNAME",
  "NO_COLOR",
  "NVIDIA_TF32_OVERRIDE",
  "OMP_NUM_THREADS",
  "PYTORCH_ALLOC_CONF",
  "PYTORCH_CUDA_ALLOC_CONF",
  "PYTORCH_HIP_ALLOC_CONF",
  "TOKENIZERS_PARALLELISM",
  "TZ",
]);

/** vLLM's own that choose kernels, limits and timeouts. */
const TUNING = new RegExp(
  `^VLLM_(${[
    "ROCM_(?!SLEEP).*",
    "XPU_.*",
    "CPU_(?!CI).*",
    "USE_(DEEP_GEMM.*|FLASHINFER.*|TRITON_AWQ|FUSED_MOE_GROUPED_TOPK|NCCL_SYMM_MEM|V2_MODEL_RUNNER|AOT_COMPILE|FASTOKENS)",
    "ALLREDUCE_USE_.*",
    "FLASHINFER_(ALLREDUCE_BACKEND|AUTOTUNE_SKIP_OPS|MOE_.*)",
    "MARLIN_.*",
    "MOE_(USE_DEEP_GEMM|SKIP_PADDING)",
    "(DEEP_GEMM_WARMUP|DISABLE_PYNCCL|DISABLED_KERNELS|FLOAT32_MATMUL_PRECISION|KV_CACHE_LAYOUT|BATCH_INVARIANT)",
    "(DISABLE_COMPILE_CACHE|ENABLE_INDUCTOR_.*|ENABLE_STARTUP_PLAN|ENABLE_CUDAGRAPH_GC|SKIP_P2P_CHECK)",
    "(EXECUTE_MODEL_TIMEOUT_SECONDS|HTTP_TIMEOUT_KEEP_ALIVE|WORKER_SHUTDOWN_TIMEOUT_SECONDS)",
    "(AUDIO|IMAGE|VIDEO)_FETCH_TIMEOUT",
    "MAX_(AUDIO_.*|BAD_WORDS_TOTAL_TOKENS|COMPLETION_PROMPTS|EMBED_DECODE_BYTES|IMAGE_PIXELS|MEDIA_DOWNLOAD_SIZE_MB)",
    "MAX_(NUM_BAD_WORDS|N_SEQUENCES|STOP_STRINGS|TOKENS_PER_EXPERT_FP4_MOE)",
    "(TOOL_JSON_ERROR_AUTOMATIC_RETRY|TOOL_PARSE_REGEX_TIMEOUT_SECONDS|REGEX_COMPILATION_TIMEOUT_S|ENFORCE_STRICT_TOOL_CALLING)",
    "(CHAT_TEMPLATE_RENDER_TIMEOUT|XGRAMMAR_CACHE_MB|LOG_STATS_INTERVAL|LOGGING_COLOR|MEDIA_LOADING_THREAD_COUNT)",
  ].join("|")})$`,
);

/** Why some names may not be set; the first that fits is said. */
const REASONS: readonly (readonly [names: RegExp, because: string])[] = [
  [/^VLLM_API_KEY$/, "keys are the platform's, and one in the spec can be read by everybody who may read it"],
  [
    /^(LD_|PYTHON|BASH_ENV$|ENV$|PATH$|GLIBC_|CC$|CXX$|CUDA_HOME$|TRITON_|TORCH|.*_PLUGIN|VLLM_PLUGINS$)/,
    "it can load code that is not part of the engine",
  ],
  [
    /^VLLM_(SERVER_DEV_MODE|ALLOW_RUNTIME_LORA_UPDATING|ALLOW_INSECURE_SERIALIZATION|TRACE_FUNCTION)$/,
    "it opens developer endpoints or unsafe formats",
  ],
  [/^VLLM_(MLA_DISABLE|REPLICATE_EMBED|MEMORY_PROFILER_.*)$/, "the memory was planned for without it"],
  [/^VLLM_ENGINE_READY_TIMEOUT_S$/, "Berth computes it from the model's weights and the node's disk"],
  [/^VLLM_ALLOW_LONG_MAX_MODEL_LEN$/, "a context beyond the model's own gives wrong answers"],
  [/(TOKEN|SECRET|PASSWORD|ACCESS_KEY|CREDENTIAL)/, "secrets do not belong into a spec"],
  [
    /^(HF_|HUGGING|TRANSFORMERS_|AWS_|S3_|GOOGLE_|AZURE_)|PROXY$/i,
    "the engine reaches no hub, store or proxy: the model's files are brought to it",
  ],
  [/^VLLM_.*(LOGGING|LOG_API|DEBUG|DUMP|NVTX|PROFILING)/, "it can write prompts or answers into logs"],
  [/(_PATH|_DIR|_ROOT|_FOLDER|_CACHE|_HOME|^HOME|^TMPDIR|^XDG_)/, "it names local files"],
  [
    /^(CUDA_|ROCR_|HIP_|NVIDIA_)VISIBLE|^VLLM_(DP|RAY|NIXL|MOONCAKE|P2P|EC|PORT|HOST_IP|LOOPBACK|RPC)/,
    "Berth decides devices, ports and peers",
  ],
];

/** spec.engine.env judged for one engine version; the sentence about the first that is refused. */
export function refusedVariable(variables: readonly EnvironmentVariable[], version: string): string | undefined {
  const profile = profileOf(version);
  if (variables.length === 0) return undefined;
  if (!profile) return noProfile(version);
  for (const { name, value } of variables) {
    const because = problemOf(name, value, new Set(profile.environment), profile.version);
    if (because !== undefined) return `spec.engine.env: ${JSON.stringify(name.slice(0, 80))} ${because}`;
  }
  return undefined;
}

function problemOf(name: string, value: string, known: ReadonlySet<string>, version: string): string | undefined {
  if (/\p{Cc}/u.test(value)) return "has a value with a control character such as a line break";
  if (value.includes("$(")) return "has a value with $(…), which Kubernetes would replace by another variable";
  if (OTHERS.has(name)) return undefined;
  const reason = REASONS.find(([names]) => names.test(name));
  if (TUNING.test(name) && !(reason && /KEY|SECRET/.test(name))) {
    return known.has(name) ? undefined : `is no variable of vLLM ${version}${nearest(name, known)}`;
  }
  if (name.startsWith("VLLM_") && !known.has(name)) return `is no variable of vLLM ${version}${nearest(name, known)}`;
  return `may not be set: ${reason?.[1] ?? "it is not one of those that only tune the engine"}`;
}

/** The known name that differs least, if it is near enough to be what was meant. */
function nearest(name: string, known: ReadonlySet<string>): string {
  const scored = [...known].map((candidate) => [distance(name, candidate), candidate] as const);
  const [best] = scored.sort(([a], [b]) => a - b);
  return best && best[0] <= 4 ? `: did you mean ${best[1]}?` : "";
}

/** Levenshtein's distance. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (const [i, letter] of [...a].entries()) {
    const next = [i + 1];
    for (const [j, other] of [...b].entries())
      next.push(Math.min((row[j] ?? 0) + (letter === other ? 0 : 1), (row[j + 1] ?? 0) + 1, (next[j] ?? 0) + 1));
    row = next;
  }
  return row.at(-1) ?? 0;
}
