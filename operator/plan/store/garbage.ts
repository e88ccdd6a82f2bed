/**
 * What may go from a store. Two steps, each decided from a frozen listing of its own, so that being killed between any two requests leaves a
 * store whose complete revisions are complete, and running again ends the same:
 * 1. fences: a tombstone takes the place of the manifest of what is to go. From then on no sleeping writer can complete it.
 * 2. removals, from a listing made after the fences: what lies in folders with a tombstone and no manifest names, and what complete
 *    revisions left beside their files. While an import of the model is under way, which may point at earlier objects, only the latter.
 * Where something cannot be known, it stays.
 */
import { MANIFEST } from "../model/manifest.ts";
import { keptBeside, manifestOf, namedKeys } from "./inventory.ts";
import type { Inventory, StoredModel, StoredRevision } from "./inventory.ts";

/** What is needed outside of the store. */
export interface InUse {
  /** Folders of the models that exist (ending with '/'); undefined where nobody knows: no complete revision goes. */
  readonly models: ReadonlySet<string> | undefined;
  /** Folders of revisions that a status or a pinned template names (ending with '/'). */
  readonly revisions: ReadonlySet<string>;
  /** Digests that deployments name. */
  readonly digests: ReadonlySet<string>;
  /** UIDs of models that an importer holds the Lease of. */
  readonly importing: ReadonlySet<string>;
  /** Kinds of which somebody's list holds nothing, perhaps because they could not be listed: one of them may exist all the same. */
  readonly unlisted: ReadonlySet<ListedKind>;
}

export type ModelKind = "Model" | "ClusterModel";
export type ListedKind = ModelKind | "ModelDeployment";

export interface GarbageClock {
  /** Epoch milliseconds. */
  readonly now: number;
  /** What was written since is left alone: somebody may be at work on it. */
  readonly olderThanMs: number;
}

/** `close` only where no manifest stands by then; `retire` replaces the one that stands. */
export interface Fence {
  readonly do: "close" | "retire";
  readonly folder: string;
  readonly because: string;
}

export interface Removal {
  readonly folder: string;
  readonly keys: readonly string[];
  readonly sizeBytes: number;
  /** Unfinished uploads below the folder go too. */
  readonly uploads: number;
  readonly because: string;
}

const isYoung = ({ changedAtMs }: StoredRevision, { now, olderThanMs }: GarbageClock): boolean =>
  now - changedAtMs < olderThanMs;

/** `berth import` from a shell writes there; no cluster knows of it. */
const LOCAL = "local";
const isListed = ({ folder }: StoredModel, { models }: InUse): boolean => models?.has(folder) === true;
const kindOf = ({ scope }: Pick<StoredModel, "scope">): ModelKind => (scope === "cluster" ? "ClusterModel" : "Model");

/** Whether what is known of clusters tells if the model exists. */
function isKnown(model: StoredModel, inUse: InUse): boolean {
  if (inUse.models === undefined || model.scope === LOCAL) return false;
  return isListed(model, inUse) || !inUse.unlisted.has(kindOf(model));
}
const isGone = (model: StoredModel, inUse: InUse): boolean => isKnown(model, inUse) && !isListed(model, inUse);

/** A model with something to judge, and the kind that a list may lack. */
export interface Unjudged {
  readonly folder: string;
  readonly lacks: ListedKind;
}

/** Those of which the lists do not tell whether they exist, or whether a deployment names what their status does not. */
export function unjudgedModels({ models }: Inventory, inUse: InUse): readonly Unjudged[] {
  if (inUse.models === undefined) return [];
  return models.flatMap((model): Unjudged[] => {
    const { folder, revisions, scope } = model;
    if (scope === LOCAL) return [];
    const standing = revisions.filter(({ read }) => read !== undefined && read.kind !== "removed");
    if (!isKnown(model, inUse)) return standing.length === 0 ? [] : [{ folder, lacks: kindOf(model) }];
    const isDoubted = standing.some(
      (one) => unneeded(model, one, inUse) !== undefined && unwanted(model, one, inUse) === undefined,
    );
    return isDoubted ? [{ folder, lacks: "ModelDeployment" }] : [];
  });
}

/** Why a revision with a manifest is garbage; undefined where it stays. */
function unwanted(model: StoredModel, revision: StoredRevision, inUse: InUse): string | undefined {
  // A deployment that nobody listed may be pinned to any revision of a model that exists.
  const mayBePinned = isListed(model, inUse) && inUse.unlisted.has("ModelDeployment");
  return mayBePinned ? undefined : unneeded(model, revision, inUse);
}

