/** What every long-running role needs, built once: connection, caches' dependencies, events, metrics. Part of the composition root. */
import { randomUUID } from "node:crypto";
import { hostname } from "node:os";
import { collectDefaultMetrics } from "prom-client";
import type { CommonConfig } from "./config.ts";
import { newLog } from "./log.ts";
import type { Clock, Log } from "./ports.ts";
import { newKubeClient, type WriteGate } from "./runtime/client.ts";
import { systemClock } from "./runtime/clock.ts";
import { loadCredentials } from "./runtime/credentials.ts";
import { newRecorder, type Recorder } from "./runtime/events.ts";
import { newWriteFeed, type WriteFeed } from "./runtime/feed.ts";
import { newRuntimeMetrics, type RuntimeMetrics } from "./runtime/metrics.ts";
import { newClockWatch, type ClockWatch } from "./runtime/skew.ts";
import { newTidy, type Tidy } from "./runtime/tidy.ts";
import { newTransport, type Transport } from "./runtime/transport.ts";

/** Written into the user agent and `berth --version`; package.json carries the same (a test compares them). */
export const VERSION = "0.1.0";

export interface Base {
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: RuntimeMetrics;
  readonly transport: Transport;
  readonly clockWatch: ClockWatch;
  readonly feed: WriteFeed;
  readonly kube: ReturnType<typeof newKubeClient>;
  /** Open; whoever leads by a Lease closes it while the Lease may be another's. */
  readonly gate: WriteGate;
  readonly events: Recorder;
  readonly tidy: Tidy;
  /** Pod name and a random part: two processes are never the same Lease holder. */
  readonly identity: string;
}

/** A role that runs until it is stopped. */
export interface Running {
  /** Resolves with the exit code when the role ends by itself (lost leadership). */
  readonly ended: Promise<number>;
  /** Finishes what runs, gives the Lease back, closes connections. */
  stop(): Promise<void>;
}

export async function newBase(
  role: string,
  config: CommonConfig,
  env: Readonly<Record<string, string | undefined>>,
): Promise<Base> {
  const clock = systemClock;
  const log = newLog(config.logLevel).child({ role });
  const metrics = newRuntimeMetrics();
  collectDefaultMetrics({ register: metrics.registry });
  const credentials = await loadCredentials(config.kube, env, clock);
  const clockWatch = newClockWatch(metrics.registry);
  const userAgent = `berth-${role}/${VERSION}`;
  const transport = newTransport({ credentials, clock, log, metrics, userAgent, clockWatch });
  const feed = newWriteFeed();
  const gate: WriteGate = { mayWrite: () => true };
  const instance = env["POD_NAME"] ?? hostname();
  const events = newRecorder({ controller: `berth.dev/${role}`, instance }, { transport, clock, log });
  return {
    clock,
    log,
    metrics,
    transport,
    clockWatch,
    feed,
    kube: newKubeClient({ transport, feed, gate }),
    gate,
    events,
    tidy: newTidy(clock),
    identity: `${instance}_${randomUUID()}`,
  };
}
