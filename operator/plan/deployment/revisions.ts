/**
 * The ControllerRevisions of one deployment: which of them may be believed, which is current, which are history.
 * Berth applies a pinned template with its own rights, past the policy that keeps others off dedicated nodes. So a
 * revision counts only if it is in the deployment's namespace, is controlled by it, carries the name that Berth gives,
 * and places its pods on the deployment's own pool and nowhere else. (The API server lets nobody change `data`.)
 */
import { labels, taints } from "../../api/keys.ts";
import { controllerRevisions, type ControllerRevision } from "../../api/kubernetes.ts";
import { revisionName } from "../identity.ts";
import type { Write } from "../plan.ts";
import { ownPool, uidOf, type CurrentRevision, type PinnedTemplate, type Seen } from "./seen.ts";

/** How many stay, the current one included: enough to see what changed. */
const KEPT_REVISIONS = 3;
/** A number beyond this is not Berth's: one that somebody chose to end the counting. */
const HIGHEST_REVISION = 2 ** 31;

type Revised = Pick<Seen, "deployment" | "revisions" | "pool">;

/** The newest pinned template that can be believed; undefined before the first rollout. */
export function currentRevision(seen: Revised): CurrentRevision | undefined {
  const newest = owned(seen).find((revision) => isBelievable(revision, seen));
  return newest ? { number: newest.revision, pinned: newest.data as PinnedTemplate } : undefined;
}

/** All pinned templates that can be believed, newest first: what pods of this deployment may run. */
export function believableRevisions(seen: Revised): CurrentRevision[] {
  return owned(seen)
    .filter((revision) => isBelievable(revision, seen))
    .map(({ revision, data }) => ({ number: revision, pinned: data as PinnedTemplate }));
}

/** A number whose name is free. */
export function nextRevisionNumber({ deployment, revisions }: Revised): number {
  const numbers = revisions
    .filter(({ metadata }) => metadata.namespace === deployment.metadata.namespace)
    .map(({ revision }) => revision)
    .filter((number) => number < HIGHEST_REVISION);
  return Math.max(0, ...numbers) + 1;
}

/** Deletes all but the newest; never the one that the pods run. */
export function pruneRevisions(seen: Revised, current: number): Write[] {
  return owned(seen)
    .filter(({ revision }) => revision !== current)
    .slice(KEPT_REVISIONS - 1)
    .map(({ metadata }) => ({
      op: "delete",
      resource: controllerRevisions,
      namespace: metadata.namespace,
      name: metadata.name,
      uid: metadata.uid,
    }));
}

/** Newest first. */
function owned({ deployment, revisions }: Revised): ControllerRevision[] {
  const uid = uidOf(deployment);
  return revisions
    .filter(
      ({ metadata, revision }) =>
        metadata.namespace === deployment.metadata.namespace &&
        metadata.name === revisionName(uid, revision) &&
        metadata.ownerReferences?.some((owner) => owner.controller === true && owner.uid === uid),
    )
    .sort((a, b) => b.revision - a.revision);
}

function isBelievable({ data }: ControllerRevision, seen: Revised): boolean {
  if (!isPinned(data)) return false;
  const { metadata, spec } = data.podTemplate;
  const poolUID = metadata.labels[labels.poolUID];
  const pool = ownPool(seen);
  return (
    metadata.labels[labels.deploymentUID] === uidOf(seen.deployment) &&
    poolUID !== undefined &&
    (pool === undefined || uidOf(pool) === poolUID) &&
    runsOnlyIn(spec, poolUID)
  );
}

/** True when the scheduler can place the pod on nodes of that pool alone, and nothing names a node past the scheduler. */
function runsOnlyIn(spec: Readonly<Record<string, unknown>>, poolUID: string): boolean {
  const { nodeSelector, tolerations = [], nodeName } = spec;
  if (!isRecord(nodeSelector) || nodeSelector[labels.pool] !== poolUID || nodeName !== undefined) return false;
  return (
    Array.isArray(tolerations) &&
    tolerations.every((entry: unknown) => {
      if (!isRecord(entry) || typeof entry["key"] !== "string" || entry["key"] === "") return false;
      return entry["key"] !== taints.dedicated || (entry["operator"] === "Equal" && entry["value"] === poolUID);
    })
  );
}

function isPinned(data: unknown): data is PinnedTemplate {
  if (!isRecord(data) || typeof data["inputsHash"] !== "string") return false;
  const { podTemplate, model, engine, capacity, progressDeadlineSeconds: deadline } = data;
  if (deadline !== undefined && !(Number.isSafeInteger(deadline) && Number(deadline) > 0)) return false;
  if (!isRecord(podTemplate) || !isRecord(podTemplate["metadata"]) || !isRecord(podTemplate["spec"])) return false;
  if (!isRecord(podTemplate["metadata"]["labels"])) return false;
  if (!isRecord(model) || typeof model["digest"] !== "string" || !isRecord(capacity)) return false;
  return isRecord(engine) && typeof engine["image"] === "string" && Array.isArray(engine["args"]);
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
