/** Which template the pods should run: the pinned one, or a new one when a field that it depends on has changed. */
import { annotations } from "../../api/keys.ts";
import type { ModelRevision } from "../../api/model.ts";
import { chooseImage } from "../engine/args.ts";
import { engineLine } from "../engine/render.ts";
import { shortHash } from "../identity.ts";
import { fitOf } from "./checks.ts";
import { engineInputOf } from "./engineinput.ts";
import { currentRevision, nextRevisionNumber } from "./revisions.ts";
import { ownPool, uidOf, type CurrentRevision, type PinnedTemplate, type Seen } from "./seen.ts";
import type { renderPodTemplate } from "./template.ts";
import { REVISION_LABEL, progressDeadlineOf, shutdownSeconds } from "./template.ts";

/** How a pod template is made; a newer Berth brings another one, and pinned templates stay as they are. */
export type Renderer = typeof renderPodTemplate;

/**
 * Hash of everything in the spec that the template depends on; not replicas, suspend, deletionProtection, billing.
 * Fields are picked one by one: a field with a default that a later version adds must not change the hash of what runs.
 */
export function inputsHash(seen: Seen): string {
  const { model, nodeType, contextLength, quantization, engine } = seen.deployment.spec;
  const { version, extraArgs, env, toolCallParser, reasoningParser } = engine;
  return shortHash({
    model: { name: model.name, kind: model.kind, revision: model.revision },
    nodeType,
    contextLength,
    quantization: quantization?.bits === undefined ? undefined : { bits: quantization.bits },
    engine: { version, extraArgs: filled(extraArgs), env: filled(env), toolCallParser, reasoningParser },
    pool: seen.pool?.metadata.uid,
    rollout: rolloutAnnotation(seen),
  });
}

/** An empty list says what an absent one says. */
function filled<T>(list: readonly T[] | undefined): readonly T[] | undefined {
  return list && list.length > 0 ? list : undefined;
}

function rolloutAnnotation({ deployment }: Seen): string | undefined {
  return deployment.metadata.annotations?.[annotations.rollout];
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
  const current = currentRevision(seen);
  const hash = inputsHash(seen);
  if (current?.pinned.inputsHash === hash) return { revision: current, isNew: false, isStale: false };
  const pinned = renderPinned(seen, hash, render);
  return pinned
    ? { revision: { number: nextRevisionNumber(seen), pinned }, isNew: true, isStale: false }
    : { revision: current, isNew: false, isStale: true };
}

/** undefined while the model, the pool, the image or the fit is missing; the checks say which. */
function renderPinned(seen: Seen, hash: string, render: Renderer): PinnedTemplate | undefined {
  const { deployment, model, nodeType, settings } = seen;
  const pool = ownPool(seen);
  const chosen = wantedRevision(seen);
  const image = chooseImage(settings.engineImages, deployment.spec.engine.version)?.image;
  const fit = fitOf(seen);
  if (!pool || pool.metadata.deletionTimestamp || !chosen || !image || !model?.status || !fit || "problem" in fit)
    return undefined;
  const drainSeconds = settings.drainGraceMs / 1000;
  const input = engineInputOf(seen, fit, shutdownSeconds(drainSeconds));
  const rendered = input && engineLine(input);
  if (!rendered || "problem" in rendered) return undefined;
  const args = rendered.line.flatMap(({ words }) => words);
  const sized = {
    pool,
    node: nodeType?.spec,
    model: model.status,
    quantizes: fit.engine.bits < fit.engine.nativeBits,
  };
  const bare = render({
    ...sized,
    deploymentName: deployment.metadata.name,
    deploymentUID: uidOf(deployment),
    ...{ digest: chosen.digest, image, args },
    env: deployment.spec.engine.env,
    chatTemplate: model.spec.chatTemplate,
    ...fetchOf(settings, chosen.digest),
    drainSeconds,
  });
  return {
    inputsHash: hash,
    podTemplate: labelled(bare, shortHash({ bare, digest: chosen.digest, rollout: rolloutAnnotation(seen) })),
    model: { digest: chosen.digest, revision: chosen.number, path: storePathOf(seen, model, chosen) },
    engine: { image, args },
    capacity: fit.capacity,
    progressDeadlineSeconds: progressDeadlineOf(sized),
  };
}

/** What the fetch step is told. What the platform does not set leaves no trace in a template, so that it stays as it was. */
function fetchOf(settings: Seen["settings"], digest: string) {
  const { berthImage, storeService, storeRedirect, trustedModelKeys: keys = [] } = settings;
  return {
    berthImage,
    storeService,
    ...(storeRedirect ? { redirectOrigin: storeRedirect.origin } : {}),
    ...(keys.length > 0 ? { trust: { keys, digest } } : {}),
  };
}

function storePathOf({ modelScope = "" }: Seen, model: NonNullable<Seen["model"]>, { number }: ModelRevision): string {
  return `models/${modelScope}/${uidOf(model)}/${number}`;
}

/**
 * A hash of what the pods run, not a number: a template that has to be made again (its ControllerRevision was deleted by
 * hand) and comes out the same restarts nothing.
 */
function labelled(template: PinnedTemplate["podTemplate"], revision: string): PinnedTemplate["podTemplate"] {
  const { metadata, spec } = template;
  return { metadata: { ...metadata, labels: { ...metadata.labels, [REVISION_LABEL]: revision } }, spec };
}

/** Value of REVISION_LABEL on the pods of this revision. */
export function revisionLabelOf(revision: CurrentRevision | undefined): string | undefined {
  return revision?.pinned.podTemplate.metadata.labels[REVISION_LABEL];
}

function wantedRevision({ deployment, model }: Seen): ModelRevision | undefined {
  const digest = deployment.spec.model.revision ?? model?.status?.digest;
  return model?.status?.revisions?.findLast((entry) => entry.digest === digest);
}
