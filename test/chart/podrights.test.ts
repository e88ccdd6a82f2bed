// Pods, accounts and rights as they are rendered. What the API server makes of the rights: rights.test.ts.
import assert from "node:assert/strict";
import { test } from "node:test";
import { found, karpenter, l4, objects } from "./helmtemplate.ts";

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