/** The same as far as the lists tell. */
function unneeded(model: StoredModel, revision: StoredRevision, inUse: InUse): string | undefined {
  if (!isKnown(model, inUse)) return undefined;
  const manifest = manifestOf(revision);
  if (inUse.revisions.has(revision.folder) || (manifest && inUse.digests.has(manifest.digest))) return undefined;
  if (isGone(model, inUse)) return "its model is gone, and no deployment names it";
  const newest = model.revisions.findLast((one) => manifestOf(one) !== undefined);
  if (!manifest) {
    // It serves nobody, but only a revision that came after it shows that nobody waits for it to be mended.
    const isFollowed = newest !== undefined && newest.number > revision.number;
    return isFollowed ? "its manifest cannot be read, and a later revision is complete" : undefined;
  }
  return newest === revision ? undefined : "neither its model's status nor a deployment names it";
}

function fenceOf(model: StoredModel, revision: StoredRevision, inUse: InUse, clock: GarbageClock): Fence | undefined {
  const { folder, read } = revision;
  if (isYoung(revision, clock)) return undefined;
  if (!read) return { do: "close", folder, because: "it was never finished" };
  if (read.kind === "removed") return undefined;
  const because = unwanted(model, revision, inUse);
  return because === undefined ? undefined : { do: "retire", folder, because };
}

/** What is to be given up. */
export function planFences({ models }: Inventory, inUse: InUse, clock: GarbageClock): readonly Fence[] {
  return models
    .filter(({ uid }) => !inUse.importing.has(uid))
    .flatMap((model) => model.revisions.map((revision) => fenceOf(model, revision, inUse, clock)))
    .filter((fence) => fence !== undefined);
}

/** The inventory as it will be when the fences stand: what a dry run shows. */
export function withFences(inventory: Inventory, fences: readonly Fence[]): Inventory {
  const fenced = new Set(fences.map(({ folder }) => folder));
  const models = inventory.models.map((model) => ({
    ...model,
    revisions: model.revisions.map((one) =>
      fenced.has(one.folder) ? { ...one, read: { kind: "removed" } as const } : one,
    ),
  }));
  return { ...inventory, models };
}

/** What can be removed now, given that the fences stand. */
export function planRemovals({ models }: Inventory, inUse: InUse, clock: GarbageClock): readonly Removal[] {
  return models.filter(({ uid }) => !inUse.importing.has(uid)).flatMap((model) => removalsOf(model, inUse, clock));
}

function removalsOf(model: StoredModel, inUse: InUse, clock: GarbageClock): Removal[] {
  const { revisions } = model;
  // A manifest that cannot be read may name anything.
  if (revisions.some(({ read }) => read?.kind === "damaged")) return [];
  const named = new Set(
    revisions.flatMap((revision) => {
      const manifest = manifestOf(revision);
      return manifest ? namedKeys(revision, manifest) : [];
    }),
  );
  const isImporting = revisions.some((revision) => !revision.read);
  return revisions
    .map((revision) => removalOf(revision, named, { isImporting, isGone: isGone(model, inUse), clock }))
    .filter((removal) => removal !== undefined);
}

function removalOf(
  revision: StoredRevision,
  named: ReadonlySet<string>,
  {
    isImporting,
    isGone,
    clock,
  }: { readonly isImporting: boolean; readonly isGone: boolean; readonly clock: GarbageClock },
): Removal | undefined {
  const { folder, read, objects, uploads } = revision;
  if (read === undefined || read.kind === "damaged") return undefined;
  const isRemoved = read.kind === "removed";
  if (isRemoved ? isImporting : isYoung(revision, clock)) return undefined;
  const beside = read.kind === "removed" ? [folder + MANIFEST] : keptBeside(folder, read);
  const left = objects.filter(({ key }) => !named.has(key) && !beside.includes(key));
  // The tombstone itself goes last and later, and only with the whole model.
  const isOver = isRemoved && isGone && left.length === 0 && uploads.length === 0 && objects.length === 1;
  const going = isOver && !isYoung(revision, clock) ? objects : left;
  if (going.length === 0 && uploads.length === 0) return undefined;
  return {
    folder,
    keys: going.map(({ key }) => key),
    sizeBytes: going.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0),
    uploads: uploads.length,
    because: isRemoved ? "it was given up" : "no manifest names it",
  };
}
