/** Sealed hours of 25 deployments in a ledger, and a sink put together as the operator does it. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { pathToFileURL } from "node:url";
import { Registry } from "prom-client";

import { openLedger } from "../../operator/adapters/ledger/open.ts";
import type { UsageRecord } from "../../operator/api/ledger.ts";
import { sinkConfig } from "../../operator/api/sinks.ts";
import { secondsOf } from "../../operator/plan/metering/windows.ts";
import type { Ledger, Log } from "../../operator/ports.ts";
import { openSinks } from "../../operator/sinks.ts";
import type { Sink } from "../../operator/controllers/sinks.ts";
import { windowsAsTheyLie } from "../../operator/controllers/vouched.ts";
import { aRecord } from "../plan/rating/samples.ts";
import { newManualClock } from "../runtime/manualclock.ts";
import { sealRecords } from "./sealrecords.ts";

const log: Log = { debug() {}, info() {}, warn() {}, error() {}, child: () => log };

export const names = Array.from({ length: 25 }, (_, i) => `d${String(i).padStart(2, "0")}`);
export const idOf = (name: string, hour = 10): string => aRecord({ name, hour }).id;

export async function folderFor(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "berth-sinks-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

/** A ledger with the hours 10 to `last` of 25 deployments. */
export async function sealed(t: TestContext, last = 10): Promise<{ ledger: Ledger; folder: string }> {
  const folder = await folderFor(t);
  const ledger = openLedger({ url: pathToFileURL(join(folder, "ledger")).href });
  for (let hour = 10; hour <= last; hour++) await sealHour(ledger, hour);
  return { ledger, folder };
}

/** Hours are counted from 2026-11-21 on; the first one sealed is 10:00. */
export async function sealHour(ledger: Ledger, hour: number, given?: readonly UsageRecord[]): Promise<void> {
  const records = given ?? names.map((name) => aRecord({ name, hour }));
  const start = secondsOf("2026-11-21T00:00:00Z") + hour * 3600;
  const previous = hour === 10 ? undefined : { end: start, sha256: "0".repeat(64), chains: [] };
  await sealRecords(ledger, { start, end: start + 3600 }, records, previous);
}

export function sinkOn(
  ledger: Ledger,
  given: Readonly<Record<string, unknown>>,
  priceListFile?: string,
  windows = windowsAsTheyLie(ledger),
) {
  const config = sinkConfig.parse({
    name: "billing",
    ...(given["type"] === "cloudevents" || given["type"] === "webhook" ? { plainHttp: true, timeoutSeconds: 1 } : {}),
    ...(given["type"] === "focus" ? {} : { batchSize: 25 }),
    ...given,
  });
  const clock = newManualClock(Date.parse("2026-11-21T13:00:00Z"));
  const registry = new Registry();
  const [sink] = openSinks(
    { clock, log, metrics: { registry } },
    { ledger, windows, configs: [config], priceListFile },
  );
  return { sink: sink as Sink, registry, clock };
}
