// Where ledger and models lie, and how storage is reached: directories, volumes, buckets, addresses, authorities, proxies.
import assert from "node:assert/strict";
import { test } from "node:test";
import { openStore } from "../../operator/adapters/store/open.ts";
import { bucket, found, objects } from "./helmtemplate.ts";

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
