// The chart, the program and the values' schema say the same. What helm alone can tell: no cluster is needed.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { parse } from "yaml";
import { commonOptions, importerOptions, operatorOptions, storeOptions } from "../../operator/config.ts";
import { run } from "../cluster/cluster.ts";
import { repoDir } from "../cluster/paths.ts";
import { bucket, chart, found, helmPath, karpenter, l4, objects } from "./helmtemplate.ts";

test("helm lint has nothing to say, also when it is strict", async () => {
  for (const more of [[], ["--strict"]]) {
    const { code, stdout, stderr } = await run(await helmPath(), ["lint", chart, ...more]);
    assert.equal(code, 0, stdout + stderr);
    assert.doesNotMatch(stdout, /\[(WARNING|ERROR)\]/);
  }
});

test("the flags are those of the program, and every one that has no default is given", async () => {
  const given = {
    ledger: { ...bucket, endpoint: "https://s3.example.com" },
    store: { ...bucket, endpoint: "https://s3.example.com" },
    importer: {
      allowHttpEndpoints: true,
      allowedEndpointCIDRs: ["127.0.0.1/32"],
      signing: { existingSecret: "manifest-key" },
    },
    metrics: { namespaces: ["monitoring"] },
    metering: {
      signing: { existingSecret: "ledger-key" },
      sinks: [{ name: "meter", type: "cloudevents", url: "https://meter.example.com" }],
      priceList: { existingConfigMap: "prices" },
    },
  };
  const own = { operator: operatorOptions, importer: importerOptions, store: storeOptions };
  const known = Object.fromEntries(
    Object.entries(own).map(([name, options]) => [name, [...commonOptions, ...options]]),
  );
  for (const [component, options] of Object.entries(known)) {
    const rendered = await found("Deployment", `berth-${component}`, given);
    const args = rendered.spec?.template?.spec.containers[0]?.args ?? [];
    assert.equal(args[0], component);
    const flags = args.slice(1).map((arg) => /^--([a-z0-9-]+)=./.exec(arg)?.[1] ?? arg);
    const names = options.map(({ flag }) => flag);
    assert.deepEqual(
      flags.filter((flag) => !names.includes(flag)),
      [],
      "unknown to the program",
    );
    const needed = options.filter(({ flag, fallback }) => fallback === undefined && flag !== "kubeconfig");
    assert.deepEqual(
      needed.filter(({ flag }) => !flags.includes(flag)),
      [],
      "not given by the chart",
    );
  }
});

test("node types are written out as whole objects", async () => {
  const spec = { ...l4, vcpus: 1_000_000, provider: karpenter };
  const map = await found("ConfigMap", "berth-node-types", {
    nodeTypes: [
      { name: "l4", labels: { tier: "small" }, spec },
      { name: "l4-b", spec },
    ],
  });
  assert.deepEqual(JSON.parse(map.data?.["node-types.json"] ?? ""), [
    { apiVersion: "berth.dev/v1alpha1", kind: "NodeType", metadata: { name: "l4", labels: { tier: "small" } }, spec },
    { apiVersion: "berth.dev/v1alpha1", kind: "NodeType", metadata: { name: "l4-b" }, spec },
  ]);
  assert.deepEqual(JSON.parse((await found("ConfigMap", "berth-node-types")).data?.["node-types.json"] ?? ""), []);
});

const catalogueFlags: readonly [title: string, catalogue: object, flags: string[]][] = [
  ["switched off", { include: ["phi-4"] }, ["--catalogue=false"]],
  ["whole", { enabled: true }, ["--catalogue=true", "--catalogue-include=*"]],
  [
    "chosen, with a token",
    { enabled: true, include: ["phi-4", "qwen3-4b"], exclude: ["phi-4"], tokenSecret: "hub" },
    [
      "--catalogue=true",
      "--catalogue-include=phi-4,qwen3-4b",
      "--catalogue-exclude=phi-4",
      "--catalogue-token-secret=hub",
    ],
  ],
  ["emptied", { enabled: true, include: [] }, ["--catalogue=true", "--catalogue-exclude=*"]],
];

