/** Pages and sums over many sealed windows in a real directory ledger; the open hours are in test/http/usage.test.ts. */
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { pathToFileURL } from "node:url";

import { openLedger } from "../../operator/adapters/ledger/open.ts";
import { groupedUsage, usageReport } from "../../operator/api/usage.ts";
import type { UsageRecord } from "../../operator/api/ledger.ts";
import { sealWindow } from "../../operator/controllers/segments.ts";
import { shardOf } from "../../operator/plan/metering/identity.ts";
import type { ChainHead } from "../../operator/plan/metering/segment.ts";
import type { RecordedNamespace, UsageLine, UsageQuery } from "../../operator/api/usage.ts";
import { newUsageSource } from "../../operator/controllers/usage.ts";
import { secondsOf } from "../../operator/plan/metering/windows.ts";
import { aRecord } from "../plan/rating/samples.ts";
import { newManualClock } from "../runtime/manualclock.ts";
import type { Ledger } from "../../operator/ports.ts";
import { CLUSTER, claim, epochMs, instant } from "./meteringobjects.ts";
import { running, sealerAt } from "./sealerrig.ts";
import { sealRecords } from "./sealrecords.ts";

const day = { from: secondsOf("2026-11-21T00:00:00Z"), to: secondsOf("2026-11-22T00:00:00Z") };
const everything = async () => Promise.resolve(true);

/** 24 hours of three deployments, one of them in a namespace of its own. */
async function aDay(t: TestContext) {
  const folder = await mkdtemp(join(tmpdir(), "berth-pages-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const ledger = openLedger({ url: pathToFileURL(folder).href });
  let previous: Awaited<ReturnType<typeof sealRecords>> | undefined;
  for (let hour = 0; hour < 24; hour++) {
    const start = day.from + hour * 3600;
    const window = { start, end: start + 3600 };
    const records = ["a", "b", "c"].map((name) => ({
      ...aRecord({ hour, name, billable: hour }),
      ...(name === "c" ? { namespace: "other", account: "other" } : {}),
    }));
    previous = await sealRecords(ledger, window, records, previous);
  }
  let gets = 0;
  const counted = { ...ledger, read: (key: string) => ((gets += 1), ledger.read(key)) };
  const usage = newUsageSource({
    ledger: counted,
    clock: newManualClock(Date.parse("2026-11-22T00:10:00Z")),
    clusterId: "c1",
    windowSeconds: 3600,
    objects: () => ({ pools: [], claims: [], deployments: [] }),
  });
  return { usage, gets: () => gets };
}

test("pages of any size list every record once, in order", async (t) => {
  const { usage, gets } = await aDay(t);
  await usage({ ...day, limit: 1 }, everything);
  assert.ok(gets() <= 1 + 8 * 2, "a small page reads the head and the first eight windows, not the day");
  const whole = usageReport.parse(await usage({ ...day, limit: 1000 }, everything)).records;
  assert.equal(whole.length, 72);
  for (const limit of [1, 5, 71, 72, 73]) {
    const paged: UsageLine[] = [];
    let query: UsageQuery = { ...day, limit };
    let pages = 0;
    for (;;) {
      const { records, next } = usageReport.parse(await usage(query, everything));
      assert.ok(records.length <= limit);
      paged.push(...records);
      pages += 1;
      if (next === undefined) break;
      query = { ...query, cursor: next };
    }
    assert.deepEqual(paged, whole);
    assert.equal(pages, Math.ceil(72 / limit));
  }
});

test("a namespace that may not be read is in no page and in no sum, and is asked about once", async (t) => {
  const { usage } = await aDay(t);
  const asked: string[] = [];
  const mayRead = async ({ name }: RecordedNamespace) => Promise.resolve((asked.push(name), name !== "other"));
  const { records } = usageReport.parse(await usage({ ...day, limit: 1000 }, mayRead));
  assert.equal(records.length, 48);
  assert.deepEqual(asked.toSorted(), ["other", "team"]);
  const sums = { granularity: "day", groupBy: ["account"] } as const;
  const { groups } = groupedUsage.parse(await usage({ ...day, limit: 10, sums }, mayRead));
  assert.deepEqual(
    groups.map(({ by, records: count, billableNodeSeconds }) => [by, count, billableNodeSeconds]),
    [[{ account: "team" }, 48, 2 * ((23 * 24) / 2)]],
  );
  assert.deepEqual(usageReport.parse(await usage({ ...day, account: "other", limit: 10 }, mayRead)).records, []);
});

test("sums have pages too", async (t) => {
  const { usage } = await aDay(t);
  const sums = { granularity: "hour", groupBy: ["deployment"] } as const;
  const whole = groupedUsage.parse(await usage({ ...day, limit: 1000, sums }, everything)).groups;
  const first = groupedUsage.parse(await usage({ ...day, limit: 50, sums }, everything));
  const second = groupedUsage.parse(
    await usage({ ...day, limit: 50, sums, ...(first.next === undefined ? {} : { cursor: first.next }) }, everything),
  );
  assert.deepEqual([first.groups.length, second.groups.length, second.next], [50, 22, undefined]);
  assert.deepEqual([...first.groups, ...second.groups], whole);
});

test("text that is no cursor is refused", async (t) => {
  const { usage } = await aDay(t);
  await assert.rejects(
    async () => usage({ ...day, limit: 1, cursor: "nonsense" }, everything),
    /pass next of the page/,
  );
});

test("a question about one UID reads its shard of each window and no other, and answers what the whole says of it", async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "berth-pages-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const ledger = openLedger({ url: pathToFileURL(folder).href });
  const names = Array.from({ length: 12 }, (_, index) => `n${String(index)}`);
  const shards = 4;
  let previous: ChainHead | undefined;
  for (let hour = 0; hour < 24; hour++) {
    const start = day.from + hour * 3600;
    const window = { start, end: start + 3600 };
    const adjustments: UsageRecord[][] = Array.from({ length: shards }, () => []);
    for (const record of names.map((name) => aRecord({ hour, name, billable: hour })))
      adjustments[shardOf(record.deploymentUID, shards)]?.push(record);
    const meters = adjustments.map(() => []);
    const { manifest, manifestSha256 } = await sealWindow(ledger, {
      window,
      meters,
      adjustments,
      clusterId: "c1",
      previous,
    });
    previous = { end: window.end, sha256: manifestSha256, chains: manifest.chains };
  }
  const read = new Set<string>();
  const usage = newUsageSource({
    ledger: { ...ledger, read: (key: string) => (read.add(key), ledger.read(key)) },
    clock: newManualClock(Date.parse("2026-11-22T00:10:00Z")),
    clusterId: "c1",
    windowSeconds: 3600,
  });
  const one = usageReport.parse(await usage({ ...day, deploymentUID: "uid-n7", limit: 1000 }, everything));
  assert.equal([...read].filter((key) => key.includes("seg")).length, 24, [...read].slice(0, 4).join("\n"));
  const whole = usageReport.parse(await usage({ ...day, limit: 1000 }, everything));
  assert.deepEqual(
    one.records,
    whole.records.filter(({ deploymentUID }) => deploymentUID === "uid-n7"),
  );
  assert.equal(one.records.length, 24);
});

test("a window too large to be kept is read again at each question, and of those at once only one is kept that is not small", async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "berth-kept-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const ledger = openLedger({ url: pathToFileURL(folder).href });
  let previous: Awaited<ReturnType<typeof sealRecords>> | undefined;
  for (const [hour, count] of [3, 2_001, 20_001].entries()) {
    const window = { start: day.from + hour * 3600, end: day.from + (hour + 1) * 3600 };
    const records = Array.from({ length: count }, (_, n) => aRecord({ hour, name: `n${String(n)}`, billable: 1 }));
    previous = await sealRecords(ledger, window, records, previous);
  }
  const read: string[] = [];
  const usage = newUsageSource({
    ledger: { ...ledger, read: (key: string) => (read.push(key.slice(17, 22)), ledger.read(key)) },
    clock: newManualClock(Date.parse("2026-11-22T00:10:00Z")),
    clusterId: "c1",
    windowSeconds: 3600,
  });
  const nothing = async () => Promise.resolve(false);
  for (const mayRead of [nothing, everything]) {
    const { records } = usageReport.parse(await usage({ ...day, limit: 10 }, mayRead));
    assert.equal(records.length, mayRead === nothing ? 0 : 10);
  }
  assert.deepEqual(read, ["hr=00", "hr=01", "hr=02", "hr=02"]);
});

