/** What the importer writes into a Model's metadata: its finalizer, and the end of annotations that asked for something. */
import { annotations, fieldManagers, finalizers } from "../api/keys.ts";
import type { KubeWriter, Resource } from "../ports.ts";
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

/** Takes the annotations off that asked for a look at the source, or for an import anew once it is complete. */
export async function answer(
  kube: KubeWriter,
  resource: Resource<AnyModel>,
  model: AnyModel,
  isImported: boolean,
): Promise<void> {
  const { namespace, name, annotations: before = {} } = model.metadata;
  const asked = [annotations.refresh, ...(isImported ? [annotations.reimport] : [])];
  const answered = asked.filter((key) => before[key] !== undefined);
  if (answered.length === 0) return;
  const body = { metadata: { annotations: Object.fromEntries(answered.map((key) => [key, null])) } };
  await kube.mergePatch(resource, namespace, name, body, manager);
}
