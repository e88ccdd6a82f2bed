/** FOCUS files as a sink: into a folder and into a bucket of a real S3 server, over a restart, a replay, an edited price list. */
import assert from "node:assert/strict";
import { mkdir, readFile, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import type { TestContext } from "node:test";
import { pathToFileURL } from "node:url";

import { openLedger } from "../../operator/adapters/ledger/open.ts";
import type { UsageRecord } from "../../operator/api/ledger.ts";
import { focusVersions } from "../../operator/api/pricelist.ts";
import type { PriceList } from "../../operator/api/pricelist.ts";
import { planRetention, retain } from "../../operator/controllers/retention.ts";
import { canonicalBytes } from "../../operator/plan/metering/canonical.ts";
import { secondsOf } from "../../operator/plan/metering/windows.ts";
import { parseCsv } from "../../operator/plan/rating/csv.ts";
import { focusFindings } from "../../operator/plan/rating/focusrules.ts";
import { replayPrefix } from "../../operator/plan/sinks/keys.ts";
import { startS3 } from "../cluster/s3.ts";
import type { S3Server } from "../cluster/s3.ts";
import { aPriceList, aRecord } from "../plan/rating/samples.ts";
import { sealRecords } from "./sealrecords.ts";
import { folderFor, sealHour, sinkOn } from "./sinkrig.ts";

let s3: S3Server;
before(async () => {
  s3 = await startS3();
  await s3.createBucket("files");
});
after(() => s3.stop());

const tiered = aPriceList({ unitPrice: undefined, tiers: [{ upTo: "3", unitPrice: "2" }, { unitPrice: "1" }] });

async function bed(t: TestContext, list: PriceList = tiered) {
  const folder = await folderFor(t);
  const ledger = openLedger({ url: pathToFileURL(join(folder, "ledger")).href });
  const prices = join(folder, "prices.json");
  const setPrices = (next: PriceList) => writeFile(prices, JSON.stringify(next));
  await setPrices(list);
  const out = join(folder, "out");
  await mkdir(out);
  const given = { name: "focus", type: "focus", url: pathToFileURL(out).href, provider: "Example Cloud" };
  const sink = (more: object = {}) => sinkOn(ledger, { ...given, ...more }, prices);
  const files = async () => (await readdir(out, { recursive: true })).filter((name) => name.endsWith(".csv")).sort();
  const cells = async (file: string, column: string) => {
    const { names, rows } = parseCsv(await readFile(join(out, file), "utf8"));
    return rows.map((row) => row[names.indexOf(column)] ?? "");
  };
  return { ledger, folder, out, sink, files, cells, setPrices };
}

const hours = (hour: number, billable = 7200): UsageRecord[] => [aRecord({ hour, billable })];

for (const version of focusVersions) {
  test(`a file of FOCUS ${version} a window, whose tiers go on over a restart`, async (t) => {
    const { ledger, out, sink, files, cells } = await bed(t);
    for (const hour of [10, 11]) await sealHour(ledger, hour, hours(hour));
    assert.equal(await sink({ version }).sink.pass(), 2);
    await sealHour(ledger, 12, hours(12));
    assert.equal(await sink({ version }).sink.pass(), 1);
    assert.deepEqual(
      await files(),
      [10, 11, 12].map((hour) => `period=2026-11/dt=2026-11-21/hr=${String(hour)}0000.csv`),
    );
    const [first = "", second = "", third = ""] = await files();
    assert.deepEqual(await cells(first, "ListCost"), ["4.0"]);
    assert.deepEqual(await cells(second, "ListCost"), ["2.0", "1.0"], "the tier ends within the second hour");
    assert.deepEqual(await cells(third, "ListCost"), ["2.0"], "a new process counts on from the ledger");
    for (const file of await files())
      assert.deepEqual(focusFindings(version, await readFile(join(out, file), "utf8")), []);
  });
}

test("a bucket gets the same files; keys are read at each delivery", async (t) => {
  const { ledger, folder, out, sink, files } = await bed(t);
  await sealHour(ledger, 10, hours(10));
  await sink().sink.pass();
  const { endpoint, region: s3Region, accessKeyId, secretAccessKey } = s3;
  const [accessKeyIdFile, secretAccessKeyFile] = [join(folder, "id"), join(folder, "secret")];
  await writeFile(accessKeyIdFile, "wrong");
  await writeFile(secretAccessKeyFile, secretAccessKey);
  const place = { url: "s3://files/focus", endpoint, s3Region, accessKeyIdFile, secretAccessKeyFile };
  const { sink: toBucket } = sink({ name: "bucket", ...place });
  await assert.rejects(toBucket.pass(), /sink bucket cannot write to s3:\/\/files\/focus: No user exists/);
  await writeFile(accessKeyIdFile, `${accessKeyId}\n`);
  assert.equal(await toBucket.pass(), 1);
  const there = openLedger({ url: place.url, endpoint, credentials: { accessKeyId, secretAccessKey } });
  const [file = ""] = await files();
  assert.equal(Buffer.from((await there.get(file)) ?? []).toString(), await readFile(join(out, file), "utf8"));
});

test("a replay writes nothing twice and nothing else", async (t) => {
  const { ledger, sink, files, out } = await bed(t);
  for (const hour of [10, 11, 12]) await sealHour(ledger, hour, hours(hour));
  const one = sink();
  await one.sink.pass();
  const [, second = ""] = await files();
  const before = await readFile(join(out, second), "utf8");
  const request = { schema: "berth.dev/sink-replay.v1", from: "2026-11-21T11:00:00Z", to: "2026-11-21T12:00:00Z" };
  await ledger.putOnce(`${replayPrefix("focus")}one.json`, canonicalBytes(request));
  assert.equal(await one.sink.pass(), 1);
  assert.equal((await files()).length, 3);
  assert.equal(await readFile(join(out, second), "utf8"), before);
});

test("a SKU without a price holds the sink, with what is missing; nothing is dropped", async (t) => {
  const { ledger, sink, files, setPrices } = await bed(t, aPriceList({ sku: "other" }));
  await sealHour(ledger, 10, hours(10));
  const { sink: one, registry } = sink();
  await assert.rejects(one.pass(), /no price for SKU l4-1 at 2026-11-21T10:00:00Z/);
  assert.deepEqual(await files(), []);
  assert.match(await registry.metrics(), /berth_sink_failures_total/);
  await setPrices(tiered);
  assert.equal(await one.pass(), 1, "a list that was mended is taken up without a restart");
});

test("a version that was edited after hours were charged by it is refused; one that is appended is not", async (t) => {
  const { ledger, sink, files, cells, setPrices } = await bed(t);
  await sealHour(ledger, 10, hours(10));
  const { sink: one } = sink();
  await one.pass();
  await sealHour(ledger, 11, hours(11));
  await setPrices(aPriceList({ unitPrice: "99" }));
  await assert.rejects(one.pass(), /version 2026-11 of price list standard was edited/);
  const [version] = tiered.versions;
  assert.ok(version);
  const at = "2026-11-21T11:00:00Z";
  const dearer = {
    ...version,
    version: "2026-11b",
    validFrom: at,
    prices: aPriceList({ unitPrice: "3" }).versions[0]?.prices ?? [],
  };
  await setPrices({ ...tiered, versions: [{ ...version, validUntil: at }, dearer] });
  assert.equal(await one.pass(), 1);
  const [, second = ""] = await files();
  assert.deepEqual(await cells(second, "x_PriceVersion"), ["2026-11b"]);
  assert.deepEqual(await cells(second, "ListCost"), ["6.0"]);
});

test("a file that is there with other charges stays, and the sink says why", async (t) => {
  const { ledger, out, sink } = await bed(t);
  await sealHour(ledger, 10, hours(10));
  const folder = join(out, "period=2026-11", "dt=2026-11-21");
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, "hr=100000.csv"), "somebody's");
  await assert.rejects(sink().sink.pass(), /hr=100000\.csv is there with other charges and stays/);
  assert.equal(await readFile(join(folder, "hr=100000.csv"), "utf8"), "somebody's");
});

