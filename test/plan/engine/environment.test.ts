// Which environment variables a user may add to the engine.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { engineEnv } from "../../../operator/plan/engine/args.ts";
import { refusedVariable } from "../../../operator/plan/engine/environment.ts";
import { engineProfiles } from "../../../operator/plan/engine/profile.ts";

const refusal = (name: string, value = "1", version = "0.32.0"): string | undefined =>
  refusedVariable([{ name, value }], version);

const refused: readonly (readonly [name: string, says: RegExp])[] = [
  ["VLLM_API_KEY", /keys are the platform's/],
  ["LD_PRELOAD", /load code/],
  ["LD_LIBRARY_PATH", /load code/],
  ["PYTHONPATH", /load code/],
  ["PYTHONSTARTUP", /load code/],
  ["PATH", /load code/],
  ["BASH_ENV", /load code/],
  ["VLLM_PLUGINS", /load code/],
  ["NCCL_NET_PLUGIN", /load code/],
  ["NCCL_TUNER_PLUGIN", /load code/],
  ["TORCHINDUCTOR_FORCE_DISABLE_CACHES", /load code/],
  ["VLLM_SERVER_DEV_MODE", /developer endpoints/],
  ["VLLM_ALLOW_RUNTIME_LORA_UPDATING", /developer endpoints/],
  ["VLLM_ALLOW_INSECURE_SERIALIZATION", /unsafe formats/],
  ["VLLM_ALLOW_LONG_MAX_MODEL_LEN", /wrong answers/],
  ["VLLM_MLA_DISABLE", /planned for without it/],
  ["VLLM_REPLICATE_EMBED", /planned for without it/],
  ["VLLM_MEMORY_PROFILER_ESTIMATE_CUDAGRAPHS", /planned for without it/],
  ["VLLM_ENGINE_READY_TIMEOUT_S", /Berth computes it/],
  ["HF_TOKEN", /secrets/],
  ["AWS_SECRET_ACCESS_KEY", /secrets/],
  ["HF_HUB_OFFLINE", /reaches no hub/],
  ["HTTPS_PROXY", /proxy/],
  ["https_proxy", /proxy/],
  ["VLLM_LOGGING_LEVEL", /into logs/],
  ["VLLM_LOGGING_CONFIG_PATH", /into logs/],
  ["VLLM_DEBUG_LOG_API_SERVER_RESPONSE", /into logs/],
  ["VLLM_CACHE_ROOT", /local files/],
  ["VLLM_MEDIA_CACHE", /local files/],
  ["HOME", /local files/],
  ["CUDA_VISIBLE_DEVICES", /devices/],
  ["VLLM_PORT", /ports/],
  ["VLLM_DP_RANK", /peers/],
  ["KUBERNETES_SERVICE_HOST", /not one of those that only tune/],
  ["BERTH_ANYTHING", /not one of those that only tune/],
];

describe("the user's environment variables", () => {
  for (const [name, says] of refused) test(`may not hold ${name}`, () => assert.match(refusal(name) ?? "taken", says));

  test("may tune kernels and collectives", () => {
    for (const name of [
      "NCCL_DEBUG",
      "OMP_NUM_THREADS",
      "VLLM_USE_DEEP_GEMM",
      "VLLM_ROCM_USE_AITER",
      "VLLM_MAX_N_SEQUENCES",
    ])
      assert.equal(refusal(name), undefined, name);
  });

  test("are checked against the version's own list", () => {
    assert.match(
      refusal("VLLM_USE_DEEPGEMM") ?? "",
      /is no variable of vLLM 0\.32\.0: did you mean VLLM_USE_DEEP_GEMM\?/,
    );
    assert.match(refusal("VLLM_NONSENSE_THAT_NOBODY_WROTE") ?? "", /is no variable of vLLM 0\.32\.0$/);
    const [oldest] = engineProfiles;
    const newer = engineProfiles
      .at(-1)
      ?.environment.find(
        (name) => name.startsWith("VLLM_") && !oldest?.environment.includes(name) && refusal(name) === undefined,
      );
    assert.ok(newer, "a tuning variable that the oldest version lacks");
    assert.match(refusal(newer, "1", oldest?.version) ?? "taken", /is no variable of vLLM 0\.28\.0/);
  });

  test("have plain values", () => {
    assert.match(refusal("TZ", "a\nb") ?? "", /control character/);
    assert.match(refusal("TZ", "$(HF_TOKEN)") ?? "", /Kubernetes would replace/);
  });

  test("never carry a secret's name, whatever vLLM knows", () => {
    for (const { environment, version } of engineProfiles) {
      for (const name of environment.filter((known) => /KEY|SECRET|PASSWORD/.test(known)))
        assert.notEqual(refusal(name, "x", version), undefined, name);
    }
  });
});

test("Berth's own variables win, and each name is there once", () => {
  const env = engineEnv([
    { name: "HOME", value: "/evil" },
    { name: "NCCL_DEBUG", value: "INFO" },
    { name: "NCCL_DEBUG", value: "WARN" },
  ]);
  const names = env.map(({ name }) => name);
  assert.equal(new Set(names).size, names.length);
  assert.equal(env.find(({ name }) => name === "HOME")?.value, "/cache");
  assert.equal(env.find(({ name }) => name === "NCCL_DEBUG")?.value, "WARN");
});
