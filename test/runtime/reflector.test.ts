// After each fault the cache equals a fresh list, and whoever only listens to changes knows every object that exists.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { TestContext } from "node:test";

import type { Change } from "../../operator/runtime/store.ts";
import type { Reflector, ReflectorOptions } from "../../operator/runtime/reflector.ts";
import type { Cluster } from "../cluster/cluster.ts";
import { apiPath } from "../cluster/client.ts";
import { eventually } from "../cluster/eventually.ts";
import { startApiProxy } from "../cluster/faultproxy.ts";
import type { FaultProxy, FaultRule, SeenRequest } from "../cluster/faultproxy.ts";
import { ownCluster, requires, testCluster, testNamespace, uniqueName } from "../cluster/session.ts";
import { startTcpProxy } from "../cluster/tcpproxy.ts";
import { configMaps, newRig } from "./rig.ts";
import type { ConfigMap, Rig } from "./rig.ts";

interface Scene {
  readonly cluster: Cluster;
  readonly namespace: string;
  readonly rig: Rig;
  readonly reflector: Reflector<ConfigMap>;
  /** Objects as a listener to changes knows them: name → version. */
  readonly told: Map<string, string>;
}

const isWatch = (request: SeenRequest): boolean => request.isWatch;
const isList = (request: SeenRequest): boolean => request.method === "GET" && !request.isWatch;

function follow(reflector: Reflector<ConfigMap>): Map<string, string> {
  const told = new Map<string, string>();
  reflector.onChange(({ type, object, old }: Change<ConfigMap>) => {
    const { name, resourceVersion = "" } = object.metadata;
    assert.equal(old?.metadata.resourceVersion, type === "added" ? undefined : told.get(name));
    if (type === "deleted") told.delete(name);
    else told.set(name, resourceVersion);
  });
  return told;
}

async function newScene(
  t: TestContext,
  cluster: Cluster,
  url: string,
  options: Partial<ReflectorOptions<ConfigMap>> = {},
): Promise<Scene> {
  const namespace = await testNamespace(t, { cluster });
  const rig = newRig(t, cluster, { url });
  const reflector = rig.reflector({
    resource: configMaps,
    namespace,
    fieldSelector: "metadata.name!=kube-root-ca.crt",
    ...options,
  });
  return { cluster, namespace, rig, reflector, told: follow(reflector) };
}

async function put({ cluster, namespace }: Scene, name: string, value: string): Promise<void> {
  const object = { apiVersion: "v1", kind: "ConfigMap", metadata: { name, namespace }, data: { value } };
  await cluster.admin.apply(apiPath("v1", "configmaps", { namespace, name }), object);
}

const remove = ({ cluster, namespace }: Scene, name: string): Promise<void> =>
  cluster.admin.remove(apiPath("v1", "configmaps", { namespace, name }));

/** Some of everything that can happen to objects. */
async function change(scene: Scene, round: string): Promise<void> {
  await put(scene, `new-${round}`, round);
  await put(scene, "changed", round);
  await put(scene, `passing-${round}`, round);
  await remove(scene, `passing-${round}`);
  await remove(scene, "recreated");
  await put(scene, "recreated", round);
}

async function converged(scene: Scene, deadlineMs = 30_000): Promise<void> {
  const { cluster, namespace, reflector, told } = scene;
  await eventually(
    async () => {
      const list = await cluster.admin.list<ConfigMap>(apiPath("v1", "configmaps", { namespace }));
      const fresh = new Map(
        list.items
          .filter(({ metadata }) => metadata.name !== "kube-root-ca.crt")
          .map(({ metadata }) => [metadata.name, metadata.resourceVersion] as const),
      );
      const cached = reflector.store.list().map(({ metadata }) => [metadata.name, metadata.resourceVersion] as const);
      assert.deepEqual(new Map(cached), fresh);
      assert.deepEqual(told, fresh);
      return true;
    },
    { deadlineMs, what: "the cache equals a fresh list", logDir: cluster.logDir },
  );
}

/** Runs one fault between two rounds of changes. */
async function survives(
  t: TestContext,
  fault: (proxy: FaultProxy, scene: Scene) => Promise<void> | void,
  options: Partial<ReflectorOptions<ConfigMap>> = {},
): Promise<Scene | undefined> {
  if (!(await requires(t, "server-restart"))) return undefined;
  const cluster = await testCluster();
  const proxy = await startApiProxy(cluster);
  const scene = await newScene(t, cluster, proxy.url, options);
  t.after(() => proxy.close());
  await change(scene, "before");
  scene.reflector.start();
  await scene.reflector.synced;
  await converged(scene);
  await fault(proxy, scene);
  await change(scene, "during");
  await converged(scene);
  proxy.clear();
  await change(scene, "after");
  await converged(scene);
  return scene;
}

