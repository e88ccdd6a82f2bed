/**
 * `node test/replay/record.ts [FILE]`: what metering sees of a real cluster, as its watches tell it. A control plane of its own, Berth by
 * its chart, tenants that do random things (SEED= repeats the choices, not the interleaving), and at last all deployments are deleted.
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";

import { OWN_NODES, act, calmDown, deleteAll, tenants } from "../chaos/history.ts";
import { leftovers } from "../chaos/leftovers.ts";
import { newChance, seedOfRun } from "../chaos/random.ts";
import { API, addOwnNodes, addTenant, allReady, installBerth, startBerth } from "../chaos/stage.ts";
import { apiPath } from "../cluster/client.ts";
import type { KubeObject } from "../cluster/client.ts";
import type { Cluster } from "../cluster/cluster.ts";
import { eventually } from "../cluster/eventually.ts";
import { ownCluster } from "../cluster/session.ts";
import { meteredKinds, patchBetween } from "./changes.ts";
import type { Change, MeteredKind } from "./changes.ts";

const DEEDS = 24;
const plurals: Readonly<Record<MeteredKind, string>> = {
  ModelDeployment: "modeldeployments",
  GPUNodePool: "gpunodepools",
  CapacityClaim: "capacityclaims",
};

/** Without what the recorded sealer wrote (the replay has its own), and without what metering does not read. */
function meteredPart(kind: MeteredKind, { metadata, spec, status = {} }: KubeObject): Record<string, unknown> {
  const { name, namespace, uid, creationTimestamp, deletionTimestamp, finalizers, managedFields = [] } = metadata;
  const sized = managedFields.filter(({ manager }) => manager === "berth-size");
  const { sizeLog, claimedAt, readyAt, releasedAt } = status;
  return JSON.parse(
    JSON.stringify({
      metadata: {
        ...{ name, namespace, uid, creationTimestamp, deletionTimestamp },
        ...(kind === "CapacityClaim" && { finalizers }),
        ...(sized.length > 0 && { managedFields: sized.map(({ manager, time }) => ({ manager, time })) }),
      },
      spec: kind === "ModelDeployment" ? withoutImages(spec) : spec,
      ...(kind !== "ModelDeployment" && { status: { sizeLog, claimedAt, readyAt, releasedAt } }),
    }),
  ) as Record<string, unknown>;
}

function withoutImages(spec: KubeObject["spec"]): object {
  const { model, nodeType, replicas, suspend } = spec ?? {};
  return { model, nodeType, replicas, suspend, engine: {}, deletionProtection: false, billing: {} };
}

interface Sized {
  readonly status?: { sizeLog?: readonly { readonly since: string }[] };
}

/** A log drops steps that the recorded sealer had sealed; the replay's may not have come so far. */
function keepSizes(before: Sized, after: Sized): void {
  const [known = [], told = []] = [before.status?.sizeLog, after.status?.sizeLog];
  const dropped = known.filter(({ since }) => told[0] !== undefined && since < told[0].since);
  if (after.status && dropped.length > 0) after.status.sizeLog = [...dropped, ...told];
}

class Recorder {
  readonly changes: Change[] = [];
  readonly #known = new Map<string, Record<string, unknown>>();

  take(kind: MeteredKind, type: string, object: KubeObject): void {
    const uid = object.metadata.uid ?? "";
    const after = meteredPart(kind, object);
    const before = this.#known.get(uid);
    // A claim that began and was sealed goes by the sealer's hand, and so does its finalizer.
    if (kind === "CapacityClaim" && object.status?.["claimedAt"] !== undefined && before) {
      if (type === "DELETED") return;
      (after["metadata"] as Record<string, unknown>)["finalizers"] = (
        before["metadata"] as KubeObject["metadata"]
      ).finalizers;
    }
    if (before) keepSizes(before, after);
    const change = type === "DELETED" ? null : patchBetween(before ?? {}, after);
    if (change === undefined) return;
    this.#known.set(uid, after);
    this.changes.push({ at: new Date().toISOString(), kind, uid, change });
  }

  async follow(cluster: Cluster, signal: AbortSignal): Promise<void> {
    for (const kind of meteredKinds) {
      const path = apiPath(API, plurals[kind]);
      const { metadata } = await cluster.admin.list(path);
      const from = `${path}?resourceVersion=${metadata.resourceVersion}&timeoutSeconds=86400`;
      void this.#followOne(kind, cluster.admin.watch(from, signal), signal);
    }
  }

  async #followOne(
    kind: MeteredKind,
    events: AsyncIterable<{ readonly type: string; readonly object: KubeObject }>,
    signal: AbortSignal,
  ): Promise<void> {
    try {
      for await (const { type, object } of events) this.take(kind, type, object);
    } catch (error) {
      if (!signal.aborted) throw error;
    }
  }
}

async function record(file: string, hooks: (() => unknown)[]): Promise<void> {
  const cluster = await ownCluster({ after: (hook) => void hooks.unshift(hook as () => unknown) });
  await installBerth(cluster);
  await addOwnNodes(cluster, OWN_NODES);
  for (const tenant of tenants) await addTenant(cluster, tenant);
  const recorder = new Recorder();
  const stop = new AbortController();
  hooks.unshift(() => stop.abort());
  await recorder.follow(cluster, stop.signal);
  const operator = await startBerth(cluster, "operator");
  hooks.unshift(() => operator.kill());
  await operator.start();
  const seed = seedOfRun();
  const chance = newChance(seed);
  for (let left = DEEDS; left > 0; left--) {
    console.log(await act(cluster, chance));
    if (left % 3 === 0) await allReady(cluster, 60_000).catch(() => undefined);
  }
  await calmDown(cluster);
  await allReady(cluster, 120_000);
  await deleteAll(cluster);
  const isClean = async (): Promise<boolean> => (await leftovers(cluster, tenants)).length === 0;
  await eventually(isClean, { what: "nothing is left", deadlineMs: 180_000, recheckMs: 500 });
  writeFileSync(file, recorder.changes.map((change) => `${JSON.stringify(change)}\n`).join(""));
  console.log(`${String(recorder.changes.length)} changes in ${file}, seed ${String(seed)}`);
}

const hooks: (() => unknown)[] = [];
try {
  await record(process.argv[2] ?? join(import.meta.dirname, "recorded.ndjson"), hooks);
} finally {
  for (const hook of hooks) await hook();
}
process.exit(0);
