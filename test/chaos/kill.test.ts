// Random histories during which the operator is killed again and again: in the end nothing is left, nothing was doubled, and
// what was metered is what an observer counted beside it, to the second.
import assert from "node:assert/strict";
import { test } from "node:test";
import type { TestContext } from "node:test";
import type { Replica } from "../chart/rendered.ts";
import { writeVerbs } from "../cluster/audit.ts";
import type { AuditMark } from "../cluster/audit.ts";
import type { ControlPlane } from "../cluster/controlplane.ts";
import { eventually } from "../cluster/eventually.ts";
import { startApiProxy } from "../cluster/faultproxy.ts";
import type { FaultProxy } from "../cluster/faultproxy.ts";
import { ownCluster, requires } from "../cluster/session.ts";
import { countSeconds } from "./count.ts";
import { OWN_NODES, act, calmDown, deleteAll, tenants } from "./history.ts";
import { filesOf, sealedRecords, totals } from "./ledger.ts";
import { leftovers } from "./leftovers.ts";
import { observe } from "./observer.ts";
import type { Observer } from "./observer.ts";
import { newChance, seedOfRun } from "./random.ts";
import type { Chance } from "./random.ts";
import { OPERATOR_USER, addOwnNodes, addTenant, allReady, freeLease, installBerth, ledgerFolder } from "./stage.ts";
import { startBerth } from "./stage.ts";
import { anyMoment, arm } from "./trap.ts";

const KILLS = process.env["BERTH_SOAK"] === "1" ? 100 : 10;
const ROUND_MS = 4_000;

interface Scene {
  readonly t: TestContext;
  readonly cluster: ControlPlane;
  readonly proxy: FaultProxy;
  readonly operator: Replica;
  readonly observer: Observer;
  readonly ledger: string;
  readonly mark: AuditMark;
}

async function setUp(t: TestContext): Promise<Scene> {
  const cluster = await ownCluster(t, { nodeMonitorGracePeriod: "10m" });
  await installBerth(cluster);
  await addOwnNodes(cluster, OWN_NODES);
  for (const tenant of tenants) await addTenant(cluster, tenant);
  const proxy = await startApiProxy(cluster);
  t.after(() => proxy.close());
  const observer = await observe(cluster);
  t.after(() => observer.stop());
  const mark = await cluster.audit.mark();
  const operator = await startBerth(cluster, "operator", proxy.url);
  t.after(() => operator.kill());
  return { t, cluster, proxy, operator, observer, ledger: await ledgerFolder(cluster), mark };
}

/** One kill: some of it while the operator starts, some while it works, some while nothing happens. */
async function killOnce({ t, cluster, proxy, operator, ledger }: Scene, chance: Chance): Promise<void> {
  const moment = anyMoment(chance);
  const trap = arm(moment, operator, proxy, ledger);
  const starting = operator.start().catch((error: unknown) => {
    if (trap.sprung() === undefined) throw error;
  });
  const deeds: string[] = [];
  for (let left = chance.whole(1, 4); left > 0; left -= 1) deeds.push(await act(cluster, chance));
  await starting;
  const until = Date.now() + ROUND_MS;
  await eventually(() => trap.sprung() !== undefined || Date.now() >= until, { recheckMs: 20 });
  trap.disarm();
  await operator.kill();
  await freeLease(cluster);
  for (let left = chance.whole(0, 2); left > 0; left -= 1) deeds.push(await act(cluster, chance));
  t.diagnostic(`${deeds.join(", ")}; killed ${trap.sprung() ?? "at rest"}`);
}

/** The whole of it, from sealed windows and the open one, as the usage API tells it while everything runs. */
async function compareOpen({ cluster, operator, observer }: Scene): Promise<void> {
  const day = (at: number): string => new Date(at).toISOString().slice(0, 10);
  const query = `from=${day(Date.now() - 86_400_000)}&to=${day(Date.now() + 86_400_000)}`;
  const authorization = `Bearer ${cluster.info.adminIdentity.token ?? ""}`;
  const response = await fetch(`${operator.urls["usage"] ?? ""}/v1/usage?${query}`, { headers: { authorization } });
  assert.equal(response.status, 200);
  const { asOf, records } = (await response.json()) as {
    asOf: string;
    records: Parameters<typeof totals>[0];
  };
  await observer.catchUp();
  const told = totals(records);
  const until = Date.parse(asOf) / 1000;
  for (const [uid, name] of observer.names) compare(name, told.get(uid), countSeconds(observer.seen(), uid, until));
}

