// Caches of models on nodes, on a real control plane: whose a static node stays, and what gives it to others. The kubelet's part
// (the pod that empties a cache ends well or badly) is played by the test; that the emptying works is test/transfer's.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import type { TestContext } from "node:test";
import type { GPUNodePool } from "../../operator/api/gpunodepool.ts";
import type { NodeType } from "../../operator/api/nodetype.ts";
import type { KubeObject } from "../cluster/client.ts";
import { apiPath } from "../cluster/client.ts";
import { eventually } from "../cluster/eventually.ts";
import { playAnnotation } from "../cluster/stages.ts";
import { uniqueName } from "../cluster/session.ts";
import { closeStage, stage, tenant } from "./stage.ts";
import type { Tenant } from "./stage.ts";

before(() => stage({ nodeCaches: "true" }).then(() => undefined));
after(closeStage);

const OWNER = "berth.dev/cache-owner";
const WIPE = "berth.dev/cache-wipe";

interface Claimed extends KubeObject {
  readonly spec: {
    readonly accessModes: readonly string[];
    readonly storageClassName: string;
    readonly resources: { readonly requests: { readonly storage: string } };
  };
}

interface PodSpec extends KubeObject {
  readonly spec: {
    readonly nodeName?: string;
    readonly containers: readonly { readonly args?: readonly string[]; readonly volumeMounts?: readonly object[] }[];
    readonly volumes: readonly { readonly name: string; readonly persistentVolumeClaim?: object }[];
  };
}

interface NodeEvent extends KubeObject {
  readonly reason?: string;
  readonly note?: string;
  readonly regarding?: { readonly name?: string };
}

/** Volumes as a platform makes them for such a class: any number of claims, each node its own folder. */
async function cacheClass(t: TestContext, volumes: number): Promise<string> {
  const { cluster } = await stage();
  const name = uniqueName("node-cache");
  for (let number = 1; number <= volumes; number++) {
    const path = apiPath("v1", "persistentvolumes");
    const volume = `${name}-${String(number)}`;
    await cluster.admin.create(path, {
      apiVersion: "v1",
      kind: "PersistentVolume",
      metadata: { name: volume },
      spec: {
        capacity: { storage: "100Gi" },
        accessModes: ["ReadWriteMany"],
        storageClassName: name,
        persistentVolumeReclaimPolicy: "Retain",
        hostPath: { path: `/var/cache/models/${volume}` },
      },
    } as KubeObject);
    t.after(() => cluster.admin.remove(apiPath("v1", "persistentvolumes", { name: volume })).catch(() => undefined));
  }
  return name;
}

async function cachedTenant(t: TestContext): Promise<Tenant> {
  const storageClassName = await cacheClass(t, 2);
  return tenant(t, { nodeTypeSpec: { cache: { storageClassName, size: "50Gi" } } });
}

/** Another node type with a cache for the same nodes. */
async function sameNodes(t: TestContext, at: Tenant): Promise<string> {
  const name = uniqueName("l4");
  const path = (one: string) => apiPath("berth.dev/v1alpha1", "nodetypes", { name: one });
  const { spec } = await at.cluster.admin.get<NodeType>(path(at.nodeType));
  await at.cluster.admin.create(apiPath("berth.dev/v1alpha1", "nodetypes"), {
    apiVersion: "berth.dev/v1alpha1",
    kind: "NodeType",
    metadata: { name },
    spec: { ...spec, cache: { storageClassName: await cacheClass(t, 1), size: "50Gi" } },
  } as KubeObject);
  t.after(() => at.cluster.admin.remove(path(name)).catch(() => undefined));
  return name;
}

const ownerOf = async (at: Tenant): Promise<string | undefined> => {
  const [node] = await at.nodes();
  const text = node?.metadata.annotations?.[OWNER];
  return text === undefined ? undefined : (JSON.parse(text) as { namespace: string }).namespace;
};

async function wipePod(at: Tenant): Promise<PodSpec | undefined> {
  const { items } = await at.cluster.admin.list<PodSpec>(at.path("pods"));
  return items.find(({ metadata }) => metadata.labels?.[WIPE] !== undefined);
}

const said = async (at: Tenant, name: string): Promise<string> =>
  ((await at.get(name)).status?.conditions ?? []).map(({ message }) => message).join("\n");

const claimedBy = async (at: Tenant): Promise<number> =>
  (await at.find<GPUNodePool>(at.path("gpunodepools", "chat")))?.status?.claimed ?? 0;