test("a question between the pointer to an adjustment and its manifest is forgotten with its answer", async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "berth-between-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const ledger = openLedger({ url: pathToFileURL(folder).href });
  const n1 = (released?: string) =>
    claim({ id: "n1", deployment: "chat", claimed: "10:14:20", ...(released && { released }) });
  const marked = { ...n1("11:10:00").status, sealedThrough: instant("12:00:00") };
  const clock = newManualClock(epochMs("13:10:00"));
  const usage = newUsageSource({ ledger, clock, clusterId: CLUSTER, windowSeconds: 3600 });
  const hour = { from: secondsOf(instant("11:00:00")), to: secondsOf(instant("12:00:00")), limit: 1_000 };
  const sum = async (): Promise<number> => {
    const { records } = usageReport.parse(await usage(hour, everything));
    return records.reduce((all, { billableNodeSeconds }) => all + billableNodeSeconds, 0);
  };
  await sealerAt({ ledger, at: "12:06:00", objects: { ...running, claims: [n1()] } }).sealer.pass();
  const before: number[] = [];
  const between: Ledger = {
    ...ledger,
    async putOnce(key, body) {
      if (key.endsWith("/manifest.json")) before.push(await sum());
      return ledger.putOnce(key, body);
    },
  };
  const objects = { ...running, claims: [{ ...n1("11:10:00"), status: marked }] };
  await sealerAt({ ledger: between, at: "13:06:00", objects }).sealer.pass();
  assert.deepEqual([before, await sum()], [[3600], 600]);
});
