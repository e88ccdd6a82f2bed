import assert from "node:assert/strict";
import { describe, test } from "node:test";

import type { Log, Outcome } from "../../operator/ports.ts";
import { newController } from "../../operator/runtime/controller.ts";
import type { Controller, ControllerOptions } from "../../operator/runtime/controller.ts";
import { systemClock } from "../../operator/runtime/clock.ts";
import { ApiError, ConflictError, RetryError, TerminalError } from "../../operator/runtime/errors.ts";
import { newRuntimeMetrics } from "../../operator/runtime/metrics.ts";
import { readinessOf } from "../../operator/runtime/probes.ts";
import { eventually } from "../cluster/eventually.ts";
import { newManualClock } from "./manualclock.ts";
import { newMemoryLog } from "./rig.ts";

/** Lets everything that is ready to run, run. */
async function settle(): Promise<void> {
  for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve));
}

function newSubject(reconcile: (key: string, log: Log) => Promise<Outcome>, options: Partial<ControllerOptions> = {}) {
  const clock = newManualClock();
  const log = newMemoryLog();
  const metrics = newRuntimeMetrics();
  const controller = newController({ name: "test", reconcile, ...options }, { clock, log, metrics });
  return { clock, log, metrics, controller };
}

const failing = (error: unknown): ReturnType<typeof newSubject> & { runs: () => number } => {
  let runs = 0;
  const subject = newSubject(() => {
    runs++;
    return Promise.reject(error as Error);
  });
  return { ...subject, runs: () => runs };
};

async function runOnce(controller: Controller): Promise<void> {
  controller.start();
  controller.add("ns/a");
  await settle();
}

const results = (text: string): Record<string, string | undefined> =>
  Object.fromEntries(
    [...text.matchAll(/^controller_runtime_reconcile_total\{controller="test",result="(\w+)"\} (\d+)/gm)].map(
      (match) => [match[1], match[2]],
    ),
  );

