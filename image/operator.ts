/** The operator's image: Node.js, the one bundle, the libraries that Node.js links to, CA certificates; no shell. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { repoDir } from "../test/cluster/paths.ts";
import { imageOf } from "./archive.ts";
import type { ImageArchive, ImageSource } from "./archive.ts";
import { lockPath, unpackedPackages } from "./debian.ts";
import type { UnpackedPackage } from "./debian.ts";
import { linkingOf } from "./elf.ts";
import { Missing } from "./missing.ts";
import type { Progress } from "./missing.ts";
import { mergeLinks, textFile, union } from "./tree.ts";
import type { Entry, Tree } from "./tree.ts";

/** User and group of distroless' "nonroot", as a number so that runAsNonRoot can be checked without /etc/passwd. */
export const OPERATOR_USER = 65532;

export interface OperatorImage extends ImageArchive {
  readonly packages: readonly UnpackedPackage[];
}

const LIBRARY_FOLDERS = ["usr/lib/x86_64-linux-gnu", "usr/lib64"];
const CERTIFICATES = "etc/ssl/certs/ca-certificates.crt";

interface PackageFile {
  readonly version: string;
  readonly license: string;
}

export function packageFile(): PackageFile {
  return JSON.parse(readFileSync(join(repoDir, "package.json"), "utf8")) as PackageFile;
}

export const operatorReference = (): string => `localhost/berth:${packageFile().version}`;

/** A library under its name in the linker's folders, followed through links; the paths of all of them. */
function libraryPaths(all: Tree, name: string): string[] {
  const folder = LIBRARY_FOLDERS.find((candidate) => all.has(`${candidate}/${name}`));
  if (!folder)
    throw new Error(`no pinned package holds ${name}, which Node.js links to: add its package to image/lock.ts`);
  const path = `${folder}/${name}`;
  const entry = all.get(path);
  if (entry?.kind !== "link") return [path];
  return [path, ...libraryPaths(all, entry.target.slice(entry.target.lastIndexOf("/") + 1))];
}

/** Everything that the dynamic linker maps for `program`: its interpreter and all libraries, also those of libraries. */
export function librariesOf(program: Buffer, all: Tree): Tree {
  const chosen: Tree = new Map();
  const visit = (file: Buffer): void => {
    const { interpreter, needed } = linkingOf(file);
    const names = [...(interpreter ? [interpreter.slice(interpreter.lastIndexOf("/") + 1)] : []), ...needed];
    for (const path of names.flatMap((name) => [...libraryPaths(all, name), ...interpreterLink(all, name)])) {
      const entry = all.get(path);
      if (!entry || chosen.has(path)) continue;
      chosen.set(path, entry);
      if (entry.kind === "file") visit(entry.content);
    }
  };
  visit(program);
  return chosen;
}

/** Programs name the interpreter by its path in /lib64, where libc6 keeps a link. */
function interpreterLink(all: Tree, name: string): string[] {
  return all.has(`usr/lib64/${name}`) ? [`usr/lib64/${name}`] : [];
}

/** One file of all of Mozilla's certificates, as update-ca-certificates makes it. */
function certificates(all: Tree): Tree {
  const paths = [...all.keys()].filter((path) => /^usr\/share\/ca-certificates\/mozilla\/.*\.crt$/.test(path)).sort();
  const pem = paths.map((path) => {
    const entry = all.get(path);
    return entry?.kind === "file" ? entry.content.toString().trimEnd() : "";
  });
  return new Map([[CERTIFICATES, textFile(`${pem.join("\n")}\n`)]]);
}

function accounts(): Tree {
  const id = String(OPERATOR_USER);
  return new Map([
    [
      "etc/passwd",
      textFile(`root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:${id}:${id}:nonroot:/home/nonroot:/sbin/nologin\n`),
    ],
    ["etc/group", textFile(`root:x:0:\nnonroot:x:${id}:\n`)],
    ["etc/nsswitch.conf", textFile("hosts: files dns\n")],
    ["home/nonroot", { kind: "folder", mode: 0o700, owner: { uid: OPERATOR_USER, gid: OPERATOR_USER } }],
    ["tmp", { kind: "folder", mode: 0o1777 }],
  ]);
}

