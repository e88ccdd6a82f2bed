/** What becomes known late, shards and days: over a directory ledger, verified and read like any other. */
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { pathToFileURL } from "node:url";

import { openLedger } from "../../operator/adapters/ledger/open.ts";
import { putClosing } from "../../operator/controllers/closing.ts";
import type { MeteredObjects } from "../../operator/controllers/facts.ts";
import { readRecorded, readSealed, recordedWindows, sealedKeys } from "../../operator/controllers/ledgerreads.ts";
import { verifyLedger } from "../../operator/controllers/verify.ts";
import { addQuantities } from "../../operator/plan/metering/fold.ts";
import { shardOf } from "../../operator/plan/metering/identity.ts";
import { secondsOf } from "../../operator/plan/metering/windows.ts";
import type { Ledger } from "../../operator/ports.ts";
import { CLUSTER, claim, deployment, instant, pool } from "./meteringobjects.ts";
import { dump, running, sealerAt } from "./sealerrig.ts";

async function freshLedger(t: TestContext): Promise<Ledger> {
  const folder = await mkdtemp(join(tmpdir(), "berth-late-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  return openLedger({ url: pathToFileURL(folder).href });
}

const marked = (through: string, one: ReturnType<typeof claim>) => ({
  ...one,
  status: { ...one.status, sealedThrough: instant(through) },
});
const withClaims = (...claims: MeteredObjects["claims"]): MeteredObjects => ({ ...running, claims });
const n1 = (released?: string) =>
  claim({ id: "n1", deployment: "chat", claimed: "10:14:20", ...(released && { released }) });

async function billableOf(ledger: Ledger, h: string): Promise<number> {
  const start = secondsOf(instant(`${h}:00:00`));
  const [window] = await recordedWindows(ledger, start, start + 3600);
  return window ? addQuantities(await readRecorded(ledger, window)).billableNodeSeconds : 0;
}

test("a claim that turns out to have ended in sealed time is taken back by the next window, once", async (t) => {
  const ledger = await freshLedger(t);
  await sealerAt({ ledger, at: "12:06:00", objects: withClaims(n1()) }).sealer.pass();
  const sealed = await dump(ledger);
  assert.equal(await billableOf(ledger, "11"), 3600);
  const known = withClaims(marked("12:00:00", n1("11:10:00")));
  await sealerAt({ ledger, at: "13:06:00", objects: known }).sealer.pass();
  assert.deepEqual([await billableOf(ledger, "10"), await billableOf(ledger, "11")], [2740, 600]);
  const after = await dump(ledger);
  for (const [key, body] of Object.entries(sealed)) assert.equal(after[key], body, `${key} was edited`);
  // Its claim may be there for another pass: nothing is taken back twice.
  await sealerAt({ ledger, at: "14:06:00", objects: known }).sealer.pass();
  assert.equal(await billableOf(ledger, "11"), 600);
  const { findings } = await verifyLedger(ledger);
  assert.deepEqual(findings, []);
});

test("a claim that turns out to have ended hours ago is taken back from each hour since, also from those it has no second in", async (t) => {
  const ledger = await freshLedger(t);
  await sealerAt({ ledger, at: "14:06:00", objects: withClaims(n1()) }).sealer.pass();
  assert.equal(await billableOf(ledger, "13"), 3600);
  const known = withClaims(marked("14:00:00", n1("11:10:00")));
  await sealerAt({ ledger, at: "15:06:00", objects: known }).sealer.pass();
  const hours = await Promise.all(["10", "11", "12", "13", "14"].map((h) => billableOf(ledger, h)));
  assert.deepEqual(hours, [2740, 600, 0, 0, 0]);
  assert.deepEqual((await verifyLedger(ledger)).findings, []);
});

test("where a process died before it marked the claim, or another set the mark back, every hour since the end is taken back too", async (t) => {
  for (const behind of [n1, (released?: string) => marked("11:00:00", n1(released))]) {
    const ledger = await freshLedger(t);
    await sealerAt({ ledger, at: "14:06:00", objects: withClaims(n1()) }).sealer.pass();
    await sealerAt({ ledger, at: "15:06:00", objects: withClaims(behind("11:10:00")) }).sealer.pass();
    const hours = await Promise.all(["10", "11", "12", "13", "14"].map((h) => billableOf(ledger, h)));
    assert.deepEqual(hours, [2740, 600, 0, 0, 0]);
    assert.deepEqual((await verifyLedger(ledger)).findings, []);
  }
});

test("a claim that was not known when its hours were sealed is added, also to an hour that was taken for empty", async (t) => {
  const ledger = await freshLedger(t);
  const late = deployment("late");
  const early = { deployments: [late], claims: [], pools: [pool({ deployment: "late", sizes: [["09:30:00", 1]] })] };
  const other = {
    deployments: [],
    claims: [],
    pools: [pool({ deployment: "old", sizes: [["06:10:00", 0]], deleted: "06:20:00" })],
  };
  await sealerAt({ ledger, at: "07:06:00", objects: other }).sealer.pass();
  await sealerAt({ ledger, at: "10:06:00", objects: early }).sealer.pass();
  assert.equal(await billableOf(ledger, "09"), 0);
  const found = { ...early, claims: [claim({ id: "n7", deployment: "late", claimed: "09:40:00" })] };
  await sealerAt({ ledger, at: "11:06:00", objects: found }).sealer.pass();
  assert.deepEqual([await billableOf(ledger, "09"), await billableOf(ledger, "10")], [1200, 3600]);
  const { findings, records } = await verifyLedger(ledger);
  assert.deepEqual(findings, []);
  assert.equal(records, 4);
});

async function readyOf(ledger: Ledger, h: string): Promise<number> {
  const start = secondsOf(instant(`${h}:00:00`));
  const [window] = await recordedWindows(ledger, start, start + 3600);
  return window ? addQuantities(await readRecorded(ledger, window)).readyNodeSeconds : 0;
}

const unready = (one: ReturnType<typeof claim>) => {
  const { readyAt: _, ...status } = one.status ?? {};
  return { ...one, status };
};
const marks = (sealed: string, unreadyThrough: string, one: ReturnType<typeof claim>) => ({
  ...one,
  status: { ...one.status, sealedThrough: instant(sealed), unreadyThrough: instant(unreadyThrough) },
});

test("a node that turns out to have been ready in sealed time is made good by the next window, once, and the mark goes", async (t) => {
  const ledger = await freshLedger(t);
  const first = sealerAt({ ledger, at: "12:06:00", objects: withClaims(unready(n1())) });
  await first.sealer.pass();
  assert.deepEqual([await readyOf(ledger, "10"), await readyOf(ledger, "11")], [0, 0]);
  const marking = `{"status":{"sealedThrough":"${instant("12:00:00")}","unreadyThrough":"${instant("12:00:00")}"}}`;
  assert.ok(first.writes.includes(`patch CapacityClaim n1 ${marking}`), first.writes.join("\n"));
  const sealed = await dump(ledger);
  const known = withClaims(marks("12:00:00", "12:00:00", n1()));
  const second = sealerAt({ ledger, at: "13:06:00", objects: known });
  await second.sealer.pass();
  const hours = () => Promise.all(["10", "11", "12"].map((h) => readyOf(ledger, h)));
  assert.deepEqual(await hours(), [2740, 3600, 3600]);
  assert.equal(await billableOf(ledger, "10"), 2740, "nothing else moves");
  const cleared = `{"status":{"sealedThrough":"${instant("13:00:00")}","unreadyThrough":null}}`;
  assert.ok(second.writes.includes(`patch CapacityClaim n1 ${cleared}`), second.writes.join("\n"));
  const after = await dump(ledger);
  for (const [key, body] of Object.entries(sealed)) assert.equal(after[key], body, `${key} was edited`);
  // Dead between sealing and marking: nothing is added twice.
  await sealerAt({ ledger, at: "14:06:00", objects: known }).sealer.pass();
  assert.deepEqual(await hours(), [2740, 3600, 3600]);
  assert.deepEqual((await verifyLedger(ledger)).findings, []);
});

test("what a claim's marks say is in the closing object, too: late readiness of a pool that goes is not lost", async (t) => {
  const ledger = await freshLedger(t);
  await sealerAt({ ledger, at: "12:06:00", objects: withClaims(unready(n1())) }).sealer.pass();
  const gonePool = pool({ deployment: "chat", sizes: [["10:12:00", 1]], deleted: "12:20:00" });
  const ended = marks("12:00:00", "12:00:00", n1("12:30:00"));
  await putClosing(ledger, { deployment: undefined, pool: gonePool, claims: [ended], clusterId: CLUSTER });
  await sealerAt({ ledger, at: "13:06:00", objects: { deployments: [], pools: [], claims: [] } }).sealer.pass();
  const hours = await Promise.all(["10", "11", "12"].map((h) => readyOf(ledger, h)));
  assert.deepEqual(hours, [2740, 3600, 1200]);
  assert.deepEqual((await verifyLedger(ledger)).findings, []);
});

test("two leaders that knew different things: what is stored first stays, the next window brings the difference, nothing is forgotten before", async (t) => {
  const ledger = await freshLedger(t);
  const [a, b] = [withClaims(), withClaims(n1())];
  await sealerAt({ ledger, at: "11:06:00", objects: a }).sealer.pass();
  await ledger.remove("v1/dt=2026-11-21/hr=10/manifest.json");
  const second = sealerAt({ ledger, at: "11:06:00", objects: b });
  await second.sealer.pass();
  assert.equal(await billableOf(ledger, "10"), 0);
  assert.deepEqual(second.writes, [], "no mark and no status before the difference is recorded");
  const third = sealerAt({ ledger, at: "12:06:00", objects: b });
  await third.sealer.pass();
  assert.equal(await billableOf(ledger, "10"), 2740);
  assert.ok(third.writes.some((write) => write.startsWith("patch CapacityClaim n1")));
  assert.ok(
    third.writes.some((write) => write.includes(`"nodeSeconds":${2740 + 3600 + 0}`)),
    third.writes.join("\n"),
  );
  assert.deepEqual((await verifyLedger(ledger)).findings, []);
});

test("late news after the last capacity is carried by a window of its own", async (t) => {
  const ledger = await freshLedger(t);
  const gonePool = pool({ deployment: "chat", sizes: [["10:12:00", 1]], deleted: "10:50:00" });
  const objects = { deployments: [], pools: [gonePool], claims: [n1()] };
  await sealerAt({ ledger, at: "11:06:00", objects }).sealer.pass();
  const ended = { ...objects, claims: [marked("11:00:00", n1("10:30:00"))] };
  await sealerAt({ ledger, at: "13:06:00", objects: ended }).sealer.pass();
  assert.equal(await billableOf(ledger, "10"), 10 * 60 + 5 * 60 + 40);
  assert.deepEqual((await verifyLedger(ledger)).findings, []);
});

test("an edited or missing adjustment, and a pointer that is gone, are named", async (t) => {
  const ledger = await freshLedger(t);
  await sealerAt({ ledger, at: "11:06:00", objects: withClaims(n1()) }).sealer.pass();
  const known = withClaims(marked("11:00:00", n1("10:30:00")));
  await sealerAt({ ledger, at: "12:06:00", objects: known }).sealer.pass();
  const key = "v1/dt=2026-11-21/hr=11/segment-r0.ndjson.gz";
  const whole = Buffer.from((await ledger.get(key)) ?? []);
  const told = async (text: string) => {
    await ledger.remove(key);
    await ledger.putOnce(key, Buffer.from(text));
    return (await verifyLedger(ledger)).findings.map((found) => `${found.line ?? ""} ${found.problem}`).join("\n");
  };
  assert.match(
    await told(whole.toString().replace('"billableNodeSeconds":-1800', '"billableNodeSeconds":-1799')),
    /^4 does not lead/m,
  );
  assert.match(
    await told(whole.toString().split("\n").slice(0, 2).join("\n") + "\n"),
    /holds 2 lines, its manifest says 4/,
  );
  await told(whole.toString());
  const [pointer = ""] = (await ledger.list("v1/")).filter((one) => one.includes("adjusted-by"));
  await ledger.remove(pointer);
  assert.match((await verifyLedger(ledger)).findings[0]?.problem ?? "", /readers of that window miss its adjustments/);
});

const many = (count: number): MeteredObjects => ({
  deployments: [],
  pools: Array.from({ length: count }, (_, i) => pool({ deployment: `d${i}`, sizes: [["09:10:00", 1]] })),
  claims: Array.from({ length: count }, (_, i) => claim({ id: `c${i}`, deployment: `d${i}`, claimed: "09:20:00" })),
});

test("shards: the same records as one segment, each in its own; a point query reads its shard alone", async (t) => {
  const [one, sharded] = [await freshLedger(t), await freshLedger(t)];
  await sealerAt({ ledger: one, at: "12:06:00", objects: many(40) }).sealer.pass();
  await sealerAt({ ledger: sharded, at: "12:06:00", objects: many(40), shards: 8 }).sealer.pass();
  const sum = async (ledger: Ledger) => {
    const all = [];
    for (const key of await sealedKeys(ledger, 0, Infinity)) all.push(...(await readSealed(ledger, key)).records);
    return all.map((record) => JSON.stringify(record)).sort();
  };
  assert.deepEqual(await sum(sharded), await sum(one));
  assert.deepEqual((await verifyLedger(sharded)).findings, []);
  const read: string[] = [];
  const counted = { ...sharded, read: (key: string) => (read.push(key), sharded.read(key)) };
  for (const key of await sealedKeys(counted, 0, Infinity)) {
    const { records } = await readSealed(counted, key, "uid-d7");
    assert.deepEqual(
      records.map(({ deploymentName }) => deploymentName),
      ["d7"],
    );
  }
  const shard = `shard=${String(shardOf("uid-d7", 8)).padStart(2, "0")}/`;
  assert.equal(read.length, 3);
  assert.ok(
    read.every((key) => key.includes(shard)),
    read.join(),
  );
});

test("the number of shards may change between windows, and a killed sealer of many shards leaves no doubt", async (t) => {
  const ledger = await freshLedger(t);
  await sealerAt({ ledger, at: "10:06:00", objects: many(20) }).sealer.pass();
  await sealerAt({ ledger, at: "11:06:00", objects: many(20), shards: 4 }).sealer.pass();
  await sealerAt({ ledger, at: "12:06:00", objects: many(20) }).sealer.pass();
  assert.deepEqual((await verifyLedger(ledger)).findings, []);
  const moved = await dump(ledger);
  const key = Object.keys(moved).find((one) => one.includes("shard=")) ?? "";
  await ledger.remove(key);
  assert.deepEqual((await verifyLedger(ledger)).findings, [{ key, problem: "is missing" }]);
});

test("a day gets its root before a window of the next one; windows put in or taken out are named by it", async (t) => {
  const ledger = await freshLedger(t);
  const at = "2026-11-22T01:06:00Z";
  await sealerAt({ ledger, at, objects: many(2) }).sealer.pass();
  const keys = await ledger.list("v1/dt=2026-11-21/root");
  assert.deepEqual(keys, ["v1/dt=2026-11-21/root.json"]);
  assert.deepEqual(await ledger.list("v1/dt=2026-11-22/root"), []);
  assert.deepEqual((await verifyLedger(ledger)).findings, []);
  const root = Buffer.from((await ledger.get(keys[0] ?? "")) ?? []).toString();
  await ledger.remove(keys[0] ?? "");
  await ledger.putOnce(keys[0] ?? "", Buffer.from(root.replace('"windows":15', '"windows":14')));
  const { findings } = await verifyLedger(ledger);
  assert.match(findings[0]?.problem ?? "", /is not the root of its day's windows/);
});
