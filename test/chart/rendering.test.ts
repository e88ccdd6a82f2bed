// What helm alone can tell: no cluster is needed.
import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { before, test } from "node:test";
import { parse, parseAllDocuments, stringify } from "yaml";
import {
  commonOptions,
  importerOptions,
  operatorConfig,
  operatorOptions,
  storeOptions,
} from "../../operator/config.ts";
import { openStore } from "../../operator/adapters/store/open.ts";
import { parsePriceList } from "../../operator/plan/rating/pricelist.ts";
import { parseSinks } from "../../operator/sinks.ts";
import { aPriceList } from "../plan/rating/samples.ts";
import { run } from "../cluster/cluster.ts";
import type { CommandResult } from "../cluster/cluster.ts";
import { repoDir } from "../cluster/paths.ts";
import { ensureClients } from "../cluster/prebuilt.ts";

const chart = join(repoDir, "charts", "berth");
let helmPath: string;
before(async () => {
  helmPath = (await ensureClients((line) => console.log(line))).helm;
});

const values = (object: object): string => stringify(object);

function template(object: object = {}): Promise<CommandResult> {
  const args = ["template", "berth", chart, "-n", "berth-system", "-f", "-"];
  return run(helmPath, args, { input: values(object) });
}

interface PodTemplate {
  spec: {
    serviceAccountName?: string;
    topologySpreadConstraints?: { topologyKey: string; labelSelector: { matchLabels: Record<string, string> } }[];
    securityContext?: { runAsNonRoot?: boolean; seccompProfile?: { type?: string } };
    volumes?: Record<string, unknown>[];
    containers: {
      name: string;
      args: string[];
      resources?: { requests?: object; limits?: { memory?: string } };
      securityContext?: {
        allowPrivilegeEscalation?: boolean;
        readOnlyRootFilesystem?: boolean;
        capabilities?: { drop?: string[] };
      };
      volumeMounts?: { mountPath: string }[];
    }[];
  };
}

interface Rendered {
  kind: string;
  metadata: { name: string; annotations?: Record<string, string> };
  spec?: {
    replicas?: number;
    strategy?: { type: string };
    template?: PodTemplate;
    jobTemplate?: { spec: { template: PodTemplate } };
  };
  rules?: { apiGroups: string[]; resources: string[]; resourceNames?: string[]; verbs: string[] }[];
  data?: Record<string, string>;
}

async function objects(object: object = {}): Promise<Rendered[]> {
  const { code, stdout, stderr } = await template(object);
  assert.equal(code, 0, stderr);
  return parseAllDocuments(stdout).flatMap((document) => (document.toJS() as Rendered | null) ?? []);
}

async function found(kind: string, name: string, object: object = {}): Promise<Rendered> {
  const match = (await objects(object)).find((entry) => entry.kind === kind && entry.metadata.name === name);
  assert.ok(match, `${kind} ${name} is rendered`);
  return match;
}

const publicPem = (): string =>
  generateKeyPairSync("ed25519").publicKey.export({ type: "spki", format: "pem" }).toString();

const bucket = { url: "s3://ledger/berth", existingSecret: "ledger" };
const l4 = { gpu: { product: "NVIDIA L4", count: 1, memory: "23Gi" }, vcpus: 8, memory: "30Gi" };
const karpenter = {
  karpenter: { nodeClassRef: { group: "example.com", kind: "NodeClass", name: "default" }, requirements: [] },
};

test("helm lint has nothing to say, also when it is strict", async () => {
  for (const more of [[], ["--strict"]]) {
    const { code, stdout, stderr } = await run(helmPath, ["lint", chart, ...more]);
    assert.equal(code, 0, stdout + stderr);
    assert.doesNotMatch(stdout, /\[(WARNING|ERROR)\]/);
  }
});