for (const [title, catalogue, flags] of catalogueFlags) {
  test(`the operator is told of a catalogue that is ${title}`, async () => {
    const operator = await found("Deployment", "berth-operator", { catalogue });
    const args = operator.spec?.template?.spec.containers[0]?.args ?? [];
    assert.deepEqual(
      args.filter((arg) => arg.startsWith("--catalogue")),
      flags,
    );
  });
}

test("everything that is off by default renders", async () => {
  const rendered = await objects({
    metrics: { serviceMonitor: { enabled: true, labels: { release: "prometheus" } }, namespaces: ["monitoring"] },
    networkPolicy: { enabled: true, egress: [{}] },
    priorityClassName: "system-cluster-critical",
    imagePullSecrets: [{ name: "registry" }],
    image: { digest: `sha256:${"0".repeat(64)}` },
    operator: {
      nodeSelector: { a: "b" },
      tolerations: [{ key: "x", operator: "Exists" }],
      affinity: { nodeAffinity: {} },
    },
    podAnnotations: { a: "b" },
    podLabels: { a: "b" },
  });
  const kinds = rendered.map(({ kind }) => kind);
  for (const kind of ["ServiceMonitor", "NetworkPolicy"]) assert.ok(kinds.includes(kind), kind);
});

test("the image starts the bundle, as the user that the pods run as", async () => {
  const lines = readFileSync(join(repoDir, "Dockerfile"), "utf8").split("\n");
  const instruction = (name: string): string =>
    lines.findLast((line) => line.startsWith(`${name} `))?.slice(name.length + 1) ?? "";
  assert.deepEqual((JSON.parse(instruction("ENTRYPOINT")) as string[]).at(-1), "/app/berth.mjs");
  const template = (await found("Deployment", "berth-operator")).spec?.template;
  const { runAsUser, runAsGroup } = template?.spec.securityContext as { runAsUser: number; runAsGroup: number };
  assert.equal(instruction("USER"), `${String(runAsUser)}:${String(runAsGroup)}`);
  assert.ok(lines.every((line) => !line.startsWith("COPY") || !line.includes("node_modules")));
});

test("every value is described by the schema, and the other way round", () => {
  const keys = (value: unknown, path: string): string[] =>
    typeof value === "object" && value !== null && !Array.isArray(value)
      ? Object.entries(value).flatMap(([key, inner]) => [`${path}.${key}`, ...keys(inner, `${path}.${key}`)])
      : [];
  const defaults = parse(readFileSync(join(chart, "values.yaml"), "utf8")) as object;
  const schema = JSON.parse(readFileSync(join(chart, "values.schema.json"), "utf8")) as Schema;
  const described = schemaKeys(schema, schema, "").filter((key) => key !== ".global");
  const open = /\.(resources|nodeSelector|affinity|labels|podAnnotations|podLabels)\./;
  assert.deepEqual(
    keys(defaults, "")
      .filter((key) => !open.test(key))
      .sort(),
    described.sort(),
  );
});

interface Schema {
  $ref?: string;
  allOf?: Schema[];
  properties?: Record<string, Schema | false>;
  definitions?: Record<string, Schema>;
}

function schemaKeys(root: Schema, at: Schema, path: string): string[] {
  const { $ref } = at.allOf?.[0] ?? at;
  const target = $ref ? root.definitions?.[$ref.split("/").at(-1) ?? ""] : at;
  const allowed = Object.entries(target?.properties ?? {}).filter(([key]) => at.properties?.[key] !== false);
  return allowed.flatMap(([key, inner]) => [
    `${path}.${key}`,
    ...(inner ? schemaKeys(root, inner, `${path}.${key}`) : []),
  ]);
}

test("GGUF files come along only where the platform says so", async () => {
  const args = async (importer: object) => (await found("Deployment", "berth-importer", { importer })).spec?.template?.spec.containers[0]?.args ?? []; // prettier-ignore
  assert.ok((await args({ allowGGUF: true })).includes("--allow-gguf=true"));
  assert.ok(!(await args({})).join(" ").includes("gguf"));
});
