/** The content of a root file system as a value: path → entry, later written as a layer. Paths have no leading slash. */
import { lstatSync, readFileSync, readdirSync, readlinkSync } from "node:fs";
import { join } from "node:path";

export type Entry =
  | { readonly kind: "folder"; readonly mode: number; readonly owner?: Owner }
  | { readonly kind: "file"; readonly mode: number; readonly content: Buffer; readonly owner?: Owner }
  | { readonly kind: "link"; readonly target: string };

export interface Owner {
  readonly uid: number;
  readonly gid: number;
}

export type Tree = Map<string, Entry>;

/** Debian's folders that are links into /usr once a system is installed ("merged /usr"). */
const MERGED = ["bin", "lib", "lib32", "lib64", "libx32", "sbin"] as const;

function mergedPath(path: string): string {
  const [first = ""] = path.split("/");
  return MERGED.some((name) => name === first) ? `usr/${path}` : path;
}

/** Reads a folder. Owners become root, write bits of others and setuid bits go; /bin, /lib and so on move below /usr. */
export function treeOf(folder: string): Tree {
  const tree: Tree = new Map();
  const names = readdirSync(folder, { recursive: true, encoding: "utf8" });
  for (const name of names.sort()) {
    const path = join(folder, name);
    const stat = lstatSync(path);
    const mode = stat.mode & 0o755;
    if (stat.isSymbolicLink()) tree.set(mergedPath(name), { kind: "link", target: readlinkSync(path) });
    else if (stat.isDirectory()) tree.set(mergedPath(name), { kind: "folder", mode });
    else if (stat.isFile()) tree.set(mergedPath(name), { kind: "file", mode, content: readFileSync(path) });
  }
  return tree;
}

/** The links that make /bin, /lib and so on point below /usr, for those that `tree` uses. */
export function mergeLinks(tree: Tree): Tree {
  const used = MERGED.filter((name) => [...tree.keys()].some((path) => path.startsWith(`usr/${name}/`)));
  return new Map(used.map((name) => [name, { kind: "link", target: `usr/${name}` }]));
}

export function textFile(text: string, mode = 0o644): Entry {
  return { kind: "file", mode, content: Buffer.from(text) };
}

/** Union of trees; on the same path the last one wins. */
export function union(...trees: readonly Tree[]): Tree {
  return new Map(trees.flatMap((tree) => [...tree]));
}

/** Adds the folders that lead to each entry, as root's with mode 0755. */
export function withParents(tree: Tree): Tree {
  const full: Tree = new Map(tree);
  for (const path of tree.keys()) {
    const parts = path.split("/");
    for (let depth = 1; depth < parts.length; depth++) {
      const parent = parts.slice(0, depth).join("/");
      if (!full.has(parent)) full.set(parent, { kind: "folder", mode: 0o755 });
    }
  }
  return full;
}