const nothing = { claimed: 0, desired: 0, billable: 0 };

function compare(name: string, told: object = nothing, counted: object): void {
  assert.deepEqual(told, counted, `seconds of ${name}: told by Berth, counted by the observer`);
}

function compareSealed({ ledger, observer }: Scene): void {
  const records = sealedRecords(ledger);
  const keys = records.map(({ deploymentUID, from }) => `${deploymentUID} ${from}`);
  assert.equal(new Set(keys).size, keys.length, "a stretch of time is recorded once");
  assert.equal(new Set(records.map(({ id }) => id)).size, records.length, "ids are used once");
  const sealed = totals(records);
  const until = Math.ceil(Date.now() / 1000);
  for (const [uid, name] of observer.names) compare(name, sealed.get(uid), countSeconds(observer.seen(), uid, until));
  const estimated = records.reduce((sum, record) => sum + record.estimatedNodeSeconds, 0);
  assert.equal(estimated, 0, "every instant has its evidence");
}

/** The server's own log says the same as the nodes: as many writes as changes of hands, each in its second. */
async function compareAudit({ cluster, observer, mark }: Scene): Promise<void> {
  const wanted = { user: OPERATOR_USER, verbs: writeVerbs, resources: ["nodes"] };
  const entries = await cluster.audit.since(mark, { ...wanted, codes: (code) => code < 300 || code >= 499 });
  const writes = entries.filter(({ uri }) => uri.includes("fieldManager=berth-claim"));
  const seconds = (list: readonly { name: string; second: number }[]): string[] =>
    list.map(({ name, second }) => `${name} ${String(second)}`);
  const logged = writes.map(({ name, receivedAt }) => ({ name, second: Math.floor(Date.parse(receivedAt) / 1000) }));
  const noted = observer.handovers.map(({ node, second }) => ({ name: node, second }));
  // A write whose sender died is logged as failed, and may have been carried out.
  const sure = writes.filter(({ code }) => code < 300).length;
  assert.ok(sure <= noted.length, "every write of a claim or release changed hands once");
  // A write that is received at the end of a second may be stamped with the next.
  for (const { name, second } of noted) {
    const at = logged.findIndex((entry) => entry.name === name && second - entry.second <= 1 && second >= entry.second);
    assert.notEqual(at, -1, `no write of ${name} at ${String(second)} among ${seconds(logged).join(", ")}`);
    logged.splice(at, 1);
  }
}

test("killed anywhere, the operator loses, doubles and orphans nothing, and meters every second", async (t) => {
  if (!(await requires(t, "server-restart", "karpenter"))) return;
  const seed = seedOfRun();
  t.diagnostic(`seed ${String(seed)} (SEED=${String(seed)} repeats it)`);
  const chance = newChance(seed);
  const scene = await setUp(t);
  const { cluster, operator, observer, ledger } = scene;
  for (let kill = 0; kill < KILLS; kill += 1) await killOnce(scene, chance);

  await operator.start();
  await calmDown(cluster);
  await allReady(cluster, 60_000);
  await compareOpen(scene);
  await deleteAll(cluster);
  const isClean = async (): Promise<boolean> => {
    const left = [
      ...(await leftovers(cluster, tenants)),
      ...filesOf(ledger).filter((path) => /^closing\/.*\/[^.]/.test(path)),
    ];
    if (left.length > 0) throw new Error(left.join("\n"));
    return true;
  };
  await eventually(isClean, { what: "nothing is left", deadlineMs: 60_000, recheckMs: 500, logDir: cluster.logDir });
  await observer.catchUp();
  assert.deepEqual(observer.complaints, []);
  await compareAudit(scene);
  compareSealed(scene);
});