describe("controller", () => {
  test("runs a key again after the time that reconcile asked for, and not before", async () => {
    let runs = 0;
    const { controller, clock, metrics } = newSubject(() => {
      runs++;
      return Promise.resolve(runs === 1 ? { requeueAfterMs: 1_000 } : {});
    });
    await runOnce(controller);
    clock.advance(999);
    await settle();
    assert.equal(runs, 1);
    clock.advance(1);
    await settle();
    assert.equal(runs, 2);
    assert.deepEqual(results(await metrics.registry.metrics()), {
      success: "1",
      error: "0",
      requeue: "0",
      requeue_after: "1",
    });
    await controller.stop();
    assert.equal(clock.timers, 0);
  });

  test("looks at a terminal failure again after an event, or a minute later whether somebody has mended it", async () => {
    const { controller, clock, metrics, log, runs } = failing(new TerminalError("BadSpec", "no such thing"));
    await runOnce(controller);
    clock.advance(59_000);
    await settle();
    assert.equal(runs(), 1);
    controller.add("ns/a");
    await settle();
    assert.equal(runs(), 2);
    clock.advance(60_000);
    await settle();
    assert.equal(runs(), 3);
    assert.match(await metrics.registry.metrics(), /terminal_reconcile_errors_total\{controller="test"\} 3/);
    assert.ok(log.lines.some((line) => line.level === "error" && Reflect.get(line.fields, "reason") === "BadSpec"));
    await controller.stop();
  });

  test("honours the time that a retryable failure names, with jitter upwards only", async () => {
    const { controller, clock, runs } = failing(new RetryError(new Error("busy"), 10_000));
    await runOnce(controller);
    clock.advance(9_999);
    await settle();
    assert.equal(runs(), 1);
    clock.advance(2_501);
    await settle();
    assert.equal(runs(), 2);
    await controller.stop();
  });

  test("repeats a conflict quietly and soon", async () => {
    const api = new ApiError({ status: 409, reason: "Conflict", message: "the object has been modified" });
    const { controller, clock, log, metrics, runs } = failing(new ConflictError(api));
    await runOnce(controller);
    clock.advance(5);
    await settle();
    assert.equal(runs(), 2);
    assert.ok(log.lines.every((line) => line.level === "debug"));
    const text = await metrics.registry.metrics();
    assert.match(text, /reconcile_conflicts_total\{controller="test"\} 2/);
    assert.match(text, /reconcile_errors_total\{controller="test"\} 0/);
    await controller.stop();
  });

  test("takes anything else for its own bug: counted, logged with the stack, repeated slowly", async () => {
    const { controller, clock, log, metrics, runs } = failing(new TypeError("x is not a function"));
    await runOnce(controller);
    clock.advance(59_000);
    await settle();
    assert.equal(runs(), 1);
    clock.advance(1_000);
    await settle();
    assert.equal(runs(), 2);
    assert.match(await metrics.registry.metrics(), /reconcile_panics_total\{controller="test"\} 2/);
    const [line] = log.lines.filter(({ level }) => level === "error");
    assert.match(String(Reflect.get(line?.fields ?? {}, "stack")), /TypeError: x is not a function\n/);
    await controller.stop();
  });

  test("has all series from the start", async () => {
    const { metrics, controller } = newSubject(() => Promise.resolve({}), { concurrency: 7 });
    const text = await metrics.registry.metrics();
    assert.deepEqual(results(text), { success: "0", error: "0", requeue: "0", requeue_after: "0" });
    for (const name of [
      "reconcile_errors_total",
      "terminal_reconcile_errors_total",
      "reconcile_panics_total",
      "active_workers",
    ]) {
      assert.match(text, new RegExp(`controller_runtime_${name}\\{controller="test"\\} 0`));
    }
    assert.match(text, /max_concurrent_reconciles\{controller="test"\} 7/);
    await controller.stop();
  });

  test("finishes running keys on stop and begins no other", async () => {
    const { promise, resolve } = Promise.withResolvers<void>();
    const began: string[] = [];
    const { controller } = newSubject(async (key) => {
      began.push(key);
      await promise;
      return {};
    });
    controller.start();
    controller.add("first");
    controller.add("second");
    await settle();
    let stopped = false;
    const stopping = controller.stop().then(() => (stopped = true));
    await settle();
    assert.equal(stopped, false, "the first key still runs");
    resolve();
    await stopping;
    assert.deepEqual(began, ["first"]);
  });

  test("pauses, and brings retries forward when it goes on", async () => {
    let away = true;
    const done: string[] = [];
    const { controller, clock } = newSubject((key) => {
      if (away) return Promise.reject(new RetryError(new Error("connection refused"), 200_000));
      done.push(key);
      return Promise.resolve({});
    });
    await runOnce(controller);
    controller.pause();
    controller.add("ns/b");
    await settle();
    assert.deepEqual(done, []);
    away = false;
    controller.resume();
    clock.advance(2_000);
    await settle();
    assert.deepEqual(done.sort(), ["ns/a", "ns/b"]);
    await controller.stop();
  });

  test("resyncs all keys every ten hours or so, behind live work", async () => {
    const runs: string[] = [];
    const { controller, clock } = newSubject(
      (key) => {
        runs.push(key);
        return Promise.resolve({});
      },
      { resyncKeys: () => ["x", "y"] },
    );
    controller.start();
    clock.advance(9 * 3_600_000 - 1);
    await settle();
    assert.deepEqual(runs, []);
    clock.advance(2 * 3_600_000 + 1);
    await settle();
    assert.deepEqual(runs, ["x", "y"]);
    await controller.stop();
  });

  test("never runs more keys at once than it may, and lets the event loop turn", async () => {
    let running = 0;
    let most = 0;
    let turns = 0;
    const clock = systemClock;
    const controller = newController(
      {
        name: "busy",
        concurrency: 3,
        async reconcile() {
          most = Math.max(most, ++running);
          const until = performance.now() + 2;
          while (performance.now() < until);
          await Promise.resolve();
          running--;
          return {};
        },
      },
      { clock, log: newMemoryLog(), metrics: newRuntimeMetrics() },
    );
    for (let n = 0; n < 100; n++) controller.add(`key-${n}`);
    const turn = (): void => {
      turns++;
      if (controller.queue.waiting > 0) setImmediate(turn);
    };
    controller.start();
    setImmediate(turn);
    await eventually(() => controller.queue.waiting === 0 && running === 0, { what: "all keys ran" });
    assert.ok(most <= 3);
    assert.ok(turns >= 5, `${turns} turns of the event loop`);
    await controller.stop();
  });
});

describe("readiness", () => {
  const cache = (more: object) => ({
    health: () => ({ name: "things", synced: true, absent: false, lastEventAgeMs: 10, ...more }),
  });

  test("names the caches that are not synced or have been silent", () => {
    assert.equal(readinessOf([cache({})]).ready, true);
    assert.equal(readinessOf([cache({ absent: true, lastEventAgeMs: 9e9 })]).ready, true);
    assert.deepEqual(readinessOf([cache({ synced: false })]).problems, ["things: first list pending"]);
    assert.deepEqual(readinessOf([cache({ lastEventAgeMs: 400_000 })]).problems, ["things: no sign of life for 400 s"]);
  });
});
