/**
 * The sealer over a real S3 server: killed at every request, doubled, late, replayed. The ledger must come out the same to the
 * byte. Writes to the cluster are only noted here; sealersettle.test.ts makes them on the real API server.
 */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { openLedger } from "../../operator/adapters/ledger/open.ts";
import { putClosing } from "../../operator/controllers/closing.ts";
import { readSealed, sealedKeys } from "../../operator/controllers/ledgerreads.ts";
import { addQuantities } from "../../operator/plan/metering/fold.ts";
import { secondsOf } from "../../operator/plan/metering/windows.ts";
import type { Ledger } from "../../operator/ports.ts";
import { eventually } from "../cluster/eventually.ts";
import { startS3 } from "../cluster/s3.ts";
import type { S3Server } from "../cluster/s3.ts";
import { claim, deployment, instant, pool } from "./meteringobjects.ts";
import { awayLedger, dump, dyingAt, gone, running, sealerAt } from "./sealerrig.ts";

let s3: S3Server;
let places = 0;
before(async () => {
  s3 = await startS3();
  await s3.createBucket("ledger");
});
after(() => s3.stop());

function freshLedger(): Ledger {
  const { endpoint, region, accessKeyId, secretAccessKey } = s3;
  return openLedger({
    url: `s3://ledger/run-${places++}`,
    endpoint,
    region,
    credentials: { accessKeyId, secretAccessKey },
  });
}

async function undisturbed(): Promise<Record<string, string>> {
  const ledger = freshLedger();
  await putClosing(ledger, gone);
  await sealerAt({ ledger, at: "12:06:00" }).sealer.pass();
  return dump(ledger);
}

test("three hours are sealed in order, once, with the seconds of the history", async () => {
  const ledger = freshLedger();
  await putClosing(ledger, gone);
  const { sealer, writes, registry } = sealerAt({ ledger, at: "12:06:00" });
  const { sealed, sealedThrough } = await sealer.pass();
  assert.deepEqual(
    sealed.map(({ start }) => start),
    ["09:00:00", "10:00:00", "11:00:00"].map((time) => secondsOf(instant(time))),
  );
  assert.equal(sealedThrough, secondsOf(instant("12:00:00")));
  const keys = await sealedKeys(ledger, 0, Infinity);
  assert.deepEqual(
    keys,
    ["09", "10", "11"].map((h) => `v1/dt=2026-11-21/hr=${h}/manifest.json`),
  );
  const windows = await Promise.all(keys.map((key) => readSealed(ledger, key)));
  const perWindow = windows.map(({ records }) =>
    Object.fromEntries(records.map((record) => [record.deploymentName, record.billableNodeSeconds])),
  );
  assert.deepEqual(perWindow, [{ gone: 10 }, { chat: 3600 - 860, gone: 3600 }, { chat: 3600 + 17 * 60, gone: 1200 }]);
  assert.deepEqual(
    windows.map(({ manifest }) => manifest.previousWindowEnd),
    [undefined, instant("10:00:00"), instant("11:00:00")],
  );
  assert.deepEqual(await ledger.list("closing/"), []);
  assert.deepEqual(writes, [
    `patch ModelDeployment chat {"status":{"metering":{"since":"${instant("10:12:00")}","sealedThrough":"${instant("12:00:00")}","nodeSeconds":${2740 + 4620},"counters":[{"sku":"dedicated.l4.1","billable":7360,"claimed":7360,"ready":7360}]}}}`,
    `patch CapacityClaim n1 {"status":{"sealedThrough":"${instant("12:00:00")}"}}`,
    `patch CapacityClaim n2 {"metadata":{"resourceVersion":"1","finalizers":[]}}`,
    "delete CapacityClaim n2",
  ]);
  assert.deepEqual((await sealer.pass()).sealed, []);
  const text = await registry.metrics();
  assert.match(text, /^berth_ledger_windows_sealed_total 3$/m);
  assert.match(text, /^berth_ledger_conflicts_total 0$/m);
  assert.match(text, /^berth_capacity_node_seconds_total\{.*deployment="chat".*basis="billable"\} 7360$/m);
});

test("no window is sealed before its end and grace, and none without the pool controller's first look", async () => {
  const ledger = freshLedger();
  assert.deepEqual((await sealerAt({ ledger, at: "11:04:59" }).sealer.pass()).sealed, []);
  await assert.rejects(
    () => sealerAt({ ledger, at: "12:06:00", caughtUp: false }).sealer.pass(),
    /has not seen every pool/,
  );
  assert.deepEqual(await ledger.list("v1/"), []);
});

