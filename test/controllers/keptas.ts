/** What a test sealed, kept in the cluster as what the operator sealed. */
import type { TestContext } from "node:test";

import { namespaces } from "../../operator/api/kubernetes.ts";
import { newHeadKeeper } from "../../operator/controllers/clusterhead.ts";
import type { ChainHead } from "../../operator/plan/metering/segment.ts";
import { instantOfSeconds, manifestKey } from "../../operator/plan/metering/windows.ts";
import type { Window } from "../../operator/plan/metering/windows.ts";
import type { Cluster } from "../cluster/cluster.ts";
import { newRig } from "../runtime/rig.ts";

const namespace = "berth-system";

export async function keepAsHead(
  t: TestContext,
  cluster: Cluster,
  window: Window,
  { sha256 }: ChainHead,
): Promise<void> {
  const { kube } = newRig(t, cluster, { userAgent: "kept-as" });
  if (!(await kube.read(namespaces, undefined, namespace)))
    await kube.create(namespaces, { metadata: { name: namespace } }, { manager: "test" });
  const keeper = newHeadKeeper({ kube, namespace });
  await keeper.read();
  await keeper.write({ key: manifestKey(window), sha256, windowEnd: instantOfSeconds(window.end) });
}
