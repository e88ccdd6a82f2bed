/** What the engine's renderer is given: the same for the check before money and for the template. */
import { chooseImage, type EngineInput } from "../engine/args.ts";
import { recommendedParsers } from "../engine/parsers.ts";
import type { Fit } from "../sizing/fit.ts";
import { ownPool, type Seen } from "./seen.ts";

/** undefined while the node's shape is unknown. */
export function engineInputOf(
  seen: Seen,
  fit: Exclude<Fit, { readonly problem: unknown }>,
  shutdownSeconds: number,
): EngineInput | undefined {
  const { deployment, model, settings, nodeType } = seen;
  const gpu = ownPool(seen)?.spec.template.gpu ?? nodeType?.spec.gpu;
  if (!gpu) return undefined;
  const { version, toolCallParser, reasoningParser, extraArgs } = deployment.spec.engine;
  return {
    servedName: deployment.metadata.name,
    gpuCount: gpu.count,
    capacity: fit.capacity,
    task: model?.status?.task,
    shutdownSeconds,
    version: chooseImage(settings.engineImages, version)?.version,
    settings: fit.engine,
    architecture: model?.status?.architecture,
    parsers: model && parsersFor(model),
    chatTemplate: model?.spec.chatTemplate,
    vision: (model?.status?.shape?.visionTokens ?? 0) > 0,
    toolCallParser,
    reasoningParser,
    extraArgs,
  };
}

function parsersFor({ spec, status }: NonNullable<Seen["model"]>): EngineInput["parsers"] {
  return recommendedParsers({
    recommended: "recommended" in spec ? spec.recommended : undefined,
    chatTemplate: spec.chatTemplate,
    inspected: status?.parsers,
    architecture: status?.architecture,
  });
}
