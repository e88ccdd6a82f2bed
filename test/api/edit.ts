/** Edits of a sample by path. */
import { samples } from "../../operator/api/samples.ts";
import type { Edit } from "./bad/object.ts";

/** A deep copy of the kind's sample with `edit` applied. */
export function edited(kind: string, edit: Edit): Record<string, unknown> {
  const object = structuredClone(samples[kind]) as Record<string, unknown>;
  for (const [path, value] of Object.entries(edit)) setAt(object, path.split("."), value);
  return object;
}

function setAt(object: Record<string, unknown>, path: readonly string[], value: unknown): void {
  const [name, ...rest] = path;
  if (name === undefined) return;
  if (rest.length > 0) setAt((object[name] ??= {}) as Record<string, unknown>, rest, value);
  else if (value === undefined) delete object[name];
  else object[name] = value;
}
