/** Pools, deployments and claims on the real API server with times of the past, and the caches that see them. */
import { capacityClaims, gpuNodePools, modelDeployments } from "../../operator/api/resources.ts";
import type { CapacityClaim } from "../../operator/api/capacityclaim.ts";
import type { GPUNodePool } from "../../operator/api/gpunodepool.ts";
import { finalizers } from "../../operator/api/keys.ts";
import type { ModelDeployment } from "../../operator/api/modeldeployment.ts";
import { freshObjects } from "../../operator/controllers/facts.ts";
import type { MeteredCaches, MeteredObjects } from "../../operator/controllers/facts.ts";
import type { Cluster } from "../cluster/cluster.ts";
import { apiPath } from "../cluster/client.ts";
import { uniqueName } from "../cluster/session.ts";
import type { Rig } from "../runtime/rig.ts";
import { claimSpec, deploymentSpec, instant, template } from "./meteringobjects.ts";

const group = "berth.dev/v1alpha1";
export const claimsPath = apiPath(group, "capacityclaims");

export interface MeteredWorld {
  readonly caches: MeteredCaches;
  /** Objects of this test's namespace alone: a shared cluster has others. */
  readonly fresh: () => Promise<MeteredObjects>;
  readonly only: (objects: MeteredObjects) => MeteredObjects;
}

export function meteredWorld(rig: Rig, namespace: string): MeteredWorld {
  const caches = {
    pools: rig.reflector<GPUNodePool>({ resource: gpuNodePools }),
    claims: rig.reflector<CapacityClaim>({ resource: capacityClaims }),
    deployments: rig.reflector<ModelDeployment>({ resource: modelDeployments }),
  };
  for (const reflector of Object.values(caches)) reflector.start();
  const only = ({ pools, claims, deployments }: MeteredObjects): MeteredObjects => ({
    pools: pools.filter(({ metadata }) => metadata.namespace === namespace),
    claims: claims.filter(({ spec }) => spec.namespace === namespace),
    deployments: deployments.filter(({ metadata }) => metadata.namespace === namespace),
  });
  const { transport, kube } = rig;
  const fresh = async () => only(await freshObjects({ caches, transport, reader: kube, patienceMs: 250 }));
  return { caches, only, fresh };
}

export interface Made {
  readonly deploymentUID: string;
  readonly poolUID: string;
}

/** A deployment that wants one node from 10:12 on. */
export async function makeDeployment(cluster: Cluster, namespace: string, name: string): Promise<Made> {
  const deployment = await cluster.admin.create(apiPath(group, "modeldeployments", { namespace }), {
    apiVersion: group,
    kind: "ModelDeployment",
    metadata: { name, namespace },
    spec: { ...deploymentSpec() },
  });
  const deploymentUID = deployment.metadata.uid ?? "";
  const pool = await cluster.admin.create(apiPath(group, "gpunodepools", { namespace }), {
    apiVersion: group,
    kind: "GPUNodePool",
    metadata: { name, namespace },
    spec: {
      nodeType: "l4",
      deploymentRef: { name, uid: deploymentUID },
      size: 1,
      account: "team-a",
      template: template(),
    },
  });
  await cluster.admin.patch(apiPath(group, "gpunodepools", { namespace, name, subresource: "status" }), {
    status: { sizeLog: [{ since: instant("10:12:00"), size: 1, account: "team-a" }] },
  });
  return { deploymentUID, poolUID: pool.metadata.uid ?? "" };
}

/** A claim with its times; resolves with its name. */
export async function makeClaim(
  cluster: Cluster,
  namespace: string,
  name: string,
  { deploymentUID, poolUID }: Made,
  times: { readonly claimed: string; readonly released?: string },
): Promise<string> {
  const node = uniqueName("node");
  await cluster.admin.create(claimsPath, {
    apiVersion: group,
    kind: "CapacityClaim",
    metadata: { name: node, finalizers: [finalizers.metering] },
    spec: { ...claimSpec(name, node), namespace, deploymentUID, poolUID },
  });
  const at = (time: string) => ({ time: instant(time), evidence: "written by a test" });
  const { claimed, released } = times;
  await cluster.admin.patch(apiPath(group, "capacityclaims", { name: node, subresource: "status" }), {
    status: {
      claimedAt: at(claimed),
      readyAt: at(claimed),
      ...(released === undefined ? {} : { releasedAt: at(released) }),
    },
  });
  return node;
}
