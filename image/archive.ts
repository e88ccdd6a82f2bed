/**
 * One image as one file: an OCI image layout (image-spec 1.1: oci-layout, index.json, blobs) that also carries the
 * manifest.json of `docker save`, so that containerd, podman, skopeo and docker all take it. Layers are not compressed:
 * deflate's output differs between processors, and a registry's client compresses while it pushes.
 */
import { createHash } from "node:crypto";
import { closeSync, mkdirSync, openSync, renameSync, writeSync } from "node:fs";
import { dirname } from "node:path";
import { tarOf } from "./tar.ts";
import type { Tree } from "./tree.ts";

export interface ImageSource {
  /** `repository:tag`, as a pod spec names it. */
  readonly reference: string;
  /** From the one that changes least to the one that changes most. */
  readonly layers: readonly { readonly what: string; readonly tree: Tree }[];
  /** The `config` member of an OCI image configuration. */
  readonly config: {
    readonly User: string;
    readonly Env: readonly string[];
    readonly Entrypoint: readonly string[];
    readonly Cmd?: readonly string[];
    readonly WorkingDir: string;
    readonly Labels?: Readonly<Record<string, string>>;
  };
}

export interface ImageArchive {
  readonly reference: string;
  /** `sha256:…` of the manifest: what a registry calls the image's digest. */
  readonly digest: string;
  readonly manifest: Buffer;
  readonly config: Buffer;
  readonly layers: readonly Blob[];
  /** Bytes of all layers: what a node unpacks. */
  readonly sizeBytes: number;
}

interface Blob {
  readonly pieces: readonly Buffer[];
  readonly digest: string;
  readonly size: number;
}

const ARCHITECTURES: Readonly<Record<string, string>> = { x64: "amd64", arm64: "arm64" };

function blobOf(pieces: readonly Buffer[]): Blob {
  const hash = createHash("sha256");
  for (const piece of pieces) hash.update(piece);
  return { pieces, digest: `sha256:${hash.digest("hex")}`, size: pieces.reduce((sum, { length }) => sum + length, 0) };
}

const json = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));

/** Assembles an image in memory. The same source gives the same digest. */
export function imageOf({ reference, layers, config }: ImageSource): ImageArchive {
  const blobs = layers.map(({ tree }) => blobOf(tarOf(tree)));
  const created = "1970-01-01T00:00:00Z";
  const configBytes = json({
    created,
    architecture: ARCHITECTURES[process.arch] ?? process.arch,
    os: "linux",
    config,
    rootfs: { type: "layers", diff_ids: blobs.map(({ digest }) => digest) },
    history: layers.map(({ what }) => ({ created, created_by: what })),
  });
  const configBlob = blobOf([configBytes]);
  const manifest = json({
    schemaVersion: 2,
    mediaType: "application/vnd.oci.image.manifest.v1+json",
    config: { mediaType: "application/vnd.oci.image.config.v1+json", digest: configBlob.digest, size: configBlob.size },
    layers: blobs.map(({ digest, size }) => ({ mediaType: "application/vnd.oci.image.layer.v1.tar", digest, size })),
  });
  const sizeBytes = blobs.reduce((sum, { size }) => sum + size, 0);
  return { reference, digest: blobOf([manifest]).digest, manifest, config: configBytes, layers: blobs, sizeBytes };
}

const blobPath = (digest: string): string => `blobs/${digest.replace(":", "/")}`;

function archiveTree({ reference, digest, manifest, config, layers }: ImageArchive): Tree {
  const tag = reference.slice(reference.lastIndexOf(":") + 1);
  const configDigest = blobOf([config]).digest;
  const index = {
    schemaVersion: 2,
    mediaType: "application/vnd.oci.image.index.v1+json",
    manifests: [
      {
        mediaType: "application/vnd.oci.image.manifest.v1+json",
        digest,
        size: manifest.length,
        annotations: { "io.containerd.image.name": reference, "org.opencontainers.image.ref.name": tag },
      },
    ],
  };
  const docker = [
    { Config: blobPath(configDigest), RepoTags: [reference], Layers: layers.map((layer) => blobPath(layer.digest)) },
  ];
  const contents: [string, Buffer][] = [
    ["oci-layout", json({ imageLayoutVersion: "1.0.0" })],
    ["index.json", json(index)],
    ["manifest.json", json(docker)],
    [blobPath(digest), manifest],
    [blobPath(configDigest), config],
    ...layers.map((layer): [string, Buffer] => [blobPath(layer.digest), Buffer.concat(layer.pieces)]),
  ];
  return new Map(contents.map(([path, content]) => [path, { kind: "file", mode: 0o644, content }]));
}

/** Writes the archive; the file is there whole or not at all. */
export function writeArchive(image: ImageArchive, path: string): void {
  mkdirSync(dirname(path), { recursive: true });
  const part = `${path}.part-${String(process.pid)}`;
  const file = openSync(part, "w");
  for (const piece of tarOf(archiveTree(image))) {
    for (let at = 0; at < piece.length;) at += writeSync(file, piece, at);
  }
  closeSync(file);
  renameSync(part, path);
}
