/** The series of node-seconds over restarts, against the ledger: a counter that shrank would be taken for a reset and counted twice. */
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { pathToFileURL } from "node:url";

import { openLedger } from "../../operator/adapters/ledger/open.ts";
import type { ModelDeployment } from "../../operator/api/modeldeployment.ts";
import { groupedUsage } from "../../operator/api/usage.ts";
import { putClosing } from "../../operator/controllers/closing.ts";
import { newUsageSource } from "../../operator/controllers/usage.ts";
import { secondsOf } from "../../operator/plan/metering/windows.ts";
import type { Ledger } from "../../operator/ports.ts";
import { newManualClock } from "../runtime/manualclock.ts";
import { CLUSTER, instant } from "./meteringobjects.ts";
import { receiver } from "./sinkbed.ts";
import { sinkOn } from "./sinkrig.ts";
import { running, sealerAt } from "./sealerrig.ts";

async function freshLedger(t: TestContext): Promise<Ledger> {
  const folder = await mkdtemp(join(tmpdir(), "berth-series-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  return openLedger({ url: pathToFileURL(folder).href });
}

type World = typeof running;

/** The world as the writes of a pass leave it. */
function written(world: World, writes: readonly string[]): World {
  const status = writes.flatMap((write) => {
    const [, body] = /^patch ModelDeployment chat (.*)$/.exec(write) ?? [];
    return body === undefined ? [] : [(JSON.parse(body) as { status: ModelDeployment["status"] }).status];
  });
  const deployments = world.deployments.map((one): ModelDeployment => ({
    ...one,
    status: status.at(-1) ?? one.status,
  }));
  return { ...world, deployments };
}

async function seriesOf({ registry }: ReturnType<typeof sealerAt>): Promise<Record<string, number>> {
  const found = (await registry.metrics()).matchAll(/^berth_capacity_node_seconds_total\{.*basis="(\w+)"\} (\d+)$/gm);
  return Object.fromEntries([...found].map(([, basis, value]) => [basis, Number(value)]));
}

async function sumsOf(ledger: Ledger): Promise<Record<string, number>> {
  const clock = newManualClock(Date.parse("2026-11-22T00:00:00Z"));
  const source = newUsageSource({ ledger, clock, clusterId: CLUSTER, windowSeconds: 3600 });
  const times = { from: secondsOf("2026-11-21T00:00:00Z"), to: secondsOf("2026-11-22T00:00:00Z") };
  const query = { ...times, deployment: "chat", limit: 10, sums: { granularity: "day", groupBy: [] } } as const;
  const { groups } = groupedUsage.parse(await source(query, async () => Promise.resolve(true)));
  const [all] = groups;
  assert.ok(all);
  const { billableNodeSeconds: billable, claimedNodeSeconds: claimed, readyNodeSeconds: ready } = all;
  return { billable, claimed, ready };
}

test("each new process goes on where the last one was, whether its last status was written or not; series, status, API and ledger agree", async (t) => {
  const ledger = await freshLedger(t);
  let world: World = running;
  let shown: Record<string, number> = {};
  for (const [at, isWritten] of [
    ["11:06:00", true],
    ["12:06:00", false],
    ["13:06:00", true],
    ["13:30:00", true],
    ["14:06:00", true],
  ] as const) {
    const one = sealerAt({ ledger, at, objects: world });
    assert.deepEqual(await seriesOf(one), {}, "nothing is shown before the base is known");
    await one.sealer.pass();
    const now = await seriesOf(one);
    for (const [basis, value] of Object.entries(shown)) assert.ok((now[basis] ?? -1) >= value, `${basis} at ${at}`);
    assert.deepEqual(now, await sumsOf(ledger), at);
    shown = now;
    if (isWritten) world = written(world, one.writes);
  }
  assert.equal(world.deployments[0]?.status?.metering?.nodeSeconds, shown["billable"]);
});

test("sinks deliver what the API sums up", async (t) => {
  const ledger = await freshLedger(t);
  await sealerAt({ ledger, at: "14:06:00" }).sealer.pass();
  const there = await receiver(t);
  await sinkOn(ledger, { type: "cloudevents", url: there.url, batchSize: 1 }).sink.pass();
  const { requests } = await there.seen();
  const events = requests.flatMap(({ body }) => JSON.parse(body) as { data: Record<string, number> }[]);
  const sum = (name: string): number => events.reduce((all, { data }) => all + (data[name] ?? 0), 0);
  assert.deepEqual(
    { billable: sum("billableNodeSeconds"), claimed: sum("claimedNodeSeconds"), ready: sum("readyNodeSeconds") },
    await sumsOf(ledger),
  );
});

test("a deployment that ends within its first hour is in the series; one whose base is unknown is not shown wrongly", async (t) => {
  const ledger = await freshLedger(t);
  const one = sealerAt({ ledger, at: "11:06:00", objects: { ...running, deployments: [] } });
  await one.sealer.pass();
  assert.equal((await seriesOf(one))["billable"], 2740, "its life began in that window");
  const two = sealerAt({ ledger, at: "12:06:00", objects: { ...running, deployments: [] } });
  await two.sealer.pass();
  assert.deepEqual(await seriesOf(two), {}, "it went before this process could know what was counted");
});

/** chat after its first sealed hour, deleted at 11:40 by a process that is gone since. */
async function going(ledger: Ledger) {
  const one = sealerAt({ ledger, at: "11:06:00" });
  await one.sealer.pass();
  const world = written(running, one.writes);
  const deleted = { deletionTimestamp: instant("11:40:00") };
  const [chat] = world.deployments.map((all) => ({ ...all, metadata: { ...all.metadata, ...deleted } }));
  const [pool] = world.pools.map((all) => ({ ...all, metadata: { ...all.metadata, ...deleted } }));
  const end = { time: instant("11:45:00"), evidence: "test" };
  const claims = world.claims.flatMap((claim) =>
    claim.status?.claimedAt ? [{ ...claim, status: { ...claim.status, releasedAt: end } }] : [],
  );
  assert.ok(chat && pool);
  return { shown: await seriesOf(one), chat, pool, claims };
}

const empty = { deployments: [], pools: [], claims: [] };

test("the last hour of a deployment that goes is in the series of a process that began after it, by its status and by what it leaves behind", async (t) => {
  for (const isGone of [false, true]) {
    const ledger = await freshLedger(t);
    const { shown, chat, pool, claims } = await going(ledger);
    if (isGone) await putClosing(ledger, { deployment: chat, pool, claims, clusterId: CLUSTER });
    const objects = isGone ? empty : { deployments: [chat], pools: [pool], claims };
    const two = sealerAt({ ledger, at: "12:06:00", objects });
    assert.deepEqual(await seriesOf(two), {}, "nothing is shown before the base is known");
    await two.sealer.pass();
    const now = await seriesOf(two);
    assert.deepEqual(now, await sumsOf(ledger));
    for (const [basis, value] of Object.entries(shown)) assert.ok((now[basis] ?? -1) > value, basis);
  }
});

test("a process that died between the last window and forgetting the deployment is followed by one that shows the same", async (t) => {
  const ledger = await freshLedger(t);
  const { chat, pool, claims } = await going(ledger);
  await putClosing(ledger, { deployment: chat, pool, claims, clusterId: CLUSTER });
  const mute: Ledger = { ...ledger, remove: () => Promise.reject(new Error("killed")) };
  const dying = sealerAt({ ledger: mute, at: "12:06:00", objects: empty });
  await assert.rejects(dying.sealer.pass(), /killed/);
  const shown = await seriesOf(dying);
  const next = sealerAt({ ledger, at: "12:20:00", objects: empty });
  await next.sealer.pass();
  assert.deepEqual(await seriesOf(next), shown);
  assert.deepEqual(shown, await sumsOf(ledger));
  assert.deepEqual(await ledger.list("closing/"), []);
});