/** Ends the open watch after the rules for the next requests are in place. */
function inject(proxy: FaultProxy, ...rules: FaultRule[]): void {
  for (const rule of rules) proxy.add(rule);
  proxy.resetOpen();
}

describe("reflector through faults", { concurrency: 6 }, () => {
  test("a reset of the open watch", async (t) => {
    await survives(t, (proxy) => proxy.resetOpen());
  });

  test("503 on the next watches", async (t) => {
    await survives(t, (proxy) => inject(proxy, { match: isWatch, times: 2, fault: { kind: "status", code: 503 } }));
  });

  test("resets of the next watches", async (t) => {
    await survives(t, (proxy) => inject(proxy, { match: isWatch, times: 2, fault: { kind: "reset" } }));
  });

  test("429 with Retry-After is waited out", async (t) => {
    const watchedMs: number[] = [];
    const scene = await survives(t, (proxy) => {
      const observer = (request: SeenRequest): boolean => {
        if (request.isWatch) watchedMs.push(performance.now());
        return false;
      };
      proxy.add({ match: observer, fault: { kind: "reset" } });
      inject(proxy, { match: isWatch, times: 1, fault: { kind: "status", code: 429, retryAfterSeconds: 3 } });
    });
    if (!scene) return;
    const [refusedMs = 0, againMs = 0] = watchedMs;
    assert.ok(againMs - refusedMs >= 2_990, `asked again after ${(againMs - refusedMs).toFixed(0)} ms`);
  });

  test("410 on the watch, then 503 and a reset on the lists that follow", async (t) => {
    const scene = await survives(t, (proxy) =>
      inject(
        proxy,
        { match: isWatch, times: 1, fault: { kind: "status", code: 410 } },
        { match: isList, times: 1, fault: { kind: "status", code: 503 } },
        { match: isList, times: 1, fault: { kind: "reset" } },
      ),
    );
    if (scene) assert.ok(scene.rig.log.lines.every((line) => line.level !== "error"));
  });

  test("an ERROR event of code 410 inside the stream", async (t) => {
    const scene = await survives(t, (proxy) =>
      inject(proxy, { match: isWatch, times: 1, fault: { kind: "gone-event" } }),
    );
    if (!scene) return;
    const lists = await scene.rig.metrics.relists.get();
    assert.equal(lists.values[0]?.value, 2, "one relist");
  });

  test("a stream that is cut in the middle of an event, again and again", async (t) => {
    await survives(t, (proxy) => {
      inject(
        proxy,
        ...[1, 150, 700, 1_000].map((afterBytes) => ({
          match: isWatch,
          times: 1,
          fault: { kind: "cut", afterBytes } as const,
        })),
      );
    });
  });

  test("a watch that falls silent with its connection open", async (t) => {
    const silent = { match: isWatch, times: 1, fault: { kind: "stall-after", afterBytes: 300 } } as const;
    await survives(t, (proxy) => inject(proxy, silent), { silenceMs: 2_000 });
  });

  test("a watch that is never answered", async (t) => {
    const stalled = { match: isWatch, times: 1, fault: { kind: "stall" } } as const;
    await survives(t, (proxy) => inject(proxy, stalled), { silenceMs: 2_000 });
  });

  test("a half-open network", async (t) => {
    if (!(await requires(t, "server-restart"))) return;
    const cluster = await testCluster();
    const proxy = await startTcpProxy({ port: Number(new URL(cluster.url).port) });
    const url = `https://127.0.0.1:${proxy.port}`;
    const scene = await newScene(t, cluster, url, { silenceMs: 2_000 });
    t.after(() => proxy.close());
    scene.reflector.start();
    await scene.reflector.synced;
    await proxy.set({ kind: "stall" });
    await change(scene, "during");
    await proxy.set({ kind: "reset" });
    await proxy.set({ kind: "none" });
    await converged(scene);
  });

  test("a first list that fails again and again", async (t) => {
    if (!(await requires(t, "server-restart"))) return;
    const cluster = await testCluster();
    const proxy = await startApiProxy(cluster);
    const scene = await newScene(t, cluster, proxy.url);
    t.after(() => proxy.close());
    await change(scene, "before");
    proxy.add({ match: isList, times: 1, fault: { kind: "status", code: 500 } });
    proxy.add({ match: isList, times: 1, fault: { kind: "reset" } });
    proxy.add({ match: isList, times: 1, fault: { kind: "cut", afterBytes: 90 } });
    scene.reflector.start();
    await scene.reflector.synced;
    await converged(scene);
  });
});

