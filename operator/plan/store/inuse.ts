/**
 * What a cluster needs of its store, from what `kubectl get … -A -o json` prints. Read widely: a folder that any object names stays, wherever
 * in it the name stands, and so does a revision whose digest a deployment names.
 */
import { GROUP } from "../../api/keys.ts";
import { isJson } from "../model/config.ts";
import type { InUse, ListedKind } from "./garbage.ts";

type Item = Readonly<Record<string, unknown>>;

const folders = /models\/[A-Za-z0-9-]+\/[A-Za-z0-9-]+\/[1-9]\d{0,8}(?!\d)/g;
const digests = /sha256:[0-9a-f]{64}/g;
const LEASE = "berth-import-";

/** The command whose output is wanted. */
export const IN_USE_COMMAND =
  "kubectl get namespaces,models.berth.dev,clustermodels.berth.dev,modeldeployments.berth.dev,controllerrevisions,leases -A -o json";

const KINDS: readonly ListedKind[] = ["Model", "ClusterModel", "ModelDeployment"];
/** Every cluster with GPUs has these (a device plugin is a DaemonSet): a list without them was asked for otherwise, or cut short. */
const EVERYWHERE = ["Namespace", "Lease", "ControllerRevision"];

interface Named {
  readonly name: string;
  readonly uid: string;
  readonly namespace: string | undefined;
}

function named(item: Item): Named | undefined {
  const metadata = item["metadata"];
  if (!isJson(metadata) || typeof metadata["name"] !== "string" || typeof metadata["uid"] !== "string")
    return undefined;
  const { namespace } = metadata;
  return {
    name: metadata["name"],
    uid: metadata["uid"],
    namespace: typeof namespace === "string" ? namespace : undefined,
  };
}

function isOurs(item: Item, kind: string): boolean {
  return item["kind"] === kind && String(item["apiVersion"]).startsWith(`${GROUP}/`);
}

/** Folders of the revisions that a model's own status lists, with their digests. */
function listedBy(item: Item, folder: string): (readonly [string, unknown])[] {
  const status = item["status"];
  const revisions = isJson(status) && Array.isArray(status["revisions"]) ? status["revisions"] : [];
  return revisions.filter(isJson).map(({ number, digest }) => [`${folder}${String(number)}/`, digest] as const);
}

/** What one cluster holds, as JSON. */
export interface ClusterList {
  readonly text: string;
  /** Every kind was listed. kubectl prints what it got where one could not be, and a pipe loses its exit code. */
  readonly isWhole: boolean;
}

export interface ClusterUse extends InUse {
  /** Digests of the revisions that a Model's status lists, by folder: they say which manifest belongs there. */
  readonly listed: ReadonlyMap<string, string>;
}

interface Gathered extends ClusterUse {
  readonly models: Set<string>;
  readonly revisions: Set<string>;
  readonly digests: Set<string>;
  readonly importing: Set<string>;
  readonly unlisted: Set<ListedKind>;
  readonly listed: Map<string, string>;
}

/** Lists of one or several clusters that share the store; words about what is missing where they cannot be relied upon. */
export function usedBy(lists: readonly ClusterList[]): ClusterUse | string {
  const all: Gathered = {
    models: new Set(),
    revisions: new Set(),
    digests: new Set(),
    importing: new Set(),
    unlisted: new Set(),
    listed: new Map(),
  };
  for (const list of lists) {
    const items = itemsOf(list);
    if (typeof items === "string") return items;
    const problem = gather(items, all);
    if (problem !== undefined) return problem;
    const missing = list.isWhole ? [] : KINDS.filter((kind) => !items.some((item) => isOurs(item, kind)));
    for (const kind of missing) all.unlisted.add(kind);
  }
  return all;
}

/** The same, to collect garbage by. */
export function inUseOf(lists: readonly ClusterList[]): InUse | string {
  const use = usedBy(lists);
  if (typeof use === "string" || use.models?.size !== 0) return use;
  return "the list holds no Model and no ClusterModel, so everything would be garbage: to empty a store, remove its folder by hand";
}

/** Adds what one cluster needs. Namespaces of several clusters have the same names, so each list is read by its own. */
function gather(items: readonly Item[], into: Gathered): string | undefined {
  const uids = new Map<string, string>();
  for (const item of items) {
    const object = item["kind"] === "Namespace" ? named(item) : undefined;
    if (object) uids.set(object.name, object.uid);
  }
  for (const item of items) {
    const object = named(item);
    const text = JSON.stringify(item);
    for (const [folder] of text.matchAll(folders)) into.revisions.add(`${folder}/`);
    if (isOurs(item, "ModelDeployment")) for (const [digest] of text.matchAll(digests)) into.digests.add(digest);
    if (item["kind"] === "Lease" && object?.name.startsWith(LEASE)) into.importing.add(object.name.slice(LEASE.length));
    if (!object || !(isOurs(item, "Model") || isOurs(item, "ClusterModel"))) continue;
    const scope = object.namespace === undefined ? "cluster" : uids.get(object.namespace);
    if (scope === undefined)
      return `namespace ${String(object.namespace)} of a Model is not in the list: make it with ${IN_USE_COMMAND}`;
    const folder = `models/${scope}/${object.uid}/`;
    into.models.add(folder);
    for (const [revision, digest] of listedBy(item, folder)) {
      into.revisions.add(revision);
      if (typeof digest === "string") into.listed.set(revision, digest);
    }
  }
  return undefined;
}

function itemsOf({ text, isWhole }: ClusterList): Item[] | string {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    return `the list of what is in use is no JSON: make it with ${IN_USE_COMMAND}`;
  }
  const items = isJson(json) && Array.isArray(json["items"]) ? json["items"].filter(isJson) : [];
  const kinds = new Set(items.map(({ kind }) => kind));
  const wanted = isWhole ? [] : EVERYWHERE.filter((kind) => !kinds.has(kind));
  const hint = `make it with ${IN_USE_COMMAND}`;
  return wanted.length > 0 ? `the list of what is in use holds no ${wanted.join(", no ")}: ${hint}` : items;
}

/** Nothing is known of any cluster: only what no cluster can need is garbage. */
export const nothingKnown: InUse = {
  models: undefined,
  revisions: new Set(),
  digests: new Set(),
  importing: new Set(),
  unlisted: new Set(),
};
