// The words of a crash that a condition repeats, out of what vLLM 0.32.0 really left behind.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { crashWords, endingOf } from "../../../operator/plan/deployment/crashwords.ts";

const wrapper =
  "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}\n/usr/lib/python3.11/multiprocessing/resource_tracker.py:224: UserWarning: resource_tracker: There appear to be 1 leaked shared_memory objects to clean up at shutdown\n  warnings.warn('resource_tracker: There appear to be %d '";

const said: readonly (readonly [what: string, message: string, words: string])[] = [
  [
    "a missing tensor, reported by a worker and wrapped by the engine",
    [
      '  File "/opt/vllm/vllm/model_executor/model_loader/default_loader.py", line 564, in track_weights_loading',
      "    raise ValueError(",
      "ValueError: Following weights were not initialized from checkpoint: {'model.layers.3.input_layernorm.weight'}",
      "EngineCore failed to start.",
      "Traceback (most recent call last):",
      "    raise e from None",
      "Exception: WorkerProc initialization failed due to an exception in a background process. See stack trace for root cause.",
      "",
    ].join("\n"),
    "ValueError: Following weights were not initialized from checkpoint: {'model.layers.3.input_layernorm.weight'}",
  ],
  [
    "a KV cache that is too small, with the log's prefix",
    `(EngineCore pid=16137) ERROR 11-23 23:32:29 [core.py:1510] ValueError: To serve at least one request with the model's max seq len (262144), (1.75 GiB KV cache is needed)\n${wrapper}`,
    "ValueError: To serve at least one request with the model's max seq len (262144), (1.75 GiB KV cache is needed)",
  ],
  [
    "memory of the GPU",
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.",
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.",
  ],
  [
    "a configuration that pydantic refuses",
    [
      "pydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig",
      "  Value error, User-specified max_model_len (9000) is greater than the derived max_model_len [type=value_error]",
      "    For further information visit https://errors.pydantic.dev/2.12/v/value_error",
    ].join("\n"),
    "pydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig Value error, User-specified max_model_len (9000) is greater than the derived max_model_len [type=value_error] For further information visit https://errors.pydantic.dev/2.12/v/value_error",
  ],
  [
    "a flag that the parser does not know",
    "usage: vllm serve [model_tag] [options]\nvllm serve: error: unrecognized arguments: --swap-space",
    "error: unrecognized arguments: --swap-space",
  ],
  ["nothing but the wrapper", wrapper, wrapper.split("\n")[0] ?? ""],
];

describe("the words of a crash", () => {
  for (const [what, message, words] of said) {
    test(what, () => assert.equal(crashWords(message), words));
  }

  test("are none where the log names no error", () => {
    assert.equal(crashWords("INFO:     Application startup complete.\n"), undefined);
    assert.equal(crashWords(undefined), undefined);
  });

  test("are cut where somebody writes a novel", () => {
    assert.equal(crashWords(`ValueError: ${"x".repeat(4000)}`)?.length, 1000);
  });

  test("take no time over 4 KiB of anything", () => {
    const started = process.hrtime.bigint();
    for (const text of ["a.".repeat(2048), " error".repeat(700), "Error: ".repeat(600), "a".repeat(4096)])
      crashWords(text);
    assert.ok(process.hrtime.bigint() - started < 500_000_000n);
  });
});

test("an end by signal is told as one", () => {
  assert.equal(endingOf(137, "Error"), "killed (exit code 137, SIGKILL)");
  assert.match(endingOf(137, "OOMKilled"), /more memory than it may/);
  assert.equal(endingOf(2, "ContainerCannotRun"), "ended with exit code 2 (ContainerCannotRun)");
});
