/** The Ledger object, kept by the whole operator over a real S3 server that a proxy makes lie and refuse. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { TestContext } from "node:test";

import type { Condition } from "../../operator/api/schema.ts";
import { operatorConfig } from "../../operator/config.ts";
import { startOperator } from "../../operator/wire.ts";
import { apiPath, type KubeObject } from "../cluster/client.ts";
import type { ControlPlane } from "../cluster/controlplane.ts";
import { eventually } from "../cluster/eventually.ts";
import { startFaultProxy } from "../cluster/faultproxy.ts";
import { startS3 } from "../cluster/s3.ts";
import { ownCluster } from "../cluster/session.ts";

interface Ledger extends KubeObject {
  readonly spec: { readonly url: string };
  readonly status?: { readonly sealedThrough?: string; readonly conditions?: readonly Condition[] };
}

const path = apiPath("berth.dev/v1alpha1", "ledgers", { name: "berth" });
const berthNamespace = { apiVersion: "v1", kind: "Namespace", metadata: { name: "berth-system" } };

async function placed(t: TestContext) {
  const cluster = await ownCluster(t, { karpenter: false });
  await cluster.admin.create("/api/v1/namespaces", berthNamespace);
  const s3 = await startS3();
  t.after(() => s3.stop());
  const proxy = await startFaultProxy({ target: s3.endpoint, dialect: "s3" });
  t.after(() => proxy.close());
  const { region, accessKeyId, secretAccessKey } = s3;
  const flags = {
    kubeconfig: cluster.adminKubeconfigPath,
    leaderElect: "false",
    ledgerUrl: "s3://ledger/berth",
    ledgerEndpoint: proxy.url,
    ledgerRegion: region,
    engineImages: '[{"version":"0.32.0","image":"vllm/vllm-openai:v0.32.0"}]',
    berthImage: "berth:test",
    storeService: "http://berth-store.berth-system.svc:8090",
    logLevel: process.env["BERTH_TEST_LOG"] === "1" ? "debug" : "error",
    healthPort: "0",
    metricsPort: "0",
    usagePort: "0",
    windowSeconds: "1",
    sealGraceSeconds: "0",
    sealSpreadSeconds: "0",
  };
  const env = { BERTH_LEDGER_ACCESS_KEY_ID: accessKeyId, BERTH_LEDGER_SECRET_ACCESS_KEY: secretAccessKey };
  /** Stopped before the servers that it speaks to. */
  const whileOperating = async (work: () => Promise<void>): Promise<void> => {
    const operator = await startOperator(operatorConfig(flags, env), {});
    try {
      await work();
    } finally {
      await operator.stop();
    }
  };
  return { cluster, s3, proxy, whileOperating };
}

/** Waits until the object shows these conditions, as `type=status reason`. */
async function shows(cluster: ControlPlane, ...expected: string[]): Promise<Ledger> {
  let found: Ledger | undefined;
  await eventually(
    async () => {
      found = await cluster.admin.find<Ledger>(path);
      const seen = (found?.status?.conditions ?? []).map(({ type, status, reason }) => `${type}=${status} ${reason}`);
      assert.deepEqual(seen, expected);
      return true;
    },
    { what: `the Ledger shows ${expected.join(", ")}`, deadlineMs: 60_000 },
  );
  assert.ok(found);
  return found;
}

const message = (ledger: Ledger, type: string): string =>
  ledger.status?.conditions?.find((one) => one.type === type)?.message ?? "";

test("a store that says yes to a second write is told of, until one is there that refuses it", async (t) => {
  const { cluster, s3, proxy, whileOperating } = await placed(t);
  await s3.createBucket("ledger");
  // A success that ignores the condition.
  proxy.add({
    match: ({ method, path: at }) => method === "PUT" && at.includes("/probe/"),
    fault: { kind: "rewrite", status: 200, body: () => "" },
  });
  await whileOperating(async () => {
    const told = await shows(cluster, "Ready=True Sealing", "ConditionalWrites=False LedgerUnconditional");
    assert.equal(told.spec.url, "s3://ledger/berth");
    assert.match(
      message(told, "ConditionalWrites"),
      /overwrites objects despite If-None-Match.*use a store that honours/,
    );
  });
  proxy.clear();
  await whileOperating(async () => {
    await shows(cluster, "Ready=True Sealing", "ConditionalWrites=True OverwritesRefused");
  });
});

test("why nothing is sealed stands in Ready, in the store's words: no bucket, then no access", async (t) => {
  const { cluster, s3, proxy, whileOperating } = await placed(t);
  await whileOperating(async () => {
    const missing = await shows(cluster, "Ready=False LedgerBucketMissing");
    assert.match(message(missing, "Ready"), /bucket ledger does not exist: create it/);
    await s3.createBucket("ledger");
    await shows(cluster, "Ready=True Sealing", "ConditionalWrites=True OverwritesRefused");
    const rule = proxy.add({ fault: { kind: "status", code: 403 } });
    const refused = await shows(cluster, "Ready=False LedgerAccessDenied", "ConditionalWrites=True OverwritesRefused");
    assert.match(message(refused, "Ready"), /refuses access to bucket ledger/);
    rule.remove();
    await shows(cluster, "Ready=True Sealing", "ConditionalWrites=True OverwritesRefused");
    const away = proxy.add({ fault: { kind: "status", code: 503 } });
    // One failure that may pass is no news, several are.
    await shows(cluster, "Ready=False SealingFailed", "ConditionalWrites=True OverwritesRefused");
    away.remove();
    const well = await shows(cluster, "Ready=True Sealing", "ConditionalWrites=True OverwritesRefused");
    const { resourceVersion } = well.metadata;
    // Several windows later nothing was written, since nothing changed.
    const puts = proxy.seen.length;
    await eventually(() => proxy.seen.length > puts + 3, { what: "further passes", deadlineMs: 30_000 });
    assert.equal((await cluster.admin.get<Ledger>(path)).metadata.resourceVersion, resourceVersion);
  });
});