const refused: Record<string, { values: object; words: RegExp }> = {
  "an unknown value": { values: { replicaCount: 2 }, words: /additional properties 'replicaCount' not allowed/ },
  "an unknown value of a part": { values: { operator: { replica: 2 } }, words: /'replica' not allowed/ },
  "no replica": { values: { operator: { replicas: 0 } }, words: /operator\/replicas.*minimum: got 0, want 1/s },
  "replicas as text": {
    values: { operator: { replicas: "2" } },
    words: /got string, want (null or integer|integer or null)/,
  },
  "a URL of another scheme": { values: { ledger: { url: "gs://b" } }, words: /ledger\/url.*does not match pattern/s },
  "a relative directory": { values: { ledger: { url: "file://ledger" } }, words: /ledger\/url/ },
  "a directory at the root": { values: { store: { url: "file:///store" } }, words: /store\/url/ },
  "a path out of the volume": { values: { store: { url: "file:///var/../../etc" } }, words: /leave the directory/ },
  "redirects to a directory": {
    values: { store: { redirectCIDRs: ["10.0.0.0/8"] } },
    words: /store.redirectCIDRs is set, but store.url is a directory/,
  },
  "redirects to everywhere": {
    values: { store: { ...bucket, redirectCIDRs: ["0.0.0.0/0"] } },
    words: /redirectCIDRs/,
  },
  "a password in a proxy's address": {
    values: { importer: { httpsProxy: "http://user:secret@proxy:3128" } },
    words: /importer\/httpsProxy/,
  },
  "a proxy that is spoken to with TLS": {
    values: { importer: { httpsProxy: "https://proxy:3128" } },
    words: /importer\/httpsProxy/,
  },
  "two proxies": {
    values: { importer: { httpsProxy: "http://proxy:3128", proxySecret: { existingSecret: "proxy" } } },
    words: /leave one out/,
  },
  "a bucket before an address": {
    values: { store: { ...bucket, endpoint: "https://[fd00::5]:9000", addressingStyle: "VirtualHost" } },
    words: /store.endpoint is an address/,
  },
  "a bucket with a dot before a host": {
    values: {
      store: {
        url: "s3://my.store",
        existingSecret: "s",
        endpoint: "https://s3.example.org",
        addressingStyle: "VirtualHost",
      },
    },
    words: /has a dot/,
  },
  "a style of the ledger's addresses": {
    values: { ledger: { ...bucket, addressingStyle: "Path" } },
    words: /ledger/,
  },
  "a trusted key that is none": {
    values: { importer: { signing: { existingSecret: "key", trustedKeys: ["MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8A"] } } },
    words: /importer\/signing\/trustedKeys\/0.*does not match pattern/s,
  },
  "a private key among the trusted ones": {
    values: {
      importer: { signing: { existingSecret: "key", trustedKeys: ["-----BEGIN PRIVATE KEY-----\nMC4CAQAw"] } },
    },
    words: /trustedKeys/,
  },
  "trusted keys while nothing is signed": {
    values: { importer: { signing: { trustedKeys: [publicPem()] } } },
    words: /importer.signing.existingSecret is empty, so no model that is imported could be served/,
  },
  "redirects of the ledger": { values: { ledger: { ...bucket, redirectCIDRs: ["10.0.0.0/8"] } }, words: /ledger/ },
  "an endpoint without scheme": { values: { store: { endpoint: "s3.local" } }, words: /store\/endpoint/ },
  "a log level that does not exist": { values: { logLevel: "loud" }, words: /logLevel.*must be one of/s },
  "a time below zero": { values: { timing: { drainGraceSeconds: -1 } }, words: /drainGraceSeconds/ },
  "a time that does not exist": { values: { timing: { graceSeconds: 1 } }, words: /'graceSeconds' not allowed/ },
  "a window that does not divide an hour": {
    values: { timing: { windowSeconds: 7 } },
    words: /timing.windowSeconds is 7: give a divisor of 3600/,
  },
  "no engine image": { values: { engineImages: [] }, words: /engineImages.*minItems/s },
  "an engine image without version": {
    values: { engineImages: [{ image: "x" }] },
    words: /missing property 'version'/,
  },
  "a node type without spec": { values: { nodeTypes: [{ name: "l4" }] }, words: /missing property 'spec'/ },
  "a node type twice": {
    values: { nodeTypes: [1, 2].map(() => ({ name: "l4", spec: { ...l4, provider: karpenter } })) },
    words: /nodeTypes lists l4 twice/,
  },
  "an entry of the catalogue that is no name": {
    values: { catalogue: { include: ["Phi 4"] } },
    words: /catalogue\/include/,
  },
  "a tenant namespace that is no name": { values: { tenantNamespaces: ["Team A"] }, words: /tenantNamespaces/ },
  "a break-glass group that could end a string of CEL": {
    values: { policies: { breakGlassGroup: "a' || true || '" } },
    words: /breakGlassGroup/,
  },
  "two operators on a directory": {
    values: { operator: { replicas: 2 } },
    words: /operator.replicas is 2, but ledger.url is a directory .* set operator.replicas=1, or ledger.url=s3:/,
  },
  "two importers on a volume of one node": {
    values: { importer: { replicas: 2 } },
    words: /importer.replicas is 2, but store.url is a directory .* without ReadWriteMany/,
  },
  "two store replicas on a volume of one node": {
    values: { storeService: { replicas: 2 } },
    words:
      /storeService.replicas is 2, but store.url is a directory .* without ReadWriteMany: set storeService.replicas=1/,
  },
  "a volume for one pod, which importer and store would share": {
    values: { store: { persistence: { accessModes: ["ReadWriteOncePod"] } } },
    words: /ReadWriteOncePod, but store.url is a directory .* that importer and store both mount/,
  },
  "a bucket without credentials": {
    values: { ledger: { url: "s3://ledger/berth" } },
    words: /ledger.existingSecret is empty: name a Secret in namespace berth-system with the keys accessKeyId and/,
  },
  "ledger and store in one directory": {
    values: { store: { url: "file:///var/lib/berth/ledger/" } },
    words: /ledger.url and store.url are the same directory/,
  },
  "force without the check": {
    values: { uninstall: { check: false, force: true } },
    words: /uninstall.force=true needs uninstall.check=true/,
  },
};

