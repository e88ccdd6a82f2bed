/** The images that only the test bed uses, as archives in the cache folder; assembled anew where their sources changed. */
import { createHash } from "node:crypto";
import { existsSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { cacheDir } from "../test/cluster/paths.ts";
import { writeArchive } from "./archive.ts";
import { engineImage } from "./engine.ts";
import type { Progress } from "./missing.ts";
import { pauseImage } from "./pause.ts";

export interface CachedImages {
  readonly pause: string;
  readonly engine: string;
}

/** Where the archives lie, made or not. */
export function cachedImages(): CachedImages {
  const folder = join(cacheDir(), "images");
  return { pause: join(folder, "pause.tar"), engine: join(folder, "engine-cpu.tar") };
}

/** Hash over the sources of the images: this folder without its notes. */
function sourcesKey(): string {
  const hash = createHash("sha256");
  const names = readdirSync(import.meta.dirname, { recursive: true, encoding: "utf8" });
  for (const name of names.filter((file) => /\.(ts|lock|go|mod)$/.test(file)).sort()) {
    hash.update(name).update(readFileSync(join(import.meta.dirname, name)));
  }
  return hash.digest("hex");
}

/** Makes the archives where they are missing or older than their sources. Throws Missing (needs Go, apt, Python 3.11). */
export async function ensureImages(progress: Progress): Promise<CachedImages> {
  const paths = cachedImages();
  const mark = join(cacheDir(), "images", "sources.sha256");
  const key = sourcesKey();
  const fresh = existsSync(mark) && readFileSync(mark, "utf8") === key;
  if (fresh && existsSync(paths.pause) && existsSync(paths.engine)) return paths;
  progress("assembling the images of the sandbox and of the engine's base …");
  writeArchive(await pauseImage(), paths.pause);
  writeArchive(await engineImage(progress), paths.engine);
  writeFileSync(mark, key);
  return paths;
}
