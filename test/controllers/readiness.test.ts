// When a node is ready for a bill: Ready and all its GPUs allocatable, by what the real API server can prove of the two.
import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import type { TestContext } from "node:test";
import type { CapacityClaim } from "../../operator/api/capacityclaim.ts";
import { startControlPlane } from "../cluster/controlplane.ts";
import type { ControlPlane } from "../cluster/controlplane.ts";
import { eventually } from "../cluster/eventually.ts";
import { setAllocatable, setNodeReady } from "../cluster/nodes.ts";
import { berthCrdDir, requires } from "../cluster/session.ts";
import { karpenterBed, nodesOfPool, staticBed } from "../providers/beds.ts";
import { claimsOf, createPool, untilReady } from "../providers/pools.ts";
import type { TestPool } from "../providers/pools.ts";
import { claimPath, newPoolStage, nodePath } from "./poolstage.ts";

let own: Promise<ControlPlane> | undefined;
const ownCluster = (): Promise<ControlPlane> => (own ??= startControlPlane({ crdFolders: [berthCrdDir] }));
after(async () => (await own)?.stop());

const beds = { static: staticBed, karpenter: karpenterBed } as const;
const stageOn = async (t: TestContext, bed: keyof typeof beds) => newPoolStage(t, await ownCluster(), beds[bed], 1);

const GPU = "nvidia.com/gpu";

interface NodeTimes {
  readonly metadata: {
    readonly creationTimestamp: string;
    readonly managedFields: readonly { readonly time?: string; readonly fieldsV1?: unknown }[];
  };
  readonly status?: { readonly conditions?: readonly { readonly type: string; readonly lastTransitionTime: string }[] };
}

/** What the API server itself says of a node: when its Ready condition turned, and since when its GPUs stand as they do. */
async function timesOf(cluster: ControlPlane, name: string) {
  const { metadata, status } = await cluster.admin.get<NodeTimes>(nodePath(name));
  const writer = metadata.managedFields.find(({ fieldsV1 }) => {
    const fields = fieldsV1 as { "f:status"?: { "f:allocatable"?: Record<string, unknown> } };
    return fields["f:status"]?.["f:allocatable"]?.[`f:${GPU}`] !== undefined;
  });
  const ready = status?.conditions?.find(({ type }) => type === "Ready")?.lastTransitionTime ?? "";
  return { ready: Date.parse(ready), full: Date.parse(writer?.time ?? metadata.creationTimestamp) };
}

async function claimWhere(
  cluster: ControlPlane,
  pool: TestPool,
  holds: (status: NonNullable<CapacityClaim["status"]>) => unknown,
): Promise<CapacityClaim> {
  return eventually(
    async () => {
      const [claim] = await claimsOf(cluster, pool);
      return claim?.status && holds(claim.status) ? claim : undefined;
    },
    { deadlineMs: 60_000 },
  );
}

async function onlyNode(cluster: ControlPlane, pool: TestPool): Promise<string> {
  return eventually(async () => (await nodesOfPool(cluster, pool.uid))[0]?.metadata.name, { deadlineMs: 60_000 });
}

const instant = (evidence: { readonly time: string } | undefined): number => Date.parse(evidence?.time ?? "");

/** Servers name whole seconds: two instants are told apart once one has passed. */
const untilLaterThan = (at: number): Promise<unknown> =>
  eventually(() => Promise.resolve(Date.now() >= at + 2_000), { deadlineMs: 10_000 });

