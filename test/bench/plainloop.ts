// The limit of the machine: for each deployment the very requests that Berth makes, in order, 32 deployments in flight, nothing decided.
import { capacityClaims, gpuNodePools, modelDeployments } from "../../operator/api/resources.ts";
import {
  pods,
  nodes,
  services,
  workloads,
  controllerRevisions,
  networkPolicies,
  podDisruptionBudgets,
} from "../../operator/api/kubernetes.ts";
import type { ModelDeployment } from "../../operator/api/modeldeployment.ts";
import { labels, taints } from "../../operator/api/keys.ts";
import {
  desiredDisruptionBudget,
  desiredNetworkPolicy,
  desiredPool,
  desiredRevision,
  desiredService,
  desiredWorkload,
} from "../../operator/plan/deployment/children.ts";
import type { PinnedTemplate } from "../../operator/plan/deployment/seen.ts";
import { renderPodTemplate } from "../../operator/plan/deployment/template.ts";
import type { NodeType } from "../../operator/api/nodetype.ts";
import { newKubeClient } from "../../operator/runtime/client.ts";
import { systemClock } from "../../operator/runtime/clock.ts";
import { loadCredentials } from "../../operator/runtime/credentials.ts";
import { newRuntimeMetrics } from "../../operator/runtime/metrics.ts";
import { newTransport } from "../../operator/runtime/transport.ts";
import { newLog } from "../../operator/log.ts";
import type { Resource, KubeObject, Log } from "../../operator/ports.ts";
import type { ControlPlane } from "../cluster/controlplane.ts";
import { inFlight } from "./figures.ts";
import { serviceAccountIdentity } from "../cluster/users.ts";
import { RELEASE_NAMESPACE, WIDTH, deployment, deploymentsPath, nodeType } from "./stage.ts";

type Client = ReturnType<typeof newKubeClient>;

export interface PlainClient {
  readonly client: Client;
  readonly close: () => Promise<void>;
}

async function clientOf(kubeconfig: string): Promise<PlainClient> {
  const log: Log = newLog("error");
  const credentials = await loadCredentials({ kubeconfig }, {}, systemClock);
  const metrics = newRuntimeMetrics();
  const transport = newTransport({ credentials, clock: systemClock, log, metrics, userAgent: "plain-loop" });
  return { client: newKubeClient({ transport }), close: () => transport.close() };
}

export function adminClient(cp: ControlPlane): Promise<PlainClient> {
  return clientOf(cp.adminKubeconfigPath);
}

/** By Berth's own account, since the chart's policies let nobody else make such workloads. */
export async function plainClient(cp: ControlPlane): Promise<PlainClient> {
  return clientOf(cp.kubeconfigFor(await serviceAccountIdentity(cp, RELEASE_NAMESPACE, "berth-operator")));
}

const M = { manager: "plain-loop" };
const condition = (type: string, status: string, reason: string): object => ({
  type,
  status,
  reason,
  message: "words of the usual length for a condition",
  lastTransitionTime: "2026-01-01T00:00:00Z",
  observedGeneration: 1,
});

/** All requests for one deployment, one after another. */
async function oneDeployment(
  cp: ControlPlane,
  client: Client,
  namespace: string,
  index: number,
  fleet: string,
): Promise<void> {
  const name = `d${index}`;
  const made = (await cp.admin.create(
    deploymentsPath(namespace),
    deployment(namespace, name, fleet),
  )) as unknown as ModelDeployment;
  await client.mergePatch(modelDeployments, namespace, name, { metadata: { finalizers: ["berth.dev/deployment"] } }, M);
  const status = (phase: string, ready: string): Promise<unknown> => {
    const conditions = ["LicenseAccepted", "ModelReady", "CapacityReady", "Serving", "Ready"].map((type) =>
      condition(type, ready, phase),
    );
    return client.mergePatch(
      modelDeployments,
      namespace,
      name,
      { status: { observedGeneration: 1, phase, replicas: 1, readyReplicas: 1, conditions } },
      { ...M, subresource: "status" },
    );
  };
  const pool = await client.apply(gpuNodePools, desiredPool(made, nodeType(fleet) as unknown as NodeType, 1), {
    ...M,
    force: true,
  });
  await status("Creating", "False");
  await claimNode(client, namespace, made, pool.metadata.uid ?? "", `${fleet}-${index}`);
  await client.mergePatch(
    gpuNodePools,
    namespace,
    name,
    {
      status: {
        ready: 1,
        claimed: 1,
        sizeLog: [{ since: "2026-01-01T00:00:00Z", size: 1, account: namespace }],
        conditions: [condition("Ready", "True", "NodesReady")],
      },
    },
    { ...M, subresource: "status" },
  );
  await children(client, made, pool);
  await status("Deploying", "False");
  await status("Ready", "True");
}

