// The cluster's objects as the steps look at them, and waiting for what they should become.
import type { CapacityClaim } from "../../operator/api/capacityclaim.ts";
import { GROUP, VERSION, labels } from "../../operator/api/keys.ts";
import type { Pod } from "../../operator/api/kubernetes.ts";
import type { Condition } from "../../operator/api/schema.ts";
import type { Model } from "../../operator/api/model.ts";
import type { ModelDeployment } from "../../operator/api/modeldeployment.ts";
import { apiPath } from "../cluster/client.ts";
import type { KubeObject } from "../cluster/client.ts";
import { eventually } from "../cluster/eventually.ts";
import { nodeType, systemNamespace, team } from "./names.ts";
import type { Stage } from "./stage.ts";

const ours = `${GROUP}/${VERSION}`;

export const paths = {
  deployment: (name?: string) => apiPath(ours, "modeldeployments", { namespace: team, name }),
  deployments: apiPath(ours, "modeldeployments"),
  model: (name?: string) => apiPath(ours, "models", { namespace: team, name }),
  pools: apiPath(ours, "gpunodepools"),
  claims: apiPath(ours, "capacityclaims"),
  nodes: apiPath("v1", "nodes"),
  node: (name: string) => apiPath("v1", "nodes", { name }),
  pods: (namespace: string) => apiPath("v1", "pods", { namespace }),
  lease: (namespace: string, name: string) => apiPath("coordination.k8s.io/v1", "leases", { namespace, name }),
} as const;

export function conditionOf(
  object: { readonly status?: { readonly conditions?: readonly Condition[] } },
  type: string,
): Condition | undefined {
  return object.status?.conditions?.find((condition) => condition.type === type);
}

export const getDeployment = ({ cluster }: Stage, name: string): Promise<ModelDeployment> =>
  cluster.admin.get<ModelDeployment>(paths.deployment(name));
export const getModel = ({ cluster }: Stage, name: string): Promise<Model> =>
  cluster.admin.get<Model>(paths.model(name));

export type RunningPod = Pod & {
  readonly spec: { readonly nodeName: string };
  readonly status: { readonly podIP?: string };
};

/** Serving pods of a deployment, those on their way out included. */
export async function servingPods(stage: Stage, name: string): Promise<RunningPod[]> {
  const uid = (await getDeployment(stage, name)).metadata.uid ?? "";
  const { items } = await stage.cluster.admin.list<RunningPod>(
    `${paths.pods(team)}?labelSelector=${labels.deploymentUID}%3D${uid}`,
  );
  return items;
}

export function isReady({ status, metadata }: Pod): boolean {
  const ready = status?.conditions?.some(({ type, status: value }) => type === "Ready" && value === "True") ?? false;
  return ready && !metadata.deletionTimestamp;
}

/** Base URL of a pod's port. */
export const podUrl = ({ reach }: Stage, pod: RunningPod | undefined, port: number): Promise<string> =>
  reach.url(pod?.status.podIP ?? "", port);

/** Base URL of the deployment's Service by its address: names resolve only inside pods. */
export async function serviceUrl({ cluster, reach }: Stage, name: string): Promise<string> {
  const service = await cluster.admin.get<KubeObject & { spec: { clusterIP: string } }>(
    apiPath("v1", "services", { namespace: team, name }),
  );
  return reach.url(service.spec.clusterIP, 80);
}

export interface Wanted {
  readonly model: string;
  readonly replicas?: number;
  readonly contextLength?: number;
}

export function deploymentObject(name: string, { model, replicas = 1, contextLength }: Wanted): object {
  return {
    apiVersion: ours,
    kind: "ModelDeployment",
    metadata: { name, namespace: team },
    spec: {
      model: { name: model },
      nodeType,
      replicas,
      ...(contextLength === undefined ? {} : { contextLength }),
      // The engine's root has no compiler, as in the contract of the test bed.
      engine: { extraArgs: ["--enforce-eager"] },
    },
  };
}

/** Waits until the deployment is Ready for its newest generation; a failure that lasts is shown in its own words. */
export async function untilReady(stage: Stage, name: string, deadlineMs = 240_000): Promise<ModelDeployment> {
  return eventually(
    async () => {
      const deployment = await getDeployment(stage, name);
      const ready = conditionOf(deployment, "Ready");
      const current = ready?.status === "True" && ready.observedGeneration === deployment.metadata.generation;
      if (current) return deployment;
      throw new Error(`Ready is ${ready ? `${ready.status} ${ready.reason}: ${ready.message}` : "not there"}`);
    },
    { what: `ModelDeployment ${name} is Ready`, deadlineMs, recheckMs: 500, logDir: stage.cluster.logDir },
  );
}

export async function applyDeployment(stage: Stage, name: string, wanted: Wanted): Promise<void> {
  await stage.cluster.admin.apply(paths.deployment(name), deploymentObject(name, wanted), "user");
}