/** The first tenant has served from the node and is gone; the second one wants it. */
async function passedOn(t: TestContext): Promise<{ first: Tenant; second: Tenant }> {
  const first = await cachedTenant(t);
  await first.deploy("chat");
  await first.ready("chat");
  await first.kubectl("delete", "mdep", "chat", "--timeout=60s");
  assert.equal(await ownerOf(first), first.namespace);
  const second = await tenant(t, { nodeType: first.nodeType });
  await second.deploy("chat");
  return { first, second };
}

async function play(at: Tenant, phase: string, message = ""): Promise<void> {
  const pod = await eventually(
    async () => {
      const found = await wipePod(at);
      return found?.spec.nodeName ? found : undefined;
    },
    { what: "the pod that empties the cache has its node", deadlineMs: 60_000 },
  );
  const path = at.path("pods", pod.metadata.name);
  await at.cluster.admin.patch(path, { metadata: { annotations: { [playAnnotation]: "manual" } } });
  const terminated = {
    exitCode: phase === "Succeeded" ? 0 : 1,
    message,
    reason: phase,
    startedAt: null,
    finishedAt: null,
  };
  const containerStatuses = [
    { name: "wipe", image: "x", imageID: "", ready: false, restartCount: 0, state: { terminated } },
  ];
  await at.cluster.admin.patch(`${path}/status`, { status: { phase, containerStatuses } });
}

/** Resolves when an event about a node says so. */
async function keptFor({ cluster, nodes }: Tenant, words: string): Promise<void> {
  const names = (await nodes()).map(({ metadata }) => metadata.name);
  await eventually(
    async () => {
      const { items } = await cluster.admin.list<NodeEvent>("/apis/events.k8s.io/v1/events");
      return items.some(
        ({ reason, note, regarding }) =>
          reason === "CacheKept" && note?.includes(words) && names.includes(regarding?.name ?? ""),
      );
    },
    { what: "an event about the node says why", deadlineMs: 60_000 },
  );
}

