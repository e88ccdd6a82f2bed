/** What follows from a sealed hour, on the real API server: marks, totals, claims that go; killed at every write. */
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { pathToFileURL } from "node:url";
import { Registry } from "prom-client";

import { openLedger } from "../../operator/adapters/ledger/open.ts";
import type { CapacityClaim } from "../../operator/api/capacityclaim.ts";
import type { ModelDeployment } from "../../operator/api/modeldeployment.ts";
import { newLedgerMetrics } from "../../operator/controllers/ledgermetrics.ts";
import { newSealer } from "../../operator/controllers/sealer.ts";
import type { SealerDeps } from "../../operator/controllers/sealer.ts";
import type { KubeWriter, Ledger } from "../../operator/ports.ts";
import { tally, writeVerbs } from "../cluster/audit.ts";
import type { Cluster } from "../cluster/cluster.ts";
import { apiPath } from "../cluster/client.ts";
import { requires, testCluster, testNamespace } from "../cluster/session.ts";
import { newManualClock } from "../runtime/manualclock.ts";
import { newRig } from "../runtime/rig.ts";
import { claimsPath, makeClaim, makeDeployment, meteredWorld } from "./meteringcluster.ts";
import { CLUSTER, epochMs, instant } from "./meteringobjects.ts";

const group = "berth.dev/v1alpha1";

async function directoryLedger(t: TestContext): Promise<Ledger> {
  const folder = await mkdtemp(join(tmpdir(), "berth-settle-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  return openLedger({ url: pathToFileURL(folder).href });
}

type Settling = Pick<KubeWriter, "mergePatch" | "remove">;

/** Dies after its n-th write. */
function dyingAfter(kube: Settling, n: number): Settling & { readonly died: () => boolean } {
  let count = 0;
  const guard = async <T>(run: () => Promise<T>): Promise<T> => {
    if (count >= n) throw new Error("killed");
    count += 1;
    return run();
  };
  return {
    mergePatch: (...args) => guard(() => kube.mergePatch(...args)) as never,
    remove: (...args) => guard(() => kube.remove(...args)),
    died: () => count >= n,
  };
}

async function world(t: TestContext) {
  const cluster = await testCluster();
  const namespace = await testNamespace(t);
  const rig = newRig(t, cluster, { userAgent: "sealer-test" });
  const metered = meteredWorld(rig, namespace);
  const sealerAt = (ledger: Ledger, at: string, kube: Settling = rig.kube) => {
    const deps: SealerDeps = {
      ledger,
      kube,
      clock: newManualClock(epochMs(at)),
      log: rig.log,
      metrics: newLedgerMetrics(new Registry()),
      clusterId: CLUSTER,
      windowSeconds: 3600,
      sealGraceSeconds: 300,
      sealSpreadSeconds: 0,
      freshObjects: metered.fresh,
      caughtUp: () => true,
      lastSeenAt: () => instant("12:04:00"),
    };
    return newSealer(deps);
  };
  return { cluster, namespace, rig, sealerAt };
}

const meteringOf = async (cluster: Cluster, namespace: string, name: string) =>
  (await cluster.admin.get<ModelDeployment>(apiPath(group, "modeldeployments", { namespace, name }))).status?.metering;

const claimOf = (cluster: Cluster, name: string) => cluster.admin.find<CapacityClaim>(`${claimsPath}/${name}`);

const sku = "dedicated.l4.1";

test("open claims are marked, released ones go, deployments show their total; a second pass writes nothing", async (t) => {
  const { cluster, namespace, rig, sealerAt } = await world(t);
  const made = await makeDeployment(cluster, namespace, "chat");
  const open = await makeClaim(cluster, namespace, "chat", made, { claimed: "10:15:00" });
  const released = await makeClaim(cluster, namespace, "chat", made, { claimed: "10:00:00", released: "10:20:00" });
  const ledger = await directoryLedger(t);
  const young = await makeClaim(cluster, namespace, "chat", made, { claimed: "12:01:00" });
  await sealerAt(ledger, "12:06:00").pass();
  assert.deepEqual((await claimOf(cluster, open))?.status?.sealedThrough, instant("12:00:00"));
  assert.deepEqual((await claimOf(cluster, open))?.status?.lastSeenAt, instant("12:04:00"));
  assert.equal(await claimOf(cluster, released), undefined);
  assert.equal((await claimOf(cluster, young))?.status?.sealedThrough, undefined);
  assert.deepEqual(await meteringOf(cluster, namespace, "chat"), {
    since: instant("10:00:00"),
    sealedThrough: instant("12:00:00"),
    // Wanted from 10:12 on, held without a gap since then.
    nodeSeconds: 48 * 60 + 3600,
    // Two nodes were held until 10:20.
    counters: [{ sku, billable: 48 * 60 + 3600, claimed: 45 * 60 + 20 * 60 + 3600, ready: 48 * 60 + 3600 }],
  });
  if (!(await requires(t, "audit"))) return;
  const mark = await cluster.audit.mark();
  await sealerAt(ledger, "12:30:00").pass();
  const writes = await cluster.audit.since(mark, { userAgent: "sealer-test", verbs: writeVerbs });
  assert.deepEqual(tally(writes), {});
  assert.deepEqual(
    rig.log.lines.filter(({ level }) => level === "error"),
    [],
  );
});

test("killed after any write of an hour, the next process ends in the same state, with nothing counted twice", async (t) => {
  const { cluster, namespace, rig, sealerAt } = await world(t);
  const counters = [{ sku, billable: 45 * 60 + 3600, claimed: 45 * 60 + 30 * 60 + 3600, ready: 45 * 60 + 3600 }];
  const expected = {
    since: instant("10:12:00"),
    sealedThrough: instant("12:00:00"),
    nodeSeconds: 45 * 60 + 3600,
    counters,
  };
  let killed = 0;
  for (let n = 0; n <= 5; n++) {
    const ledger = await directoryLedger(t);
    const name = `chat-${n}`;
    const made = await makeDeployment(cluster, namespace, name);
    const open = await makeClaim(cluster, namespace, name, made, { claimed: "10:15:00" });
    const released = await makeClaim(cluster, namespace, name, made, { claimed: "10:20:00", released: "10:50:00" });
    const dying = dyingAfter(rig.kube, n);
    await sealerAt(ledger, "11:06:00", dying)
      .pass()
      .catch(() => undefined);
    killed += dying.died() ? 1 : 0;
    await sealerAt(ledger, "12:06:00").pass();
    assert.equal((await claimOf(cluster, open))?.status?.sealedThrough, instant("12:00:00"), `killed after ${n}`);
    assert.equal(await claimOf(cluster, released), undefined, `killed after ${n}`);
    assert.deepEqual(await meteringOf(cluster, namespace, name), expected, `killed after ${n}`);
    await cluster.admin.remove(apiPath(group, "modeldeployments", { namespace, name }));
    await cluster.admin.remove(apiPath(group, "gpunodepools", { namespace, name }));
  }
  assert.ok(killed >= 4);
});
