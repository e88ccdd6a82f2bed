/**
 * Bill of materials of the operator's image in CycloneDX 1.6 (ECMA-424): the npm packages that are really in the bundle
 * (esbuild's metafile, package-lock.json), Node.js with the libraries compiled into it, and the Debian packages.
 * The same image gives the same bytes: no time, and a serial number made of the image's digest.
 */
import { createHash } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { repoDir } from "../test/cluster/paths.ts";
import type { UnpackedPackage } from "./debian.ts";
import { Missing } from "./missing.ts";
import { packageFile } from "./operator.ts";
import type { OperatorImage } from "./operator.ts";

interface Component {
  readonly type: "library" | "platform" | "container" | "application";
  readonly "bom-ref": string;
  readonly name: string;
  readonly group?: string;
  readonly version: string;
  readonly purl: string;
  readonly cpe?: string;
  readonly licenses?: readonly object[];
  readonly hashes?: readonly { alg: string; content: string }[];
  readonly components?: readonly Component[];
}

interface LockedPackage {
  readonly version?: string;
  readonly license?: string;
  readonly integrity?: string;
  readonly dependencies?: Readonly<Record<string, string>>;
}

type Lock = Readonly<Record<string, LockedPackage>>;

/** Licences of the packages that files are taken from, as their copyright files state them for these files. */
const DEBIAN_LICENSES: Readonly<Record<string, string>> = {
  "base-files": "GPL-2.0-or-later",
  "gcc-12-base": "GPL-3.0-or-later WITH GCC-exception-3.1",
  "ca-certificates": "MPL-2.0 AND GPL-2.0-or-later",
  libc6: "LGPL-2.1-or-later",
  "libgcc-s1": "GPL-3.0-or-later WITH GCC-exception-3.1",
  "libstdc++6": "GPL-3.0-or-later WITH GCC-exception-3.1",
};

function readJson(path: string): unknown {
  return JSON.parse(readFileSync(join(repoDir, path), "utf8"));
}

/** Folders of package-lock.json (`node_modules/a/node_modules/b`) whose files the bundle holds. */
function bundledFolders(): string[] {
  const path = "dist/berth.meta.json";
  if (!existsSync(join(repoDir, path))) throw new Missing(`${path} is missing: run "make image", which bundles first`);
  const { inputs } = readJson(path) as { inputs: Record<string, unknown> };
  const folders = Object.keys(inputs).map((file) => /^(?:.*node_modules\/(?:@[^/]+\/)?[^/]+)(?=\/)/.exec(file)?.[0]);
  return [...new Set(folders.filter((folder) => folder !== undefined))].sort();
}

const nameOf = (folder: string): string => folder.slice(folder.lastIndexOf("node_modules/") + "node_modules/".length);

const npmPurl = (name: string, version: string): string =>
  `pkg:npm/${name.startsWith("@") ? `%40${name.slice(1)}` : name}@${version}`;

function npmComponent(folder: string, lock: Lock): Component {
  const found = lock[folder];
  if (!found?.version) throw new Error(`${folder} is in the bundle but not in package-lock.json: run npm ci`);
  const full = nameOf(folder);
  const [group, name] = full.startsWith("@") ? (full.split("/") as [string, string]) : [undefined, full];
  const purl = npmPurl(full, found.version);
  const [alg = "", digest = ""] = (found.integrity ?? "").split(/-(.*)/s);
  return {
    type: "library",
    "bom-ref": `${purl}#${folder}`,
    ...(group && { group }),
    name,
    version: found.version,
    purl,
    ...(found.license && { licenses: [{ expression: found.license }] }),
    ...(alg === "sha512" && { hashes: [{ alg: "SHA-512", content: Buffer.from(digest, "base64").toString("hex") }] }),
  };
}

/** Where Node.js' resolution finds `name` when a file of `folder` asks for it. */
function resolved(folder: string, name: string, bundled: ReadonlySet<string>): string | undefined {
  for (let at = folder; ; at = at.slice(0, Math.max(0, at.lastIndexOf("/node_modules/")))) {
    const candidate = at ? `${at}/node_modules/${name}` : `node_modules/${name}`;
    if (bundled.has(candidate)) return candidate;
    if (!at || !at.includes("node_modules/")) return undefined;
    if (!at.includes("/node_modules/")) return bundled.has(`node_modules/${name}`) ? `node_modules/${name}` : undefined;
  }
}

