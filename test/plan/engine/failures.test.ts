// vLLM's last words and what they should make a user change. The texts are those of vLLM's sources and of public threads.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { explainEnding, explainFailure, failureReasons } from "../../../operator/plan/engine/failures.ts";

const known: readonly (readonly [text: string, reason: string, says: RegExp])[] = [
  [
    "ValueError: To serve at least one request with the model's max seq len (131072), (16.0 GiB KV cache is needed, which is larger than the available KV cache memory (3.3 GiB). Based on the available memory, the estimated maximum model length is 27000. Try increasing `gpu_memory_utilization` or decreasing `max_model_len` when initializing the engine.",
    "ContextDoesNotFit",
    /^vLLM estimates 27,000 as the largest context: set spec\.contextLength to 27000 or less, or use node type h100-1$/,
  ],
  [
    "To serve at least one request with the models's max seq len (32768), (4.00 GiB KV cache is needed, which is larger than the available KV cache memory (0.50 GiB). Try increasing",
    "ContextDoesNotFit",
    /needs 4\.00 GiB of KV cache, 0\.50 GiB are available/,
  ],
  ["the estimated maximum model length is 0.", "ContextDoesNotFit", /not even 16 tokens/],
  [
    "ValueError: max_num_seqs (1024) exceeds available Mamba cache blocks (939). Each decode sequence requires one Mamba cache block, so CUDA graph capture cannot proceed.",
    "NoMemoryForCache",
    /the states of 939 requests, 1024 are allowed at once: add --max-num-seqs 939 or less to spec\.engine\.extraArgs/,
  ],
  [
    "ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_utilization`",
    "NoMemoryForCache",
    /leave no GPU memory/,
  ],
  [
    "ValueError: Free memory on device cuda:0 (12.3/79.2 GiB) on startup is less than desired GPU memory utilization (0.92, 72.8 GiB). Decrease",
    "GPUMemoryTaken",
    /12\.3 of 79\.2 GiB are free/,
  ],
  [
    "RuntimeError: CUDA out of memory occurred when warming up sampler with 1024 dummy requests.",
    "OutOfGPUMemory",
    /1024 requests .*--max-num-seqs 64/,
  ],
  [
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.",
    "OutOfGPUMemory",
    /did not suffice to load/,
  ],
  ["Failed to load model - not enough GPU memory. Try lowering", "OutOfGPUMemory", /did not suffice/],
  [
    "Cannot auto-fit max_model_len: not enough GPU memory available to serve even a single token.",
    "ContextDoesNotFit",
    /single token/,
  ],
  [
    "User-specified max_model_len (200000) is greater than the derived max_model_len (max_position_embeddings=131072 or model_max_length=None in model's config.json).",
    "ContextTooLong",
    /made for 131072 tokens: set spec\.contextLength/,
  ],
  [
    "ValueError: Model architectures ['FooForCausalLM'] are not supported for now.",
    "ArchitectureUnsupported",
    /spec\.engine\.version/,
  ],
  [
    "RuntimeError: Failed to load the model config. If the model is a custom model not yet available in the HuggingFace transformers library, consider setting `trust_remote_code=True` in LLM",
    "CustomCode",
    /never runs/,
  ],
  [
    "ValueError: Quantization method specified in the model config (awq) does not match the quantization method specified in the quantization argument (fp8).",
    "QuantizationUnsupported",
    /spec\.quantization/,
  ],
  ["ValueError: awq quantization is currently not supported in rocm.", "QuantizationUnsupported", /node type/],
  [
    "ValueError: Total number of attention heads (28) must be divisible by tensor parallel size (8).",
    "TensorParallelUnsupported",
    /fewer/,
  ],
  [
    "ValueError: Weight output_partition_size = 320 is not divisible by weight quantization block_n = 128.",
    "TensorParallelUnsupported",
    /divided/,
  ],
  [
    "ValueError: World size (8) is larger than the number of available GPUs (4) in this node.",
    "GPUsMissing",
    /8 GPUs are needed, the container sees 4/,
  ],
  [
    "RuntimeError: Unexpected error from cudaGetDeviceCount(). Error 803: system has unsupported display driver",
    "DriverTooOld",
    /R580/,
  ],
  [
    "ValueError: VLLM_PORT 'tcp://10.0.0.1:80' appears to be a URI. This may be caused",
    "ServiceLinks",
    /rename that Service/,
  ],
  [
    "ValueError: Model architecture MllamaForConditionalGeneration was supported in vLLM until v0.10.2, and is not supported anymore.",
    "ArchitectureUnsupported",
    /after 0\.10\.2: set spec\.engine\.version to 0\.10\.2 or older/,
  ],
  [
    "NotImplementedError: Pipeline parallelism is not supported for this model. Supported models implement the `SupportsPP` interface.",
    "PipelineUnsupported",
    /use node type h100-1 whose GPUs are linked/,
  ],
  ["RuntimeError: No CUDA GPUs are available", "GPUsMissing", /sees no GPU/],
  ["RuntimeError: Failed to infer device type, please set the environment variable", "GPUsMissing", /sees no GPU/],
  [
    "RuntimeError: Unexpected error from cudaGetDeviceCount(). Error 804: forward compatibility was attempted on non supported HW",
    "DriverTooOld",
    /older one/,
  ],
  [
    "NCCL WARN Error while creating shared memory segment /dev/shm/nccl-Qd2 (size 9637888)",
    "SharedMemory",
    /shared memory ran out/,
  ],
  ["OSError: [Errno 28] No space left on device: '/dev/shm/psm_1'", "SharedMemory", /shared memory ran out/],
  ["RuntimeError: unable to write to file </torch_7_1>: No space left", "SharedMemory", /shared memory ran out/],
  [
    "jinja2.exceptions.TemplateSyntaxError: unexpected 'end of template'",
    "ChatTemplateBroken",
    /chat template cannot be read/,
  ],
  [
    "ValueError: The supplied chat template (/etc/berth/x.jinja) appears path-like, but doesn't exist!",
    "ChatTemplateBroken",
    /chat template cannot be read/,
  ],
  ['KeyboardInterrupt("terminated")', "StartTooSlow", /slower than planned/],
  ["KeyboardInterrupt: terminated", "StartTooSlow", /slower than planned/],
  [
    "requires you to execute the configuration file in that repo on your local machine. set the option `trust_remote_code=True`",
    "CustomCode",
    /never runs/,
  ],
  ["torch.OutOfMemoryError: HIP out of memory. Tried to allocate 1 GiB", "OutOfGPUMemory", /did not suffice/],
  ["RuntimeError: NCCL error: unhandled system error", "NCCLFailed", /talk to each other/],
  ["OSError: [Errno 28] No space left on device: '/cache/vllm/x'", "DiskFull", /disk is full/],
  ["vllm serve: error: unrecognized arguments: --swap-space 4", "ArgumentRefused", /does not know --swap-space/],
  ["KeyError: 'invalid tool call parser: klingon (chose from { hermes })'", "ParserUnknown", /toolCallParser/],
  [
    "safetensors_rust.SafetensorError: Error while deserializing header: MetadataIncompleteBuffer",
    "WeightsBroken",
    /import the model again/,
  ],
  [
    "TimeoutError: Timed out waiting for engine core processes to start. This is often caused by slow weight loading",
    "StartTooSlow",
    /slower than planned/,
  ],
  [
    "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}",
    "EngineFailed",
    /read the pod's log/,
  ],
];

