/**
 * Whatever becomes known, and however late: the ledger, the usage API, every sink and FOCUS tell the same sums, which are those of
 * an independent count of seconds, and the series are that but for what adjustments took back. Random lives over a directory ledger.
 */
import assert from "node:assert/strict";
import { mkdir, mkdtemp, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { pathToFileURL } from "node:url";
import fc from "fast-check";

import { openLedger } from "../../operator/adapters/ledger/open.ts";
import type { CapacityClaim } from "../../operator/api/capacityclaim.ts";
import type { UsageRecord } from "../../operator/api/ledger.ts";
import type { ModelDeployment } from "../../operator/api/modeldeployment.ts";
import { groupedUsage, usageReport } from "../../operator/api/usage.ts";
import { focusExport } from "../../operator/cli/focus.ts";
import type { MeteredObjects } from "../../operator/controllers/facts.ts";
import { readSealed, sealedKeys } from "../../operator/controllers/ledgerreads.ts";
import { newUsageSource } from "../../operator/controllers/usage.ts";
import { verifyLedger } from "../../operator/controllers/verify.ts";
import { addQuantities } from "../../operator/plan/metering/fold.ts";
import { instantOfSeconds, secondsOf } from "../../operator/plan/metering/windows.ts";
import { parseCsv } from "../../operator/plan/rating/csv.ts";
import { focusFindings } from "../../operator/plan/rating/focusrules.ts";
import type { Ledger } from "../../operator/ports.ts";
import { aPriceList } from "../plan/rating/samples.ts";
import { runs } from "../propertyruns.ts";
import { newManualClock } from "../runtime/manualclock.ts";
import { CLUSTER, claim, deployment, instant, pool } from "./meteringobjects.ts";
import { sealerAt } from "./sealerrig.ts";
import { sinkOn } from "./sinkrig.ts";

const names = ["a", "b"] as const;
const passes = ["11:06:00", "12:06:00", "13:06:00", "14:06:00", "15:06:00"] as const;
const last = passes.length - 1;
const noon = secondsOf(instant("12:00:00"));
const begin = secondsOf(instant("10:00:00"));
const end = secondsOf(instant("15:00:00"));
const timeOf = (second: number): string => instantOfSeconds(second).slice(11, 19);

interface Holding {
  readonly start: number;
  readonly stop: number | undefined;
  /** Passes from which on begin and end are known. */
  readonly knownAt: number;
  readonly endKnownAt: number;
}
interface Life {
  readonly sizes: readonly (readonly [number, number])[];
  readonly held: readonly Holding[];
}

const second = fc.integer({ min: begin, max: end - 1 });
const passIndex = fc.integer({ min: 0, max: last });
const holding = fc
  .record({ at: second, length: fc.option(fc.integer({ min: 1, max: 4 * 3600 })), one: passIndex, two: passIndex })
  .map(({ at, length, one, two }): Holding => {
    const stop = length === null || at + length >= end ? undefined : at + length;
    return { start: at, stop, knownAt: Math.min(one, two), endKnownAt: Math.max(one, two) };
  });
const life = fc.record({
  sizes: fc
    .uniqueArray(fc.tuple(second, fc.integer({ min: 0, max: 2 })), {
      minLength: 1,
      maxLength: 4,
      selector: ([at]) => at,
    })
    .map((steps) => steps.toSorted(([a], [b]) => a - b)),
  held: fc.array(holding, { maxLength: 4 }),
}) satisfies fc.Arbitrary<Life>;

/** Every second, one by one, with none of Berth's arithmetic. */
function counted(lives: readonly Life[]): number {
  let billable = 0;
  for (const { sizes, held } of lives)
    for (let at = begin; at < end; at += 1) {
      const wanted = sizes.findLast(([since]) => since <= at)?.[1] ?? 0;
      const have = held.filter(({ start, stop = Infinity }) => start <= at && at < stop).length;
      billable += Math.min(wanted, have);
    }
  return billable;
}

/** The cluster as the sealer's writes leave it. */
function newWorld(lives: readonly Life[]) {
  const marks = new Map<string, string>();
  const removed = new Set<string>();
  const statuses = new Map<string, ModelDeployment["status"]>();
  const claimsAt = (index: number, now: number): CapacityClaim[] =>
    names.flatMap((name, owner) =>
      (lives[owner]?.held ?? []).flatMap(({ start, stop, knownAt, endKnownAt }, at): CapacityClaim[] => {
        const id = `${name}${String(at)}`;
        if (removed.has(id) || index < knownAt || start >= now) return [];
        const isOver = stop !== undefined && stop < now && index >= endKnownAt;
        const one = claim({ id, deployment: name, claimed: timeOf(start), ...(isOver && { released: timeOf(stop) }) });
        const sealedThrough = marks.get(id);
        return [{ ...one, status: { ...one.status, ...(sealedThrough !== undefined && { sealedThrough }) } }];
      }),
    );
  return {
    at(index: number, now: number): MeteredObjects {
      const deployments = names.map((name): ModelDeployment => ({ ...deployment(name), status: statuses.get(name) }));
      const pools = names.map((name, owner) => {
        const sizes = (lives[owner]?.sizes ?? []).filter(([since]) => since < now);
        return pool({ deployment: name, sizes: sizes.map(([since, size]) => [timeOf(since), size] as const) });
      });
      return { deployments, pools, claims: claimsAt(index, now) };
    },
    take(writes: readonly string[]): void {
      for (const write of writes) {
        const [, verb = "", kind = "", name = "", body] = /^(\w+) (\w+) (\S+) ?(.*)$/.exec(write) ?? [];
        if (verb === "delete") removed.add(name);
        const { status } = JSON.parse(body || "{}") as { status?: { sealedThrough?: string } };
        if (kind === "CapacityClaim" && status?.sealedThrough !== undefined) marks.set(name, status.sealedThrough);
        if (kind === "ModelDeployment") statuses.set(name, status as ModelDeployment["status"]);
      }
    },
    nodeSeconds: () => names.map((name) => statuses.get(name)?.metering?.nodeSeconds ?? 0),
  };
}

async function seriesOf({ registry }: ReturnType<typeof sealerAt>): Promise<number> {
  const found = (await registry.metrics()).matchAll(
    /^berth_capacity_node_seconds_total\{.*basis="billable"\} (\d+)$/gm,
  );
  return [...found].reduce((sum, [, value]) => sum + Number(value), 0);
}

/** All lines of the ledger as they lie there, by the window that committed them. */
async function committed(ledger: Ledger): Promise<(readonly UsageRecord[])[]> {
  const windows = [];
  for (const key of await sealedKeys(ledger, 0, Infinity)) windows.push((await readSealed(ledger, key)).records);
  return windows;
}

const billable = (records: readonly UsageRecord[]): number => addQuantities(records).billableNodeSeconds;

async function told(ledger: Ledger) {
  const clock = newManualClock(Date.parse("2026-11-22T00:00:00Z"));
  const usage = newUsageSource({ ledger, clock, clusterId: CLUSTER, windowSeconds: 3600 });
  const day = { from: secondsOf(instant("00:00:00")), to: secondsOf("2026-11-22T00:00:00Z"), limit: 1000 };
  const everybody = () => Promise.resolve(true);
  const { groups } = groupedUsage.parse(
    await usage({ ...day, sums: { granularity: "day", groupBy: ["account"] } }, everybody),
  );
  const { records } = usageReport.parse(await usage(day, everybody));
  return { sum: groups.reduce((all, group) => all + group.billableNodeSeconds, 0), records };
}

const prices = aPriceList({ sku: "dedicated.l4.1", unit: "node-second", unitPrice: "0.001" });
const parties = { provider: "Example" };

/** A FOCUS file's seconds, and that it keeps the rules and costs what they cost. */
function focusSeconds(csv: string): number {
  assert.deepEqual(focusFindings("1.2", csv), []);
  const { names: columns, rows } = parseCsv(csv);
  const column = (name: string): number[] => rows.map((row) => Number(row[columns.indexOf(name)]));
  const seconds = column("ConsumedQuantity").reduce((a, b) => a + b, 0);
  const thousandths = column("BilledCost").reduce((sum, cost) => sum + Math.round(cost * 1000), 0);
  assert.equal(thousandths, seconds);
  return seconds;
}

async function delivered(ledger: Ledger, folder: string) {
  const lists = join(folder, "prices.json");
  await writeFile(lists, JSON.stringify(prices));
  const texts = async (name: string, given: object): Promise<string[]> => {
    const out = join(folder, name);
    await mkdir(out);
    await sinkOn(ledger, { name, type: name, url: pathToFileURL(out).href, ...given }, lists).sink.pass();
    const files = await readdir(out, { recursive: true, withFileTypes: true });
    return Promise.all(
      files.flatMap((one) => (one.isFile() ? [readFile(join(one.parentPath, one.name), "utf8")] : [])),
    );
  };
  const lines = (await texts("jsonl", {})).flatMap((text) => text.trim().split("\n").filter(Boolean));
  const records = lines.map((line) => (JSON.parse(line) as { data?: UsageRecord }).data ?? JSON.parse(line));
  const focus = await texts("focus", parties);
  return { jsonl: billable(records as UsageRecord[]), focus: focus.reduce((sum, csv) => sum + focusSeconds(csv), 0) };
}

async function compareAll(lives: readonly Life[]): Promise<boolean> {
  const folder = await mkdtemp(join(tmpdir(), "berth-agreement-"));
  try {
    const ledger = openLedger({ url: pathToFileURL(join(folder, "ledger")).href });
    const world = newWorld(lives);
    let series = 0;
    for (const [index, at] of passes.entries()) {
      const one = sealerAt({ ledger, at, objects: world.at(index, secondsOf(instant(at))) });
      await one.sealer.pass();
      world.take(one.writes);
      const now = await seriesOf(one);
      assert.ok(now >= series, "a counter never shrinks");
      series = now;
    }
    const windows = await committed(ledger);
    const expected = counted(lives);
    const { sum, records } = await told(ledger);
    const { csv } = focusExport(records, { from: "2026-11-01T00:00:00Z", list: prices, version: "1.2", parties });
    const inLedger = windows.reduce((all, window) => all + billable(window), 0);
    const fromFocus = focusSeconds(csv);
    assert.deepEqual(
      { inLedger, sum, fromFocus, ...(await delivered(ledger, folder)) },
      { inLedger: expected, sum: expected, fromFocus: expected, jsonl: expected, focus: expected },
    );
    assert.equal(
      world.nodeSeconds().reduce((a, b) => a + b),
      expected,
      "status.metering.nodeSeconds",
    );
    // By deployment and window: what a window takes back on the whole is not taken from a counter.
    const up = windows.flatMap((window) =>
      names.map((name) => Math.max(0, billable(window.filter(({ deploymentName }) => deploymentName === name)))),
    );
    assert.equal(
      series,
      up.reduce((a, b) => a + b, 0),
      "series",
    );
    assert.deepEqual((await verifyLedger(ledger)).findings, []);
    return windows.flat().some((record) => record.billableNodeSeconds < 0);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

test("ledger, API, sinks, FOCUS, status and series agree over what becomes known late", async () => {
  await fc.assert(
    fc.asyncProperty(fc.tuple(life, life), async (lives) => void (await compareAll(lives))),
    { numRuns: runs(12) },
  );
});

test("the same where an hour that was charged is taken back by the next one", async () => {
  const taken: Life = {
    sizes: [[begin, 1]],
    held: [{ start: begin, stop: noon - 3000, knownAt: 0, endKnownAt: 3 }],
  };
  assert.ok(await compareAll([taken, { sizes: [[begin, 0]], held: [] }]), "there are negative lines");
});

test("the same where a node that is known late takes an hour over from one that is forgotten by the time its own end is known", async () => {
  const end = begin + 1;
  const held = [
    { start: begin, stop: end, knownAt: 2, endKnownAt: 3 },
    { start: begin, stop: end, knownAt: 0, endKnownAt: 2 },
  ];
  await compareAll([
    { sizes: [[begin, 1]], held },
    { sizes: [[begin, 0]], held: [] },
  ]);
});