for (const [what, { values: given, words }] of Object.entries(refused)) {
  test(`the chart refuses ${what}`, async () => {
    const { code, stderr } = await template(given);
    assert.notEqual(code, 0, "accepted");
    assert.match(stderr, words);
  });
}

test("a directory ledger gets one operator that is recreated, a bucket two that roll", async () => {
  const directory = await found("Deployment", "berth-operator");
  assert.deepEqual([directory.spec?.replicas, directory.spec?.strategy?.type], [1, "Recreate"]);
  const claim = await found("PersistentVolumeClaim", "berth-ledger");
  assert.equal(claim.metadata.annotations?.["helm.sh/resource-policy"], "keep");
  const withBucket = await found("Deployment", "berth-operator", { ledger: bucket });
  assert.deepEqual([withBucket.spec?.replicas, withBucket.spec?.strategy?.type], [2, "RollingUpdate"]);
  const shared = { importer: { replicas: 3 }, store: { persistence: { accessModes: ["ReadWriteMany"] } } };
  assert.equal((await found("Deployment", "berth-importer", shared)).spec?.replicas, 3);
});

test("an existing claim is mounted and none is made", async () => {
  const rendered = await objects({ ledger: { existingClaim: "mine" }, store: { existingClaim: "models" } });
  assert.deepEqual(
    rendered.filter(({ kind }) => kind === "PersistentVolumeClaim"),
    [],
  );
  const operator = rendered.find(({ kind, metadata }) => kind === "Deployment" && metadata.name === "berth-operator");
  const claims = operator?.spec?.template?.spec.volumes?.map(({ persistentVolumeClaim }) => persistentVolumeClaim);
  assert.deepEqual(claims?.filter(Boolean), [{ claimName: "mine" }]);
});

test("importer and store meet on one node where their volume is of one node, and the store only reads it", async () => {
  for (const name of ["berth-importer", "berth-store"]) {
    const affinity = { nodeAffinity: { a: "b" } };
    const given = { importer: { affinity }, storeService: { affinity } };
    const pod = (await found("Deployment", name, given)).spec?.template as unknown as {
      metadata: { labels: Record<string, string> };
      spec: { affinity?: { nodeAffinity: object; podAffinity?: object } };
    };
    const matchLabels = { "berth.dev/store-volume": "berth" };
    assert.equal(pod.metadata.labels["berth.dev/store-volume"], "berth");
    const term = { topologyKey: "kubernetes.io/hostname", labelSelector: { matchLabels } };
    const together = { requiredDuringSchedulingIgnoredDuringExecution: [term] };
    assert.deepEqual(pod.spec.affinity, { nodeAffinity: { a: "b" }, podAffinity: together });
  }
  const store = await found("Deployment", "berth-store");
  assert.deepEqual([store.spec?.replicas, store.spec?.strategy?.type], [1, "Recreate"]);
  const mounts = store.spec?.template?.spec.containers[0]?.volumeMounts;
  assert.ok(
    mounts?.some((mount) => mount.mountPath === "/var/lib/berth/store" && "readOnly" in mount && mount.readOnly),
  );
  for (const shared of [
    { store: { url: "s3://models/berth", existingSecret: "models" } },
    { store: { persistence: { accessModes: ["ReadWriteMany"] } } },
  ]) {
    const free = await found("Deployment", "berth-store", shared);
    assert.deepEqual([free.spec?.replicas, free.spec?.strategy?.type], [2, "RollingUpdate"]);
    assert.equal((free.spec?.template?.spec as { affinity?: object }).affinity, undefined);
  }
});

