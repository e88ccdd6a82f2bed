import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { apiPath } from "../cluster/client.ts";
import { eventually } from "../cluster/eventually.ts";
import { startApiProxy } from "../cluster/faultproxy.ts";
import { requires, testCluster, testNamespace, uniqueName } from "../cluster/session.ts";
import { configMaps, newRig } from "./rig.ts";
import type { ConfigMap } from "./rig.ts";
import { converged, isWatch, newScene, put } from "./scene.ts";

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

  test("a kind that the server sends no bookmarks of stays alive by watches that end in order", async (t) => {
    const cluster = await testCluster();
    const { reflector: make, log } = newRig(t, cluster);
    const events = { group: "", version: "v1", plural: "events", kind: "Event", namespaced: true };
    const nobodys = "involvedObject.kind=Nobody";
    const reflector = make({ resource: events, fieldSelector: nobodys, quietWatchSeconds: 1 });
    reflector.start();
    await reflector.synced;
    const startedAt = Date.now();
    let oldest = 0;
    await eventually(
      () => {
        oldest = Math.max(oldest, reflector.health().lastEventAgeMs ?? Infinity);
        return Date.now() - startedAt > 5000;
      },
      { what: "five seconds without an event have passed" },
    );
    assert.ok(oldest < 4000, `the oldest sign of life was ${oldest} ms old`);
    assert.deepEqual(
      log.lines.filter(({ message }) => message === "watch failed"),
      [],
    );
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