describe("a node of Karpenter's", { concurrency: 1 }, () => {
  test("is ready when its last GPU is allocatable, not when its kubelet is Ready; a restored backup does not move that", async (t) => {
    if (!(await requires(t, "server-restart", "kwok", "karpenter"))) return;
    const { cluster, bed, namespace, start } = await stageOn(t, "karpenter");
    await start();
    // The cloud's node comes with one of two.
    const template = { ...bed.template, gpu: { ...bed.template.gpu, count: 2 } };
    const pool = await createPool(cluster, namespace, "slow-plugin", template, 1);
    const name = await onlyNode(cluster, pool);
    await eventually(async () => (await timesOf(cluster, name)).ready > 0);
    await claimWhere(cluster, pool, ({ claimedAt }) => claimedAt);
    await untilLaterThan((await timesOf(cluster, name)).ready);
    await setAllocatable(cluster, name, { [GPU]: "2" });
    const claim = await claimWhere(cluster, pool, ({ readyAt }) => readyAt);
    const times = await timesOf(cluster, name);
    assert.ok(times.full > times.ready);
    assert.equal(instant(claim.status?.readyAt), times.full);
    assert.match(claim.status?.readyAt?.evidence ?? "", /managedFields\[.+\]\.time of allocatable nvidia\.com\/gpu$/);
    // The plugin restarts: its writer's time moves, the record does not.
    await untilLaterThan(times.full);
    await setAllocatable(cluster, name, { [GPU]: "0" });
    await setAllocatable(cluster, name, { [GPU]: "2" });
    assert.ok((await timesOf(cluster, name)).full > times.full);
    await cluster.admin.patch(claimPath(claim.metadata.name, "status"), { status: null });
    const again = await claimWhere(cluster, pool, ({ readyAt }) => readyAt);
    assert.deepEqual(again.status?.readyAt, claim.status?.readyAt);
  });

  test("is ready as it is created with all its GPUs, once its kubelet is Ready", async (t) => {
    if (!(await requires(t, "server-restart", "kwok", "karpenter"))) return;
    const { cluster, bed, namespace, start } = await stageOn(t, "karpenter");
    await start();
    const pool = await createPool(cluster, namespace, "at-once", bed.template, 1);
    const { status } = await claimWhere(cluster, pool, ({ readyAt }) => readyAt);
    const times = await timesOf(cluster, await onlyNode(cluster, pool));
    assert.equal(instant(status?.readyAt), Math.max(times.ready, times.full, instant(status?.claimedAt)));
  });

  test("whose managedFields somebody cleared is ready when its kubelet has reported with all GPUs", async (t) => {
    if (!(await requires(t, "server-restart", "kwok", "karpenter"))) return;
    const { cluster, bed, namespace, start } = await stageOn(t, "karpenter");
    await start();
    const template = { ...bed.template, gpu: { ...bed.template.gpu, count: 2 } };
    const pool = await createPool(cluster, namespace, "cleared", template, 1);
    const name = await onlyNode(cluster, pool);
    const ready = await eventually(async () => (await timesOf(cluster, name)).ready || undefined);
    await cluster.admin.patch(nodePath(name), { metadata: { managedFields: [{}] } });
    await untilLaterThan(ready);
    const heartbeat = new Date().toISOString().replace(/\.\d+Z$/, "Z");
    const conditions = [{ type: "Ready", status: "True", lastHeartbeatTime: heartbeat }];
    await cluster.admin.raw({
      method: "PATCH",
      path: `${nodePath(name)}/status`,
      contentType: "application/strategic-merge-patch+json",
      body: { status: { allocatable: { [GPU]: "2" }, conditions } },
    });
    const { status } = await claimWhere(cluster, pool, ({ readyAt }) => readyAt);
    assert.equal(instant(status?.readyAt), Date.parse(heartbeat));
    assert.match(status?.readyAt?.evidence ?? "", /lastHeartbeatTime$/);
  });
});

describe("a static node", { concurrency: 1 }, () => {
  test("is claimed, and ready from then on, when its last GPU is allocatable", async (t) => {
    if (!(await requires(t, "server-restart", "kwok"))) return;
    const { cluster, bed, namespace, start } = await stageOn(t, "static");
    await start();
    const template = { ...bed.template, gpu: { ...bed.template.gpu, count: 2 } };
    const pool = await createPool(cluster, namespace, "plugged", template, 1);
    const selector = Object.entries(bed.template.provider.static?.nodeSelector ?? {}).map((pair) => pair.join("="));
    const { items } = await cluster.admin.list(`/api/v1/nodes?labelSelector=${selector.join(",")}`);
    const name = items[0]?.metadata.name ?? "";
    await untilLaterThan((await timesOf(cluster, name)).ready);
    await setAllocatable(cluster, name, { [GPU]: "2" });
    await untilReady(cluster, pool, 1);
    const { status } = await claimWhere(cluster, pool, ({ readyAt }) => readyAt);
    const times = await timesOf(cluster, name);
    assert.ok(times.full > times.ready && instant(status?.readyAt) >= times.full);
    assert.equal(instant(status?.readyAt), instant(status?.claimedAt));
  });

  test("was ready when it was claimed, also where it has lost its GPUs and been unwell before anybody wrote that down", async (t) => {
    if (!(await requires(t, "server-restart", "kwok"))) return;
    const { cluster, bed, namespace, start } = await stageOn(t, "static");
    // Record, node's patch, status.
    const first = await start({ dieAtWrite: 3 });
    const pool = await createPool(cluster, namespace, "unwell", bed.template, 1);
    const name = await onlyNode(cluster, pool);
    await first.stop();
    await untilLaterThan((await timesOf(cluster, name)).ready);
    await setAllocatable(cluster, name, { [GPU]: "0" });
    await setNodeReady(cluster, name, false);
    await start();
    const { status } = await claimWhere(cluster, pool, ({ claimedAt }) => claimedAt);
    assert.equal(status?.readyAt?.time, status?.claimedAt?.time);
    assert.match(status?.readyAt?.evidence ?? "", /Ready with all GPUs when claimed$/);
  });
});