test("killed before or after any request to the ledger, the next process leaves the same bytes", async () => {
  const expected = await undisturbed();
  assert.equal(Object.keys(expected).length, 6);
  let points = 0;
  for (const when of ["before", "after"] as const) {
    for (let n = 1; ; n++) {
      const ledger = freshLedger();
      await putClosing(ledger, gone);
      const dying = dyingAt(ledger, n, when);
      await sealerAt({ ledger: dying.ledger, at: "12:06:00" })
        .sealer.pass()
        .catch(() => undefined);
      if (!dying.state.died) break;
      points += 1;
      // The closing object must outlive every crash before the last manifest.
      const between = await dump(ledger);
      const committed = "v1/dt=2026-11-21/hr=11/manifest.json" in between;
      assert.ok(committed || "closing/uid-gone/pool-gone.json" in between, `closing lost ${when} request ${n}`);
      await sealerAt({ ledger, at: "14:07:00" }).sealer.pass();
      const sealed = await dump(ledger);
      const firstThree = Object.fromEntries(Object.entries(sealed).filter(([key]) => !/hr=1[23]/.test(key)));
      assert.deepEqual(firstThree, expected, `crash ${when} request ${n}`);
    }
  }
  assert.ok(points > 30, `only ${points} crash points`);
});

test("late, replayed and doubled sealing give the same bytes", async () => {
  const expected = await undisturbed();
  const ledger = freshLedger();
  await putClosing(ledger, gone);
  const leaders = Array.from({ length: 4 }, () => sealerAt({ ledger, at: "12:06:00" }));
  await Promise.all(leaders.map(({ sealer }) => sealer.pass()));
  await sealerAt({ ledger, at: "12:30:00" }).sealer.pass();
  assert.deepEqual(await dump(ledger), expected);
  for (const { registry } of leaders) assert.match(await registry.metrics(), /^berth_ledger_conflicts_total 0$/m);
});

test("hour by hour and all at once are the same ledger", async () => {
  const expected = await undisturbed();
  const ledger = freshLedger();
  await putClosing(ledger, gone);
  for (const at of ["10:06:00", "11:06:00", "12:06:00"]) await sealerAt({ ledger, at }).sealer.pass();
  assert.deepEqual(await dump(ledger), expected);
});

test("of two leaders that know different things the first one wins, and the difference is counted", async () => {
  const ledger = freshLedger();
  await sealerAt({ ledger, at: "11:06:00" }).sealer.pass();
  const before = await dump(ledger);
  await ledger.remove("v1/dt=2026-11-21/hr=10/manifest.json");
  const other = { ...running, claims: [claim({ id: "n1", deployment: "chat", claimed: "10:20:00" })] };
  const { sealer, registry } = sealerAt({ ledger, at: "11:06:00", objects: other });
  await sealer.pass();
  assert.deepEqual(await dump(ledger), before);
  assert.match(await registry.metrics(), /^berth_ledger_conflicts_total 1$/m);
});

test("hours in which nobody had capacity cost no object, and the next manifest says so", async () => {
  const ledger = freshLedger();
  const objects = { deployments: [], pools: [], claims: [] };
  await sealerAt({ ledger, at: "08:06:00", objects }).sealer.pass();
  assert.deepEqual(await ledger.list(""), []);
  await putClosing(ledger, gone);
  await sealerAt({ ledger, at: "12:06:00", objects }).sealer.pass();
  await sealerAt({ ledger, at: "16:06:00", objects }).sealer.pass();
  const late = {
    deployments: [deployment("late")],
    pools: [pool({ deployment: "late", sizes: [["16:30:00", 1]] })],
    claims: [],
  };
  await sealerAt({ ledger, at: "17:06:00", objects: late }).sealer.pass();
  const keys = await sealedKeys(ledger, 0, Infinity);
  assert.deepEqual(
    keys.map((key) => key.slice(17, 22)),
    ["hr=09", "hr=10", "hr=11", "hr=16"],
  );
  const last = await readSealed(ledger, keys.at(-1) ?? "");
  assert.equal(last.manifest.previousWindowEnd, instant("12:00:00"));
  assert.equal(addQuantities(last.records).shortfallNodeSeconds, 1800);
});

