// The whole operator comes back to a cluster where Karpenter bought and gave back a node meanwhile: that one is counted, no other is.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { pathToFileURL } from "node:url";
import { request } from "undici";
import { openLedger } from "../../operator/adapters/ledger/open.ts";
import { operatorConfig } from "../../operator/config.ts";
import { sealedKeys } from "../../operator/controllers/ledgerreads.ts";
import { startOperator } from "../../operator/wire.ts";
import { apiPath, type KubeObject } from "../cluster/client.ts";
import type { ControlPlane } from "../cluster/controlplane.ts";
import { eventually } from "../cluster/eventually.ts";
import { freePort } from "../cluster/process.ts";
import { ownCluster, requires, testNamespace } from "../cluster/session.ts";
import { karpenterBed } from "../providers/beds.ts";
import { claimsOf, createPool, resizePool, untilReady } from "../providers/pools.ts";

const karpenter = "/apis/karpenter.sh/v1";

interface CoreEvent extends KubeObject {
  readonly reason?: string;
  readonly message?: string;
  readonly involvedObject?: { readonly kind?: string; readonly uid?: string };
}

async function names(cluster: ControlPlane, poolUID: string): Promise<readonly { name: string; uid: string }[]> {
  const { items } = await cluster.admin.list(`${karpenter}/nodeclaims`);
  return items
    .map(({ metadata: { name = "", uid = "" } }) => ({ name, uid }))
    .filter(({ name }) => name.includes(poolUID));
}

/** Waits for Karpenter's own event: it is all that will be left. */
async function untilToldOf(cluster: ControlPlane, uid: string): Promise<void> {
  const told = async (): Promise<boolean> => {
    const { items } = await cluster.admin.list<CoreEvent>(apiPath("v1", "events"));
    return items.some(
      ({ reason, message = "", involvedObject }) =>
        involvedObject?.uid === uid && reason === "Launched" && message.includes("-> True"),
    );
  };
  await eventually(told, { what: `Karpenter tells that ${uid} was launched`, deadlineMs: 120_000 });
}

test("a node that Karpenter bought and gave back while no operator ran is counted, once and alone", async (t) => {
  if (!(await requires(t, "server-restart", "karpenter"))) return;
  const cluster = await ownCluster(t);
  const own = { apiVersion: "v1", kind: "Namespace", metadata: { name: "berth-system" } };
  await cluster.admin.create("/api/v1/namespaces", own);
  const folder = mkdtempSync(join(tmpdir(), "berth-missed-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const ledgerUrl = pathToFileURL(folder).href;
  const ledger = openLedger({ url: ledgerUrl });
  const namespace = await testNamespace(t, { prefix: "missed", cluster });
  const metricsPort = await freePort();
  const flags = {
    kubeconfig: cluster.adminKubeconfigPath,
    leaderElect: "false",
    ledgerUrl,
    engineImages: '[{"version":"0.32.0","image":"vllm/vllm-openai:v0.32.0"}]',
    berthImage: "berth:test",
    storeService: "http://berth-store.berth-system.svc:8090",
    logLevel: process.env["BERTH_TEST_LOG"] === "1" ? "debug" : "error",
    windowSeconds: "2",
    sealGraceSeconds: "1",
    sealSpreadSeconds: "0",
    healthPort: "0",
    metricsPort: String(metricsPort),
    usagePort: "0",
  };
  const whileOperating = async <T>(work: () => Promise<T>): Promise<T> => {
    const operator = await startOperator(operatorConfig(flags, {}), {});
    try {
      return await work();
    } finally {
      await operator.stop();
    }
  };
  const bed = await karpenterBed(t, cluster);
  const { pool, first } = await whileOperating(async () => {
    const made = await createPool(cluster, namespace, "grows", bed.template, 1);
    await untilReady(cluster, made, 1);
    const [claim] = await claimsOf(cluster, made);
    // Given back, sealed and forgotten, before the operator goes: its events are still there.
    await resizePool(cluster, made, 0);
    const forgotten = async (): Promise<boolean> => (await claimsOf(cluster, made)).length === 0;
    await eventually(forgotten, { what: "the first claim is sealed and gone", deadlineMs: 120_000 });
    await resizePool(cluster, made, 1);
    await untilReady(cluster, made, 1);
    return { pool: made, first: claim?.spec.providerRef.uid ?? "" };
  });
  assert.ok((await sealedKeys(ledger, 0, Infinity)).length > 0);
  const before = await names(cluster, pool.uid);

  // Nobody runs: the NodePool grows by hand, and its new node goes again.
  const nodePool = `${karpenter}/nodepools/berth-${pool.uid}`;
  await cluster.admin.patch(nodePool, { spec: { replicas: 2 } });
  const born = await eventually(
    async () => (await names(cluster, pool.uid)).find(({ uid }) => !before.some((one) => one.uid === uid)),
    { what: "a second NodeClaim", deadlineMs: 120_000 },
  );
  await untilToldOf(cluster, born.uid);
  await cluster.admin.patch(nodePool, { spec: { replicas: 1 } });
  await cluster.admin.remove(`${karpenter}/nodeclaims/${born.name}`).catch(() => undefined);
  const isGone = async (): Promise<boolean> => !(await names(cluster, pool.uid)).some(({ uid }) => uid === born.uid);
  await eventually(isGone, { what: "it is gone", deadlineMs: 120_000 });

  await whileOperating(async () => {
    const series = async (): Promise<string> =>
      (await request(`http://127.0.0.1:${String(metricsPort)}/metrics`)).body.text();
    const counted = async (): Promise<boolean> =>
      /^berth_capacity_unproven_total\{cause="unseen"\} 1$/m.test(await series());
    await eventually(counted, { what: "it is counted", deadlineMs: 60_000 });
    const keys = (await sealedKeys(ledger, 0, Infinity)).length;
    await eventually(async () => (await sealedKeys(ledger, 0, Infinity)).length > keys, { deadlineMs: 60_000 });
    assert.ok(await counted(), `once: not what was recorded (${first}), and not again`);
  });
});
