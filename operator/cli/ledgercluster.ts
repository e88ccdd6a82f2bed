/** What a cluster says about its ledger: the head that the operator keeps there, and claims and sizes of the newest window. */
import type { UsageRecord } from "../api/ledger.ts";
import { capacityClaims, gpuNodePools, modelDeployments } from "../api/resources.ts";
import { withClosings } from "../controllers/facts.ts";
import { HEAD_LEASE, headLeases, keptHeadOf } from "../controllers/clusterhead.ts";
import type { KeptHead } from "../controllers/clusterhead.ts";
import { lateLines } from "../controllers/late.ts";
import { newHead, readManifest } from "../controllers/ledgerreads.ts";
import type { Finding } from "../controllers/verify.ts";
import { quantityNames } from "../plan/metering/fold.ts";
import { historiesOf } from "../plan/metering/history.ts";
import { metersOf } from "../plan/metering/records.ts";
import { isEvidence } from "../plan/metering/segment.ts";
import type { KubeReader, Ledger, Log } from "../ports.ts";
import { newKubeClient } from "../runtime/client.ts";
import { systemClock } from "../runtime/clock.ts";
import { loadCredentials } from "../runtime/credentials.ts";
import { newWriteFeed } from "../runtime/feed.ts";
import { newRuntimeMetrics } from "../runtime/metrics.ts";
import { newTransport } from "../runtime/transport.ts";

/** `adjustment` is what the next window would have to add to the record. */
export function clusterDifference(adjustment: UsageRecord): string {
  const { namespace, deploymentName, billableNodeSeconds } = adjustment;
  const others = quantityNames.filter((name) => adjustment[name] !== 0).map((name) => `${adjustment[name]} ${name}`);
  const unbilled =
    others.length > 0 ? `by ${others.join(", ")}` : "in which nodes held its seconds, or since when they were ready";
  const billed = `by ${billableNodeSeconds} billable node-seconds`;
  const what = billableNodeSeconds === 0 ? `${unbilled}, and in nothing billable` : billed;
  return `differs from the cluster's claims and sizes of ${namespace}/${deploymentName} ${what}; the next window will say so`;
}

const silent: Log = { debug() {}, info() {}, warn() {}, error() {}, child: () => silent };

export interface ClusterLook {
  readonly kept: KeptHead | undefined;
  readonly findings: readonly Finding[];
}

export async function lookAtCluster(
  ledger: Ledger,
  { kubeconfig, operatorNamespace }: { readonly kubeconfig?: string; readonly operatorNamespace: string },
  env: Readonly<Record<string, string | undefined>>,
): Promise<ClusterLook> {
  const credentials = await loadCredentials(kubeconfig === undefined ? {} : { kubeconfig }, env, systemClock);
  const common = { clock: systemClock, log: silent, metrics: newRuntimeMetrics() };
  const transport = newTransport({ credentials, ...common, userAgent: "berth-ledger" });
  try {
    const kube = newKubeClient({ transport, feed: newWriteFeed() });
    const kept = keptHeadOf(await kube.read(headLeases, operatorNamespace, HEAD_LEASE));
    const findings: Finding[] = kept
      ? []
      : [{ key: "v1/", problem: `has no head in the cluster: there is no Lease ${operatorNamespace}/${HEAD_LEASE}` }];
    return { kept, findings: [...findings, ...(await compareIntervals(ledger, kube))] };
  } finally {
    await transport.close();
  }
}

/** Claims go once they are sealed, so the newest window is what can be compared. */
async function compareIntervals(ledger: Ledger, kube: KubeReader): Promise<Finding[]> {
  const head = await newHead(ledger)();
  if (!head) return [];
  const [pools, claims, deployments] = await Promise.all([
    kube.list(gpuNodePools, undefined),
    kube.list(capacityClaims, undefined),
    kube.list(modelDeployments, undefined),
  ]);
  const objects = { pools: pools.items, claims: claims.items, deployments: deployments.items };
  const histories = historiesOf(await withClosings(objects, ledger));
  const { manifest } = await readManifest(ledger, head.key);
  const spans = [...new Set(histories.map(({ deploymentUID }) => deploymentUID))].map((deploymentUID) => ({
    ...{ deploymentUID, from: head.start, to: head.end },
  }));
  if (spans.length === 0) return [];
  const { cluster: clusterId, windowSeconds } = manifest;
  const meters = metersOf(histories);
  const question = { spans, metersOf: () => meters, clusterId, windowSeconds, shards: 1, before: Infinity };
  const lines = await lateLines(ledger, question);
  return (lines ?? []).flat().flatMap((line) => {
    if (isEvidence(line)) return [];
    return [{ key: head.key, problem: clusterDifference(line) }];
  });
}