test("the store is found where the pods' templates say, and may only read", async () => {
  const rendered = await objects();
  const operator = rendered.find(({ kind, metadata }) => kind === "Deployment" && metadata.name === "berth-operator");
  const args = operator?.spec?.template?.spec.containers[0]?.args ?? [];
  assert.ok(args.includes("--store-service=http://berth-store.berth-system.svc:8090"));
  const service = rendered.find(({ kind, metadata }) => kind === "Service" && metadata.name === "berth-store");
  const { ports } = service?.spec as unknown as { ports: { name: string; port: number }[] };
  assert.equal(ports.find(({ name }) => name === "store")?.port, 8090);
  const role = rendered.find(({ kind, metadata }) => kind === "ClusterRole" && metadata.name === "berth-store");
  for (const { resources, verbs } of role?.rules ?? []) {
    assert.ok(!resources.includes("secrets"));
    assert.deepEqual(
      verbs.filter((verb) => verb !== "get" && verb !== "list"),
      resources.includes("tokenreviews") ? ["create"] : [],
    );
  }
});

test("every pod meets the restricted pod security standard and has an account of its own", async () => {
  const everything = { uninstall: { force: true }, metering: { retention: { enabled: true } } };
  const templates = (await objects(everything)).flatMap(
    ({ spec }) => spec?.template ?? spec?.jobTemplate?.spec.template ?? [],
  );
  assert.equal(templates.length, 5);
  for (const { spec } of templates) {
    assert.match(spec.serviceAccountName ?? "", /^berth-(operator|importer|store|uninstall|retention)$/);
    assert.equal(spec.securityContext?.runAsNonRoot, true);
    assert.equal(spec.securityContext.seccompProfile?.type, "RuntimeDefault");
    for (const { securityContext, resources, volumeMounts } of spec.containers) {
      assert.equal(securityContext?.allowPrivilegeEscalation, false);
      assert.equal(securityContext.readOnlyRootFilesystem, true);
      assert.deepEqual(securityContext.capabilities?.drop, ["ALL"]);
      assert.ok(resources?.requests && resources.limits?.memory, "an admission policy may ask for resources");
      assert.ok(volumeMounts?.some(({ mountPath }) => mountPath === "/tmp"));
    }
  }
});

