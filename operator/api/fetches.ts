/**
 * How far the fetches of serving pods have come, as the store role leaves it for the operator: one ConfigMap in Berth's own
 * namespace, one key for each pod (its UID) while its init step runs. Empty while nobody fetches.
 */
import type { KubeObject, Resource } from "../ports.ts";

export interface FetchState {
  /** Verified bytes of the model that stand on the node. */
  readonly doneBytes: number;
  readonly totalBytes: number;
  readonly bytesPerSecond: number;
  /** Epoch seconds of the report. */
  readonly at: number;
}

export interface FetchBoard extends KubeObject {
  readonly data?: Readonly<Record<string, string>>;
}

export const configMaps: Resource<FetchBoard> = {
  group: "",
  version: "v1",
  plural: "configmaps",
  kind: "ConfigMap",
  namespaced: true,
};

export function fetchStateText({ doneBytes, totalBytes, bytesPerSecond, at }: FetchState): string {
  return JSON.stringify({ doneBytes, totalBytes, bytesPerSecond, at });
}

function isAmount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

/** undefined for what nobody of ours wrote. */
export function parseFetchState(text: string | undefined): FetchState | undefined {
  let value: Partial<FetchState> | null;
  try {
    value = JSON.parse(text ?? "null") as Partial<FetchState> | null;
  } catch {
    return undefined;
  }
  const { doneBytes, totalBytes, bytesPerSecond, at } = value ?? {};
  if (!isAmount(doneBytes) || !isAmount(totalBytes) || !isAmount(bytesPerSecond) || !isAmount(at)) return undefined;
  return doneBytes <= totalBytes ? { doneBytes, totalBytes, bytesPerSecond, at } : undefined;
}
