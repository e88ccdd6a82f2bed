/** What vLLM is started with: its arguments as words, its environment, its image. */
import type { EnvironmentVariable } from "./environment.ts";
import { FILES_FOLDER, LOGGING_FILE } from "./files.ts";
import { engineLine, type EngineInput } from "./render.ts";

export { MODEL_PATH, SERVING_PORT, type EngineInput } from "./render.ts";

/**
 * Arguments after `vllm serve`, which is the image's entry point. Inputs whose arguments cannot be rendered have been refused
 * by checks before (engineLine has the problem): here they are a fault of Berth.
 */
export function engineArgs(input: EngineInput): string[] {
  const rendered = engineLine(input);
  if ("problem" in rendered) throw new Error(rendered.problem.message);
  return rendered.line.flatMap(({ words }) => words);
}

/**
 * No telemetry, no hub, caches in volumes of the pod; `own` are the user's (environment.ts has judged them) and what the
 * pod's needs add. Berth's names win.
 */
export function engineEnv(own: readonly EnvironmentVariable[] = []): EnvironmentVariable[] {
  const fixed = [
    { name: "HF_HUB_OFFLINE", value: "1" },
    { name: "HOME", value: "/cache" },
    { name: "VLLM_CACHE_ROOT", value: "/cache/vllm" },
    { name: "VLLM_LOGGING_CONFIG_PATH", value: `${FILES_FOLDER}/${LOGGING_FILE}` },
    { name: "VLLM_NO_USAGE_STATS", value: "1" },
  ];
  const names = new Set(fixed.map(({ name }) => name));
  const added = new Map(own.filter(({ name }) => !names.has(name)).map(({ name, value }) => [name, value]));
  return [...fixed, ...[...added].map(([name, value]) => ({ name, value }))].sort((a, b) => (a.name < b.name ? -1 : 1));
}

export interface EngineImage {
  readonly version: string;
  readonly image: string;
}

/** The administrator's list is the only source of images; its first entry is the default. */
export function chooseImage(images: readonly EngineImage[], version: string | undefined): EngineImage | undefined {
  return version === undefined ? images[0] : images.find((entry) => entry.version === version);
}
