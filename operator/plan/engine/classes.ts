/**
 * Every flag of every profile in one of three classes. An unclassed flag is forbidden; a test proves that there is none.
 * owned: Berth derives it, the text says from what. forbidden: it would break safety, the text says how. allowed: the rest,
 * some within limits on the value (limits.ts).
 */

export type FlagClass =
  | { readonly kind: "owned"; readonly instead: string }
  | { readonly kind: "forbidden"; readonly because: string }
  | { readonly kind: "allowed" };

const NODE = "it follows from the node type's GPUs: one replica is one server on one node";
const PLANNED = "it is part of the memory that was planned for: a change would void the promised context";
const FILES = "the model's files are pinned by spec.model";
const NETWORK = "Berth decides where the server listens and who reaches it";
const TASK = "it follows from the model's task";
const LORA = "adapters are not served by this version of Berth";
const PINNED = "revisions are pinned by digest: set spec.model.revision";

const CODE = "it loads code that is not part of the engine";
const KEY = "a secret on the command line can be read in the pod's spec: access is granted by the platform";
const DEVELOPER = "it opens developer endpoints or tracing";
const PATHS = "it names local files, which may be other people's or the node's";
const OUTWARD = "it makes the server connect to, or listen for, others than its clients";
const PROMPTS = "it can write prompts or answers into logs";
const REQUESTS = "it lets a single request bring templates or tensors that can crash or mislead the server";
const UNBOUNDED = "its effect on memory is not bounded by what was planned for the node";

/** Flags by the words that explain them; names without the leading dashes. */
type Listing = readonly (readonly [explanation: string, names: string])[];

const OWNED: Listing = [
  ["it is spec.model", "model"],
  ["the model is served under the deployment's name", "served-model-name"],
  ["set spec.contextLength", "max-model-len"],
  ["set spec.engine.toolCallParser", "tool-call-parser enable-auto-tool-choice"],
  ["set spec.engine.reasoningParser", "reasoning-parser"],
  ["set spec.quantization.bits", "quantization quantization-config allow-deprecated-quantization"],
  ["it follows from the model's files", "load-format chat-template config-format tokenizer-mode ignore-patterns"],
  [FILES, "tokenizer hf-config-path hf-overrides download-dir model-loader-extra-config"],
  [PINNED, "revision code-revision tokenizer-revision"],
  [TASK, "runner convert"],
  [
    NODE,
    "tensor-parallel-size pipeline-parallel-size data-parallel-size enable-expert-parallel nnodes node-rank master-addr " +
      "master-port headless distributed-executor-backend api-server-count data-parallel-rank data-parallel-start-rank " +
      "data-parallel-size-local data-parallel-address data-parallel-rpc-port data-parallel-backend " +
      "data-parallel-hybrid-lb data-parallel-external-lb data-parallel-multi-port-external-lb device-ids " +
      "data-parallel-supervisor-port dp-supervisor-probe-failure-threshold dp-supervisor-probe-interval-s " +
      "dp-supervisor-probe-timeout-s decode-context-parallel-size prefill-context-parallel-size dcp-comm-backend " +
      "dcp-kv-cache-interleave-size cp-kv-cache-interleave-size dcp-q-replicate dp-sync-interval enable-elastic-ep " +
      "elastic-ep-max-dp-size enable-scale-out numa-bind numa-bind-cpus numa-bind-nodes",
  ],
  [
    PLANNED,
    "gpu-memory-utilization kv-cache-memory-bytes num-gpu-blocks-override kv-offloading-size kv-offloading-backend " +
      "cpu-offload-gb cpu-offload-params offload-backend offload-group-size offload-num-in-group offload-params " +
      "offload-prefetch-step disable-sliding-window disable-hybrid-kv-cache-manager mamba-block-size mamba-cache-dtype " +
      "mamba-cache-mode mamba-ssm-cache-dtype kv-cache-dtype-skip-layers enable-dbo ubatch-size " +
      "dbo-decode-token-threshold dbo-prefill-token-threshold speculative-config spec-method spec-model spec-tokens " +
      "block-size enable-chunked-prefill enable-eplb eplb-config mm-encoder-tp-mode use-replayssm replayssm-buffer-len " +
      "enable-mamba-fine-grained-prefix-cache enable-mamba-shared-prefix-checkpoint",
  ],
  [
    LORA,
    "enable-lora lora-modules default-mm-loras max-loras max-lora-rank lora-dtype max-cpu-loras fully-sharded-loras " +
      "lora-target-modules specialize-active-lora enable-tower-connector-lora enable-mixed-moe-lora-format " +
      "enable-moe-shared-loras max-lora-cls-labels",
  ],
  [NETWORK, "host port uds root-path"],
  ["it is matched with the pod's grace period", "shutdown-timeout"],
  ["Berth sets it for the safety of production", "disable-fastapi-docs disable-uvicorn-access-log"],
  ["without access logs there is nothing to leave out", "disable-access-log-for-endpoints"],
  ["usage is metered and checked against the answers", "enable-force-include-usage disable-log-stats"],
  ["Berth checks environment variables before the pod is made", "fail-on-environ-validation"],
];

