// Berth's part, played with the operator's account: a claimed node and a Deployment for it.
import { apiPath } from "../cluster/client.ts";
import type { ApiClient, KubeObject } from "../cluster/client.ts";
import type { ControlPlane } from "../cluster/controlplane.ts";
import { eventually } from "../cluster/eventually.ts";
import { addGpuNode } from "../cluster/nodes.ts";
import { uniqueName } from "../cluster/session.ts";
import { selector, template } from "./carriers.ts";
import { poolLabel, taintKey } from "./installed.ts";
import type { Tenant } from "./installed.ts";

export interface Serving {
  readonly node: string;
  readonly pool: string;
  readonly name: string;
}

/** What Berth does: a claimed node and a Deployment for it, both by Berth's own account. */
export async function serve(cluster: ControlPlane, operator: ApiClient, { namespace }: Tenant): Promise<Serving> {
  const node = uniqueName("node");
  const pool = `7f9b0c1e-0000-4000-8000-${uniqueName("").slice(1)}000000`;
  await addGpuNode(cluster, { name: node });
  const taints = ["NoSchedule", "NoExecute"].map((effect) => ({ key: taintKey, value: pool, effect }));
  await operator.patch(apiPath("v1", "nodes", { name: node }), {
    metadata: { labels: { [poolLabel]: pool }, annotations: { "berth.dev/last-claim": "{}" } },
    spec: { taints },
  });
  const name = uniqueName("serving");
  await operator.create(apiPath("apps/v1", "deployments", { namespace }), {
    apiVersion: "apps/v1",
    kind: "Deployment",
    metadata: { name },
    spec: {
      replicas: 1,
      selector,
      template: template({
        nodeSelector: { [poolLabel]: pool },
        tolerations: [{ key: taintKey, operator: "Equal", value: pool }],
      }),
    },
  });
  return { node, pool, name };
}

export interface RunningPod extends KubeObject {
  readonly spec: { readonly nodeName?: string; readonly tolerations?: object[] };
  readonly status: { readonly phase?: string };
}

export function running(cluster: ControlPlane, namespace: string, labels: string, node: string): Promise<RunningPod> {
  const path = apiPath("v1", "pods", { namespace });
  return eventually(
    async () => {
      const { items } = await cluster.admin.list<RunningPod>(`${path}?labelSelector=${encodeURIComponent(labels)}`);
      return items.find(({ spec, status }) => spec.nodeName === node && status.phase === "Running");
    },
    {
      what: `a pod ${labels} runs on ${node}`,
      watch: { client: cluster.admin, paths: [path] },
      logDir: cluster.logDir,
    },
  );
}
