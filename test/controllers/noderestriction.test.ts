// The dry run that finds out whether kubelets may label themselves into a pool, on API servers with and without the plugin.
import assert from "node:assert/strict";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { Registry } from "prom-client";
import { NODE_RESTRICTION_OFF, warnWithoutNodeRestriction } from "../../operator/controllers/noderestriction.ts";
import type { KubeObject } from "../../operator/ports.ts";
import type { Cluster } from "../cluster/cluster.ts";
import { ownCluster, requires } from "../cluster/session.ts";
import { grant, serviceAccountIdentity } from "../cluster/users.ts";
import { newRig } from "../runtime/rig.ts";

const namespace = "berth-system";
const impersonation = (resource: string, name: string): object => ({
  apiGroups: [""],
  resources: [resource],
  resourceNames: [name],
  verbs: ["impersonate"],
});

async function looked(
  t: TestContext,
  cluster: Cluster,
  { mayImpersonate = true } = {},
): Promise<{ found: string; warnings: object[]; metric: string }> {
  await cluster.admin.create("/api/v1/namespaces", {
    apiVersion: "v1",
    kind: "Namespace",
    metadata: { name: namespace },
  });
  const { token } = await serviceAccountIdentity(cluster, namespace, "berth");
  if (mayImpersonate) {
    const rules = [impersonation("users", "system:node:berth-probe"), impersonation("groups", "system:nodes")] as never;
    await grant(cluster, { kind: "ServiceAccount", name: "berth", namespace }, { name: "berth-probe", rules });
  }
  const registry = new Registry();
  const warnings: object[] = [];
  const { transport } = newRig(t, cluster, { token });
  const found = await warnWithoutNodeRestriction({
    transport,
    registry,
    namespace: () => cluster.admin.get<KubeObject>(`/api/v1/namespaces/${namespace}`),
    warn: (about, event) => void warnings.push({ name: about.metadata.name, event }),
  });
  assert.equal(await cluster.admin.find("/api/v1/nodes/berth-probe"), undefined, "a dry run leaves nothing behind");
  return { found, warnings, metric: await registry.metrics() };
}

test("the plugin is found where it is on, without a warning", async (t) => {
  if (!(await requires(t, "server-restart"))) return;
  const { found, warnings, metric } = await looked(t, await ownCluster(t, { controllers: false }));
  assert.deepEqual([found, warnings], ["on", []]);
  assert.match(metric, /^berth_node_restriction_enabled 1$/m);
});

test("an API server without the plugin is a warning on Berth's namespace, with the flag to set", async (t) => {
  if (!(await requires(t, "server-restart"))) return;
  const cluster = await ownCluster(t, { controllers: false, nodeRestriction: false });
  const { found, warnings, metric } = await looked(t, cluster);
  assert.deepEqual([found, warnings], ["off", [{ name: namespace, event: NODE_RESTRICTION_OFF }]]);
  assert.equal(NODE_RESTRICTION_OFF.reason, "NodeRestrictionOff");
  assert.match(metric, /^berth_node_restriction_enabled 0$/m);
});

test("without the right to ask the answer is that it is unknown", async (t) => {
  if (!(await requires(t, "server-restart"))) return;
  const { found, warnings, metric } = await looked(t, await ownCluster(t, { controllers: false }), {
    mayImpersonate: false,
  });
  assert.deepEqual([found, warnings], ["unknown", []]);
  assert.match(metric, /^berth_node_restriction_enabled -1$/m);
});