describe("a node type with a cache", () => {
  test("gives its pods the namespace's claim: the step that fetches sees all of it, the engine its own model read-only", async (t) => {
    const at = await cachedTenant(t);
    await at.deploy("chat");
    const { status } = await at.ready("chat");
    const claim = await at.find<Claimed>(at.path("persistentvolumeclaims", `berth-cache-${at.nodeType}`));
    assert.deepEqual(claim?.spec.accessModes, ["ReadWriteMany"]);
    assert.equal(claim.spec.resources.requests.storage, "50Gi");
    const { items } = await at.cluster.admin.list<PodSpec>(at.path("pods"));
    const spec = items[0]?.spec as unknown as {
      initContainers: { args: string[]; volumeMounts: { name: string; mountPath: string }[] }[];
      containers: { volumeMounts: { name: string; subPath?: string; readOnly?: boolean }[] }[];
      volumes: { name: string; persistentVolumeClaim?: { claimName: string } }[];
    };
    const hex = status?.model?.digest?.replace("sha256:", "");
    assert.match(
      spec.initContainers[0]?.args.join(" ") ?? "",
      new RegExp(
        `--into /var/cache/berth/${hex ?? "none"} --cache /var/cache/berth --cache-bytes ${String(50 * 2 ** 30)}$`,
      ),
    );
    const mount = spec.containers[0]?.volumeMounts.find(({ name }) => name === "model");
    assert.deepEqual([mount?.subPath, mount?.readOnly], [hex, true]);
    const volume = spec.volumes.find(({ name }) => name === "model");
    assert.equal(volume?.persistentVolumeClaim?.claimName, `berth-cache-${at.nodeType}`);
    assert.equal(await ownerOf(at), at.namespace);
  });

  test("keeps a node for its namespace after a release, and gives it back to it without a wipe", async (t) => {
    const at = await cachedTenant(t);
    await at.deploy("chat");
    await at.ready("chat");
    await at.kubectl("delete", "mdep", "chat", "--timeout=60s");
    assert.equal(await ownerOf(at), at.namespace);
    await at.deploy("again");
    await at.ready("again");
    assert.equal(await wipePod(at), undefined);
  });

  test("gives a node to another namespace only after a pod on it has emptied the cache", async (t) => {
    const { first, second } = await passedOn(t);
    await eventually(
      async () => /keep models of another namespace or node type until they are wiped/.test(await said(second, "chat")),
      {
        what: "the second tenant is told",
      },
    );
    const pod = await eventually(() => wipePod(first), { what: "the pod that empties the cache is there" });
    assert.deepEqual(pod.spec.containers[0]?.args, ["wipe-cache", "--cache", "/var/cache/berth"]);
    assert.equal(await ownerOf(first), first.namespace);
    assert.equal(await claimedBy(second), 0);
    await play(first, "Succeeded");
    await second.ready("chat");
    assert.equal(await ownerOf(first), second.namespace);
    await eventually(async () => (await wipePod(first)) === undefined, { what: "the pod is gone" });
  });

  test("gives a node to another node type of its namespace only after its cache was emptied, since the node notes one claim", async (t) => {
    const at = await cachedTenant(t);
    await at.deploy("chat");
    await at.ready("chat");
    await at.kubectl("delete", "mdep", "chat", "--timeout=60s");
    const nodeType = await sameNodes(t, at);
    await at.deploy("other", { nodeType });
    await eventually(async () => /keep models of another namespace or node type/.test(await said(at, "other")), {
      what: "it is told what it waits for",
    });
    const pod = await eventually(() => wipePod(at), { what: "the pod that empties the cache is there" });
    const [volume] = pod.spec.volumes.filter(({ persistentVolumeClaim }) => persistentVolumeClaim);
    assert.deepEqual(volume?.persistentVolumeClaim, { claimName: `berth-cache-${at.nodeType}` });
    await play(at, "Succeeded");
    await at.ready("other");
    const [node] = await at.nodes();
    assert.match(node?.metadata.annotations?.[OWNER] ?? "", new RegExp(`"claimName":"berth-cache-${nodeType}"`));
  });

  test("keeps the node where the claim was made anew: its volume may be another than the one that was filled", async (t) => {
    const first = await cachedTenant(t);
    await first.deploy("chat");
    await first.ready("chat");
    const path = first.path("persistentvolumeclaims", `berth-cache-${first.nodeType}`);
    const claim = await first.cluster.admin.get<Claimed>(path);
    await eventually(
      async () => (await first.nodes())[0]?.metadata.annotations?.[OWNER]?.includes(claim.metadata.uid ?? "?"),
      { what: "the claim is noted on the node" },
    );
    await first.kubectl("delete", "mdep", "chat", "--timeout=60s");
    await first.cluster.admin.remove(path);
    await eventually(async () => (await first.find(path)) === undefined, { what: "the claim is gone" });
    const { name, namespace, labels } = claim.metadata;
    const { accessModes, storageClassName, resources } = claim.spec;
    const anew = { metadata: { name, namespace, labels }, spec: { accessModes, storageClassName, resources } };
    await first.cluster.admin.create(first.path("persistentvolumeclaims"), {
      apiVersion: "v1",
      kind: "PersistentVolumeClaim",
      ...anew,
    } as KubeObject);
    const second = await tenant(t, { nodeType: first.nodeType });
    await second.deploy("chat");
    await keptFor(first, "was made anew and may be another volume");
    assert.equal(await ownerOf(first), first.namespace);
    assert.equal(await claimedBy(second), 0);
    assert.equal(await wipePod(first), undefined);
  });

  test("keeps the node where the cache could not be emptied, in the pod's own words", async (t) => {
    const { first, second } = await passedOn(t);
    await play(first, "Failed", "FolderUnusable: /var/cache/berth cannot be used: EACCES");
    await keptFor(first, "EACCES");
    assert.equal(await ownerOf(first), first.namespace);
    assert.equal(await claimedBy(second), 0);
  });

  test("believes no pod that a tenant made under the name of the one that empties", async (t) => {
    const first = await cachedTenant(t);
    await first.deploy("chat");
    await first.ready("chat");
    await first.kubectl("delete", "mdep", "chat", "--timeout=60s");
    const [node] = await first.nodes();
    const uid = node?.metadata.uid ?? "";
    const sequence = (JSON.parse(node?.metadata.annotations?.["berth.dev/last-claim"] ?? "{}") as { sequence: number })
      .sequence;
    const name = `berth-wipe-${uid}`;
    const forged = {
      apiVersion: "v1",
      kind: "Pod",
      metadata: {
        name,
        labels: { "app.kubernetes.io/managed-by": "berth", [WIPE]: uid, "berth.dev/claim-sequence": String(sequence) },
        annotations: { [playAnnotation]: "manual" },
      },
      spec: {
        containers: [{ name: "wipe", image: "busybox", args: ["true"] }],
        nodeSelector: { "kubernetes.io/hostname": node?.metadata.name },
      },
    };
    const made = await first.cluster.admin.create<KubeObject>(first.path("pods"), forged as KubeObject);
    await first.cluster.admin.patch(`${first.path("pods", name)}/status`, { status: { phase: "Succeeded" } });
    const second = await tenant(t, { nodeType: first.nodeType });
    await second.deploy("chat");
    await eventually(
      async () => (await first.find<KubeObject>(first.path("pods", name)))?.metadata.uid !== made.metadata.uid,
      {
        what: "the forged pod is taken away",
        deadlineMs: 60_000,
      },
    );
    assert.equal(await ownerOf(first), first.namespace);
    assert.equal(await claimedBy(second), 0);
  });
});