/** What scanners and lawyers read: control files where distroless images keep them, copyrights, licences. */
function packageRecords(packages: readonly UnpackedPackage[]): Tree {
  const tree: Tree = new Map();
  for (const { name, control, files } of packages) {
    tree.set(`var/lib/dpkg/status.d/${name}`, textFile(control));
    for (const path of [`usr/share/doc/${name}`, `usr/share/doc/${name}/copyright`]) {
      const entry = files.get(path);
      if (entry && entry.kind !== "folder") tree.set(path, entry);
    }
  }
  const licenses = [...union(...packages.map(({ files }) => files))];
  return union(tree, new Map(licenses.filter(([path]) => path.startsWith("usr/share/common-licenses/"))));
}

function baseTree(packages: readonly UnpackedPackage[], node: Buffer): Tree {
  const all = union(...packages.map(({ files }) => files));
  const release = all.get("usr/lib/os-release");
  const libraries = librariesOf(node, all);
  const base: Tree = new Map(release ? [["usr/lib/os-release", release]] : []);
  base.set("etc/os-release", { kind: "link", target: "../usr/lib/os-release" });
  return union(libraries, mergeLinks(libraries), base, certificates(all), accounts(), packageRecords(packages));
}

function nodeProgram(): Buffer {
  const path = join(repoDir, "node_modules", "node", "bin", "node");
  if (process.platform !== "linux" || process.arch !== "x64") {
    throw new Missing(
      `the image is built on Linux x86-64 (this is ${process.platform} ${process.arch}): use the Dockerfile`,
    );
  }
  return readFileSync(path);
}

function repoFile(path: string, mode = 0o644): Entry {
  return { kind: "file", mode, content: readFileSync(join(repoDir, path)) };
}

function berthTree(bundle: Entry): Tree {
  return new Map([
    ["app/berth.mjs", bundle],
    ["app/berth.mjs.LEGAL.txt", repoFile("dist/berth.mjs.LEGAL.txt")],
    ["app/LICENSE", repoFile("LICENSE")],
  ]);
}

/** What a container of the image gets; the Dockerfile says the same. */
export function configuration(): ImageSource["config"] {
  const { version, license } = packageFile();
  return {
    User: `${String(OPERATOR_USER)}:${String(OPERATOR_USER)}`,
    Env: ["NODE_ENV=production", "PATH=/nodejs/bin", `SSL_CERT_FILE=/${CERTIFICATES}`],
    // Without --enable-source-maps: reading the map costs 65 MB at every start.
    Entrypoint: ["/nodejs/bin/node", "/app/berth.mjs"],
    Cmd: ["--help"],
    WorkingDir: "/app",
    Labels: {
      "org.opencontainers.image.title": "berth",
      "org.opencontainers.image.version": version,
      "org.opencontainers.image.licenses": license,
    },
  };
}

/** Another program in the same image, for the test of an upgrade. */
export interface OtherProgram {
  readonly reference: string;
  readonly bundle: Buffer;
}

/** Assembles the operator's image from node_modules, dist/ and pinned Debian packages. Throws {@link Missing}. */
export async function operatorImage(progress: Progress, other?: OtherProgram): Promise<OperatorImage> {
  const bundle: Entry = other
    ? { kind: "file", mode: 0o755, content: other.bundle }
    : repoFile("dist/berth.mjs", 0o755);
  const node = nodeProgram();
  const packages = await unpackedPackages(lockPath("operator"), progress);
  const image = imageOf({
    reference: other?.reference ?? operatorReference(),
    layers: [
      { what: "Debian 12: libraries of Node.js, CA certificates", tree: baseTree(packages, node) },
      { what: "Node.js", tree: new Map([["nodejs/bin/node", { kind: "file", mode: 0o755, content: node }]]) },
      { what: "Berth", tree: berthTree(bundle) },
    ],
    config: configuration(),
  });
  return { ...image, packages };
}
