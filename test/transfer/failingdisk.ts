/**
 * The disk below a folder, full (or broken) from a chosen step on. The kernel says so where a write, a flush, a new name or a new file wants
 * room, and which of them it is nobody can choose with a small disk alone: so the calls are failed before they reach it, with the kernel's code.
 */
import promises from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";
import { syncBuiltinESMExports } from "node:module";

export interface FailingDisk {
  /** Steps that wanted room, as `call name`: names without what chance gave them. */
  readonly steps: string[];
  /** The first of these fails, and all steps that follow. */
  fullAt: string | undefined;
  /** `fullAt` counts once this step was done; at once where absent. */
  fullAfter: string | undefined;
  isFull: boolean;
  /** Name of a file that gives nothing of itself; reading wants no room and is no step. */
  unreadable: string | undefined;
  /** How often it was read in vain. */
  readonly failedReads: number;
  restore(): void;
}

type Call = (...args: never[]) => Promise<unknown>;

const faults = { ENOSPC: "no space left on device", EIO: "i/o error" } as const;
export type DiskFault = keyof typeof faults;

const nameOf = (root: string, path: string): string =>
  path.slice(root.length).replaceAll(/\.[0-9a-f]{12}(?=$|\/)/g, "").replaceAll(/[0-9a-f]{32,64}/g, "HASH"); // prettier-ignore

/** Watches everything of the process below `root` until restored. */
export function newFailingDisk(root: string, code: DiskFault = "ENOSPC"): FailingDisk {
  let failedReads = 0;
  const disk: FailingDisk = {
    steps: [],
    fullAt: undefined,
    fullAfter: undefined,
    isFull: false,
    unreadable: undefined,
    get failedReads() {
      return failedReads;
    },
    restore,
  };
  const mutable = promises as unknown as Record<string, Call>;
  const originals = new Map<string, Call>();
  const step = (call: string, path: string): void => {
    const name = `${call} ${nameOf(root, path)}`;
    const isDue = disk.fullAfter === undefined || disk.steps.includes(disk.fullAfter);
    disk.steps.push(name);
    disk.isFull ||= isDue && name === disk.fullAt;
    if (disk.isFull) throw Object.assign(new Error(`${code}: ${faults[code]}, ${call}`), { code, syscall: call });
  };
  function replace(call: string, instead: (original: Call) => Call): void {
    const original = mutable[call] as Call;
    originals.set(call, original);
    mutable[call] = instead(original);
  }
  function restore(): void {
    for (const [call, original] of originals) mutable[call] = original;
    syncBuiltinESMExports();
  }
  const watched = (file: FileHandle, path: string): FileHandle => {
    const handle = file as unknown as Record<string, Call>;
    for (const call of ["write", "sync"] as const) {
      const original = (handle[call] as Call).bind(file);
      handle[call] = async (...args) => {
        step(call, path);
        return original(...args);
      };
    }
    const read = (handle["read"] as Call).bind(file);
    handle["read"] = async (...args) => {
      if (nameOf(root, path) !== disk.unreadable) return read(...args);
      failedReads++;
      throw Object.assign(new Error(`EIO: ${faults.EIO}, read`), { code: "EIO", syscall: "read" });
    };
    return file;
  };
  const isBelow = (path: unknown): path is string => typeof path === "string" && path.startsWith(root);
  replace("open", (original) => async (...args: never[]) => {
    const [path, flags] = args as unknown as [unknown, unknown];
    if (!isBelow(path)) return original(...args);
    if (flags === "wx") step("open", path);
    return watched((await original(...args)) as FileHandle, path);
  });
  for (const [call, target] of [
    ["link", 1],
    ["rename", 1],
    ["mkdir", 0],
  ] as const)
    // prettier-ignore
    replace(call, (original) => async (...args: never[]) => {
      if (isBelow(args[target])) step(call, args[target]);
      return original(...args);
    });
  syncBuiltinESMExports();
  return disk;
}
