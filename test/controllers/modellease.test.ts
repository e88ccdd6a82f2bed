// The Lease of one import against the real API server: what is kept when answers are lost, and when it counts as lost.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { TestContext } from "node:test";
import { leaseName, newModelLeases } from "../../operator/controllers/modellease.ts";
import type { HeldLease } from "../../operator/controllers/modellease.ts";
import type { LeaseObject } from "../../operator/runtime/leases.ts";
import { apiPath } from "../cluster/client.ts";
import { eventually } from "../cluster/eventually.ts";
import { startApiProxy } from "../cluster/faultproxy.ts";
import type { FaultProxy, HttpFault, RuleHandle, SeenRequest } from "../cluster/faultproxy.ts";
import { testCluster, testNamespace } from "../cluster/session.ts";
import { newRig } from "../runtime/rig.ts";

const modelUID = "0f9c2d5e-aaaa-bbbb-cccc-444455556666";
const isRenewal = ({ method, path }: SeenRequest): boolean => method === "PATCH" && path.endsWith(leaseName(modelUID));

interface Importer {
  readonly held: HeldLease;
  readonly proxy: FaultProxy;
  /** Renewals that were sent so far. */
  renewals(): number;
  /** The next renewals have that fault. */
  fault(fault: HttpFault, times?: number): RuleHandle;
  lease(): Promise<LeaseObject | undefined>;
  patch(change: object): Promise<unknown>;
}

async function importer(t: TestContext, durationMs = 3_000): Promise<Importer> {
  const cluster = await testCluster();
  const namespace = await testNamespace(t);
  const proxy = await startApiProxy(cluster);
  t.after(() => proxy.close());
  const rig = newRig(t, cluster, { url: proxy.url });
  const held = await newModelLeases({ ...rig, namespace, identity: "importer-1", durationMs }).claim(modelUID);
  assert.ok("lost" in held);
  t.after(() => held.release());
  const path = apiPath("coordination.k8s.io/v1", "leases", { namespace, name: leaseName(modelUID) });
  return {
    held,
    proxy,
    renewals: () => proxy.seen.filter(isRenewal).length,
    fault: (fault, times = 1) => proxy.add({ match: isRenewal, times, fault }),
    lease: async () => {
      const { items } = await cluster.admin.list<LeaseObject>(
        apiPath("coordination.k8s.io/v1", "leases", { namespace }),
      );
      return items.find(({ metadata }) => metadata.name === leaseName(modelUID));
    },
    patch: (change) => cluster.admin.patch(path, change),
  };
}

/** The Lease is renewed by its holder, under whatever version it has by now. */
async function renewedAfter({ lease }: Importer, before: string | undefined): Promise<void> {
  await eventually(async () => (await lease())?.spec?.renewTime !== before, { what: "it is renewed" });
  const { spec } = (await lease()) ?? {};
  assert.equal(spec?.holderIdentity, "importer-1");
}

describe("the Lease of an import", { concurrency: 6 }, () => {
  test("is still held after the answer to a renewal was lost", async (t) => {
    const at = await importer(t);
    const rule = at.fault({ kind: "lose-answer" });
    await eventually(() => rule.hits === 1, { what: "an answer is lost" });
    const sent = at.renewals();
    const landed = await at.lease();
    await eventually(() => at.renewals() >= sent + 2, { what: "it goes on renewing" });
    await renewedAfter(at, landed?.spec?.renewTime);
    assert.equal(at.held.lost.aborted, false);
    await at.held.release();
    assert.equal(await at.lease(), undefined);
  });

  test("is given back also where the answer to its last renewal was lost", async (t) => {
    const at = await importer(t);
    const before = (await at.lease())?.metadata.resourceVersion;
    const rule = at.fault({ kind: "lose-answer" });
    await eventually(async () => rule.hits === 1 && (await at.lease())?.metadata.resourceVersion !== before, {
      what: "a renewal landed without an answer",
    });
    await at.held.release();
    assert.equal(await at.lease(), undefined);
  });

  test("is still held where somebody put a label onto it", async (t) => {
    const at = await importer(t);
    await at.patch({ metadata: { labels: { seen: "yes" } } });
    await renewedAfter(at, (await at.lease())?.spec?.renewTime);
    assert.equal(at.held.lost.aborted, false);
  });

  test("is renewed again before it expires where one renewal is never answered", async (t) => {
    const durationMs = 6_000;
    const at = await importer(t, durationMs);
    const { renewTime } = (await at.lease())?.spec ?? {};
    const rule = at.fault({ kind: "stall" });
    await eventually(() => rule.hits === 1, { what: "a renewal hangs", deadlineMs: 10_000 });
    await renewedAfter(at, renewTime);
    const again = Date.parse((await at.lease())?.spec?.renewTime ?? "");
    assert.ok(
      again - Date.parse(renewTime ?? "") < durationMs,
      `${String(again - Date.parse(renewTime ?? ""))} ms later`,
    );
  });

  test("is renewed before it expires also where the read after a conflict is never answered", async (t) => {
    const durationMs = 6_000;
    const at = await importer(t, durationMs);
    const { renewTime } = (await at.lease())?.spec ?? {};
    const isRead = ({ method, path }: SeenRequest): boolean => method === "GET" && path.endsWith(leaseName(modelUID));
    const rule = at.proxy.add({ match: isRead, times: 1, fault: { kind: "stall" } });
    await at.patch({ metadata: { labels: { seen: "yes" } } });
    await eventually(() => rule.hits === 1, { what: "a read hangs", deadlineMs: 10_000 });
    await renewedAfter(at, renewTime);
    const laterMs = Date.parse((await at.lease())?.spec?.renewTime ?? "") - Date.parse(renewTime ?? "");
    assert.ok(laterMs < durationMs, `${String(laterMs)} ms later`);
  });

  test("is lost to whoever took it, and left alone", async (t) => {
    const at = await importer(t);
    await at.patch({ spec: { holderIdentity: "importer-2" } });
    await eventually(() => at.held.lost.aborted, { what: "the import is told to stop" });
    await at.held.release();
    assert.equal((await at.lease())?.spec?.holderIdentity, "importer-2");
  });
});
