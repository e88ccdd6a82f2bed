// How long a replica took to start: from the API server's times alone, once per replica.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Registry } from "prom-client";
import type { ContainerStatus, Pod } from "../../../operator/api/kubernetes.ts";
import { newStartupWatch } from "../../../operator/controllers/startups.ts";
import { startupOf, startupText } from "../../../operator/plan/deployment/startup.ts";
import { NOON, instant, podOf } from "./observed.ts";

interface Difference {
  readonly readyAfterMs?: number;
  readonly ready?: "True" | "False";
  readonly engine?: Partial<ContainerStatus>;
}

/** Made at noon: placed after 1 s, fetched after 9 s, its engine started after 12 s and ready after 40 s. */
function started(name: string, { readyAfterMs = 40_000, ready = "True", engine }: Difference = {}): Pod {
  const at = (ms: number): string => instant(NOON + ms);
  const condition = (type: string, status: string, ms: number) => ({ type, status, lastTransitionTime: at(ms) });
  return podOf(name, {
    metadata: { creationTimestamp: at(0) },
    nodeName: "gpu-1",
    status: {
      conditions: [condition("PodScheduled", "True", 1000), condition("Ready", ready, readyAfterMs)],
      initContainerStatuses: [{ name: "fetch", state: { terminated: { exitCode: 0, finishedAt: at(9000) } } }],
      containerStatuses: [{ name: "vllm", ready: true, state: { running: { startedAt: at(12_000) } }, ...engine }],
    },
  });
}

describe("the start of a replica", () => {
  test("is told by phase", () => {
    const startup = startupOf(started("a"));
    assert.deepEqual(startup?.seconds, { schedule: 1, fetch: 8, start: 3, ready: 28 });
    assert.equal(
      startup && startupText(startup),
      "pod a on node gpu-1 answers 40 s after it was made: schedule 1 s, fetch 8 s, start 3 s, ready 28 s",
    );
  });

  test("is none before it answers, and none after a crash", () => {
    assert.equal(startupOf(started("a", { ready: "False" })), undefined);
    assert.equal(startupOf(started("a", { engine: { restartCount: 1 } })), undefined);
    assert.equal(startupOf(podOf("a")), undefined);
  });

  test("never has a negative phase, whatever the machines' clocks say", () => {
    assert.equal(startupOf(started("a", { readyAfterMs: 11_000 }))?.seconds.ready, 0);
  });
});

describe("the watch over starts", () => {
  async function count(registry: Registry): Promise<number> {
    const [metric] = await registry.getMetricsAsJSON();
    const values: readonly { metricName?: string; value: number }[] = metric?.values ?? [];
    return values.filter(({ metricName }) => metricName?.endsWith("_count")).reduce((sum, { value }) => sum + value, 0);
  }

  test("ReplicaStarted is told once, with one observation a phase", async () => {
    const registry = new Registry();
    const watch = newStartupWatch(registry);
    watch.observe("team/chat", { pods: [], now: NOON });
    const seen = { pods: [started("a")], now: NOON + 41_000 };
    const events = watch.observe("team/chat", seen);
    assert.deepEqual(
      events.map(({ type, reason }) => `${type} ${reason}`),
      ["Normal ReplicaStarted"],
    );
    assert.deepEqual(watch.observe("team/chat", seen), []);
    assert.equal(await count(registry), 4);
  });

  test("not again when the replica was not ready for a while", () => {
    const watch = newStartupWatch(new Registry());
    watch.observe("team/chat", { pods: [started("a")], now: NOON + 41_000 });
    watch.observe("team/chat", { pods: [started("a", { ready: "False" })], now: NOON + 50_000 });
    const events = watch.observe("team/chat", { pods: [started("a", { readyAfterMs: 60_000 })], now: NOON + 61_000 });
    assert.deepEqual(events, []);
  });

  test("not by the next leader, who tells only what became ready in its time", () => {
    const next = newStartupWatch(new Registry());
    const pods = [started("a"), started("b", { readyAfterMs: 70_000 })];
    const first = next.observe("team/chat", { pods: pods.slice(0, 1), now: NOON + 60_000 });
    assert.deepEqual(first, []);
    const events = next.observe("team/chat", { pods, now: NOON + 71_000 });
    assert.equal(events.length, 1);
    assert.match(events[0]?.message ?? "", /^pod b /);
  });
});
