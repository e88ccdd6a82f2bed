/** Which template the pods should run: the pinned one, or a new one when a field that it depends on has changed. */
import { annotations } from "../../api/keys.ts";
import type { ModelRevision } from "../../api/model.ts";
import { chooseImage, engineArgs } from "../engine/args.ts";
import { shortHash } from "../identity.ts";
import { fitOf } from "./checks.ts";
import { currentRevision, ownPool, uidOf, type CurrentRevision, type PinnedTemplate, type Seen } from "./seen.ts";
import { renderPodTemplate } from "./template.ts";

/** How a pod template is made; a newer Berth brings another one, and pinned templates stay as they are. */
export type Renderer = typeof renderPodTemplate;

/** Hash of everything in the spec that the template depends on; not replicas, suspend, deletionProtection, billing. */
export function inputsHash(seen: Seen): string {
  const { model, nodeType, contextLength, engine } = seen.deployment.spec;
  return shortHash({
    model,
    nodeType,
    contextLength,
    engine,
    pool: seen.pool?.metadata.uid,
    rollout: seen.deployment.metadata.annotations?.[annotations.rollout],
  });
}

export interface Rollout {
  /** What the workload should run now; undefined before the first template could be rendered. */
  readonly revision: CurrentRevision | undefined;
  /** True when it is not stored yet. */
  readonly isNew: boolean;
  /** True when the spec asks for another template than `revision`. */
  readonly isStale: boolean;
}

export function rolloutOf(seen: Seen, render: Renderer): Rollout {
  const current = currentRevision(seen.revisions);
  const hash = inputsHash(seen);
  if (current?.pinned.inputsHash === hash) return { revision: current, isNew: false, isStale: false };
  const number = (current?.number ?? 0) + 1;
  const pinned = renderPinned(seen, hash, number, render);
  return pinned
    ? { revision: { number, pinned }, isNew: true, isStale: false }
    : { revision: current, isNew: false, isStale: true };
}

/** undefined while the model, the pool, the image or the fit is missing; the checks say which. */
function renderPinned(seen: Seen, hash: string, number: number, render: Renderer): PinnedTemplate | undefined {
  const { deployment, model, nodeType, settings } = seen;
  const pool = ownPool(seen);
  const chosen = wantedRevision(seen);
  const image = chooseImage(settings.engineImages, deployment.spec.engine.version)?.image;
  const fit = fitOf(seen);
  if (!pool || pool.metadata.deletionTimestamp || !chosen || !image || !model?.status || !fit || "problem" in fit)
    return undefined;
  const { capacity } = fit;
  const args = engineArgs({
    servedName: deployment.metadata.name,
    gpuCount: pool.spec.template.gpu.count,
    capacity,
    task: model.status.task,
  });
  const podTemplate = render({
    deploymentName: deployment.metadata.name,
    deploymentUID: uidOf(deployment),
    pool,
    node: nodeType?.spec,
    model: model.status,
    revision: number,
    image,
    args,
    berthImage: settings.berthImage,
    storeService: settings.storeService,
  });
  const path = `models/${seen.modelScope ?? ""}/${uidOf(model)}/${chosen.number}`;
  return {
    inputsHash: hash,
    podTemplate,
    model: { digest: chosen.digest, revision: chosen.number, path },
    engine: { image, args },
    capacity,
  };
}

function wantedRevision({ deployment, model }: Seen): ModelRevision | undefined {
  const digest = deployment.spec.model.revision ?? model?.status?.digest;
  return model?.status?.revisions?.findLast((entry) => entry.digest === digest);
}
