/** What a cluster needs of its store, asked of it directly, in the form that kubectl prints it: one judge (plan/store) reads both. */
import { clusterModels, modelDeployments, models } from "../api/resources.ts";
import { controllerRevisions, namespaces } from "../api/kubernetes.ts";
import { headLeases } from "../controllers/clusterhead.ts";
import type { KubeReader, Log, Resource } from "../ports.ts";
import { newKubeClient } from "../runtime/client.ts";
import { systemClock } from "../runtime/clock.ts";
import { loadCredentials } from "../runtime/credentials.ts";
import { messageOf } from "../runtime/errors.ts";
import { newWriteFeed } from "../runtime/feed.ts";
import { newRuntimeMetrics } from "../runtime/metrics.ts";
import { newTransport } from "../runtime/transport.ts";

const silent: Log = { debug() {}, info() {}, warn() {}, error() {}, child: () => silent };

/** Those that the command for kubectl names. */
const NEEDED: readonly Resource[] = [
  namespaces,
  models,
  clusterModels,
  modelDeployments,
  controllerRevisions,
  headLeases,
] as readonly Resource[];

async function itemsOf(kube: KubeReader, resource: Resource): Promise<readonly object[]> {
  const { group, version, kind, plural } = resource;
  const apiVersion = group === "" ? version : `${group}/${version}`;
  try {
    const { items } = await kube.list(resource, undefined);
    // A list says its items' kind once, for all of them.
    return items.map((item) => ({ ...item, apiVersion, kind }));
  } catch (error) {
    throw new Error(`the cluster does not list its ${plural}: ${messageOf(error)}`, { cause: error });
  }
}

/** Throws where a single kind cannot be listed: what is not seen might be in use. */
export async function neededBy(
  kubeconfig: string | undefined,
  env: Readonly<Record<string, string | undefined>>,
): Promise<string> {
  const credentials = await loadCredentials(kubeconfig === undefined ? {} : { kubeconfig }, env, systemClock);
  const common = { clock: systemClock, log: silent, metrics: newRuntimeMetrics() };
  const transport = newTransport({ credentials, ...common, userAgent: "berth-models" });
  try {
    const kube = newKubeClient({ transport, feed: newWriteFeed() });
    const lists = await Promise.all(NEEDED.map((resource) => itemsOf(kube, resource)));
    return JSON.stringify({ kind: "List", items: lists.flat() });
  } finally {
    await transport.close();
  }
}
