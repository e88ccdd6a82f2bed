/** A small file system of its own, without root where the kernel lets users have namespaces: a tmpfs in one of those, seen through /proc. */
import { spawn, spawnSync } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

export interface SmallDisk {
  readonly folder: string;
  remove(): void;
}

/** Or why there is none, in the words of the tools. */
export type MaybeDisk = SmallDisk | { readonly reason: string };

const mountArgs = (folder: string, options: string): string[] => ["-t", "tmpfs", "-o", options, "tmpfs", folder];

/** The first line that the shell says, or that it ended. */
function firstLine(shell: ChildProcess): Promise<string | undefined> {
  return new Promise((resolve) => {
    shell.once("error", () => resolve(undefined));
    shell.once("exit", () => resolve(undefined));
    if (shell.stdout) createInterface({ input: shell.stdout }).once("line", resolve);
  });
}

/** `options` as mount has them: `size=4m`, `nr_inodes=40`. */
export async function newSmallDisk(options: string): Promise<MaybeDisk> {
  const folder = mkdtempSync(join(tmpdir(), "berth-small-"));
  const command = `mount ${mountArgs(folder, options).join(" ")} && echo ready && exec cat`;
  const holder = spawn("unshare", ["--user", "--map-root-user", "--mount", "sh", "-c", command]);
  let said = "";
  holder.stderr.on("data", (piece) => (said += String(piece)));
  if ((await firstLine(holder)) === "ready") {
    const remove = (): void => {
      holder.kill();
      rmSync(folder, { recursive: true, force: true });
    };
    return { folder: `/proc/${String(holder.pid)}/root${folder}`, remove };
  }
  const mounted = spawnSync("mount", mountArgs(folder, options), { encoding: "utf8" });
  const remove = (): void => {
    if (mounted.status === 0) spawnSync("umount", ["-l", folder]);
    rmSync(folder, { recursive: true, force: true });
  };
  if (mounted.status === 0) return { folder, remove };
  remove();
  const why = `${said} ${mounted.stderr}`.replace(/\s+/g, " ").trim() || "unshare and mount are missing";
  return { reason: `neither a user's namespace nor root can mount a small file system here: ${why}` };
}