describe("known failures", () => {
  for (const [text, reason, says] of known) {
    test(`${reason}: ${text.slice(0, 60)}`, () => {
      const found = explainFailure(`INFO loading\n${text}\nmore`, { otherNodeTypes: ["h100-1"] });
      assert.equal(found?.reason, reason);
      assert.match(found?.message ?? "", says);
    });
  }

  test("are told by the root cause, not by the wrapper around it", () => {
    const text =
      "torch.OutOfMemoryError: CUDA out of memory.\nRuntimeError: Engine core initialization failed. See root cause above.";
    assert.equal(explainFailure(text)?.reason, "OutOfGPUMemory");
  });

  test("are not invented", () => {
    for (const text of ["", "INFO: started", "Killed", "x".repeat(200_000)])
      assert.equal(explainFailure(text), undefined);
  });

  test("carry no text of the log, however hostile", () => {
    fc.assert(
      fc.property(fc.string(), fc.constantFrom(...known.map(([text]) => text)), (noise, text) => {
        const found = explainFailure(`${noise}\n${text} SECRET-PROMPT ${noise}`);
        assert.ok(found);
        assert.doesNotMatch(found.message, /SECRET-PROMPT/);
        assert.ok(found.message.length < 400);
      }),
    );
  });

  test("of the node's memory are known by the kubelet's word alone", () => {
    assert.match(explainEnding("OOMKilled")?.message ?? "", /node type with more memory/);
    for (const other of ["Error", "Completed", "ContainerCannotRun", undefined])
      assert.equal(explainEnding(other), undefined);
  });

  test("each have a text in this table", () => {
    const tested = new Set([...known.map(([, reason]) => reason), "OutOfHostMemory"]);
    assert.deepEqual(
      [...failureReasons].filter((reason) => !tested.has(reason)),
      [],
    );
  });

  test("are found in 64 KiB within 50 ms", () => {
    const text = "unable to open (1.1/2 GiB KV cache is needed ".repeat(2000).slice(0, 65_536);
    const before = performance.now();
    explainFailure(text);
    assert.ok(performance.now() - before < 50);
  });
});