/** A deployment that serves with this many replicas, made or scaled where it does not yet. */
export async function ensureServing(stage: Stage, name: string, wanted: Wanted): Promise<ModelDeployment> {
  const live = await stage.cluster.admin.find<ModelDeployment>(paths.deployment(name));
  if (!live) await applyDeployment(stage, name, wanted);
  else if (live.spec.replicas !== (wanted.replicas ?? 1)) await scale(stage, name, wanted.replicas ?? 1);
  const ready = await untilReady(stage, name);
  await untilPods(stage, name, wanted.replicas ?? 1);
  return ready;
}

export async function scale({ cluster }: Stage, name: string, replicas: number): Promise<void> {
  const { code, stderr } = await cluster.kubectl([
    "scale",
    "modeldeployments.berth.dev",
    name,
    "-n",
    team,
    `--replicas=${String(replicas)}`,
  ]);
  if (code !== 0) throw new Error(`kubectl scale failed: ${stderr.trim()}`);
}

/** Exactly so many pods are left, and all are ready. */
export async function untilPods(
  stage: Stage,
  name: string,
  count: number,
  deadlineMs = 240_000,
): Promise<RunningPod[]> {
  return eventually(
    async () => {
      const pods = await servingPods(stage, name);
      if (pods.length === count && pods.every(isReady)) return pods;
      throw new Error(`${String(pods.length)} pods, ${String(pods.filter(isReady).length)} of them ready`);
    },
    {
      what: `${name} has ${String(count)} ready pods and no other`,
      deadlineMs,
      recheckMs: 500,
      logDir: stage.cluster.logDir,
    },
  );
}

export async function deleteDeployment(stage: Stage, name: string, deadlineMs = 240_000): Promise<void> {
  await stage.cluster.admin.remove(paths.deployment(name));
  await eventually(async () => (await stage.cluster.admin.find(paths.deployment(name))) === undefined, {
    what: `ModelDeployment ${name} is gone`,
    deadlineMs,
    recheckMs: 500,
    logDir: stage.cluster.logDir,
  });
}

export interface NodeObject extends KubeObject {
  readonly spec: {
    readonly taints?: readonly { readonly key: string; readonly value?: string; readonly effect: string }[];
  };
  readonly status: {
    readonly conditions: readonly {
      readonly type: string;
      readonly status: string;
      readonly lastHeartbeatTime?: string;
    }[];
  };
}

/** Name of the nodes that belong to a pool now. */
export async function heldNodes({ cluster }: Stage): Promise<NodeObject[]> {
  const { items } = await cluster.admin.list<NodeObject>(`${paths.nodes}?labelSelector=${labels.pool}`);
  return items;
}

export async function claimsOf(stage: Stage, name: string): Promise<CapacityClaim[]> {
  const { items } = await stage.cluster.admin.list<CapacityClaim & KubeObject>(paths.claims);
  return items.filter(({ spec }) => spec.deploymentName === name && spec.namespace === team);
}

/** Messages of the deployment's events with this reason, oldest first. */
export async function eventsOf({ cluster }: Stage, name: string, reason: string): Promise<string[]> {
  const { items } = await cluster.admin.list<
    KubeObject & { regarding: { name: string; kind: string }; reason: string; note: string }
  >(apiPath("events.k8s.io/v1", "events", { namespace: team }));
  return items
    .filter(
      (event) => event.regarding.kind === "ModelDeployment" && event.regarding.name === name && event.reason === reason,
    )
    .map(({ note }) => note);
}

interface Lease extends KubeObject {
  readonly spec: { readonly holderIdentity?: string; readonly renewTime?: string; readonly leaseTransitions?: number };
}

/** The operator's Lease, which names the pod that leads. */
export const leaderLease = ({ cluster }: Stage): Promise<Lease> =>
  cluster.admin.get<Lease>(paths.lease(systemNamespace, "berth-operator"));

export async function leaderPod(stage: Stage): Promise<string> {
  const { spec } = await leaderLease(stage);
  const [pod = ""] = (spec.holderIdentity ?? "").split("_");
  return pod;
}

export const nodeLease = ({ cluster }: Stage, name: string): Promise<Lease> =>
  cluster.admin.get<Lease>(paths.lease("kube-node-lease", name));

/** What may not change while the control plane has trouble: a deployment's pods by UID, with their containers' restarts. */
export async function servingState(stage: Stage, name: string): Promise<Record<string, number>> {
  const pods = await servingPods(stage, name);
  return Object.fromEntries(
    pods.map(({ metadata, status }) => [
      `${metadata.name} ${metadata.uid ?? ""}`,
      (status.containerStatuses ?? []).reduce((sum, { restartCount = 0 }) => sum + restartCount, 0),
    ]),
  );
}
