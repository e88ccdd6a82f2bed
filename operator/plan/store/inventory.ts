/** What lies in a store, from one frozen listing and the manifests that were read: which models, which revisions, in which state. */
import { importKey } from "../model/importrecord.ts";
import type { ImportRecord } from "../model/importrecord.ts";
import { MANIFEST, objectKey } from "../model/manifest.ts";
import type { Manifest } from "../model/manifest.ts";
import { signatureKey } from "../model/signature.ts";
import type { ListedObject } from "../../ports.ts";

/** A manifest, and the SHA-256 of its text as 64 hex digits. */
export interface StandingManifest {
  readonly manifest: Manifest;
  readonly textSha256: string;
}

/** What stands under the name of a manifest: one whose digest fits its files, a tombstone, or neither. */
export type ReadManifest =
  | ({ readonly kind: "manifest"; readonly record: ImportRecord | undefined } & StandingManifest)
  | { readonly kind: "removed" }
  | { readonly kind: "damaged" };

export interface StoredRevision {
  /** Ends with '/'. */
  readonly folder: string;
  readonly number: number;
  /** Undefined where no manifest stands. */
  readonly read: ReadManifest | undefined;
  readonly objects: readonly ListedObject[];
  readonly uploads: readonly ListedObject[];
  /** When anything of it was last written, by the store's clock; epoch milliseconds. */
  readonly changedAtMs: number;
}

export interface StoredModel {
  /** `models/<scope>/<uid>/`. */
  readonly folder: string;
  /** UID of a namespace, "cluster" for ClusterModels, "local" for what `berth import` brought. */
  readonly scope: string;
  readonly uid: string;
  /** By number. */
  readonly revisions: readonly StoredRevision[];
}

export interface Inventory {
  readonly models: readonly StoredModel[];
  /** Keys that are not of this layout: never touched. */
  readonly foreign: readonly string[];
}

const layout = /^(models\/([^/]+)\/([^/]+)\/)([1-9]\d{0,8})\/./;

/** Folder of the manifest that a key is, if it is one. */
export function manifestFolder(key: string): string | undefined {
  return layout.test(key) && key.split("/").length === 5 && key.endsWith(`/${MANIFEST}`)
    ? key.slice(0, -MANIFEST.length)
    : undefined;
}

interface Gathered {
  readonly objects: ListedObject[];
  readonly uploads: ListedObject[];
}

export function inventoryOf(
  objects: readonly ListedObject[],
  uploads: readonly ListedObject[],
  manifests: ReadonlyMap<string, ReadManifest>,
): Inventory {
  const foreign: string[] = [];
  const models = new Map<string, Map<number, Gathered>>();
  const gather = (object: ListedObject, into: keyof Gathered): void => {
    const [, model, , , number] = layout.exec(object.key) ?? [];
    if (model === undefined) return void (into === "objects" && foreign.push(object.key));
    const revisions = models.get(model) ?? new Map<number, Gathered>();
    models.set(model, revisions);
    const revision = revisions.get(Number(number)) ?? { objects: [], uploads: [] };
    revisions.set(Number(number), revision);
    revision[into].push(object);
  };
  for (const object of objects) gather(object, "objects");
  for (const upload of uploads) gather(upload, "uploads");
  const byName = ([a]: readonly [string, unknown], [b]: readonly [string, unknown]): number => (a < b ? -1 : 1);
  return { models: [...models].sort(byName).map(([folder, found]) => modelOf(folder, found, manifests)), foreign };
}

function modelOf(
  folder: string,
  found: ReadonlyMap<number, Gathered>,
  manifests: ReadonlyMap<string, ReadManifest>,
): StoredModel {
  const [, scope = "", uid = ""] = folder.split("/");
  const revisions = [...found]
    .sort(([a], [b]) => a - b)
    .map(([number, { objects, uploads }]) => {
      const own = `${folder}${String(number)}/`;
      const changedAtMs = [...objects, ...uploads].reduce((last, { modifiedAtMs }) => Math.max(last, modifiedAtMs), 0);
      return { folder: own, number, read: manifests.get(own), objects, uploads, changedAtMs };
    });
  return { folder, scope, uid, revisions };
}

/** The manifest of a revision that has one whose digest fits. */
export function manifestOf({ read }: StoredRevision): Manifest | undefined {
  return read?.kind === "manifest" ? read.manifest : undefined;
}

/** Keys of a revision's objects, by its manifest; they may lie in folders of earlier revisions. */
export function namedKeys({ folder }: StoredRevision, manifest: Manifest): string[] {
  return manifest.files.map((file) => objectKey(folder, file));
}

/** Keys of what a complete revision keeps in its own folder besides its files: other imports' records and signatures are none of it. */
export function keptBeside(folder: string, { manifest, textSha256 }: StandingManifest): string[] {
  return [MANIFEST, importKey(manifest), signatureKey(textSha256)].map((below) => folder + below);
}

export type RevisionState = "complete" | "incomplete" | "damaged" | "unfinished" | "removed";

/** `incomplete`: objects that the manifest names are missing or of another size. Bytes are not looked at. */
export function stateOf(model: StoredModel, revision: StoredRevision): RevisionState {
  const { read } = revision;
  if (!read) return "unfinished";
  if (read.kind !== "manifest") return read.kind;
  const sizes = new Map(
    model.revisions.flatMap(({ objects }) => objects).map(({ key, sizeBytes }) => [key, sizeBytes]),
  );
  const isWhole = read.manifest.files.every((file) => sizes.get(objectKey(revision.folder, file)) === file.sizeBytes);
  return isWhole ? "complete" : "incomplete";
}
