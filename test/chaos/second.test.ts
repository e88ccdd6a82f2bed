// Two operators: the second does nothing until the first is gone; one that was frozen and overtaken ends itself.
import assert from "node:assert/strict";
import { test } from "node:test";
import type { TestContext } from "node:test";
import type { Replica } from "../chart/rendered.ts";
import { apiPath } from "../cluster/client.ts";
import type { Cluster } from "../cluster/cluster.ts";
import { eventually } from "../cluster/eventually.ts";
import { startApiProxy } from "../cluster/faultproxy.ts";
import type { FaultProxy } from "../cluster/faultproxy.ts";
import { ownCluster, requires } from "../cluster/session.ts";
import { SYSTEM, addOwnNodes, addTenant, allReady, createDeployment, installBerth, startBerth } from "./stage.ts";
import { isWrite } from "./trap.ts";

const tenant = "team";
/**
 * The Lease's duration since its last renewal was seen, and the longest pause between two looks (2 s, jittered by up to
 * 120 %) twice: until that renewal is seen, and until it is seen to be over. A little more for the writing.
 */
const TAKEOVER_MS = 15_000 + 2 * 4_400 + 1_600;

/** An operator that is told apart from others by its own way to the API server. */
interface Voice {
  readonly operator: Replica;
  readonly proxy: FaultProxy;
}

async function addVoice(t: TestContext, cluster: Cluster): Promise<Voice> {
  const proxy = await startApiProxy(cluster);
  t.after(() => proxy.close());
  const operator = await startBerth(cluster, "operator", proxy.url);
  t.after(() => operator.kill());
  await operator.ready();
  return { operator, proxy };
}

/** Requests of a voice that change something, its Lease aside. */
function writesOf({ proxy }: Voice): string[] {
  return proxy.seen.filter(isWrite).map(({ method, path }) => `${method} ${path}`);
}

interface Lease {
  readonly spec?: { readonly holderIdentity?: string };
}

async function holder(cluster: Cluster): Promise<string> {
  const path = apiPath("coordination.k8s.io/v1", "leases", { namespace: SYSTEM, name: "berth-operator" });
  return (await cluster.admin.get<Lease>(path)).spec?.holderIdentity ?? "";
}

const holds = async (cluster: Cluster, { operator }: Voice): Promise<boolean> =>
  (await holder(cluster)).startsWith(operator.name);

async function takesOver(cluster: Cluster, voice: Voice): Promise<void> {
  const what = `${voice.operator.name} leads`;
  await eventually(() => holds(cluster, voice), { what, deadlineMs: TAKEOVER_MS, logDir: cluster.logDir });
}

test("a second operator waits for its turn, and a leader that slept through its own ends itself", async (t) => {
  if (!(await requires(t, "server-restart"))) return;
  const cluster = await ownCluster(t, { karpenter: false, nodeMonitorGracePeriod: "10m" });
  await installBerth(cluster);
  await addOwnNodes(cluster, 3);
  await addTenant(cluster, tenant);
  const first = await addVoice(t, cluster);
  await takesOver(cluster, first);
  const second = await addVoice(t, cluster);
  const wish = { namespace: tenant, nodeType: "own" } as const;

  await createDeployment(cluster, { ...wish, name: "one" });
  await allReady(cluster, 20_000);
  assert.deepEqual(writesOf(second), [], "the second only watches");
  assert.ok(await holds(cluster, first));

  await first.operator.kill();
  await createDeployment(cluster, { ...wish, name: "two" });
  await takesOver(cluster, second);
  await allReady(cluster, 20_000);

  const third = await addVoice(t, cluster);
  second.operator.freeze();
  const before = writesOf(second).length;
  await takesOver(cluster, third);
  await createDeployment(cluster, { ...wish, name: "three" });
  await allReady(cluster, 20_000);
  second.operator.thaw();
  const ended = (): boolean => second.operator.outcome() !== undefined;
  await eventually(ended, { what: "the overtaken leader ends", deadlineMs: 15_000, logDir: cluster.logDir });
  assert.equal(second.operator.outcome(), "ended with code 3");
  assert.deepEqual(writesOf(second).slice(before), [], "it wrote nothing after it was overtaken");
  assert.ok(await holds(cluster, third));
});
