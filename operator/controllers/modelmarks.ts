/** What the importer writes into a Model's metadata: its finalizer, and the end of annotations that asked for something. */
import { annotations, fieldManagers, finalizers } from "../api/keys.ts";
import type { KubeReader, KubeWriter, Resource } from "../ports.ts";
import { ConflictError } from "../runtime/errors.ts";
import type { AnyModel } from "./modelstatus.ts";

const manager = { manager: fieldManagers.importer };

/** Adds our finalizer before anything of the model can be in the store. */
export async function held(kube: KubeWriter, resource: Resource<AnyModel>, model: AnyModel): Promise<AnyModel> {
  const { namespace, name, resourceVersion, finalizers: before = [] } = model.metadata;
  if (before.includes(finalizers.store)) return model;
  const body = { metadata: { resourceVersion, finalizers: [...before, finalizers.store] } };
  return kube.mergePatch(resource, namespace, name, body, manager);
}

export async function letGo(kube: KubeWriter, resource: Resource<AnyModel>, model: AnyModel): Promise<void> {
  const { namespace, name, resourceVersion, finalizers: before = [] } = model.metadata;
  const kept = before.filter((finalizer) => finalizer !== finalizers.store);
  await kube.mergePatch(resource, namespace, name, { metadata: { resourceVersion, finalizers: kept } }, manager);
}

/** Somebody may change the object each time that it was read. */
const MOST_TRIES = 5;

/**
 * Takes the annotations off that asked for a look at the source, or for an import anew once it is complete: those that say what they said
 * when the work was `begun`, since it answers nothing that came later.
 */
export async function answer(
  kube: KubeReader & KubeWriter,
  resource: Resource<AnyModel>,
  model: AnyModel,
  { begun, isImported }: { readonly begun: AnyModel; readonly isImported: boolean },
): Promise<void> {
  const asked = begun.metadata.annotations ?? {};
  const keys = [annotations.refresh, ...(isImported ? [annotations.reimport] : [])];
  let seen: AnyModel | undefined = model;
  for (let tries = 1; seen && seen.metadata.uid === model.metadata.uid; tries++) {
    const { namespace, name, resourceVersion, annotations: words = {} }: AnyModel["metadata"] = seen.metadata;
    const answered = keys.filter((key) => words[key] !== undefined && words[key] === asked[key]);
    if (answered.length === 0) return;
    const body = { metadata: { resourceVersion, annotations: Object.fromEntries(answered.map((key) => [key, null])) } };
    try {
      await kube.mergePatch(resource, namespace, name, body, manager);
      return;
    } catch (error) {
      if (!(error instanceof ConflictError) || tries === MOST_TRIES) throw error;
    }
    seen = await kube.read(resource, namespace, name);
  }
}
