/** From the keys of a bucket to the files of a model: which are served, which are left out, and which make us refuse. */
import type { SourceObject } from "../../ports.ts";
import { MAX_TEMPLATE_BYTES, isTemplatePath } from "./chattemplate.ts";
import { MAX_VERSION_BYTES, isFolderMarker, listingFault } from "./entries.ts";
import type { ListingUse } from "./entries.ts";
import { MANIFEST_NAME, comparePaths, extensionOf, oddKey } from "./keynames.ts";
import { printable, refusal, some } from "./problem.ts";
import type { ModelProblem } from "./problem.ts";
import { hasTokenizer, isManifestPath, servedOf, wantedTokenizers } from "./served.ts";
import type { ExtraFormats } from "./served.ts";

/** Largest number of objects that a source may list. */
export const MAX_OBJECTS = 10_000;

/** A file of the model; `path` is its place below the prefix. */
export interface ModelFile {
  readonly path: string;
  readonly key: string;
  readonly sizeBytes: number;
  readonly etag: string;
  /** What the source says that the content's SHA-256 is. */
  readonly sha256?: string;
}

export interface Listing {
  /** What the files stand in; a bucket where absent. */
  readonly kind?: SourceKind;
  /** Files that are imported, sorted by path. */
  readonly files: readonly ModelFile[];
  /** Paths that no server needs: hidden files, pictures, other formats of the same weights. */
  readonly leftOut: readonly string[];
  readonly sizeBytes: number;
}

/** The prefix to list: a folder, so that `models/llama` does not match `models/llama-70b/…`. */
export function folderOf(prefix: string): string {
  return prefix === "" || prefix.endsWith("/") ? prefix : `${prefix}/`;
}

/** Formats whose loading can run code. */
const unsafeExtensions = new Set(
  "bin pt pth ckpt pkl pickle npy npz h5 hdf5 keras joblib dill msgpack pb nemo mar".split(" "),
);
/** Never opened, so that none can be a bomb; named where nothing else is there. */
const archiveExtensions = "zip tar gz tgz bz2 xz zst 7z rar".split(" ");
const codeExtensions = new Set("py pyc pyx pyd so dll dylib exe sh bash bat ps1 ipynb js mjs jar whl egg".split(" "));

const weightExtensions = /\.(safetensors|gguf)$/;

/** Weights that hold nothing: empty objects are what broken uploads and links leave behind. */
function emptyWeights(files: readonly ModelFile[]): ModelProblem | undefined {
  const empty = files.filter(({ path, sizeBytes }) => sizeBytes === 0 && weightExtensions.test(path));
  if (empty.length === 0) return undefined;
  const names = some(empty.map(({ path }) => path));
  return refusal("WeightsMissing", `there are no bytes in ${names}: upload the weights themselves`);
}

/** Bytes beyond which a file of this name is none that a tokenizer writes; it is copied, never parsed here. */
const sizeLimits: Readonly<Record<string, number>> = {
  "tokenizer.json": 128 << 20,
  "tokenizer.model": 128 << 20,
  "spiece.model": 128 << 20,
  "spm.model": 128 << 20,
  "sentencepiece.bpe.model": 128 << 20,
  "tekken.json": 128 << 20,
  "vocab.json": 64 << 20,
  "merges.txt": 64 << 20,
};

function oversizedFile(files: readonly ModelFile[]): ModelProblem | undefined {
  for (const { path, sizeBytes } of files) {
    const most = isTemplatePath(path)
      ? MAX_TEMPLATE_BYTES
      : Object.hasOwn(sizeLimits, path)
        ? sizeLimits[path]
        : undefined;
    if (most === undefined || sizeBytes <= most) continue;
    const reason = isTemplatePath(path) ? "ChatTemplateUnsafe" : "ConfigInvalid";
    const what = `${printable(path)} has ${String(sizeBytes)} bytes, more than the ${String(most)} that are allowed`;
    return refusal(reason, `${what}: replace it by a real one`);
  }
  return undefined;
}