const FORBIDDEN: Listing = [
  [
    CODE,
    "trust-remote-code tool-parser-plugin reasoning-parser-plugin io-processor-plugin logits-processors middleware " +
      "worker-cls worker-extension-cls scheduler-cls model-class-overrides ec-manager-config additional-config",
  ],
  [KEY, "api-key hf-token"],
  [
    DEVELOPER,
    "enable-sleep-mode sleep-mode-offload-cudagraph sleep-preserve-parameter-names enable-cumem-allocator " +
      "enable-nccl-comm-suspend enable-tokenizer-info-endpoint enable-offline-docs profiler-config " +
      "collect-detailed-traces enable-layerwise-nvtx-tracing ray-workers-use-nsight enable-trace-replay " +
      "enable-fault-tolerance fault-tolerance-config weight-transfer-config help tokens-only skip-tokenizer-init",
  ],
  [
    PATHS,
    "config allowed-local-media-path log-config-file logging-config ssl-keyfile ssl-certfile ssl-ca-certs ssl-cert-reqs " +
      "ssl-ciphers enable-ssl-refresh mm-encoder-fp8-scale-path mm-encoder-fp8-scale-save-path " +
      "mm-encoder-fp8-scale-save-margin",
  ],
  [
    OUTWARD,
    "tool-server otlp-traces-endpoint kv-transfer-config ec-transfer-config kv-events-config grpc grpc-port " +
      "allowed-media-domains",
  ],
  [PROMPTS, "enable-log-requests enable-log-outputs enable-log-deltas max-log-len log-error-stack log-level"],
  [REQUESTS, "trust-request-chat-template trust-request-mm-kwargs enable-prompt-embeds enable-mm-embeds"],
  [
    UNBOUNDED,
    "enable-return-routed-experts aux-output-config diffusion-config engram-config ir-op-priority watermark-config " +
      "max-parallel-loading-workers mm-encoder-only mm-ipc-gpu-memory-gb mm-tensor-ipc mm-shm-cache-max-object-size-mb " +
      "mm-processor-cache-type mm-processor-device skip-mm-profiling enable-shm-tensor-arena " +
      "pt-load-map-location",
  ],
];

const ALLOWED =
  "aggregate-engine-logging all2all-backend allow-credentials allowed-headers allowed-methods allowed-origins " +
  "anthropic-disabled-thinking-effort async-scheduling attention-backend attention-config " +
  "chat-template-content-format cohere-format cohere-is-reasoning-model compilation-config cpu-distributed-timeout-seconds " +
  "cudagraph-capture-sizes cudagraph-metrics custom-histogram-buckets default-chat-template-kwargs disable-cascade-attn " +
  "disable-chunked-mm-input disable-custom-all-reduce disable-nccl-for-dp-synchronization distributed-timeout-seconds " +
  "dtype enable-batch-sharded-sampling enable-bf16x3-router-gemm enable-ep-weight-filter " +
  "enable-flash-late-interaction enable-flashinfer-autotune enable-hc-sp enable-logging-iteration-details " +
  "enable-mamba-cache-stochastic-rounding enable-mfu-metrics " +
  "enable-per-request-metrics enable-prefix-caching enable-prompt-tokens-details enable-request-id-headers " +
  "enable-server-load-tracking enforce-eager exclude-tools-when-tool-choice-none expert-placement-strategy " +
  "fingerprint-mode fingerprint-value gdn-prefill-backend generation-config h11-max-header-count " +
  "h11-max-incomplete-event-size interleave-mm-strings jit-monitor-mode jit-monitor-verbose kda-decode-backend " +
  "kda-prefill-backend kernel-config kv-cache-dtype kv-cache-metrics kv-cache-metrics-sample kv-sharing-fast-prefill " +
  "language-model-only limit-mm-per-prompt linear-backend logprobs-mode long-prefill-token-threshold " +
  "long-prefill-token-threshold-adaptive mamba-backend mamba-cache-philox-rounds mamba-ssu-algorithm " +
  "max-cudagraph-capture-size max-logprobs max-num-active-seqs max-num-batched-tokens max-num-queued-reqs " +
  "max-num-queued-tokens max-num-scheduled-tokens max-num-seqs media-io-kwargs mm-device-do-normalize " +
  "mm-encoder-attn-backend mm-encoder-attn-dtype mm-hasher-algorithm mm-processor-cache-gb " +
  "mm-processor-kwargs model-impl moe-backend optimization-level override-generation-config " +
  "per-request-spec-decode-metrics performance-mode pooler-config prefill-schedule-interval " +
  "prefix-cache-retention-interval prefix-caching-hash-algo prefix-match-unit reasoning-config renderer-num-workers " +
  "response-role return-sampling-mask return-tokens-as-token-ids safetensors-load-strategy " +
  "safetensors-prefetch-block-size safetensors-prefetch-num-threads scheduler-reserve-full-isl scheduling-policy seed " +
  "show-hidden-metrics-for-version sparse-indexer-topk-backend sse-keep-alive-interval stream-interval " +
  "structured-outputs-config swa-bounded-replay tool-strict-level use-fp64-gumbel use-tqdm-on-load " +
  "uvicorn-log-level video-pruning-method video-pruning-rate watermark";

/** Full flag names as classed; exported for the test that no flag of a profile is missing or classed twice. */
export const classedFlags: readonly (readonly [flag: string, FlagClass])[] = [
  ...listed(OWNED, (instead) => ({ kind: "owned", instead })),
  ...listed(FORBIDDEN, (because) => ({ kind: "forbidden", because })),
  ...listed([["", ALLOWED]], () => ({ kind: "allowed" })),
];

function listed(listing: Listing, classOf: (text: string) => FlagClass): [string, FlagClass][] {
  return listing.flatMap(([text, names]) =>
    names.split(" ").map((name): [string, FlagClass] => [`--${name}`, classOf(text)]),
  );
}

const byFlag = new Map(classedFlags);

/** Class of a full flag name; what nobody has looked at is forbidden. */
export function classOf(flag: string): FlagClass {
  return byFlag.get(flag) ?? { kind: "forbidden", because: "this version of Berth has not classed it" };
}