test("the month's first hour knows a session that began before it: its minimum is charged once", async (t) => {
  const list = aPriceList({ minimumSessionSeconds: 3600 });
  const versions = list.versions.map((one) => ({ ...one, validFrom: "2026-10-01T00:00:00Z" }));
  const { ledger, sink, files, cells } = await bed(t, { ...list, versions });
  const day = (date: string) => (Date.parse(`${date}T00:00:00Z`) - Date.parse("2026-11-21T00:00:00Z")) / 3_600_000;
  const claims = [{ id: "n1", claimedAt: "2026-11-30T23:50:00Z", releasedAt: "2026-12-01T00:10:00Z" }];
  await sealHour(ledger, day("2026-12-01") - 1, [aRecord({ day: "2026-11-30", hour: 23, billable: 600, claims })]);
  await sealHour(ledger, day("2026-12-01"), [aRecord({ day: "2026-12-01", hour: 0, billable: 600, claims })]);
  await sink({ startAt: "2026-12-01T00:00:00Z" }).sink.pass();
  const [only = "", ...none] = await files();
  assert.deepEqual(none, []);
  assert.deepEqual(await cells(only, "x_Kind"), ["usage", "minimum"]);
  assert.deepEqual(await cells(only, "PricingQuantity"), ["0.166666666667", "0.666666666667"]);
});

test("hours whose month retention has begun to remove wait: their tiers would begin anew", async (t) => {
  const { ledger, sink, files } = await bed(t);
  let previous: Awaited<ReturnType<typeof sealRecords>> | undefined;
  for (const hour of [22, 23, 24, 25]) {
    const start = secondsOf("2026-11-21T00:00:00Z") + hour * 3600;
    previous = await sealRecords(ledger, { start, end: start + 3600 }, hours(hour), previous);
  }
  const plan = await planRetention(ledger, { before: secondsOf("2026-11-22T00:00:00Z"), sinks: [], ignored: [] });
  await retain(ledger, plan, undefined);
  assert.deepEqual(plan.days, ["2026-11-21"]);
  await assert.rejects(
    sink().sink.pass(),
    /tiers and minimums of price list standard, and retention removed those before/,
  );
  assert.deepEqual(await files(), []);
});
