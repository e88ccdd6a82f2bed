/**
 * What vLLM is started with. First version: the flags without which the promise of plan/sizing would not hold.
 * Flag names and meanings: `vllm serve --help=all` of 0.32.0.
 */
import type { ModelStatus } from "../../api/model.ts";
import { GPU_MEMORY_UTILIZATION, type Capacity } from "../sizing/fit.ts";
import { LOGGING_FILE, LOGGING_FOLDER } from "./logging.ts";

export const SERVING_PORT = 8000;
/** Where the init step leaves the model's files. */
export const MODEL_PATH = "/model";

export interface EngineInput {
  readonly servedName: string;
  readonly gpuCount: number;
  readonly capacity: Capacity;
  readonly task: ModelStatus["task"];
  /** Seconds that requests in flight get to finish once the server was told to stop. */
  readonly shutdownSeconds: number;
  /** The user's own, checked before; they come last, since argparse takes the last value of a flag. */
  readonly extraArgs?: readonly string[] | undefined;
}

/** The image's entry point is `vllm serve`; the model comes first, since several flags swallow a positional after them. */
export function engineArgs(input: EngineInput): string[] {
  const { servedName, gpuCount, capacity, task, shutdownSeconds, extraArgs } = input;
  const pooling = task === "Embed" || task === "Classify" || task === "Reward";
  return [
    MODEL_PATH,
    "--served-model-name",
    servedName,
    "--load-format",
    "safetensors",
    "--max-model-len",
    String(capacity.contextLength),
    "--gpu-memory-utilization",
    String(GPU_MEMORY_UTILIZATION),
    "--tensor-parallel-size",
    String(gpuCount),
    ...(pooling ? ["--runner", "pooling"] : []),
    "--port",
    String(SERVING_PORT),
    "--shutdown-timeout",
    String(shutdownSeconds),
    "--disable-fastapi-docs",
    "--disable-uvicorn-access-log",
    ...(extraArgs ?? []),
  ];
}

/** Fixed environment: no telemetry, no hub, caches in volumes of the pod. */
export function engineEnv(): { name: string; value: string }[] {
  return [
    { name: "HF_HUB_OFFLINE", value: "1" },
    { name: "HOME", value: "/cache" },
    { name: "VLLM_CACHE_ROOT", value: "/cache/vllm" },
    { name: "VLLM_LOGGING_CONFIG_PATH", value: `${LOGGING_FOLDER}/${LOGGING_FILE}` },
    { name: "VLLM_NO_USAGE_STATS", value: "1" },
  ];
}

export interface EngineImage {
  readonly version: string;
  readonly image: string;
}

/** The administrator's list is the only source of images; its first entry is the default. */
export function chooseImage(images: readonly EngineImage[], version: string | undefined): EngineImage | undefined {
  return version === undefined ? images[0] : images.find((entry) => entry.version === version);
}
