/** `berth ledger verify --cluster`: the ledger against the head, the claims and the sizes of a real API server. */
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { pathToFileURL } from "node:url";

import { openLedger } from "../../operator/adapters/ledger/open.ts";
import { annotations } from "../../operator/api/keys.ts";
import { ledgerCommand } from "../../operator/cli/ledger.ts";
import { clusterDifference } from "../../operator/cli/ledgercluster.ts";
import { HEAD_LEASE, newHeadKeeper } from "../../operator/controllers/clusterhead.ts";
import { adjustmentLines } from "../../operator/plan/metering/adjust.ts";
import type { ClaimInterval } from "../../operator/plan/metering/history.ts";
import { isEvidence, usageLines } from "../../operator/plan/metering/segment.ts";
import { apiPath } from "../cluster/client.ts";
import { ownCluster } from "../cluster/session.ts";
import { claimsPath, makeClaim, makeDeployment, meteredWorld } from "../controllers/meteringcluster.ts";
import { instant } from "../controllers/meteringobjects.ts";
import { sealerAt } from "../controllers/sealerrig.ts";
import { CLUSTER, claim, history, hour, step } from "../plan/metering/histories.ts";
import { newRig } from "../runtime/rig.ts";

const namespace = "team-a";

/** Hours of one deployment are sealed, and the cluster keeps their head. */
async function sealedCluster(t: TestContext) {
  const cluster = await ownCluster(t, { karpenter: false });
  for (const name of [namespace, "berth-system"])
    await cluster.admin.create("/api/v1/namespaces", { apiVersion: "v1", kind: "Namespace", metadata: { name } });
  const folder = await mkdtemp(join(tmpdir(), "berth-verify-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const ledgerUrl = pathToFileURL(folder).href;
  const ledger = openLedger({ url: ledgerUrl });
  const made = await makeDeployment(cluster, namespace, "chat");
  const claim = await makeClaim(cluster, namespace, "chat", made, { claimed: "10:14:20" });
  const rig = newRig(t, cluster, { userAgent: "verify-test" });
  const headKeeper = newHeadKeeper({ kube: rig.kube, namespace: "berth-system" });
  const objects = await meteredWorld(rig, namespace).fresh();
  const { sealed } = await sealerAt({ ledger, at: "12:06:00", objects, headKeeper }).sealer.pass();
  assert.equal(sealed.length, 2);
  const verify = async (env: Readonly<Record<string, string>>, ...args: string[]) => {
    let [code, out, err] = [-1, "", ""];
    const io = { env, write: (text: string) => void (out += text), complain: (text: string) => void (err += text) };
    const command = ledgerCommand(io, (ended) => (code = ended));
    await command.parseAsync(["verify", "--ledger-url", ledgerUrl, ...args], { from: "user" });
    return { code, out, err };
  };
  return { cluster, ledger, claim, verify };
}

test("verify --cluster: intact, then a head of another ledger, other times in the cluster, no head at all", async (t) => {
  const { cluster, claim, verify } = await sealedCluster(t);
  const kubeconfig = cluster.adminKubeconfigPath;
  const intact = await verify({ KUBECONFIG: kubeconfig }, "--cluster");
  assert.deepEqual([intact.code, intact.err], [0, ""], intact.out);
  assert.match(intact.out, /^2 windows, 2 records, 6340 billable node-seconds$/m);

  // What the newest window has as held to its end was over half an hour earlier.
  const released = { status: { releasedAt: { time: instant("11:30:00"), evidence: "written by a test" } } };
  await cluster.admin.patch(`${claimsPath}/${claim}/status`, released);
  const other = await verify({}, "--kubeconfig", kubeconfig);
  assert.equal(other.code, 3);
  assert.match(
    other.out,
    /hr=11\/manifest\.json differs from the cluster's claims and sizes of team-a\/chat by -1800 billable node-seconds/,
  );

  const lease = apiPath("coordination.k8s.io/v1", "leases", { namespace: "berth-system", name: HEAD_LEASE });
  await cluster.admin.patch(lease, { metadata: { annotations: { [annotations.ledgerHead]: "0".repeat(64) } } });
  const foreign = await verify({}, "--kubeconfig", kubeconfig, "-o", "json");
  assert.equal(foreign.code, 3);
  assert.match(foreign.out, /is not the manifest 0{64} that the cluster keeps as the head/);

  const headless = await verify({}, "--kubeconfig", kubeconfig, "--operator-namespace", "elsewhere");
  assert.equal(headless.code, 3);
  assert.match(headless.out, /has no head in the cluster: there is no Lease elsewhere\/berth-ledger-head/);

  const unreachable = await verify({}, "--cluster");
  assert.equal(unreachable.code, 1, "no cluster is named");
  assert.match(unreachable.err, /no API server/);
});

test("a difference that changes nothing billable is told for what it is: seconds of readiness, or the nodes that held them", () => {
  const holding = (...claims: ClaimInterval[]) => [history({ steps: [step("10:00:00", 1)], claims })];
  const told = (recorded: ClaimInterval, ...known: ClaimInterval[]): string[] => {
    const stored = [...usageLines([holding(recorded)], hour(11), CLUSTER)];
    const lines = adjustmentLines(stored, holding(...known), { window: hour(11), clusterId: CLUSTER });
    return lines.flatMap((line) => (isEvidence(line) ? [] : [clusterDifference(line)]));
  };
  const words = (what: string) => [
    `differs from the cluster's claims and sizes of team-a/chat ${what}; the next window will say so`,
  ];
  const held = claim({ id: "a", claimed: "10:00:00" });
  assert.deepEqual(
    told({ ...held, readyAt: undefined }, held),
    words("by 3600 readyNodeSeconds, and in nothing billable"),
  );
  const first = claim({ id: "a", claimed: "10:00:00", released: "11:30:00" });
  assert.deepEqual(
    told(held, first, claim({ id: "b", claimed: "11:30:00" })),
    words("in which nodes held its seconds, or since when they were ready, and in nothing billable"),
  );
  assert.deepEqual(told(held, first), words("by -1800 billable node-seconds"));
});
