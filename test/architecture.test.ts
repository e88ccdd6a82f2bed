import assert from "node:assert/strict";
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { dirname, join, normalize, relative } from "node:path";
import { test } from "node:test";

const root = join(import.meta.dirname, "..");
const operator = join(root, "operator");

/** Folder → what its files may import (our folders or root files without .ts; packages; node: modules) and may not even name. */
const LAWS: Readonly<
  Record<string, { ours: string[]; packages: string[]; node: string[] | "all"; unnamed?: RegExp[] }>
> = {
  api: { ours: ["api", "ports"], packages: ["zod"], node: [] },
  plan: {
    ours: ["api", "plan", "ports"],
    packages: [],
    node: [],
    unnamed: [
      /\bDate\.now\b/,
      /new Date\(\)/,
      /Math\.random/,
      /\bprocess\./,
      /\bsetTimeout\b/,
      /\bsetInterval\b/,
      /\basync\b/,
      /\bawait\b/,
      /\bfetch\(/,
    ],
  },
  runtime: { ours: ["runtime", "ports"], packages: ["undici", "prom-client", "@kubernetes/client-node"], node: "all" },
  controllers: { ours: ["api", "plan", "runtime", "ports", "controllers"], packages: ["prom-client"], node: [] },
  adapters: {
    ours: ["adapters", "api", "ports", "runtime"],
    packages: ["@aws-sdk/client-s3", "@smithy/node-http-handler"],
    node: "all",
  },
  transfer: {
    ours: ["transfer", "api", "ports", "runtime", "adapters", "plan"],
    packages: ["@aws-sdk/client-s3"],
    node: "all",
  },
  ports: { ours: ["ports"], packages: [], node: [] },
  catalogue: { ours: ["catalogue", "api"], packages: ["zod"], node: [] },
  http: { ours: ["http", "ports", "api", "runtime"], packages: ["express", "prom-client"], node: "all" },
};

/** Single files with a right of their own, each with its reason. */
const EXCEPTIONS: Readonly<Record<string, { ours?: string[]; packages?: string[]; node?: string[] | "all" }>> = {
  // A build step that lives beside the schemas: writes YAML files, never loaded by the operator.
  "api/generate.ts": { packages: ["yaml"], node: "all" },
  // Hashes are functions of their input; this is the one place of plan/ that may call node:crypto.
  "plan/identity.ts": { node: ["node:crypto"] },
  "plan/metering/identity.ts": { node: ["node:crypto"] },
  // The hub is asked with fetch, whose way through a proxy only undici knows.
  "adapters/egress/proxyfetch.ts": { packages: ["undici"] },
  // Money is decimal; big.js is arithmetic only.
  "plan/rating/rate.ts": { packages: ["big.js"] },
  "plan/rating/sum.ts": { packages: ["big.js"] },
  "plan/rating/focusrules.ts": { packages: ["big.js"] },
};

interface Import {
  readonly file: string;
  readonly target: string;
  readonly typeOnly: boolean;
}

function filesOf(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith(".ts"))
    .map((entry) => join(entry.parentPath, entry.name));
}

function importsOf(file: string): Import[] {
  const text = readFileSync(file, "utf8");
  const found = [
    ...text.matchAll(/^\s*(?:import|export)\s+(type\s+)?(?:[^"';]*?\sfrom\s+)?"([^"]+)"/gm),
    ...text.matchAll(/(type\s+)?\bimport\(\s*"([^"]+)"\s*\)/g),
  ];
  return found.map((match) => ({
    file: relative(operator, file),
    target: match[2] ?? "",
    typeOnly: match[1] !== undefined,
  }));
}

/** "plan" for a file in operator/plan, "ports" for operator/ports.ts. */
function areaOf(file: string): string {
  return (normalize(file).split("/")[0] ?? "").replace(/\.ts$/, "");
}

function complaint(folder: string, found: Import): string | undefined {
  const law = LAWS[folder];
  if (!law) return undefined;
  const extra = EXCEPTIONS[found.file] ?? {};
  if (found.target.startsWith(".")) {
    const area = areaOf(join(dirname(found.file), found.target));
    return [...law.ours, ...(extra.ours ?? [])].includes(area) ? undefined : `may import only ${law.ours.join(", ")}`;
  }
  if (found.target.startsWith("node:")) {
    const allowed = [law.node, extra.node ?? []];
    return allowed.includes("all") || allowed.flat().includes(found.target)
      ? undefined
      : "may not do I/O: take what is needed through ports.ts";
  }
  return [...law.packages, ...(extra.packages ?? [])].includes(found.target)
    ? undefined
    : "may not use this package: put the call behind an interface of ports.ts";
}

for (const folder of Object.keys(LAWS)) {
  test(`operator/${folder} imports only what it may`, () => {
    const complaints = filesOf(join(operator, folder))
      .flatMap(importsOf)
      .flatMap((found) => {
        const words = complaint(folder, found);
        return words ? [`${found.file} imports ${found.target}: operator/${folder} ${words}`] : [];
      });
    assert.deepEqual(complaints, []);
  });
}

test("operator/plan names no clock, no chance and no waiting", () => {
  const complaints = filesOf(join(operator, "plan")).flatMap((file) => {
    const code = readFileSync(file, "utf8").replace(/\/\*[\s\S]*?\*\/|\/\/.*$|`[^`]*`|"[^"\n]*"/gm, "");
    return (LAWS["plan"]?.unnamed ?? [])
      .filter((word) => word.test(code))
      .map((word) => `${relative(operator, file)} names ${word.source}`);
  });
  assert.deepEqual(complaints, []);
});

test("only main.ts ends the process", () => {
  const others = filesOf(operator).filter((file) => relative(operator, file) !== "main.ts");
  assert.deepEqual(
    others
      .filter((file) => /\bprocess\.exit\(/.test(readFileSync(file, "utf8")))
      .map((file) => relative(operator, file)),
    [],
  );
});

test("no file hides behind a name that says nothing", () => {
  const vague = /(^|\/)(utils?|helpers?|common|misc|manager|types)(\.ts|\/|$)/;
  assert.deepEqual(
    filesOf(operator)
      .map((file) => relative(operator, file))
      .filter((file) => vague.test(file)),
    [],
  );
});

test("each folder says in at most 15 lines what it holds", () => {
  const folders = ["operator", "test", "image"].flatMap((name) => {
    const below = readdirSync(join(root, name), { withFileTypes: true, recursive: true });
    return [
      name,
      ...below
        .filter((entry) => entry.isDirectory() && entry.name !== "__pycache__")
        .map((entry) => relative(root, join(entry.parentPath, entry.name))),
    ];
  });
  const complaints = folders.flatMap((folder) => {
    const path = join(root, folder, "README.md");
    if (!existsSync(path)) return [`${folder} has no README.md`];
    const lines = readFileSync(path, "utf8").trimEnd().split("\n").length;
    return lines > 15 ? [`${folder}/README.md has ${lines} lines`] : [];
  });
  assert.deepEqual(complaints, []);
});