async function claimNode(
  client: Client,
  namespace: string,
  made: ModelDeployment,
  poolUID: string,
  nodeName: string,
): Promise<void> {
  await client.list(pods, undefined, { fieldSelector: `spec.nodeName=${nodeName}` });
  const spec = {
    deploymentUID: made.metadata.uid ?? "",
    deploymentName: made.metadata.name,
    namespace,
    poolUID,
    sku: "l4",
    gpus: 1,
    providerRef: { provider: "static" as const, kind: "Node" as const, name: nodeName, uid: made.metadata.uid ?? "" },
  };
  const claim = `plain-${nodeName}`;
  await client.create(
    capacityClaims,
    { apiVersion: "berth.dev/v1alpha1", kind: "CapacityClaim", metadata: { name: claim }, spec },
    M,
  );
  const both = ["NoSchedule", "NoExecute"].map((effect) => ({ key: taints.dedicated, value: poolUID, effect }));
  await client.mergePatch(
    nodes,
    undefined,
    nodeName,
    {
      metadata: { labels: { [labels.pool]: poolUID }, annotations: { "berth.dev/last-claim": `{"claim":"${claim}"}` } },
      spec: { taints: both },
    },
    M,
  );
  const at = { time: "2026-01-01T00:00:00Z", evidence: `Node/${nodeName} managedFields[berth-claim].time` };
  await client.mergePatch(
    capacityClaims,
    undefined,
    claim,
    { status: { claimedAt: at, readyAt: at } },
    { ...M, subresource: "status" },
  );
}

async function children(
  client: Client,
  made: ModelDeployment,
  pool: Parameters<typeof renderPodTemplate>[0]["pool"],
): Promise<void> {
  const args = ["/model", "--served-model-name", made.metadata.name];
  const podTemplate = renderPodTemplate({
    deploymentName: made.metadata.name,
    deploymentUID: made.metadata.uid ?? "",
    pool,
    node: { vcpus: 8, memory: "32Gi" },
    model: { weightBytes: 90_000_000 },
    image: "vllm/vllm-openai:v0.32.0",
    args,
    berthImage: "berth:dev",
    drainSeconds: 600,
    storeService: "http://berth-store:8090",
  });
  const pinned: PinnedTemplate = {
    inputsHash: "0",
    podTemplate,
    model: { digest: "", revision: 1, path: "" },
    engine: { image: "", args },
    capacity: { contextLength: 512, kvCacheTokens: 0, maxConcurrency: 0 },
  };
  const apply = (resource: Resource, object: KubeObject): Promise<unknown> =>
    client.apply(resource, object, { ...M, force: true });
  const settings = { operatorNamespace: "berth-system", metricsNamespaces: [] } as never;
  await client.create(controllerRevisions, desiredRevision(made, 1, pinned), M);
  await apply(services, desiredService(made));
  await apply(podDisruptionBudgets, desiredDisruptionBudget(made));
  await apply(networkPolicies, desiredNetworkPolicy(made, settings));
  await apply(workloads, desiredWorkload(made, { number: 1, pinned }, 1));
}

export async function plainLoop(
  cp: ControlPlane,
  client: Client,
  namespace: string,
  fleet: string,
  count: number,
): Promise<void> {
  const indexes = Array.from({ length: count }, (_none, index) => index);
  await inFlight(indexes, WIDTH, (index) => oneDeployment(cp, client, namespace, index, fleet));
}