function dangerous(paths: readonly string[]): ModelProblem | undefined {
  const code = paths.filter((path) => codeExtensions.has(extensionOf(path)));
  if (code.length > 0) {
    const what = "the source holds program code, which is never imported";
    return refusal("CustomCode", `${what}: remove ${some(code)}`);
  }
  const unsafe = paths.filter((path) => unsafeExtensions.has(extensionOf(path)));
  if (unsafe.length === 0) return undefined;
  const what = "the source holds files in formats that can run code when loaded";
  return refusal("UnsafeFormat", `${what}: convert them to safetensors and remove ${some(unsafe)}`);
}

/** Paths of the whole source and those of them that are served, and where it is for people. */
interface Stock {
  readonly paths: ReadonlySet<string>;
  readonly served: ReadonlySet<string>;
  readonly where: string;
}

function withoutConfig({ paths, where }: Stock, kind: SourceKind): ModelProblem {
  const isMistrals = paths.has("params.json") && [...paths].some((path) => /^consolidated.*\.safetensors$/.test(path));
  if (isMistrals) {
    const what = `${where} holds Mistral's own layout (params.json, consolidated weights) and no config.json`;
    return refusal(
      "ConfigMissing",
      `${what}: that layout is not supported, take the model in the layout of transformers`,
    );
  }
  const remedy =
    kind === "bucket"
      ? "point spec.source.s3.prefix at the folder that holds it"
      : "take a repository in the layout of transformers";
  return refusal("ConfigMissing", `there is no config.json in ${where}: ${remedy}`);
}

function withoutWeights({ paths, where }: Stock, extra: ExtraFormats): ModelProblem {
  const others = [...paths].filter((path) =>
    ["gguf", "ggml", "onnx", "tflite", "mlmodel", ...archiveExtensions].includes(extensionOf(path)),
  );
  const found = others.length > 0 ? ` (found ${some(others)})` : "";
  const gguf = extra.gguf ? others.filter((path) => extensionOf(path) === "gguf") : [];
  if (gguf.length > 0)
    return refusal(
      "NotSafetensors",
      `${some(gguf)} may come along, but there are no *.safetensors weights in ${where}, by which alone nodes are chosen: add the safetensors that it was made of`,
    );
  return refusal(
    "NotSafetensors",
    `there are no *.safetensors weights in ${where}${found}: convert the model to safetensors, only that is imported`,
  );
}

function incomplete(stock: Stock, kind: SourceKind, extra: ExtraFormats): ModelProblem | undefined {
  const { paths, served, where } = stock;
  if (!paths.has("config.json")) return withoutConfig(stock, kind);
  if (![...served].some((path) => /^[^/]+\.safetensors$/.test(path))) return withoutWeights(stock, extra);
  if (hasTokenizer(served)) return undefined;
  return refusal("TokenizerMissing", `there is no tokenizer in ${where}: add ${wantedTokenizers}`);
}

/** Below what is read of a manifest, or of the record beside it (MAX_MANIFEST_BYTES), by as much as the rest of either takes. */
const MOST_RECORDED_BYTES = 15 << 20;
/** Of each file besides its names in a manifest: size, SHA-256, the words between, and what its second place adds. */
const MANIFEST_BESIDE_BYTES = 200;
/** In the record, besides its ETag: a version's id, which is not known yet, and the words between. */
const RECORD_BESIDE_BYTES = MAX_VERSION_BYTES + 16;

/** A manifest names path and key of each file, as JSON; the record each path with its ETag and again with its version. */
function unrecordable(files: readonly ModelFile[]): ModelProblem | undefined {
  const jsonBytes = (text: string): number => new TextEncoder().encode(JSON.stringify(text)).length;
  const bytes = files.reduce(
    (sum, { path, etag }) =>
      sum + 2 * jsonBytes(path) + Math.max(MANIFEST_BESIDE_BYTES, jsonBytes(etag) + RECORD_BESIDE_BYTES),
    0,
  );
  if (bytes <= MOST_RECORDED_BYTES) return undefined;
  const most = `more than the ${String(MOST_RECORDED_BYTES)} that it may have`;
  const what = `the names of ${String(files.length)} files need ${String(bytes)} bytes in a manifest, ${most}`;
  return refusal("TooManyFiles", `${what}: shorten them, or point the prefix at one model`);
}

