// The list of chapters, in the order in which they are told. A new one is a module of chapters/ and a line here.
import type { Chapter } from "./chapter.ts";
import { audit } from "./chapters/audit.ts";
import { catalogue } from "./chapters/catalogue.ts";
import { dedicated } from "./chapters/dedicated.ts";
import { fit } from "./chapters/fit.ts";
import { importing } from "./chapters/import.ts";
import { remove } from "./chapters/remove.ts";
import { scale } from "./chapters/scale.ts";
import { serve } from "./chapters/serve.ts";

export const chapters: readonly Chapter[] = [serve, importing, catalogue, dedicated, scale, fit, audit, remove];

export interface Choice {
  /** Content of CHAPTERS: names, separated by commas or blanks; empty means all. */
  readonly names?: string;
  readonly keep: boolean;
}

/** Chapters to run: those named and those that they need. Throws with the names that exist where one does not. */
export function selectChapters(all: readonly Chapter[], { names = "", keep }: Choice): Chapter[] {
  const wanted = new Set(names.split(/[\s,]+/).filter((name) => name !== ""));
  const unknown = [...wanted].filter((name) => !all.some((chapter) => chapter.name === name));
  if (unknown.length > 0) {
    const known = all.map((chapter) => chapter.name).join(", ");
    throw new Error(`CHAPTERS names no chapter "${unknown.join('", "')}": write one or more of ${known}`);
  }
  if (wanted.size === 0) return all.filter(({ isLast }) => !(keep && isLast));
  // Needs point backwards, so one pass from the end finds all of them.
  for (const chapter of all.toReversed())
    if (wanted.has(chapter.name)) chapter.needs.forEach((name) => wanted.add(name));
  return all.filter(({ name }) => wanted.has(name));
}
