/**
 * Which files of a new revision need not be copied, or not be kept twice, because an earlier revision of the same model holds
 * their bytes. Nothing is shared between models: an equal hash would tell one tenant what another one has.
 */
import type { ModelFile } from "./listing.ts";
import type { FoundRevision, SourceOrigin } from "./importrecord.ts";
import { objectKeyBelow } from "./manifest.ts";
import type { StoredFile } from "./manifest.ts";

/** A file as an earlier revision holds it, under the key of its object below the model's folder. */
export type HeldFile = StoredFile & { readonly key: string };

/** One object of one place in one state: what a pinned read would be held to. */
const stateOf = (key: string, sizeBytes: number, etag: string): string => JSON.stringify([key, sizeBytes, etag]);

function placeOf(origin: SourceOrigin): string | undefined {
  // A commit's files state their own SHA-256: that is the better proof.
  return "bucket" in origin ? JSON.stringify([origin.endpoint, origin.bucket]) : undefined;
}

/** Key of the source's object at a path: prefixes are folders with or without their '/'. */
function sourceKey(origin: SourceOrigin, path: string): string {
  const prefix = "prefix" in origin ? origin.prefix : "";
  return prefix === "" || prefix.endsWith("/") ? prefix + path : `${prefix}/${path}`;
}

/** Whether equal ETags of equal paths mean equal content in both. */
export function isSameSource(one: SourceOrigin, other: SourceOrigin): boolean {
  if ("repo" in one) return "repo" in other && one.endpoint === other.endpoint && one.repo === other.repo;
  return placeOf(one) === placeOf(other) && sourceKey(one, "") === sourceKey(other, "");
}

/** Objects of earlier revisions by what they hold, the oldest first. */
export function heldBy(found: readonly FoundRevision[]): ReadonlyMap<string, HeldFile> {
  const held = new Map<string, HeldFile>();
  for (const { number, manifest } of found) {
    for (const file of manifest.files) {
      const content = contentOf(file);
      if (!held.has(content)) held.set(content, { ...file, key: objectKeyBelow(number, file) });
    }
  }
  return held;
}

/** Equal for equal bytes. */
export function contentOf({ sizeBytes, sha256 }: Pick<StoredFile, "sizeBytes" | "sha256">): string {
  return `${sha256} ${sizeBytes}`;
}

/**
 * Files that need not even be read, by path: the source states a SHA-256 and a size that an earlier revision holds, or the same object of
 * the same bucket has the ETag and size that an earlier import recorded for it, and hashed.
 */
export function reusable(
  files: readonly ModelFile[],
  origin: SourceOrigin,
  found: readonly FoundRevision[],
): ReadonlyMap<string, HeldFile> {
  const held = heldBy(found);
  const byState = new Map<string, HeldFile>();
  const place = placeOf(origin);
  for (const { manifest, record } of found) {
    if (!record || place === undefined || placeOf(record.source) !== place) continue;
    for (const file of manifest.files) {
      const etag = record.etags[file.path];
      const at = held.get(contentOf(file));
      if (etag && at) byState.set(stateOf(sourceKey(record.source, file.path), file.sizeBytes, etag), at);
    }
  }
  const reused = new Map<string, HeldFile>();
  for (const { path, sizeBytes, etag, sha256, key } of files) {
    const stated = sha256 === undefined ? undefined : held.get(contentOf({ sizeBytes, sha256 }));
    const at = stated ?? (place === undefined ? undefined : byState.get(stateOf(key, sizeBytes, etag)));
    if (at) reused.set(path, { ...at, path });
  }
  return reused;
}

/** The same files, pointing at the objects of earlier revisions where those hold the same bytes. */
export function pointedAtEarlier(files: readonly StoredFile[], found: readonly FoundRevision[]): StoredFile[] {
  const held = heldBy(found);
  return files.map((file) => ({ ...file, key: held.get(contentOf(file))?.key ?? file.key }));
}