describe("reflector", { concurrency: 6 }, () => {
  test("lists in pages, and the pages are one state", async (t) => {
    const cluster = await testCluster();
    const scene = await newScene(t, cluster, cluster.url);
    const names = Array.from({ length: 620 }, (_, n) => `page-${n}`);
    for (let at = 0; at < names.length; at += 62) {
      await Promise.all(names.slice(at, at + 62).map((name) => put(scene, name, "x")));
    }
    scene.reflector.start();
    await scene.reflector.synced;
    assert.equal(scene.reflector.store.size, 620);
    await converged(scene);
  });

  test("marks the first list as initial and freezes what it holds", async (t) => {
    const cluster = await testCluster();
    const scene = await newScene(t, cluster, cluster.url);
    const initial: [string, boolean][] = [];
    scene.reflector.onChange((event) => initial.push([event.object.metadata.name, event.initial]));
    await put(scene, "early", "x");
    scene.reflector.start();
    await scene.reflector.synced;
    await put(scene, "late", "x");
    await converged(scene);
    assert.deepEqual(initial, [
      ["early", true],
      ["late", false],
    ]);
    const [object] = scene.reflector.store.list();
    assert.ok(object && Object.isFrozen(object) && Object.isFrozen(object.data) && Object.isFrozen(object.metadata));
    assert.equal(object.metadata.managedFields, undefined);
    assert.equal(object.kind, "ConfigMap");
  });

  test("keeps only the managedFields that were asked for", async (t) => {
    const cluster = await testCluster();
    const scene = await newScene(t, cluster, cluster.url, { keepManagers: ["clock"] });
    const { kube } = scene.rig;
    const metadata = { name: "both", namespace: scene.namespace };
    await kube.apply(configMaps, { metadata, data: { a: "1" } }, { manager: "clock" });
    await kube.apply(configMaps, { metadata, data: { b: "1" } }, { manager: "other" });
    scene.reflector.start();
    await scene.reflector.synced;
    const managers = scene.reflector.store.get(scene.namespace, "both")?.metadata.managedFields;
    assert.deepEqual(
      managers?.map((entry) => entry.manager),
      ["clock"],
    );
  });

  test("reads own writes at once, whatever the watch does, and forgets own deletes at once", async (t) => {
    if (!(await requires(t, "server-restart"))) return;
    const cluster = await testCluster();
    const proxy = await startApiProxy(cluster);
    proxy.add({ match: isWatch, fault: { kind: "stall" } });
    const scene = await newScene(t, cluster, proxy.url, { fieldSelector: undefined, labelSelector: "mine=yes" });
    t.after(() => proxy.close());
    const { kube } = scene.rig;
    const { store } = scene.reflector;
    scene.reflector.start();
    await scene.reflector.synced;
    const metadata = { name: "own", namespace: scene.namespace, labels: { mine: "yes" } };
    await kube.apply(configMaps, { metadata, data: { a: "1" } }, { manager: "m" });
    assert.deepEqual(store.get(scene.namespace, "own")?.data, { a: "1" });
    await kube.mergePatch(configMaps, scene.namespace, "own", { data: { a: "2" } }, { manager: "m" });
    assert.deepEqual(store.get(scene.namespace, "own")?.data, { a: "2" });
    await kube.apply(configMaps, { metadata: { ...metadata, name: "foreign", labels: {} } }, { manager: "m" });
    assert.equal(store.get(scene.namespace, "foreign"), undefined, "the selector does not take it");
    await kube.remove(configMaps, scene.namespace, "own");
    assert.equal(store.get(scene.namespace, "own"), undefined);
    assert.equal(scene.told.size, 0);
  });

  test("knows by bookmarks and events how new it is", async (t) => {
    const cluster = await testCluster();
    const scene = await newScene(t, cluster, cluster.url);
    scene.reflector.start();
    await scene.reflector.synced;
    const made = await cluster.admin.create<ConfigMap>(apiPath("v1", "configmaps", { namespace: scene.namespace }), {
      apiVersion: "v1",
      kind: "ConfigMap",
      metadata: { name: "fence", namespace: scene.namespace },
    });
    const version = made.metadata.resourceVersion ?? "";
    assert.equal(await scene.reflector.waitUntilAtLeast(version, 10_000), true);
    assert.ok(scene.reflector.store.get(scene.namespace, "fence"));
    assert.equal(await scene.reflector.waitUntilAtLeast(String(BigInt(version) + 1_000_000n), 50), false);
  });

  test("is synced and empty while its CRD is absent, and comes alive with it", async (t) => {
    const cluster = await testCluster();
    const plural = uniqueName("gadgets").replace("-", "");
    const resource = { group: "runtime.test", version: "v1", plural, kind: `K${plural}`, namespaced: true } as const;
    const rig = newRig(t, cluster);
    const reflector = rig.reflector<ConfigMap>({ resource, absentRetryMs: 100 });
    reflector.start();
    await reflector.synced;
    assert.equal(reflector.absent, true);
    assert.equal(reflector.store.synced, true);
    const schema = { type: "object", "x-kubernetes-preserve-unknown-fields": true };
    const crdPath = apiPath("apiextensions.k8s.io/v1", "customresourcedefinitions");
    const crd = {
      apiVersion: "apiextensions.k8s.io/v1",
      kind: "CustomResourceDefinition",
      metadata: { name: `${plural}.runtime.test` },
      spec: {
        group: "runtime.test",
        scope: "Namespaced",
        names: { plural, kind: resource.kind },
        versions: [{ name: "v1", served: true, storage: true, schema: { openAPIV3Schema: schema } }],
      },
    };
    await cluster.admin.create(crdPath, crd);
    t.after(() => cluster.admin.remove(`${crdPath}/${plural}.runtime.test`));
    const namespace = await testNamespace(t, { cluster });
    const metadata = { name: "first", namespace };
    await eventually(() => rig.kube.apply(resource, { metadata }, { manager: "m" }), { what: "the CRD is served" });
    await eventually(() => !reflector.absent && reflector.store.get(namespace, "first"));
    await cluster.admin.remove(`${crdPath}/${plural}.runtime.test`);
    await eventually(() => reflector.absent && reflector.store.size === 0, { what: "it is absent again" });
  });

  test("fetches only metadata where that is asked for", async (t) => {
    const cluster = await testCluster();
    const scene = await newScene(t, cluster, cluster.url, { metadataOnly: true });
    await put(scene, "before", "x");
    scene.reflector.start();
    await scene.reflector.synced;
    await put(scene, "after", "x");
    await converged(scene);
    assert.deepEqual(
      scene.reflector.store.list().map((object) => object.data),
      [undefined, undefined],
    );
  });

  test("tells of nothing after stop", async (t) => {
    const cluster = await testCluster();
    const scene = await newScene(t, cluster, cluster.url);
    scene.reflector.start();
    await scene.reflector.synced;
    await scene.reflector.stop();
    await put(scene, "unseen", "x");
    assert.equal(scene.told.size, 0);
    assert.equal(scene.reflector.store.size, 0);
  });
});

