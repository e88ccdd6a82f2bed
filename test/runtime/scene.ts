// A reflector of ConfigMaps, changes made behind its back, and the check that it lost none of them.
import assert from "node:assert/strict";
import type { TestContext } from "node:test";

import type { Reflector, ReflectorOptions } from "../../operator/runtime/reflector.ts";
import type { Change } from "../../operator/runtime/store.ts";
import { apiPath } from "../cluster/client.ts";
import type { Cluster } from "../cluster/cluster.ts";
import { eventually } from "../cluster/eventually.ts";
import type { SeenRequest } from "../cluster/faultproxy.ts";
import { testNamespace } from "../cluster/session.ts";
import { configMaps, newRig } from "./rig.ts";
import type { ConfigMap, Rig } from "./rig.ts";

/** What a test of a reflector holds in its hands. */
export interface Scene {
  readonly cluster: Cluster;
  readonly namespace: string;
  readonly rig: Rig;
  readonly reflector: Reflector<ConfigMap>;
  /** Objects as a listener to changes knows them: name → version. */
  readonly told: Map<string, string>;
}

export const isWatch = (request: SeenRequest): boolean => request.isWatch;
export const isList = (request: SeenRequest): boolean => request.method === "GET" && !request.isWatch;

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

/** The reflector is made, not started; `url` may lead through a proxy. */
export async function newScene(
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

/** Creates or changes a ConfigMap as somebody else. */
export async function put({ cluster, namespace }: Scene, name: string, value: string): Promise<void> {
  const object = { apiVersion: "v1", kind: "ConfigMap", metadata: { name, namespace }, data: { value } };
  await cluster.admin.apply(apiPath("v1", "configmaps", { namespace, name }), object);
}

const remove = ({ cluster, namespace }: Scene, name: string): Promise<void> =>
  cluster.admin.remove(apiPath("v1", "configmaps", { namespace, name }));

/** Some of everything that can happen to objects. */
export async function change(scene: Scene, round: string): Promise<void> {
  await put(scene, `new-${round}`, round);
  await put(scene, "changed", round);
  await put(scene, `passing-${round}`, round);
  await remove(scene, `passing-${round}`);
  await remove(scene, "recreated");
  await put(scene, "recreated", round);
}

/** Resolves when cache, listener and server agree. */
export async function converged(scene: Scene, deadlineMs = 30_000): Promise<void> {
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
