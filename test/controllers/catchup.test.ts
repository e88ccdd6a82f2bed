/** After an outage, and after a death before the marks: how often the ledger is read, and how much of it is held at a time. */
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { pathToFileURL } from "node:url";

import { openLedger } from "../../operator/adapters/ledger/open.ts";
import type { MeteredObjects } from "../../operator/controllers/facts.ts";
import { packHistories } from "../../operator/controllers/histories.ts";
import { lateLines } from "../../operator/controllers/late.ts";
import { readSealed, sealedKeys } from "../../operator/controllers/ledgerreads.ts";
import { verifyLedger } from "../../operator/controllers/verify.ts";
import { shardOf } from "../../operator/plan/metering/identity.ts";
import { lateSpans } from "../../operator/plan/metering/late.ts";
import { secondsOf } from "../../operator/plan/metering/windows.ts";
import type { Ledger } from "../../operator/ports.ts";
import type { Change } from "../replay/changes.ts";
import { newWorld } from "../replay/world.ts";
import type { World } from "../replay/world.ts";
import { CLUSTER, claim, deployment, instant, pool } from "./meteringobjects.ts";
import { dump, sealerAt } from "./sealerrig.ts";

async function freshLedger(t: TestContext): Promise<Ledger> {
  const folder = await mkdtemp(join(tmpdir(), "berth-catchup-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  return openLedger({ url: pathToFileURL(folder).href });
}

/** Keys of the segments that were read. */
function counted(ledger: Ledger): { readonly ledger: Ledger; readonly reads: string[] } {
  const reads: string[] = [];
  const read: Ledger["read"] = (key, options) => {
    if (key.includes("segment")) reads.push(key);
    return ledger.read(key, options);
  };
  return { ledger: { ...ledger, read }, reads };
}

const names = (count: number): string[] => Array.from({ length: count }, (_, i) => `d${i}`);

/** Those before `ended` gave their node back at 10:30. */
const fleet = (count: number, ended = 0): MeteredObjects => ({
  deployments: [],
  pools: names(count).map((name) => pool({ deployment: name, sizes: [["09:10:00", 1]] })),
  claims: names(count).map((name, i) =>
    claim({ id: `n-${name}`, deployment: name, claimed: "09:20:00", ...(i < ended && { released: "10:30:00" }) }),
  ),
});

function worldOf(count: number): World {
  const at = "2026-11-21T09:00:00.000Z";
  const { pools, claims } = fleet(count);
  const history: Change[] = [
    ...names(count).map((name): Change => ({
      ...{ at, kind: "ModelDeployment", uid: `uid-${name}`, change: deployment(name) },
    })),
    ...pools.map((one): Change => ({ at, kind: "GPUNodePool", uid: one.metadata.uid ?? "", change: one })),
    ...claims.map((one): Change => ({ at, kind: "CapacityClaim", uid: one.metadata.uid ?? "", change: one })),
  ];
  const world = newWorld(history);
  world.advance(Date.parse(at));
  return world;
}

test("after days without an operator each segment is read once, when it was written; the bytes are those of sealing hour by hour", async (t) => {
  const [hourly, atOnce] = [await freshLedger(t), counted(await freshLedger(t))];
  const first = Date.parse(instant("10:06:00"));
  const hours = 63;
  const timely = worldOf(3);
  for (let hour = 0; hour < hours; hour++) {
    const at = new Date(first + hour * 3_600_000).toISOString();
    await sealerAt({ ledger: hourly, at, world: timely }).sealer.pass();
  }
  const at = new Date(first + (hours - 1) * 3_600_000).toISOString();
  const late = worldOf(3);
  const { sealed } = await sealerAt({ ledger: atOnce.ledger, at, world: late }).sealer.pass();
  assert.equal(sealed.length, hours);
  assert.equal(atOnce.reads.length, hours);
  assert.deepEqual(await dump(atOnce.ledger), await dump(hourly));
  const metering = (world: World) => world.objects().deployments.map(({ status }) => status?.metering);
  assert.deepEqual(metering(late), metering(timely));
});

test("where no claim is marked, the fleet is compared shard by shard, each segment read once", async (t) => {
  const [{ ledger, reads }, shards] = [counted(await freshLedger(t)), 4];
  await sealerAt({ ledger, at: "12:06:00", objects: fleet(40), shards }).sealer.pass();
  reads.length = 0;
  const facts = { ...fleet(40), closings: [] };
  const before = secondsOf(instant("12:00:00"));
  const packed = packHistories(facts, shards);
  const asked: number[][] = [];
  const lines = await lateLines(ledger, {
    ...{ spans: lateSpans(facts, before), clusterId: CLUSTER, windowSeconds: 3600, shards, before },
    metersOf(uids) {
      asked.push([...new Set([...uids].map((uid) => shardOf(uid, shards)))]);
      return packed.metersOf(uids);
    },
  });
  assert.equal(lines, undefined);
  assert.deepEqual(asked, [[0], [1], [2], [3]]);
  assert.deepEqual([reads.length, new Set(reads).size], [3 * shards, 3 * shards]);
});

test("adjustments are the same whatever the number of shards is and was", async (t) => {
  const adjusted: string[][] = [];
  for (const [was, is] of [
    [1, 1],
    [4, 4],
    [1, 4],
    [4, 3],
  ]) {
    const ledger = await freshLedger(t);
    await sealerAt({ ledger, at: "12:06:00", objects: fleet(40), ...(was && { shards: was }) }).sealer.pass();
    await sealerAt({ ledger, at: "13:06:00", objects: fleet(40, 8), ...(is && { shards: is }) }).sealer.pass();
    const { records } = await readSealed(ledger, (await sealedKeys(ledger, 0, Infinity)).at(-1) ?? "");
    adjusted.push(records.map((record) => JSON.stringify(record)).sort());
    assert.deepEqual((await verifyLedger(ledger)).findings, []);
  }
  const [one, ...others] = adjusted;
  assert.equal(one?.filter((record) => record.includes('"kind":"adjustment"')).length, 16);
  for (const other of others) assert.deepEqual(other, one);
});
