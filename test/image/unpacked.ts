/** An image archive read back by the host's tar, so that our writer is not the judge of itself. */
import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

export interface Manifest {
  readonly config: { readonly digest: string };
  readonly layers: readonly { readonly digest: string; readonly size: number }[];
}

export interface Configuration {
  readonly config: { readonly User: string; readonly Entrypoint: readonly string[]; readonly Env: readonly string[] };
  readonly rootfs: { readonly diff_ids: readonly string[] };
}

export interface Unpacked {
  readonly digest: string;
  readonly manifest: Manifest;
  readonly configuration: Configuration;
  /** The manifest.json of `docker save`. */
  readonly saved: readonly {
    readonly Config: string;
    readonly RepoTags: readonly string[];
    readonly Layers: string[];
  }[];
  /** The layers, one over the other. */
  readonly rootDir: string;
  readonly blobPath: (digest: string) => string;
}

/** Unpacks `archive` below `folder`. */
export function unpacked(archive: string, folder: string): Unpacked {
  const rootDir = join(folder, "root");
  const layout = join(folder, "layout");
  mkdirSync(rootDir, { recursive: true });
  mkdirSync(layout);
  execFileSync("tar", ["-xf", archive, "-C", layout]);
  const blobPath = (digest: string): string => join(layout, "blobs", ...digest.split(":"));
  const read = (path: string): unknown => JSON.parse(readFileSync(path, "utf8"));
  const index = read(join(layout, "index.json")) as { manifests: { digest: string }[] };
  const digest = index.manifests[0]?.digest ?? "";
  const manifest = read(blobPath(digest)) as Manifest;
  for (const layer of manifest.layers) execFileSync("tar", ["-xpf", blobPath(layer.digest), "-C", rootDir]);
  return {
    digest,
    manifest,
    configuration: read(blobPath(manifest.config.digest)) as Configuration,
    saved: read(join(layout, "manifest.json")) as Unpacked["saved"],
    rootDir,
    blobPath,
  };
}
