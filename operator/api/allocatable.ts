/** Who wrote a Node's allocatable GPUs, and when: as much of managedFields as tells that. */
import type { ManagedFieldsEntry } from "../ports.ts";

interface OwnedFields {
  readonly "f:status"?: { readonly "f:allocatable"?: Readonly<Record<string, unknown>> };
}

function allocatableIn({ fieldsV1 }: ManagedFieldsEntry): Readonly<Record<string, unknown>> {
  return (fieldsV1 as OwnedFields | undefined)?.["f:status"]?.["f:allocatable"] ?? {};
}

export function ownsAllocatable(entry: ManagedFieldsEntry, resourceName: string): boolean {
  return isOfStatus(entry) && allocatableIn(entry)[`f:${resourceName}`] !== undefined;
}

/** The API server keeps owners of a status apart; that there is any says that nobody cleared managedFields. */
export function isOfStatus({ subresource }: ManagedFieldsEntry): boolean {
  return subresource === "status";
}

/** A kubelet's entry names each field of its status: of all that only the devices of vendors are kept, which have a domain in their name. */
export function slimEntry(entry: ManagedFieldsEntry): ManagedFieldsEntry {
  if (!isOfStatus(entry)) return entry;
  const { fieldsV1: _, ...rest } = entry;
  const devices = Object.entries(allocatableIn(entry)).filter(([field]) => field.includes("/"));
  if (devices.length === 0) return rest;
  return { ...rest, fieldsV1: { "f:status": { "f:allocatable": Object.fromEntries(devices) } } };
}
