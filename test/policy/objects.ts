// The objects that the policies of records guard, and the plain cluster editor who tries to write them.
import type { TestContext } from "node:test";
import type { ApiClient } from "../cluster/client.ts";
import type { ControlPlane } from "../cluster/controlplane.ts";
import { uniqueName } from "../cluster/session.ts";
import { bind, userIdentity } from "../cluster/users.ts";

export const api = "berth.dev/v1alpha1";
export const uid = "0b7c1f3a-0000-4000-8000-000000000001";

/** Somebody whom RBAC lets do everything in the cluster, and who is neither Berth nor of system:masters. */
export async function clusterEditor(
  t: TestContext,
  cluster: ControlPlane,
  groups: readonly string[] = [],
): Promise<ApiClient> {
  const user = uniqueName("editor");
  const role = { kind: "ClusterRole", name: "cluster-admin" } as const;
  await bind(cluster, { kind: "User", name: user }, { name: user, role });
  const client = cluster.client(userIdentity(cluster, user, groups));
  t.after(() => client.close());
  return client;
}

export const claim = (name: string, namespace: string): object => ({
  apiVersion: api,
  kind: "CapacityClaim",
  metadata: { name },
  spec: {
    deploymentUID: uid,
    deploymentName: "chat",
    namespace,
    poolUID: uid,
    sku: "l4-1",
    gpus: 1,
    providerRef: { provider: "static", kind: "Node", name: "node-1", uid },
  },
});

export const pool = (name: string): object => ({
  apiVersion: api,
  kind: "GPUNodePool",
  metadata: { name },
  spec: {
    nodeType: "l4",
    deploymentRef: { name: "chat", uid },
    size: 1,
    account: "team-a",
    template: {
      sku: "l4-1",
      gpu: { product: "NVIDIA L4", count: 1, memory: "23Gi" },
      provider: { static: { nodeSelector: { type: "l4" } } },
    },
  },
});

export const deployment = (name: string, spec: object = {}): object => ({
  apiVersion: api,
  kind: "ModelDeployment",
  metadata: { name },
  spec: { model: { name: "llama" }, nodeType: "l4", ...spec },
});

export const revision = (name: string, metadata: object = {}): object => ({
  apiVersion: "apps/v1",
  kind: "ControllerRevision",
  metadata: { name, ...metadata },
  revision: 1,
  data: {},
});