test("windows of another length take over where the old ones ended", async () => {
  const ledger = freshLedger();
  await putClosing(ledger, gone);
  await sealerAt({ ledger, at: "11:06:00" }).sealer.pass();
  await sealerAt({ ledger, at: "11:21:00", windowSeconds: 600 }).sealer.pass();
  await sealerAt({ ledger, at: "12:06:00" }).sealer.pass();
  const keys = await sealedKeys(ledger, 0, Infinity);
  const windows = await Promise.all(keys.map((key) => readSealed(ledger, key)));
  const bounds = windows.map(({ manifest }) => [manifest.windowStart.slice(11, 16), manifest.windowEnd.slice(11, 16)]);
  assert.deepEqual(bounds, [
    ["09:00", "10:00"],
    ["10:00", "11:00"],
    ["11:00", "11:10"],
    ["11:10", "12:00"],
  ]);
  const expected = await undisturbed();
  const lines = Object.entries(expected)
    .filter(([key]) => key.endsWith(".gz"))
    .flatMap(([, body]) => body.trim().split("\n"));
  const whole = lines.reduce((sum, line) => sum + Number(JSON.parse(line).billableNodeSeconds ?? 0), 0);
  assert.equal(addQuantities(windows.flatMap(({ records }) => records)).billableNodeSeconds, whole);
});

test("a ledger that is away delays the hour and shows as lag; afterwards nothing is missing", async () => {
  const expected = await undisturbed();
  const ledger = freshLedger();
  await putClosing(ledger, gone);
  const away = { now: true };
  const reachable: Ledger = {
    ...ledger,
    putOnce: async (key, body) => {
      if (away.now) throw new Error("connection refused");
      return ledger.putOnce(key, body);
    },
  };
  const early = sealerAt({ ledger, at: "10:06:00" });
  await early.sealer.pass();
  const { sealer, registry } = sealerAt({ ledger: reachable, at: "12:06:00" });
  sealer.start();
  await assert.rejects(() => sealer.pass(), /connection refused/);
  // The oldest window that waits ended at 11:00.
  assert.match(await registry.metrics(), /^berth_ledger_seal_lag_seconds 3960$/m);
  const failed = async (): Promise<boolean> => /^berth_ledger_failures_total 1$/m.test(await registry.metrics());
  await eventually(failed, { what: "the sealer's own first pass has failed" });
  away.now = false;
  await sealer.pass();
  await sealer.stop();
  assert.match(await registry.metrics(), /^berth_ledger_seal_lag_seconds 0$/m);
  assert.match(await registry.metrics(), /^berth_ledger_failures_total 1$/m);
  assert.deepEqual(await dump(ledger), expected);
});

test("a ledger that was never reached since the start shows as lag from the first window that became due", async () => {
  const { sealer, registry, clock } = sealerAt({ ledger: awayLedger, at: "12:06:00" });
  sealer.start();
  await assert.rejects(sealer.pass(), /connection refused/);
  assert.match(
    await registry.metrics(),
    /^berth_ledger_seal_lag_seconds 0$/m,
    "nothing tells that 11:00 is not sealed",
  );
  clock.advance(3 * 3_600_000);
  assert.match(await registry.metrics(), /^berth_ledger_seal_lag_seconds 7560$/m, "13:00 to 15:06");
  await sealer.stop();
});

test("a closing object is written once: equal bytes are fine, later ones that know less are not taken", async () => {
  const ledger = freshLedger();
  assert.equal(await putClosing(ledger, gone), "created");
  assert.equal(await putClosing(ledger, gone), "same");
  const before = await dump(ledger);
  assert.equal(await putClosing(ledger, { ...gone, claims: [] }), "kept");
  assert.deepEqual(await dump(ledger), before);
});

test("a segment that is none is named with what to do, and never overwritten", async () => {
  const ledger = freshLedger();
  await ledger.putOnce("v1/dt=2026-11-21/hr=10/segment-r0.ndjson.gz", Buffer.from("not a record\n"));
  await assert.rejects(() => sealerAt({ ledger, at: "11:06:00" }).sealer.pass(), {
    reason: "LedgerSegmentForeign",
    message:
      /hr=10\/segment-r0\.ndjson\.gz was there before .*: it cannot be read as one; nothing is sealed: move it out/,
  });
  assert.deepEqual(await ledger.list("v1/"), ["v1/dt=2026-11-21/hr=10/segment-r0.ndjson.gz"]);
});