test("replicas of one role go to different nodes, also where nodes have no zones", async () => {
  const deployments = (await objects()).filter(({ kind }) => kind === "Deployment");
  assert.equal(deployments.length, 3);
  for (const { metadata, spec } of deployments) {
    const spread = spec?.template?.spec.topologySpreadConstraints ?? [];
    // A second key would make the scheduler leave out every node that lacks that label, and then nothing is spread.
    assert.deepEqual(
      spread.map(({ topologyKey }) => topologyKey),
      ["kubernetes.io/hostname"],
    );
    const component = spread[0]?.labelSelector.matchLabels["app.kubernetes.io/component"];
    assert.equal(metadata.name, `berth-${component}`);
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

test("the catalogue's entries may be written where the catalogue is enabled, and not otherwise", async () => {
  const rights = async (given: object): Promise<string[]> =>
    ((await found("ClusterRole", "berth-operator", given)).rules ?? [])
      .filter(({ resources }) => resources.includes("clustermodels"))
      .flatMap(({ verbs }) => verbs);
  assert.deepEqual(await rights({}), ["list", "watch"]);
  assert.deepEqual(await rights({ catalogue: { enabled: true } }), ["list", "watch", "create", "patch", "delete"]);
});

test("caches on nodes bring the flag and the rights for their claims and the pod that empties one, and nothing brings them else", async () => {
  const rights = async (given: object): Promise<string[]> =>
    ((await found("ClusterRole", "berth-operator", given)).rules ?? [])
      .filter(({ resources }) => resources.includes("persistentvolumeclaims") || resources.includes("pods"))
      .map(({ resources, verbs }) => `${resources.join()}: ${verbs.join()}`);
  assert.deepEqual(await rights({}), ["pods: list,watch,delete"]);
  assert.deepEqual(await rights({ nodeCaches: { enabled: true } }), [
    "persistentvolumeclaims: list,watch,create,patch",
    "pods: create",
    "pods: list,watch,delete",
  ]);
  const operator = await found("Deployment", "berth-operator", { nodeCaches: { enabled: true } });
  const args = operator.spec?.template?.spec.containers[0]?.args ?? [];
  assert.deepEqual(
    args.filter((arg) => arg.includes("cache")),
    ["--node-caches=true"],
  );
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

test("the importer may read the catalogue's token and no other Secret", async () => {
  const names = async (given: object): Promise<string[] | undefined> =>
    (await found("Role", "berth-importer", given)).rules?.find(({ resources }) => resources.includes("secrets"))
      ?.resourceNames;
  const catalogue = { enabled: true, tokenSecret: "hub" };
  assert.deepEqual(await names({ catalogue }), ["hub"]);
  assert.deepEqual(await names({ catalogue, clusterModelSecrets: ["hub", "bucket"] }), ["hub", "bucket"]);
  assert.equal(await names({ catalogue: { ...catalogue, enabled: false } }), undefined);
});

test("no account may read Secrets in the whole cluster, and no rule uses a wildcard", async () => {
  const rendered = await objects({
    tenantNamespaces: ["team-a"],
    clusterModelSecrets: ["hub"],
    uninstall: { force: true },
  });
  const bound = rendered
    .filter(({ kind }) => kind === "ClusterRoleBinding")
    .map((binding) => (binding as unknown as { roleRef: { name: string } }).roleRef.name);
  for (const { kind, metadata, rules = [] } of rendered) {
    for (const { apiGroups, resources, verbs, resourceNames } of rules) {
      assert.ok(![...apiGroups, ...resources, ...verbs].includes("*"), metadata.name);
      if (!resources.includes("secrets")) continue;
      assert.deepEqual(verbs, ["get"]);
      if (kind === "Role") assert.deepEqual(resourceNames, ["hub"]);
      else assert.ok(!bound.includes(metadata.name), `${metadata.name} is bound in the whole cluster`);
    }
  }
  assert.ok(
    rendered.some(({ kind, metadata }) => kind === "RoleBinding" && metadata.name === "berth-source-credentials"),
  );
});

test("objects of Berth's own kinds are not in the release, and its CRDs survive it", async () => {
  const rendered = await objects({ nodeTypes: [{ name: "l4", spec: { ...l4, provider: karpenter } }] });
  const groups = rendered.map((entry) => (entry as unknown as { apiVersion: string }).apiVersion);
  assert.ok(!groups.some((group) => group.startsWith("berth.dev/")));
  const crds = rendered.filter(({ kind }) => kind === "CustomResourceDefinition");
  assert.equal(crds.length, 7);
  for (const { metadata } of crds) assert.equal(metadata.annotations?.["helm.sh/resource-policy"], "keep");
  const without = await objects({ crds: { enabled: false } });
  assert.deepEqual(
    without.filter(({ kind }) => kind === "CustomResourceDefinition"),
    [],
  );
});

test("retention is off by default; its job names every sink, and reads a bucket with the ledger's keys", async () => {
  assert.ok((await objects()).every(({ kind }) => kind !== "CronJob"));
  const startAt = "2026-11-22T00:00:00Z";
  const sinks = [{ name: "meter" }, { name: "other", startAt }].map((sink) => ({
    ...sink,
    type: "cloudevents",
    url: "https://meter.example.com",
  }));
  const earlierKeys = ["A", "B"].map(
    (one) => `-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA${one.repeat(43)}=\n-----END PUBLIC KEY-----\n`,
  );
  const { spec } = await found("CronJob", "berth-retention", {
    ledger: { ...bucket, endpoint: "https://s3.example.com" },
    metering: {
      sinks,
      signing: { existingSecret: "seal", earlierKeys },
      retention: { enabled: true, keepDays: 30, ignoredSinks: ["old"], existingSecret: "trimmer" },
    },
  });
  const [container] = spec?.jobTemplate?.spec.template.spec.containers ?? [];
  const flags = ["keep-days=30", "sink=meter", `sink=other=${startAt}`, "ignore-sink=old"].map((flag) => `--${flag}`);
  const place = ["--ledger-url=s3://ledger/berth", "--endpoint=https://s3.example.com", "--region=us-east-1"];
  const signing = "--signing-key=/etc/berth/signing/key.pem";
  assert.deepEqual(container?.args, ["ledger", "gc", ...place, ...flags, signing]);
  const trusted = JSON.stringify({ name: "BERTH_LEDGER_TRUSTED_KEYS", value: earlierKeys.join("\n") });
  assert.ok(JSON.stringify(container).includes(trusted), JSON.stringify(container));
  assert.match(JSON.stringify(container), /"valueFrom":\{"secretKeyRef":\{"name":"trimmer","key":"accessKeyId"\}\}/);
});

test("earlier keys without a key that signs are refused where retention needs one", async () => {
  const earlierKeys = [publicPem()];
  const { stderr } = await template({ metering: { signing: { earlierKeys }, retention: { enabled: true } } });
  assert.match(stderr, /signing\.existingSecret is empty, so that nobody could sign the checkpoint: name the Secret/);
  assert.equal((await template({ metering: { signing: { earlierKeys } } })).code, 0);
});

test("an install with retention and a signing key says what a rotation will ask for; one that knows earlier keys says nothing", async () => {
  const notes = async (signing: object) => {
    const args = ["install", "berth", chart, "-n", "berth-system", "--dry-run=client", "-f", "-"];
    const input = values({ metering: { signing, retention: { enabled: true } } });
    const { code, stdout, stderr } = await run(helmPath, args, { input });
    assert.equal(code, 0, stderr);
    return stdout;
  };
  const told = /list its old public half under metering\.signing\.earlierKeys/;
  assert.match(await notes({ existingSecret: "seal" }), told);
  assert.doesNotMatch(await notes({ existingSecret: "seal", earlierKeys: [publicPem()] }), told);
  assert.doesNotMatch(await notes({}), told);
});

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

const addressed: readonly [store: object, origin: string][] = [
  [{ url: "s3://models/berth" }, "https://models.s3.us-east-1.amazonaws.com"],
  [{ url: "s3://models.example/berth", region: "eu-central-1" }, "https://s3.eu-central-1.amazonaws.com"],
  [{ url: "s3://models/berth", region: "cn-north-1" }, "https://models.s3.cn-north-1.amazonaws.com.cn"],
  [{ url: "s3://models", endpoint: "http://s3.storage:9000/" }, "http://s3.storage:9000"],
  [{ url: "s3://models/berth", endpoint: "https://s3.example.org:9000/", addressingStyle: "VirtualHost" }, "https://models.s3.example.org:9000"],
  [{ url: "s3://models/berth", addressingStyle: "VirtualHost" }, "https://models.s3.us-east-1.amazonaws.com"],
]; // prettier-ignore
for (const [place, origin] of addressed) {
  test(`signed addresses begin with ${origin}, as the program itself signs them`, async () => {
    const redirectCIDRs = ["10.1.0.0/16", "2001:db8::/32"];
    const store = { ...bucket, ...place, redirectCIDRs };
    const operator = await found("Deployment", "berth-operator", { store });
    const args = operator.spec?.template?.spec.containers[0]?.args ?? [];
    assert.ok(args.includes(`--store-redirect-origin=${origin}`), args.join("\n"));
    assert.ok(args.includes("--store-redirect-cidrs=10.1.0.0/16,2001:db8::/32"));
    const role = await found("Deployment", "berth-store", { store });
    assert.ok(role.spec?.template?.spec.containers[0]?.args.includes("--redirects=true"));
    const credentials = { accessKeyId: "id", secretAccessKey: "key" };
    const { addressingStyle: addressing, ...rest } = place as { url: string; addressingStyle?: "VirtualHost" };
    const opened = openStore({ region: "us-east-1", credentials, addressing, ...rest });
    const style = role.spec?.template?.spec.containers[0]?.args.includes("--store-addressing-style=VirtualHost");
    assert.equal(style, addressing !== undefined);
    const address = new URL((await opened.presign?.("models/a/b/1/x.safetensors", 60)) ?? "");
    opened.close();
    assert.equal(address.origin, origin);
    assert.equal(address.searchParams.get("X-Amz-Expires"), "60");
    assert.ok(!address.href.includes("key"));
  });
}

test("a bundle of authorities reaches every role that speaks with storage, as a file and nothing else", async () => {
  const roles = ["berth-operator", "berth-importer", "berth-store"];
  for (const name of roles) {
    const { spec } = await found("Deployment", name, {
      caBundle: { existingConfigMap: "company-ca", key: "root.pem" },
    });
    const pod = spec?.template?.spec as Record<string, unknown> | undefined;
    const text = JSON.stringify(pod);
    assert.ok(text.includes('{"name":"NODE_EXTRA_CA_CERTS","value":"/etc/berth/ca/root.pem"}'), text);
    assert.ok(text.includes('{"name":"ca-bundle","mountPath":"/etc/berth/ca","readOnly":true}'));
    assert.ok(text.includes('"configMap":{"name":"company-ca","items":[{"key":"root.pem","path":"root.pem"}]}'));
    assert.ok(!JSON.stringify((await found("Deployment", name)).spec).includes("ca-bundle"));
  }
});

test("the importer alone takes a proxy, whose password comes out of a Secret", async () => {
  const pod = async (name: string, importer: object): Promise<string> =>
    JSON.stringify((await found("Deployment", name, { importer })).spec?.template?.spec);
  const plain = { httpsProxy: "http://proxy:3128", httpProxy: "http://proxy:3128", noProxy: [".svc", "10.0.0.0/8"] };
  const shown = await pod("berth-importer", plain);
  for (const [name, value] of [
    ["HTTPS_PROXY", plain.httpsProxy],
    ["HTTP_PROXY", plain.httpProxy],
    ["NO_PROXY", ".svc,10.0.0.0/8"],
  ] as const)
    // prettier-ignore
    assert.ok(shown.includes(JSON.stringify({ name, value })), shown);
  assert.ok(shown.includes("--proxy-connect-by=address"));
  const secret = { proxySecret: { existingSecret: "proxy" }, proxyConnectBy: "name" };
  const hidden = await pod("berth-importer", secret);
  assert.ok(
    hidden.includes('{"name":"HTTPS_PROXY","valueFrom":{"secretKeyRef":{"name":"proxy","key":"https-proxy"}}}'),
  );
  assert.ok(hidden.includes("--proxy-connect-by=name"));
  assert.doesNotMatch(await pod("berth-importer", {}), /proxy/i);
  for (const name of ["berth-operator", "berth-store"]) assert.doesNotMatch(await pod(name, plain), /proxy/i);
});

test("GGUF files come along only where the platform says so", async () => {
  const args = async (importer: object) => (await found("Deployment", "berth-importer", { importer })).spec?.template?.spec.containers[0]?.args ?? []; // prettier-ignore
  assert.ok((await args({ allowGGUF: true })).includes("--allow-gguf=true"));
  assert.ok(!(await args({})).join(" ").includes("gguf"));
});

test("object storage may be addressed by IPv6", async () => {
  const { spec } = await found("Deployment", "berth-importer", { store: { ...bucket, endpoint: "https://[fd00::5]:9000" } }); // prettier-ignore
  assert.ok(spec?.template?.spec.containers[0]?.args.includes("--store-endpoint=https://[fd00::5]:9000"));
});

test("without networks for it nobody is redirected", async () => {
  for (const name of ["berth-operator", "berth-store"]) {
    const { spec } = await found("Deployment", name, { store: bucket });
    assert.ok(!spec?.template?.spec.containers[0]?.args.some((arg) => arg.includes("redirect")));
  }
});

test("sinks reach the operator as a file that it understands, secrets as mounts and never as values", async () => {
  const sinks = [
    { name: "meter", type: "cloudevents", url: "https://meter.example.com/api/v1/events", existingSecret: "meter" },
    {
      name: "erp",
      type: "webhook",
      url: "http://erp.erp.svc/usage",
      plainHttp: true,
      existingSecret: "erp",
      batchSize: 25,
    },
    { name: "files", type: "jsonl", url: "file:///var/lib/berth/usage", existingClaim: "usage" },
  ];
  const config = await found("ConfigMap", "berth-sinks", { metering: { sinks } });
  const parsed = parseSinks(JSON.parse(config.data?.["sinks.json"] ?? ""));
  assert.deepEqual(parsed.problems, []);
  assert.deepEqual(
    parsed.sinks.map((sink) =>
      "secretFile" in sink ? sink.secretFile : "tokenFile" in sink ? sink.tokenFile : sink.url,
    ),
    ["/etc/berth/sink-secrets/meter/token", "/etc/berth/sink-secrets/erp/secret", "file:///var/lib/berth/usage"],
  );
  const operator = await found("Deployment", "berth-operator", { metering: { sinks } });
  const pod = operator.spec?.template?.spec;
  assert.ok(pod?.containers[0]?.args.includes("--sinks-file=/etc/berth/sinks/sinks.json"));
  const mounts = pod?.containers[0]?.volumeMounts?.map(({ mountPath }) => mountPath) ?? [];
  for (const path of [
    "/etc/berth/sinks",
    "/etc/berth/sink-secrets/meter",
    "/etc/berth/sink-secrets/erp",
    "/var/lib/berth/usage",
  ])
    assert.ok(mounts.includes(path), path);
});

test("files of charges: prices from the values or from a ConfigMap of the platform's, a bucket's keys from its Secret", async () => {
  const sinks = [
    {
      name: "focus",
      type: "focus",
      url: "s3://costs/berth",
      existingSecret: "costs",
      provider: "Example",
      version: "1.4",
    },
  ];
  const list = aPriceList();
  const prices = await found("ConfigMap", "berth-prices", { metering: { sinks, priceList: { list } } });
  assert.deepEqual(parsePriceList(JSON.parse(prices.data?.["prices.yaml"] ?? "")).list, list);
  const config = await found("ConfigMap", "berth-sinks", { metering: { sinks, priceList: { list } } });
  const parsed = parseSinks(JSON.parse(config.data?.["sinks.json"] ?? ""));
  assert.deepEqual(parsed.problems, []);
  const [sink] = parsed.sinks;
  assert.ok(sink?.type === "focus");
  assert.equal(sink.secretAccessKeyFile, "/etc/berth/sink-secrets/focus/secret-access-key");
  const theirs = { existingConfigMap: "price-list", key: "list.yaml" };
  const pod = (await found("Deployment", "berth-operator", { metering: { sinks, priceList: theirs } })).spec?.template
    ?.spec;
  assert.ok(pod?.containers[0]?.args.includes("--price-list-file=/etc/berth/prices/list.yaml"));
  assert.deepEqual(
    pod?.volumes?.find(({ name }) => name === "prices"),
    { name: "prices", configMap: { name: "price-list" } },
  );
});

test("the keys that sign sealed hours and manifests are mounted from their Secrets, as one file each, and only where named", async () => {
  const signing = { existingSecret: "the-key", key: "ed25519" };
  const cases = [
    ["berth-operator", { metering: { signing } }, "--ledger-signing-key-file"],
    ["berth-importer", { importer: { signing } }, "--manifest-signing-key-file"],
  ] as const;
  for (const [name, values, flag] of cases) {
    const pod = (await found("Deployment", name, values)).spec?.template?.spec;
    assert.ok(pod);
    assert.ok(pod.containers[0]?.args.includes(`${flag}=/etc/berth/signing/key.pem`));
    assert.deepEqual(
      pod.volumes?.find((volume) => volume.name === "signing"),
      { name: "signing", secret: { secretName: "the-key", items: [{ key: "ed25519", path: "key.pem" }] } },
    );
    const mounts = pod.containers[0]?.volumeMounts?.map(({ mountPath }) => mountPath);
    assert.ok(mounts?.includes("/etc/berth/signing"));
    const without = (await found("Deployment", name, {})).spec?.template?.spec;
    assert.ok(!without?.containers[0]?.args.some((arg) => arg.includes("signing")));
  }
});

test("public keys that models must be signed with reach the operator without their armour, and only where named", async () => {
  const pems = [publicPem(), publicPem()];
  const [first = "", second = ""] = pems.map((pem) => pem.split("\n")[1]);
  const signing = { existingSecret: "the-key", trustedKeys: [pems[0], second] };
  const argsOf = async (component: string, values: object): Promise<readonly string[]> =>
    (await found("Deployment", `berth-${component}`, values)).spec?.template?.spec.containers[0]?.args ?? [];
  const args = await argsOf("operator", { importer: { signing } });
  const own = args.filter((arg) => arg.includes("trusted"));
  assert.deepEqual(own, [`--trusted-model-keys=${first},${second}`]);
  const env = { POD_NAMESPACE: "berth-system" };
  const flags = { ledgerUrl: "file:///x", engineImages: '[{"version":"1","image":"x"}]', berthImage: "x" };
  const given = (trustedModelKeys: string) =>
    operatorConfig({ ...flags, storeService: "http://x", trustedModelKeys }, env).trustedModelKeys;
  assert.deepEqual(given(own[0]?.split("=").slice(1).join("=") ?? ""), [first, second]);
  assert.throws(() => given(`${first},bm9uZQ==`), /holds "bm9uZQ==", which is no Ed25519 public key/);
  for (const component of ["importer", "store"])
    assert.ok(!(await argsOf(component, { importer: { signing } })).some((arg) => arg.includes("trusted")));
  assert.ok(!(await argsOf("operator", {})).some((arg) => arg.includes("trusted")));
});

test("sinks that cannot be meant are refused with the remedy", async () => {
  const https = "https://meter.example.com";
  const bad: readonly [object, RegExp][] = [
    [{ name: "a", type: "webhook", url: https }, /webhook a has no existingSecret/],
    [{ name: "a", type: "jsonl", url: "file:///x" }, /no existingClaim/],
    [{ name: "a", type: "jsonl", url: https, existingClaim: "c" }, /cannot have the url/],
    [{ name: "a", type: "jsonl", url: "s3://bucket" }, /writes to a bucket and has no existingSecret/],
    [{ name: "a", type: "focus", url: "s3://bucket", existingSecret: "s" }, /has no provider/],
    [{ name: "a", type: "focus", url: "s3://b", existingSecret: "s", provider: "Example" }, /needs prices/],
    [{ name: "a", type: "cloudevents", url: "http://meter" }, /no TLS/],
    [{ name: "a", type: "cloudevents", url: https, token: "secret" }, /token/],
  ];
  for (const [sink, message] of bad) {
    const { code, stderr } = await template({ metering: { sinks: [sink] } });
    assert.notEqual(code, 0);
    assert.match(stderr, message);
  }
  const twice = { name: "a", type: "cloudevents", url: https };
  assert.match((await template({ metering: { sinks: [twice, twice] } })).stderr, /lists a twice/);
});