describe("reflector and a server that dies", () => {
  test("killed and restarted, frozen, and compacted while away", async (t) => {
    if (!(await requires(t, "server-restart"))) return;
    const cluster = await ownCluster(t, { controllers: false });
    const scene = await newScene(t, cluster, cluster.url, { silenceMs: 5_000 });
    await change(scene, "before");
    scene.reflector.start();
    await scene.reflector.synced;
    await t.test("killed", async () => {
      await cluster.apiserver.kill();
      await cluster.apiserver.start();
      await change(scene, "killed");
      await converged(scene, 60_000);
    });
    await t.test("frozen longer than its silence", async () => {
      cluster.apiserver.freeze();
      const failures = (): Promise<number> =>
        scene.rig.metrics.watchFailures.get().then((metric) => metric.values[0]?.value ?? 0);
      const before = await failures();
      await eventually(async () => (await failures()) > before, { what: "the silence is noticed" });
      cluster.apiserver.thaw();
      await change(scene, "frozen");
      await converged(scene, 60_000);
    });
    await t.test("compacted: a real 410", async () => {
      const proxy = await startApiProxy(cluster);
      const late = await newScene(t, cluster, proxy.url);
      t.after(() => proxy.close());
      await change(late, "before");
      late.reflector.start();
      await late.reflector.synced;
      const away = proxy.add({ fault: { kind: "reset" } });
      proxy.resetOpen();
      await change(late, "away");
      await cluster.compactEtcd();
      // The watch cache would still know: a restarted server has to ask etcd.
      await cluster.apiserver.restart();
      await change(late, "restarted");
      away.remove();
      await converged(late, 60_000);
      const lists = await late.rig.metrics.relists.get();
      assert.ok((lists.values[0]?.value ?? 0) >= 2, "the 410 led to a new list");
    });
  });
});
