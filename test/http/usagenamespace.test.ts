/** Usage of a namespace is not told to those who may read only a later one of its name: real tokens, roles and namespaces. */
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { pathToFileURL } from "node:url";

import { openLedger } from "../../operator/adapters/ledger/open.ts";
import { namespaces } from "../../operator/api/kubernetes.ts";
import type { UsageRecord } from "../../operator/api/ledger.ts";
import type { GroupedUsage, UsageReport } from "../../operator/api/usage.ts";
import { newUsageSource } from "../../operator/controllers/usage.ts";
import { newAccess } from "../../operator/http/access.ts";
import { createApp } from "../../operator/http/app.ts";
import { serve } from "../../operator/http/serve.ts";
import { secondsOf } from "../../operator/plan/metering/windows.ts";
import { apiPath } from "../cluster/client.ts";
import type { Cluster } from "../cluster/cluster.ts";
import { eventually } from "../cluster/eventually.ts";
import { testCluster, testNamespace, uniqueName } from "../cluster/session.ts";
import { grant, serviceAccountIdentity } from "../cluster/users.ts";
import { sealRecords } from "../controllers/sealrecords.ts";
import { aRecord } from "../plan/rating/samples.ts";
import { newManualClock } from "../runtime/manualclock.ts";
import { newRig } from "../runtime/rig.ts";

const rules = [{ apiGroups: ["berth.dev"], resources: ["modeldeployments"], verbs: ["get"] }];
const day = "from=2026-11-21&to=2026-11-22";

/** The usage API over an empty ledger, with the cache of namespaces as the operator has it and a clock that stands still. */
async function served(t: TestContext, cluster: Cluster) {
  const folder = await mkdtemp(join(tmpdir(), "berth-usage-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const ledger = openLedger({ url: pathToFileURL(folder).href });
  const rig = newRig(t, cluster, { userAgent: "usage-namespace-test" });
  const cache = rig.reflector({ resource: namespaces });
  cache.start();
  const namespaceUID = (name: string) => cache.store.get(undefined, name)?.metadata.uid;
  const clock = newManualClock(Date.parse("2026-11-21T12:30:00Z"));
  const access = newAccess({ kube: rig.kube, clock, namespaceUID });
  const source = newUsageSource({ ledger, clock, clusterId: "c1", windowSeconds: 3600 });
  const server = await serve(createApp({ log: rig.log, usage: { source, access, clock } }), 0, "127.0.0.1");
  t.after(() => server.stop());
  const ask = async <T>(query: string, token: string): Promise<{ status: number; body: T }> => {
    const url = `http://127.0.0.1:${server.port}/v1/usage?${day}${query}`;
    const response = await fetch(url, { headers: { authorization: `Bearer ${token}` } });
    return { status: response.status, body: (await response.json()) as T };
  };
  const names = async (query: string, token: string): Promise<string[]> => {
    const { records } = (await ask<UsageReport>(query, token)).body;
    return records.map(({ deploymentName }) => deploymentName).sort();
  };
  return { ledger, namespaceUID, ask, names };
}

async function makeNamespace(cluster: Cluster, name: string): Promise<string> {
  const body = { apiVersion: "v1", kind: "Namespace", metadata: { name } };
  return (await cluster.admin.create("/api/v1/namespaces", body)).metadata.uid ?? "";
}

async function removeNamespace(cluster: Cluster, name: string): Promise<void> {
  const path = apiPath("v1", "namespaces", { name });
  await cluster.admin.remove(path);
  await eventually(async () => (await cluster.admin.find(path)) === undefined, {
    what: `namespace ${name} is gone`,
    deadlineMs: 60_000,
    logDir: cluster.logDir,
  });
}

/** One reads the namespace by a role in it, the other all namespaces; both live elsewhere, so that they outlive it. */
async function readers(t: TestContext, cluster: Cluster, namespace: string) {
  const home = await testNamespace(t);
  const one = await serviceAccountIdentity(cluster, home, "one");
  const all = await serviceAccountIdentity(cluster, home, "all");
  const subject = (name: string) => ({ kind: "ServiceAccount", name, namespace: home }) as const;
  const everywhere = uniqueName("read-all-usage");
  await grant(cluster, subject("all"), { name: everywhere, rules });
  for (const plural of ["clusterrolebindings", "clusterroles"]) {
    t.after(() => cluster.admin.remove(apiPath("rbac.authorization.k8s.io/v1", plural, { name: everywhere })));
  }
  const allowOne = () => grant(cluster, subject("one"), { name: "read-usage", namespace, rules });
  return { one: one.token, all: all.token, allowOne };
}

test("who may read a namespace reads nothing of an earlier one of its name", async (t) => {
  const cluster = await testCluster();
  const { ledger, namespaceUID, ask, names } = await served(t, cluster);
  const namespace = uniqueName("again");
  t.after(() => cluster.admin.remove(apiPath("v1", "namespaces", { name: namespace })).catch(() => undefined));
  const { one, all, allowOne } = await readers(t, cluster, namespace);
  const record = (name: string, uid?: string, hour = 10): UsageRecord => ({
    ...aRecord({ name, hour }),
    namespace,
    ...(uid !== undefined && { namespaceUID: uid }),
  });
  const cached = (uid: string | undefined) =>
    eventually(() => Promise.resolve(namespaceUID(namespace) === uid), { what: "the cache has seen it" });

  const former = await makeNamespace(cluster, namespace);
  await allowOne();
  await cached(former);
  const start = secondsOf("2026-11-21T10:00:00Z");
  const first = await sealRecords(ledger, { start, end: start + 3600 }, [record("former", former), record("unmarked")]);
  assert.deepEqual(await names("", one), ["former", "unmarked"]);

  await removeNamespace(cluster, namespace);
  await cached(undefined);
  assert.equal((await ask(`&namespace=${namespace}`, one)).status, 403, "its role is gone with the namespace");
  assert.deepEqual(await names("", one), []);
  assert.deepEqual(await names("", all), ["former", "unmarked"]);

  const latter = await makeNamespace(cluster, namespace);
  await cached(latter);
  // The clock stands still: what was allowed in the former namespace would be remembered now.
  assert.equal((await ask(`&namespace=${namespace}`, one)).status, 403, "no role was bound in the new one yet");
  await sealRecords(ledger, { start: start + 3600, end: start + 7200 }, [record("latter", latter, 11)], first);
  assert.deepEqual(await names("", all), ["former", "latter", "unmarked"]);
  const { token: other } = await serviceAccountIdentity(cluster, namespace, "other");
  await grant(cluster, { kind: "ServiceAccount", name: "other", namespace }, { name: "other", namespace, rules });
  for (const query of ["", `&namespace=${namespace}`]) {
    assert.deepEqual(await names(query, other), ["latter", "unmarked"]);
  }
  assert.deepEqual(await names(`&namespace=${namespace}&deployment=former`, other), []);
  const { groups } = (await ask<GroupedUsage>("&granularity=day&groupBy=none", other)).body;
  assert.deepEqual(
    groups.map(({ records }) => records),
    [2],
    "and nothing of it is in a sum",
  );
});
