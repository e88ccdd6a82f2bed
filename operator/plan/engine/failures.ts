/**
 * Known last words of vLLM, and what to change. Source of the strings: vLLM at 017e9f4 (v1/core/kv_cache_utils.py,
 * v1/worker/utils.py, v1/worker/gpu_model_runner.py, config/model.py, v1/engine/utils.py, envs.py) and the threads named in
 * docs/engine.md. Text of a log is input from outside: only numbers and known words of it reach the message.
 */

export interface Failure {
  /** One word for programs; stable. */
  readonly reason: string;
  /** What to change, for people. */
  readonly message: string;
}

/** What the message may say more about. */
export interface FailureContext {
  readonly contextLength?: number | undefined;
  /** Node types that the matrix allows for the model beside the present one. */
  readonly otherNodeTypes?: readonly string[] | undefined;
}

type Explain = (match: RegExpExecArray, context: FailureContext) => string;

const LARGER = ({ otherNodeTypes = [] }: FailureContext): string =>
  otherNodeTypes.length > 0 ? `use node type ${otherNodeTypes.slice(0, 3).join(" or ")}` : "use a larger node type";

/** The root cause first: a generic wrapper is named only where nothing else is found. */
const KNOWN: readonly (readonly [reason: string, words: RegExp, explain: Explain])[] = [
  [
    "ContextDoesNotFit",
    /estimated maximum model length is ([\d,]+)/,
    (match, context) => {
      const most = Number((match[1] ?? "").replaceAll(",", ""));
      const rounded = Math.floor(most / 16) * 16;
      return rounded >= 16
        ? `vLLM estimates ${grouped(most)} as the largest context: set spec.contextLength to ${most} or less, or ${LARGER(context)}`
        : `not even 16 tokens of context fit beside the weights: ${LARGER(context)}`;
    },
  ],
  [
    "ContextDoesNotFit",
    /\(([\d.]+) GiB KV cache is needed, which is larger than the available KV cache memory \(([\d.]+) GiB/,
    (match, context) =>
      `one full-length request needs ${match[1]} GiB of KV cache, ${match[2]} GiB are available: lower spec.contextLength, or ${LARGER(context)}`,
  ],
  [
    "ContextDoesNotFit",
    /Cannot auto-fit max_model_len/,
    (_, context) => `no memory is left for a single token of context: ${LARGER(context)}`,
  ],
  [
    "NoMemoryForCache",
    /No available memory for the cache blocks/,
    (_, context) => `the weights leave no GPU memory for the KV cache: ${LARGER(context)}, or serve a quantized model`,
  ],
  [
    "NoMemoryForCache",
    /max_num_seqs \((\d+)\) exceeds available Mamba cache blocks \((\d+)\)/,
    (match, context) =>
      Number(match[2]) > 0
        ? `the cache holds the states of ${match[2]} requests, ${match[1]} are allowed at once: add --max-num-seqs ${match[2]} or less to spec.engine.extraArgs, or ${LARGER(context)}`
        : `the weights leave no GPU memory for the KV cache: ${LARGER(context)}`,
  ],
  [
    "GPUMemoryTaken",
    /Free memory on device [^(]{0,40}\(([\d.]+)\/([\d.]+) GiB\) on startup is less than desired GPU memory utilization/,
    (match) =>
      `another process holds GPU memory of the node: ${match[1]} of ${match[2]} GiB are free. Ask the platform to look at the node; a former server that was killed may still be ending`,
  ],
  [
    "OutOfGPUMemory",
    /CUDA out of memory occurred when warming up sampler with (\d+)/,
    (match) =>
      `GPU memory did not suffice for ${match[1]} requests at once: add --max-num-seqs 64 to spec.engine.extraArgs`,
  ],
  [
    "OutOfGPUMemory",
    /not enough GPU memory|OutOfMemoryError|CUDA out of memory|HIP out of memory/,
    (_, context) => `GPU memory did not suffice to load the model: ${LARGER(context)}, or lower spec.contextLength`,
  ],
  [
    "ContextTooLong",
    /max_model_len \((\d+)\) is greater than the derived max_model_len \([^)]{0,80}?=?(\d+)/,
    (match) => `the model was made for ${match[2]} tokens: set spec.contextLength to ${match[2]} or less`,
  ],
  [
    "ArchitectureUnsupported",
    /Model architectures \[([^\]]{0,120})\] are not supported/,
    () => "this engine version does not serve the model's architecture: set spec.engine.version to one that does",
  ],
  [
    "ArchitectureUnsupported",
    /was supported in vLLM until v(\d[\d.]{0,12}\d)/,
    (match) =>
      `vLLM dropped the model's architecture after ${match[1]}: set spec.engine.version to ${match[1]} or older`,
  ],
  [
    "PipelineUnsupported",
    /Pipeline parallelism is not supported for this model/,
    (_, context) => `the model's layers cannot be spread over groups of GPUs: ${LARGER(context)} whose GPUs are linked`,
  ],
  [
    "CustomCode",
    /trust_remote_code=True|requires you to execute the configuration file/,
    () =>
      "the model needs code of its own, which Berth never runs: use a model without it, or a newer spec.engine.version that knows the family",
  ],
  [
    "QuantizationUnsupported",
    /quantization (?:method )?(?:[\w.-]{1,40} )?is (?:currently )?not supported|does not match the quantization method specified/i,
    () =>
      "the GPU or this engine version does not support the model's quantization: use another node type, or leave spec.quantization out",
  ],
  [
    "TensorParallelUnsupported",
    /must be divisible by tensor parallel size \((\d+)\)|is not divisible by weight quantization block|is not divisible by \d+/,
    () => "the model cannot be divided over the node's GPUs: use a node type with fewer of them",
  ],
  [
    "GPUsMissing",
    /World size \((\d+)\) is larger than the number of available GPUs \((\d+)\)/,
    (match) =>
      `${match[1]} GPUs are needed, the container sees ${match[2]}: ask the platform to look at the node's device plugin`,
  ],
  [
    "GPUsMissing",
    /No CUDA GPUs are available|No HIP GPUs are available|Failed to infer device type|Found no NVIDIA driver/,
    () =>
      "the container sees no GPU: ask the platform to look at the node's driver, device plugin and container runtime",
  ],
  [
    "DriverTooOld",
    /Error 80[34]|CUDA driver version is insufficient|forward compatibility was attempted|NVIDIA driver on your system is too old/,
    () =>
      "the node's GPU driver does not fit the engine image: ask the platform for nodes with driver R580 or newer, or set spec.engine.version to an older one",
  ],
  [
    "ServiceLinks",
    /VLLM_PORT '[^']{0,120}' appears to be a URI/,
    () => "a Service named vllm injects VLLM_PORT: rename that Service",
  ],
  [
    "SharedMemory",
    /No space left on device[\s\S]{0,200}\/dev\/shm|unable to (?:open|write to) (?:file|shared memory)|Error while creating shared memory/,
    () => "shared memory ran out: report it with the model and node type, since Berth sizes it",
  ],
  [
    "NCCLFailed",
    /NCCL error|ncclSystemError|ncclInternalError|ncclUnhandledCudaError/,
    () =>
      "the GPUs of the node could not talk to each other: ask the platform to look at the node (NVLink, fabric manager)",
  ],
  [
    "DiskFull",
    /No space left on device|OSError: \[Errno 28\]/,
    () => "the node's disk is full: ask the platform for a larger disk in the node type",
  ],
  [
    "ArgumentRefused",
    /unrecognized arguments: (--[a-z0-9-]{1,60})/,
    (match) => `this engine version does not know ${match[1]}: take it out of spec.engine.extraArgs`,
  ],
  [
    "ParserUnknown",
    /KeyError: .{0,80}(tool call parser|tool parser|reasoning parser|chose from)/i,
    () => "this engine version lacks the parser: correct spec.engine.toolCallParser or spec.engine.reasoningParser",
  ],
  [
    "ChatTemplateBroken",
    /TemplateSyntaxError|supplied chat template[\s\S]{0,200}doesn't exist/,
    () => "the model's chat template cannot be read: import the model with a correct one",
  ],
  [
    "WeightsBroken",
    /SafetensorError|HeaderTooLarge|InvalidHeaderDeserialization|MetadataIncompleteBuffer/,
    () =>
      "the weights on the node cannot be read: delete the pod so that they are fetched again; if it comes back, import the model again",
  ],
  [
    "StartTooSlow",
    /Timed out waiting for engine core processes to start|KeyboardInterrupt\("?terminated|KeyboardInterrupt: terminated/,
    () =>
      "the server was ended while it loaded: the node is slower than planned; ask the platform to look at its disk and network",
  ],
  [
    "EngineFailed",
    /Engine core initialization failed/,
    () => "the engine did not start, and its log names no cause that is known: read the pod's log",
  ],
];

/** Every reason that can be found. */
export const failureReasons: ReadonlySet<string> = new Set(KNOWN.map(([reason]) => reason));

/** Longest text that is looked at: a container's last 64 KiB. */
const MOST_TEXT = 65_536;

/** The first known failure in a termination message or a log's tail; undefined where the text has none. */
export function explainFailure(text: string, context: FailureContext = {}): Failure | undefined {
  const tail = text.slice(-MOST_TEXT);
  for (const [reason, words, explain] of KNOWN) {
    const match = words.exec(tail);
    if (match) return { reason, message: explain(match, context) };
  }
  return undefined;
}

const OUT_OF_HOST_MEMORY = "OutOfHostMemory";

/** What to change where the kubelet alone knows why a container ended. */
export function explainEnding(reason: string | undefined): Failure | undefined {
  if (reason !== "OOMKilled") return undefined;
  return {
    reason: OUT_OF_HOST_MEMORY,
    message:
      "the node's own memory ran out, not the GPU's: use a node type with more memory, or ask the platform what else runs on the node",
  };
}

function grouped(count: number): string {
  return String(count).replace(/\B(?=(\d{3})+$)/g, ",");
}
