// etcd is set back to an older state, as by a restore of a backup: what was over stays over, and nothing is counted twice.
import assert from "node:assert/strict";
import { cpSync, rmSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import type { TestContext } from "node:test";
import { Registry } from "prom-client";
import { sealedEndOf } from "../../operator/api/lastclaim.ts";
import { newContinuity } from "../../operator/controllers/continuity.ts";
import { newLedgerMetrics } from "../../operator/controllers/ledgermetrics.ts";
import { newSealer } from "../../operator/controllers/sealer.ts";
import { readSealed, sealedKeys } from "../../operator/controllers/ledgerreads.ts";
import { newUnproven } from "../../operator/controllers/unproven.ts";
import { newSealedNote } from "../../operator/controllers/watermark.ts";
import type { Ledger } from "../../operator/ports.ts";
import { startControlPlane } from "../cluster/controlplane.ts";
import type { ControlPlane } from "../cluster/controlplane.ts";
import { eventually } from "../cluster/eventually.ts";
import { berthCrdDir, requires } from "../cluster/session.ts";
import { karpenterBed, staticBed } from "../providers/beds.ts";
import { claimsOf, createPool, readPool, resizePool, untilReady } from "../providers/pools.ts";
import { newRig } from "../runtime/rig.ts";
import { meteredWorld } from "./meteringcluster.ts";
import { newPoolStage } from "./poolstage.ts";

const WINDOW_SECONDS = 2;

let own: Promise<ControlPlane> | undefined;
/** Stopped after the operators, which would wait for it. */
const ownCluster = (): Promise<ControlPlane> => (own ??= startControlPlane({ crdFolders: [berthCrdDir] }));
after(async () => (await own)?.stop());

/** Runs `change` on etcd's folder while neither etcd nor anything that caches its state runs. */
async function whileStopped(cluster: ControlPlane, change: (folder: string) => void): Promise<void> {
  const { etcd, apiserver, controllerManager, scheduler, kwok, karpenter, cloud } = cluster;
  const clients = [cloud, karpenter, kwok, scheduler, controllerManager];
  const around = [...clients, apiserver, etcd];
  for (const part of around) await part.stop();
  change(join(cluster.info.runDir, "etcd"));
  await Promise.all([etcd.start(), apiserver.start()]);
  await Promise.all(clients.map((client) => client.start()));
}

/** The sealer as the operator has it, with short windows. */
function sealing(t: TestContext, cluster: ControlPlane, namespace: string, ledger: Ledger) {
  const rig = newRig(t, cluster, { userAgent: "restore-test" });
  const { fresh } = meteredWorld(rig, namespace);
  const told: string[] = [];
  const events = { emit: (_about: unknown, { message }: { message: string }) => void told.push(message) };
  const registry = new Registry();
  const sealed = newSealedNote();
  const unproven = newUnproven({ registry, log: rig.log, events });
  const compare = newContinuity({ ledger, kube: rig.kube, unproven, sealedThroughMs: sealed.ms });
  const sealer = newSealer({
    ledger,
    kube: rig.kube,
    clock: rig.clock,
    log: rig.log,
    metrics: newLedgerMetrics(registry),
    clusterId: "11111111-2222-3333-4444-555555555555",
    windowSeconds: WINDOW_SECONDS,
    sealGraceSeconds: 1,
    sealSpreadSeconds: 0,
    freshObjects: async () => compare(await fresh()),
    caughtUp: () => true,
    noteSealed: sealed.note,
  });
  /** Seals until everything before `instant` is in the ledger. */
  const through = (instant: number): Promise<unknown> =>
    eventually(async () => ((await sealer.pass()).sealedThrough ?? 0) * 1000 >= instant, {
      what: "the window is sealed",
      recheckMs: 500,
      deadlineMs: 180_000,
    });
  return { through, told };
}

for (const [provider, bed] of [
  ["static", staticBed],
  ["karpenter", karpenterBed],
] as const)
  test(`${provider}: after a restore of etcd a claim that was over is closed again by what the ledger knows`, (t) =>
    restored(t, provider, bed));

async function restored(t: TestContext, provider: string, bed: typeof staticBed | typeof karpenterBed): Promise<void> {
  if (!(await requires(t, "server-restart", "kwok", "karpenter"))) return;
  const cluster = await ownCluster();
  const at = await newPoolStage(t, cluster, bed, 1);
  const backup = join(cluster.info.runDir, `etcd-backup-${provider}`);
  const first = await at.start();
  const pool = await createPool(cluster, at.namespace, "old", at.bed.template, 1);
  await untilReady(cluster, pool, 1);
  await first.stop();
  await whileStopped(cluster, (folder) => cpSync(folder, backup, { recursive: true }));

  const second = await at.start();
  await resizePool(cluster, pool, 0);
  const over = await eventually(async () => (await claimsOf(cluster, pool)).find(({ status }) => status?.releasedAt), {
    deadlineMs: 180_000,
  });
  const releasedMs = Date.parse(over.status?.releasedAt?.time ?? "");
  await sealing(t, cluster, at.namespace, at.ledger).through(releasedMs + 2_000 * WINDOW_SECONDS);
  const sealedBefore = (await sealedKeys(at.ledger, 0, Infinity)).length;
  await second.stop();
  await whileStopped(cluster, (folder) => {
    rmSync(folder, { recursive: true });
    cpSync(backup, folder, { recursive: true });
  });
  const restoredMs = Date.now();

  assert.equal((await readPool(cluster, pool)).spec.size, 1, "the older state is back");
  // Sealed before any pool is looked at: the record that is closed must still be there for its pool to see.
  const later = sealing(t, cluster, at.namespace, at.ledger);
  await later.through(Date.now());
  await at.start();
  const closed = (await claimsOf(cluster, pool)).find(({ metadata }) => metadata.name === over.metadata.name);
  // Its record goes with its node; one without that end would be a new one, and the node would be paid for again.
  if (closed) assert.match(sealedEndOf(closed)?.evidence ?? "", /^ledger v1\//);
  assert.match(later.told.join(), /the cluster's state is older than the ledger's/);
  // The pool's older status says ready before anything has looked at it: the claim itself is waited for.
  const taken = await eventually(
    async () => (await claimsOf(cluster, pool)).find(({ status }) => status?.claimedAt && !status.releasedAt),
    { what: "a node is claimed anew", deadlineMs: 180_000 },
  );
  assert.notEqual(taken.metadata.name, over.metadata.name);
  assert.ok(Date.parse(taken.status?.claimedAt?.time ?? "") >= restoredMs - 1_000);
  await later.through(Date.parse(taken.status?.claimedAt?.time ?? "") + 1_000 * WINDOW_SECONDS);
  const keys = (await sealedKeys(at.ledger, 0, Infinity)).slice(sealedBefore);
  const after = (await Promise.all(keys.map((key) => readSealed(at.ledger, key)))).flatMap(({ records }) => records);
  assert.ok(after.length > 0);
  const ids = after.flatMap(({ claims }) => claims.map(({ id }) => id));
  assert.ok(!ids.includes(over.metadata.name), "the old claim is in no window that was sealed since");
  assert.ok(ids.includes(taken.metadata.name));
}
