// Random lives of a handful of deployments: what tenants do to them, at any moment, whether Berth runs or not.
import { ApiError, apiPath } from "../cluster/client.ts";
import type { Cluster } from "../cluster/cluster.ts";
import type { Chance } from "./random.ts";
import { API, createDeployment, deploymentPath } from "./stage.ts";
import type { Wish } from "./stage.ts";

/** Pods of the second namespace take longer to go than the drain's grace. */
export const tenants = ["quick", "slow-drain-2s"] as const;
const [quick, slow] = tenants;

export const wishes: readonly Wish[] = [
  { namespace: quick, name: "s0", nodeType: "own" },
  { namespace: quick, name: "s1", nodeType: "own" },
  { namespace: slow, name: "s2", nodeType: "own" },
  { namespace: quick, name: "k0", nodeType: "bought" },
  { namespace: slow, name: "k1", nodeType: "bought" },
];

/** One node fewer than the static deployments want at most: they compete. */
export const OWN_NODES = 5;

/** One thing that a tenant does; returns what it was. */
export async function act(cluster: Cluster, chance: Chance): Promise<string> {
  const { items } = await cluster.admin.list(apiPath(API, "modeldeployments"));
  const leaving = new Set(items.flatMap(({ metadata }) => (metadata.deletionTimestamp ? [metadata.name] : [])));
  const able = wishes.filter(({ name }) => !leaving.has(name));
  if (able.length === 0) return "all are leaving";
  const wish = chance.pick(able);
  const { namespace, name } = wish;
  const path = deploymentPath(namespace, name);
  const replicas = chance.whole(1, 2);
  const what = chance.pick(["scale", "scale", "suspend", "resume", "delete"] as const);
  if (!items.some(({ metadata }) => metadata.name === name)) {
    await createDeployment(cluster, { ...wish, replicas });
    return `create ${name} with ${String(replicas)}`;
  }
  if (what === "delete") await cluster.admin.remove(path);
  else if (what === "scale") await cluster.admin.patch(path, { spec: { replicas } });
  else await cluster.admin.patch(path, { spec: { suspend: what === "suspend" } });
  return what === "scale" ? `scale ${name} to ${String(replicas)}` : `${what} ${name}`;
}

/** Every deployment that is there runs with one replica from now on, so that all of them can be Ready. */
export async function calmDown(cluster: Cluster): Promise<void> {
  for (const { namespace, name } of wishes) {
    const found = await cluster.admin.find(deploymentPath(namespace, name));
    if (!found || found.metadata.deletionTimestamp) continue;
    await cluster.admin
      .patch(deploymentPath(namespace, name), { spec: { replicas: 1, suspend: false } })
      .catch((error: unknown) => {
        if (!(error instanceof ApiError) || error.status !== 404) throw error;
      });
  }
}

export async function deleteAll(cluster: Cluster): Promise<void> {
  for (const { namespace, name } of wishes) await cluster.admin.remove(deploymentPath(namespace, name));
}
