// What an importer that died has left in a folder.
import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { filesBelow } from "../models/upload.ts";

/** Bytes of weights that the folder's journals and finished files hold after a kill. */
export function journaledBytes(folder: string): number {
  const partBytes = 16 << 20;
  return filesBelow(folder).reduce((sum, path) => {
    if (/^models\/.*\.safetensors$/.test(path)) return sum + statSync(join(folder, path)).size;
    if (!path.endsWith("/journal")) return sum;
    const size = statSync(join(folder, path.replace(/journal$/, "data"))).size;
    const parts = [...readFileSync(join(folder, path), "utf8").matchAll(/^(\d+) [0-9a-f]+ [0-9a-f]+$/gm)];
    return parts.reduce((all, [, number]) => all + Math.min(partBytes, size - Number(number) * partBytes), sum);
  }, 0);
}
