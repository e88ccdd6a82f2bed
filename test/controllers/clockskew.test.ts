// A clock that differs from the API server's: measured by the Date header, told once, and never a reason to seal early.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Registry } from "prom-client";
import { CLOCK_SKEW, prudentClock, tellOfSkew } from "../../operator/controllers/clockskew.ts";
import type { SkewEvent } from "../../operator/controllers/clockskew.ts";
import type { Clock } from "../../operator/ports.ts";
import { fileCredentials } from "../../operator/runtime/credentials.ts";
import { systemClock } from "../../operator/runtime/clock.ts";
import { newRuntimeMetrics } from "../../operator/runtime/metrics.ts";
import { newClockWatch } from "../../operator/runtime/skew.ts";
import { newTransport } from "../../operator/runtime/transport.ts";
import { eventually } from "../cluster/eventually.ts";
import { requires, testCluster } from "../cluster/session.ts";
import { newManualClock } from "../runtime/manualclock.ts";
import { newMemoryLog, newRig } from "../runtime/rig.ts";

const date = (ms: number): string => new Date(ms).toUTCString();
const noon = Date.parse("2026-11-23T12:00:00Z");

test("what lies within the header's second and the request's duration is no skew", () => {
  const rows: readonly (readonly [server: number, sent: number, received: number, skew: number])[] = [
    [noon, noon + 400, noon + 600, 0],
    [noon, noon + 1_000, noon + 1_200, 0],
    [noon, noon - 9_000, noon + 100, 0],
    [noon + 45_000, noon, noon + 500, 44_500],
    [noon - 45_000, noon, noon + 500, -44_000],
  ];
  for (const [server, sent, received, skew] of rows) {
    const watch = newClockWatch(new Registry());
    watch.sample(date(server), sent, received);
    assert.equal(watch.skewMs(), skew);
  }
  const watch = newClockWatch(new Registry());
  watch.sample(undefined, noon, noon);
  watch.sample("soon", noon, noon);
  assert.equal(watch.skewMs(), undefined);
});

test("tells once when the clocks come to differ by more than 30 s, and again after they agreed", async () => {
  const registry = new Registry();
  const watch = newClockWatch(registry);
  const log = newMemoryLog();
  const told: SkewEvent[] = [];
  const namespace = () => Promise.resolve({ metadata: { name: "berth-system" } });
  tellOfSkew({ watch, log, namespace, emit: (_about, event) => void told.push(event) });
  for (const skew of [0, -29_000, -40_000, -41_000, 0, 0, 50_000]) watch.sample(date(noon + skew), noon, noon);
  await eventually(() => told.length === 2);
  assert.ok(told.every(({ reason, type }) => reason === CLOCK_SKEW && type === "Warning"));
  assert.match(told[0]?.message ?? "", /39 s behind that of Berth's node: set both by NTP/);
  assert.match(told[1]?.message ?? "", /50 s ahead of/);
  assert.match(await registry.metrics(), /^berth_clock_skew_seconds 50$/m);
});

test("a clock that is fast waits for the API server's, one that is slow is left alone", () => {
  const clock = newManualClock(noon);
  const at = (skewMs: number | undefined) => prudentClock(clock, { skewMs: () => skewMs }).now() - noon;
  assert.deepEqual([at(undefined), at(0), at(-400_000), at(400_000)], [0, 0, -400_000, 0]);
});

test("measures a clock that is 50 s fast against the real API server", async (t) => {
  if (!(await requires(t))) return;
  const cluster = await testCluster();
  const rig = newRig(t, cluster, { userAgent: "skew-test" });
  const fast: Clock = { ...systemClock, now: () => systemClock.now() + 50_000 };
  const clockWatch = newClockWatch(new Registry());
  const { url: server, caPath: caFile } = cluster;
  const credentials = fileCredentials({ server, tokenFile: rig.tokenFile, caFile }, systemClock);
  const log = newMemoryLog();
  const transport = newTransport({
    credentials,
    clock: fast,
    log,
    metrics: newRuntimeMetrics(),
    userAgent: "skew-test",
    clockWatch,
  });
  t.after(() => transport.close());
  await transport.request({ method: "GET", path: "/version" });
  const skewMs = clockWatch.skewMs() ?? 0;
  assert.ok(skewMs <= -40_000 && skewMs >= -51_000, String(skewMs));
});
