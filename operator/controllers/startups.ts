/**
 * Start-up of replicas, told once each: an observation for Prometheus and an event. What became ready before this process
 * led was told by the leader before; a replica that becomes ready in the seconds in which nobody leads is told by nobody,
 * and none is told twice.
 */
import { Histogram } from "prom-client";
import type { Registry } from "prom-client";
import { startupOf, startupPhases, startupText, type Startup } from "../plan/deployment/startup.ts";
import type { Seen } from "../plan/deployment/seen.ts";
import type { PlannedEvent } from "../plan/plan.ts";

export interface StartupWatch {
  /** Observes the replicas that are ready for the first time, and answers an event for each. */
  observe(key: string, seen: Pick<Seen, "pods" | "now">): readonly PlannedEvent[];
  forget(key: string): void;
}

export function newStartupWatch(registry: Registry): StartupWatch {
  const seconds = new Histogram({
    name: "berth_replica_startup_seconds",
    help: "Start-up of replicas by phase: schedule (until it has a node), fetch (until the model's files are there), start (until the engine's container runs), ready (until it answers)",
    labelNames: ["phase"] as const,
    buckets: [1, 2, 5, 10, 20, 40, 60, 90, 120, 180, 300, 600, 1200, 2400],
    registers: [registry],
  });
  const told = new Map<string, ReadonlySet<string>>();
  // The first look comes when this process begins to lead.
  let since: number | undefined;
  return {
    observe(key, { pods, now }) {
      since ??= Math.floor(now / 1000) * 1000;
      const ready = pods.map(startupOf).filter((startup) => startup !== undefined);
      const known = told.get(key);
      const fresh = ready.filter(({ podUID, readyAt }) => !known?.has(podUID) && readyAt >= (since ?? 0));
      // A pod stays known until it is gone: one that was not ready for a while did not start again.
      const living = new Set(pods.map(({ metadata }) => metadata.uid));
      const kept = [...(known ?? [])].filter((uid) => living.has(uid));
      told.set(key, new Set([...kept, ...ready.map(({ podUID }) => podUID)]));
      for (const startup of fresh)
        for (const phase of startupPhases) seconds.observe({ phase }, startup.seconds[phase]);
      return fresh.map(eventOf);
    },
    forget: (key) => void told.delete(key),
  };
}

function eventOf(startup: Startup): PlannedEvent {
  return { type: "Normal", reason: "ReplicaStarted", message: startupText(startup) };
}
