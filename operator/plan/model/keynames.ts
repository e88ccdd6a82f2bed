/**
 * Keys of a bucket as file names: hostile input. A key that could escape, collide or confuse refuses the whole model rather than
 * being repaired.
 */
import { printable, refusal } from "./problem.ts";
import type { ModelProblem } from "./problem.ts";

const maxSegmentBytes = 240;
const maxPathBytes = 768;
const maxLevels = 8;

/** Of the store's own manifest. In a source it is another store's: never imported, but its digests are compared (sums.ts). */
export const MANIFEST_NAME = "MANIFEST.json";

/** The extension in lower case; empty without one. */
export function extensionOf(path: string): string {
  const name = path.slice(path.lastIndexOf("/") + 1);
  const dot = name.lastIndexOf(".");
  return dot > 0 ? name.slice(dot + 1).toLowerCase() : "";
}

/** What is wrong with a path as a file name, if anything. */
export function pathFault(path: string): string | undefined {
  const segments = path.split("/");
  if (path.startsWith("/")) return "begins with '/'";
  if (segments.some((s) => s === "..")) return "contains a '..' segment";
  if (segments.some((s) => s === "." || s === "")) return "contains an empty or '.' segment";
  if (path.includes("\\")) return "contains a backslash";
  // Control, format and separator characters, lone surrogates: a name must look like what it is.
  if (/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/u.test(path)) return "contains a control character";
  if (segments.length > maxLevels) return `is more than ${String(maxLevels)} levels deep`;
  const bytes = new TextEncoder();
  if (segments.some((s) => bytes.encode(s).length > maxSegmentBytes))
    return `has a segment longer than ${String(maxSegmentBytes)} bytes`;
  if (bytes.encode(path).length > maxPathBytes) return `is longer than ${String(maxPathBytes)} bytes`;
  if (path === MANIFEST_NAME || !isManifestName(segments[0] ?? "")) return undefined;
  // On a file system an object below that name is a folder in the manifest's place.
  const where = segments.length > 1 ? "lies below" : "is";
  return `${where} the name of the store's own manifest`;
}

/** Whether a file system may take a name for that of the store's own manifest. */
export function isManifestName(segment: string): boolean {
  return segment.toUpperCase() === MANIFEST_NAME.toUpperCase();
}

/** What all spellings of a name have in common: by way of capitals ß is ss and ς is σ, and the capital ẞ gets there by its small letter. */
const folded = (path: string): string =>
  path.normalize("NFD").toLowerCase().toUpperCase().toLowerCase().normalize("NFC");

/** Two paths that a file system may take for one, or a file that is also a folder. */
function collisionOf(paths: readonly string[]): readonly [string, string] | undefined {
  const seen = new Map<string, string>();
  for (const path of paths) {
    const name = folded(path);
    const twin = seen.get(name);
    if (twin !== undefined) return [twin, path];
    seen.set(name, path);
  }
  for (const [name, path] of seen) {
    for (let end = name.indexOf("/"); end > 0; end = name.indexOf("/", end + 1)) {
      const folder = seen.get(name.slice(0, end));
      if (folder !== undefined) return [folder, path];
    }
  }
  return undefined;
}

export function oddKey(paths: readonly string[]): ModelProblem | undefined {
  for (const path of paths) {
    const fault = pathFault(path);
    if (fault) return refusal("OddKey", `the key '${printable(path)}' ${fault}: rename or remove the object`);
  }
  const collision = collisionOf(paths);
  if (!collision) return undefined;
  const [one, other] = collision.map(printable);
  return refusal(
    "OddKey",
    `the keys '${String(one)}' and '${String(other)}' collide as file names: rename one of them`,
  );
}

/** Surrogates stand for code points beyond all that one unit can say. */
const rankOf = (unit: number): number => (unit >= 0xd800 && unit <= 0xdfff ? unit + 0x10000 : unit);

/** Order of paths by code point, which is also the order of their UTF-8 bytes. */
export function comparePaths(a: string, b: string): number {
  const shorter = Math.min(a.length, b.length);
  for (let i = 0; i < shorter; i++) {
    const [left, right] = [a.charCodeAt(i), b.charCodeAt(i)];
    if (left !== right) return rankOf(left) - rankOf(right);
  }
  return a.length - b.length;
}