const byPath = (a: ModelFile, b: ModelFile): number => comparePaths(a.path, b.path);

/** What the files stand in: a bucket is its owner's to tidy up, a repository is somebody else's. */
export type SourceKind = "bucket" | "repository";

/**
 * The files of a model from everything that stands below its prefix, or the first reason to refuse it.
 * `objects` may hold one more than MAX_OBJECTS: a lister stops there. Code and pickles refuse a bucket; in a repository, where
 * they often stand beside the safetensors and nobody here could remove them, they are left out like all that is not served.
 */
export function filesOf(
  objects: readonly SourceObject[],
  prefix: string,
  maxSizeBytes: number,
  kind: SourceKind = "bucket",
  use: ListingUse = "copy",
  extra: ExtraFormats = { gguf: false },
): Listing | ModelProblem {
  const folder = folderOf(prefix);
  if (objects.length > MAX_OBJECTS) {
    return refusal(
      "TooManyFiles",
      `more than ${String(MAX_OBJECTS)} objects stand below '${printable(folder)}': point the prefix at one model`,
    );
  }
  const lie = listingFault(objects, folder, use);
  if (lie) return lie;
  const all = objects.filter((o) => !isFolderMarker(o)).map((o) => ({ ...o, path: o.key.slice(folder.length) }));
  if (all.length === 0) return nothingThere(folder, kind);
  const paths = all.map((file) => file.path);
  const served = servedPaths(paths, kind, extra);
  // What is left out of a repository gets no file name here, and nobody here could rename it.
  const odd = oddKey(kind === "bucket" ? paths : [...served]);
  const code = kind === "bucket" ? dangerous(paths) : undefined;
  const root = kind === "bucket" ? "the bucket's root" : "the repository";
  const where = folder === "" ? root : `'${printable(folder)}'`;
  const problem = odd ?? code ?? incomplete({ paths: new Set(paths), served, where }, kind, extra);
  if (problem) return problem;
  const files = all.filter(({ path }) => served.has(path)).sort(byPath);
  const sizeBytes = files.reduce((sum, file) => sum + file.sizeBytes, 0);
  const problemOfFiles =
    tooLarge(sizeBytes, maxSizeBytes) ?? emptyWeights(files) ?? oversizedFile(files) ?? unrecordable(files);
  if (problemOfFiles) return problemOfFiles;
  return { kind, files, leftOut: paths.filter((path) => !served.has(path)), sizeBytes };
}

/** Another store's manifest is never one's own; a repository may have a file of nearly that name that means nothing of the kind. */
function servedPaths(paths: readonly string[], kind: SourceKind, extra: ExtraFormats): ReadonlySet<string> {
  const isServed = servedOf(new Set(paths), extra);
  const isOther = (path: string): boolean => (kind === "repository" ? isManifestPath(path) : path === MANIFEST_NAME);
  return new Set(paths.filter((path) => isServed(path) && !isOther(path)));
}

function nothingThere(folder: string, kind: SourceKind): ModelProblem {
  if (kind === "repository") return refusal("NoFiles", "the repository is empty: check spec.source.huggingFace");
  const where = folder === "" ? "the bucket is empty" : `nothing stands below '${printable(folder)}'`;
  return refusal("NoFiles", `${where}: check spec.source.s3.bucket and prefix`);
}

function tooLarge(sizeBytes: number, maxSizeBytes: number): ModelProblem | undefined {
  if (Number.isSafeInteger(sizeBytes) && sizeBytes <= maxSizeBytes) return undefined;
  const limit = `spec.maxSize allows ${String(maxSizeBytes)}`;
  return refusal("TooLarge", `the files sum up to ${String(sizeBytes)} bytes, but ${limit}: raise it or import less`);
}