function debianComponent({ name, version }: UnpackedPackage): Component {
  const purl = `pkg:deb/debian/${encodeURIComponent(name)}@${encodeURIComponent(version)}?arch=amd64&distro=debian-12`;
  const expression = DEBIAN_LICENSES[name];
  return {
    type: "library",
    "bom-ref": purl,
    name,
    version,
    purl,
    ...(expression && { licenses: [{ expression }] }),
  };
}

/** Node.js itself; the libraries compiled into it are what vulnerability reports speak of. */
function nodeComponent(): Component {
  const { node: version, ...parts } = process.versions;
  const inside = Object.entries(parts).filter(([name]) => !["modules", "napi", "unicode", "cldr", "tz"].includes(name));
  return {
    type: "platform",
    "bom-ref": `pkg:generic/node@${version}`,
    name: "node",
    version,
    purl: `pkg:generic/node@${version}`,
    cpe: `cpe:2.3:a:nodejs:node.js:${version}:*:*:*:*:*:*:*`,
    licenses: [{ expression: "MIT" }],
    components: inside
      .filter((entry): entry is [string, string] => entry[1] !== undefined)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([name, found]) => ({
        type: "library",
        "bom-ref": `pkg:generic/node@${version}#${name}`,
        name,
        version: found,
        purl: `pkg:generic/${encodeURIComponent(name)}@${encodeURIComponent(found)}`,
      })),
  };
}

/** Version 8 UUID (RFC 9562) out of the digest's first bytes. */
function serialNumber(digest: string): string {
  const hex = createHash("sha256").update(digest).digest("hex");
  const variant = ((Number.parseInt(hex.slice(16, 17), 16) & 3) | 8).toString(16);
  return `urn:uuid:${hex.slice(0, 8)}-${hex.slice(8, 12)}-8${hex.slice(13, 16)}-${variant}${hex.slice(17, 20)}-${hex.slice(20, 32)}`;
}

function dependencyGraph(
  root: string,
  folders: readonly string[],
  lock: Lock,
  components: readonly Component[],
): object[] {
  const bundled = new Set(folders);
  const refs = new Map(folders.map((folder) => [folder, npmComponent(folder, lock)["bom-ref"]]));
  const asked = new Set<string>();
  const edges = folders.map((folder) => {
    const names = Object.keys(lock[folder]?.dependencies ?? {});
    const found = names.map((name) => resolved(folder, name, bundled)).filter((target) => target !== undefined);
    for (const target of found) asked.add(refs.get(target) ?? "");
    return { ref: refs.get(folder), dependsOn: [...new Set(found.map((target) => refs.get(target) ?? ""))].sort() };
  });
  const top = components.map((component) => component["bom-ref"]).filter((ref) => !asked.has(ref));
  return [{ ref: root, dependsOn: top.sort() }, ...edges];
}

/** The document as a value; `JSON.stringify` of it is the same for the same image. */
export function sbomOf(image: OperatorImage): object {
  const { packages: lock } = readJson("package-lock.json") as { packages: Lock };
  const { version, license } = packageFile();
  const folders = bundledFolders();
  const components = [
    ...folders.map((folder) => npmComponent(folder, lock)),
    nodeComponent(),
    ...image.packages.map(debianComponent),
  ];
  const purl = `pkg:oci/berth@${encodeURIComponent(image.digest)}?tag=${version}`;
  return {
    $schema: "http://cyclonedx.org/schema/bom-1.6.schema.json",
    bomFormat: "CycloneDX",
    specVersion: "1.6",
    serialNumber: serialNumber(image.digest),
    version: 1,
    metadata: {
      component: {
        type: "container",
        "bom-ref": purl,
        name: "berth",
        version,
        purl,
        licenses: [{ expression: license }],
        hashes: [{ alg: "SHA-256", content: image.digest.replace("sha256:", "") }],
      },
    },
    components,
    dependencies: dependencyGraph(purl, folders, lock, components),
  };
}
