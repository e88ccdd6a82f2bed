// What must be gone when every deployment is gone.
import { apiPath } from "../cluster/client.ts";
import type { KubeObject } from "../cluster/client.ts";
import type { Cluster } from "../cluster/cluster.ts";
import { API, POOL_LABEL } from "./stage.ts";

function namespaced(namespace: string): readonly string[] {
  const of = (version: string, plural: string): string => apiPath(version, plural, { namespace });
  return [
    of(API, "modeldeployments"),
    of(API, "gpunodepools"),
    of("apps/v1", "deployments"),
    of("apps/v1", "replicasets"),
    of("apps/v1", "controllerrevisions"),
    of("v1", "pods"),
    of("v1", "services"),
    of("policy/v1", "poddisruptionbudgets"),
    of("networking.k8s.io/v1", "networkpolicies"),
  ];
}

const isMarked = ({ metadata, spec }: KubeObject): boolean => {
  const taints = (spec?.["taints"] ?? []) as { key: string }[];
  return metadata.labels?.[POOL_LABEL] !== undefined || taints.some(({ key }) => key === "berth.dev/dedicated");
};

/** Everything that is left of deployments in these namespaces, as sentences; claims may wait for their window's seal. */
export async function leftovers(cluster: Cluster, namespaces: readonly string[]): Promise<string[]> {
  const global = [apiPath("karpenter.sh/v1", "nodeclaims"), apiPath("karpenter.sh/v1", "nodepools")];
  const all = [apiPath(API, "capacityclaims"), ...global, ...namespaces.flatMap(namespaced)];
  const lists = await Promise.all(all.map(async (path) => ({ path, items: (await cluster.admin.list(path)).items })));
  const nodes = (await cluster.admin.list("/api/v1/nodes")).items;
  const marked = nodes.filter((node) => isMarked(node) || node.metadata.labels?.["karpenter.sh/nodepool"]);
  return [
    ...lists.flatMap(({ path, items }) => items.map(({ metadata }) => `${path}/${metadata.name ?? ""}`)),
    ...marked.map(({ metadata }) => `node ${metadata.name ?? ""} is still marked`),
  ];
}
