/**
 * The chart's pre-delete hook. While ModelDeployments exist it refuses `helm uninstall`, since without Berth their nodes
 * would go on costing money unmetered and every deletion would hang on a finalizer. Forced, it stops Berth, removes Berth's
 * finalizers and says what stays behind. One pass of reads and writes; it decides nothing that outlives it.
 */
import { capacityClaims, clusterModels, gpuNodePools, modelDeployments, models } from "../api/resources.ts";
import type { Resource, KubeObject, KubeReader, KubeWriter } from "../ports.ts";
import { fieldManagers, finalizers, labels, taints } from "../api/keys.ts";
import { nodes, pods, workloads } from "../api/kubernetes.ts";
import { isNotFound } from "../runtime/errors.ts";

const nodeClaims: Resource = {
  group: "karpenter.sh",
  version: "v1",
  plural: "nodeclaims",
  kind: "NodeClaim",
  namespaced: false,
};

export interface UninstallDeps {
  readonly client: KubeReader & KubeWriter;
  /** Namespace and name of the Helm release: its operator and importer are stopped before finalizers are removed. */
  readonly namespace: string;
  readonly release: string;
  /** Revision of the release that is being uninstalled, for the command that takes a refused uninstall back. */
  readonly revision?: string;
  readonly force: boolean;
  /** One line for the person who runs helm; the pod's log shows it. */
  readonly out: (line: string) => void;
  /** Resolves after that many milliseconds; used between two looks at pods that are stopping. */
  readonly wait: (ms: number) => Promise<void>;
  /** How long operator and importer may take to stop, in milliseconds. */
  readonly stopWithinMs?: number;
}

/** Exit code of the hook: 0 lets helm go on, 1 keeps the release. Errors of the API are thrown. */
export async function runUninstallCheck(deps: UninstallDeps): Promise<0 | 1> {
  const deployments = await listed(deps, modelDeployments);
  const pools = await listed(deps, gpuNodePools);
  if (!deps.force) return refuseIfUsed(deps, deployments, pools);
  if (!(await stopBerth(deps))) return 1;
  await release(deps);
  await tellWhatStays(deps, deployments, pools);
  return 0;
}

const fullName = ({ metadata }: KubeObject): string =>
  metadata.namespace ? `${metadata.namespace}/${metadata.name}` : metadata.name;

/** All objects of a kind; none where its CRD is absent. */
async function listed(deps: UninstallDeps, resource: Resource, namespace?: string, labelSelector?: string) {
  try {
    return (await deps.client.list(resource, namespace, { labelSelector })).items;
  } catch (error) {
    if (isNotFound(error)) return [];
    throw error;
  }
}

function refuseIfUsed(
  { out, release: name, namespace, revision = "REVISION" }: UninstallDeps,
  deployments: readonly KubeObject[],
  pools: readonly KubeObject[],
): 0 | 1 {
  if (deployments.length === 0 && pools.length === 0) {
    out("no ModelDeployment and no GPUNodePool exists: Berth may go");
    return 0;
  }
  out(
    `refused: ${String(deployments.length)} ModelDeployments and ${String(pools.length)} GPUNodePools exist; without Berth their nodes stay, unmetered:`,
  );
  for (const object of deployments) out(`  modeldeployment ${fullName(object)}`);
  for (const object of pools) out(`  gpunodepool ${fullName(object)}`);
  out(
    "Berth goes on working. Delete the ModelDeployments (kubectl delete modeldeployments.berth.dev -n NAMESPACE NAME),",
  );
  out("wait until they are gone, then uninstall again. Helm now calls the release uninstalling: to keep Berth,");
  out(`  helm rollback ${name} ${revision} -n ${namespace}`);
  out("To leave them behind unmetered: that, then");
  out(`  helm upgrade ${name} CHART -n ${namespace} --reuse-values --set uninstall.force=true`);
  out(`  helm uninstall ${name} -n ${namespace}`);
  return 1;
}

/** Scales operator and importer to 0 and waits for their pods: they would put the finalizers back. */
async function stopBerth(deps: UninstallDeps): Promise<boolean> {
  const { client, namespace, release: name, out, wait, stopWithinMs = 60_000 } = deps;
  for (const component of ["operator", "importer"]) {
    try {
      const zero = { spec: { replicas: 0 } };
      await client.mergePatch(workloads, namespace, `${name}-${component}`, zero, {
        manager: fieldManagers.operator,
        subresource: "scale",
      });
    } catch (error) {
      if (!isNotFound(error)) throw error;
    }
  }
  const selector = `app.kubernetes.io/name=berth,${labels.instance}=${name},app.kubernetes.io/component in (operator,importer)`;
  for (let waitedMs = 0; ; waitedMs += 1000) {
    const running = await listed(deps, pods, namespace, selector);
    if (running.length === 0) return true;
    if (waitedMs >= stopWithinMs) {
      out(`refused: Berth's pods do not stop: ${running.map(fullName).join(", ")}`);
      return false;
    }
    await wait(1000);
  }
}

/** Which kinds carry which of our finalizers; deployments first, so that nothing new is deleted on their account. */
const held: readonly { readonly resource: Resource; readonly finalizer: string }[] = [
  { resource: modelDeployments, finalizer: finalizers.deployment },
  { resource: gpuNodePools, finalizer: finalizers.pool },
  { resource: capacityClaims, finalizer: finalizers.metering },
  { resource: nodeClaims, finalizer: finalizers.claim },
  { resource: models, finalizer: finalizers.store },
  { resource: clusterModels, finalizer: finalizers.store },
];

async function release(deps: UninstallDeps): Promise<void> {
  for (const { resource, finalizer } of held) {
    const objects = (await listed(deps, resource)).filter(({ metadata }) => metadata.finalizers?.includes(finalizer));
    for (const object of objects) await removeFinalizer(deps, resource, object, finalizer);
    if (objects.length > 0)
      deps.out(`removed the finalizer ${finalizer} from ${String(objects.length)} ${resource.plural}`);
  }
}

async function removeFinalizer({ client }: UninstallDeps, resource: Resource, object: KubeObject, finalizer: string) {
  const { namespace, name, resourceVersion, finalizers: present = [] } = object.metadata;
  const metadata = { resourceVersion, finalizers: present.filter((entry) => entry !== finalizer) };
  try {
    await client.mergePatch(resource, namespace, name, { metadata }, { manager: fieldManagers.operator });
  } catch (error) {
    if (!isNotFound(error)) throw error;
  }
}

async function tellWhatStays(
  deps: UninstallDeps,
  deployments: readonly KubeObject[],
  pools: readonly KubeObject[],
): Promise<void> {
  const { out } = deps;
  for (const object of deployments) out(`stays, served and unmetered from now on: modeldeployment ${fullName(object)}`);
  for (const object of pools) out(`stays: gpunodepool ${fullName(object)}`);
  const claims = await listed(deps, capacityClaims);
  if (claims.length > 0) {
    out(`stay with their times: ${String(claims.length)} capacityclaims; hours that were not sealed are in no record`);
  }
  for (const object of await listed(deps, nodeClaims, undefined, labels.poolUID)) {
    out(`stays and costs money: nodeclaim ${fullName(object)}; kubectl delete its NodePool to end it`);
  }
  const claimed = await listed(deps, nodes, undefined, labels.pool);
  for (const node of claimed) {
    out(
      `stays dedicated: node ${fullName(node)}; kubectl label node ${fullName(node)} ${labels.pool}- && kubectl taint node ${fullName(node)} ${taints.dedicated}-`,
    );
  }
  out("custom resources and their CRDs are kept: installing Berth again takes them up");
}
