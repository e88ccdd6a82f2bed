// What happens at the end of a window while two operators believe to lead, or while the API server is away from them.
import assert from "node:assert/strict";
import { test } from "node:test";
import { apiPath } from "../cluster/client.ts";
import type { Replica } from "../chart/rendered.ts";
import { eventually } from "../cluster/eventually.ts";
import { startApiProxy } from "../cluster/faultproxy.ts";
import { requires } from "../cluster/session.ts";
import { act, calmDown, deleteAll } from "./history.ts";
import { newChance, seedOfRun } from "./random.ts";
import type { Chance } from "./random.ts";
import { compareAudit, compareDelivered, compareOpen, compareSealed, setUp, untilNothingIsLeft } from "./scene.ts";
import type { Scene } from "./scene.ts";
import { SYSTEM, WINDOW_SECONDS, allReady, freeLease, startBerth } from "./stage.ts";
import { isWrite } from "./trap.ts";

/** Past it a leader that could not renew its Lease writes nothing (client-go's default, and Berth's). */
const RENEW_DEADLINE_MS = 10_000;
const RECONCILIATIONS_AT_ONCE = 4;

/** Resolves when this machine's clock is past the end of a window and what follows it. */
async function pastWindowEnd(extraMs: number): Promise<void> {
  const windowMs = WINDOW_SECONDS * 1000;
  const until = Math.ceil(Date.now() / windowMs) * windowMs + extraMs;
  await eventually(() => Date.now() >= until, { recheckMs: 50, deadlineMs: windowMs + extraMs + 5_000 });
}

async function untilLeads({ cluster }: Scene, { name }: Replica): Promise<void> {
  const path = apiPath("coordination.k8s.io/v1", "leases", { namespace: SYSTEM, name: "berth-operator" });
  await eventually(
    async () => {
      const lease = await cluster.admin.find<{ spec?: { holderIdentity?: string } }>(path);
      return lease?.spec?.holderIdentity?.startsWith(name);
    },
    { what: `${name} leads`, deadlineMs: 90_000, logDir: cluster.logDir },
  );
}

async function deeds({ cluster }: Scene, chance: Chance, count: number): Promise<string[]> {
  const done: string[] = [];
  for (let left = count; left > 0; left -= 1) done.push(await act(cluster, chance));
  return done;
}

/** Nothing comes through to the operator, and nothing from it, until the window is over and its grace with it. */
async function withoutServer(scene: Scene, chance: Chance): Promise<void> {
  const { proxy, t } = scene;
  const rule = proxy.add({ match: () => true, fault: { kind: "reset" } });
  const done = await deeds(scene, chance, 3);
  await pastWindowEnd(4_000);
  rule.remove();
  t.diagnostic(`${done.join(", ")} while the API server was away over a window's end`);
}

/**
 * The leader sleeps amid its work; its Lease is given free, as it runs out in 15 s, and another one leads and seals. Woken, the
 * first ends by itself, whatever it was about to write.
 */
async function withTwoLeaders(scene: Scene, chance: Chance): Promise<void> {
  const { cluster, operator, t } = scene;
  await untilLeads(scene, operator);
  const done = await deeds(scene, chance, 2);
  operator.freeze();
  const frozenAt = Date.now();
  await freeLease(cluster);
  const proxy = await startApiProxy(cluster);
  const second = await startBerth(cluster, "operator", proxy.url);
  t.after(() => proxy.close());
  t.after(() => second.kill());
  await untilLeads(scene, second);
  done.push(...(await deeds(scene, chance, 2)));
  await pastWindowEnd(0);
  // Nobody gives a Lease free but this test: until it runs out in truth, the sleeper's own deadline to renew it is over.
  await eventually(() => Date.now() > frozenAt + RENEW_DEADLINE_MS, {
    what: "the deadline is over",
    deadlineMs: 15_000,
  });
  const writes = (): string[] => scene.proxy.seen.filter(isWrite).map(({ method, path }) => `${method} ${path}`);
  const before = writes().length;
  operator.thaw();
  await eventually(() => operator.outcome() !== undefined, { what: "the overtaken one ends", deadlineMs: 20_000 });
  assert.equal(operator.outcome(), "ended with code 3");
  // A Lease is no fence: what had passed its check when the process fell asleep is sent when it wakes, one a reconciliation.
  const late = writes().slice(before);
  assert.ok(late.length <= RECONCILIATIONS_AT_ONCE, `it went on writing after it was overtaken: ${late.join(", ")}`);
  await second.kill();
  await freeLease(cluster);
  await operator.start();
  t.diagnostic(`${done.join(", ")} while two led`);
}

test("two leaders and an API server that is away over a window's end lose, double and invent no second", async (t) => {
  if (!(await requires(t, "server-restart", "karpenter"))) return;
  const seed = seedOfRun();
  t.diagnostic(`seed ${String(seed)} (SEED=${String(seed)} repeats it)`);
  const chance = newChance(seed);
  const scene = await setUp(t);
  const { cluster, operator, observer } = scene;
  await operator.start();
  await untilLeads(scene, operator);
  t.diagnostic(`${(await deeds(scene, chance, 5)).join(", ")} at first`);
  await withoutServer(scene, chance);
  await withTwoLeaders(scene, chance);
  await withoutServer(scene, chance);
  await calmDown(cluster);
  await allReady(cluster, 60_000);
  await compareOpen(scene);
  await deleteAll(cluster);
  await untilNothingIsLeft(scene, 90_000);
  await observer.catchUp();
  assert.deepEqual(observer.complaints, []);
  await compareAudit(scene);
  compareSealed(scene);
  compareDelivered(scene);
});
