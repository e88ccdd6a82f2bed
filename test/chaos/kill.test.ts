// Random histories during which the operator is killed again and again: in the end nothing is left, nothing was doubled, and
// what was metered is what an observer counted beside it, to the second.
import assert from "node:assert/strict";
import { test } from "node:test";
import { eventually } from "../cluster/eventually.ts";
import { requires } from "../cluster/session.ts";
import { act, calmDown, deleteAll } from "./history.ts";
import { newChance, seedOfRun } from "./random.ts";
import type { Chance } from "./random.ts";
import { compareAudit, compareDelivered, compareOpen, compareSealed, setUp, untilNothingIsLeft } from "./scene.ts";
import type { Scene } from "./scene.ts";
import { allReady, freeLease } from "./stage.ts";
import { anyMoment, arm } from "./trap.ts";

const KILLS = process.env["BERTH_SOAK"] === "1" ? 300 : 20;
const ROUND_MS = 4_000;

/** One kill: some of it while the operator starts, some while it works, some while nothing happens. */
async function killOnce({ t, cluster, proxy, operator, ledger, delivered }: Scene, chance: Chance): Promise<void> {
  const moment = anyMoment(chance);
  const trap = arm(moment, operator, { proxy, ledger, delivered });
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

test("killed anywhere, the operator loses, doubles and orphans nothing, and meters every second", async (t) => {
  if (!(await requires(t, "server-restart", "karpenter"))) return;
  const seed = seedOfRun();
  t.diagnostic(`seed ${String(seed)} (SEED=${String(seed)} repeats it)`);
  const chance = newChance(seed);
  const scene = await setUp(t);
  const { cluster, operator, observer } = scene;
  for (let kill = 0; kill < KILLS; kill += 1) await killOnce(scene, chance);

  await operator.start();
  await calmDown(cluster);
  await allReady(cluster, 60_000);
  await compareOpen(scene);
  await deleteAll(cluster);
  await untilNothingIsLeft(scene, 60_000);
  await observer.catchUp();
  assert.deepEqual(observer.complaints, []);
  await compareAudit(scene);
  compareSealed(scene);
  compareDelivered(scene);
});
