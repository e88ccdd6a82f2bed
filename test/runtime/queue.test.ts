import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";

import { fairTake } from "../../operator/runtime/levels.ts";
import { newRuntimeMetrics } from "../../operator/runtime/metrics.ts";
import { newQueue, priority } from "../../operator/runtime/queue.ts";
import { newManualClock } from "./manualclock.ts";
import { runs } from "../propertyruns.ts";

function newSubject(options: { backoffBaseMs?: number; backoffCapMs?: number } = {}) {
  const clock = newManualClock();
  const metrics = newRuntimeMetrics();
  return { clock, metrics, queue: newQueue({ name: "test", clock, metrics, ...options }) };
}

type Step =
  | { readonly do: "add"; readonly key: string; readonly level: number; readonly delayMs: number }
  | { readonly do: "fail"; readonly key: string; readonly level: number }
  | { readonly do: "forget"; readonly key: string }
  | { readonly do: "take" }
  | { readonly do: "done"; readonly nth: number }
  | { readonly do: "advance"; readonly byMs: number };

const key = fc.constantFrom("a", "b", "c", "d");
const level = fc.constantFrom(priority.background, priority.live, priority.finishing);
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 5, arbitrary: fc.record({ do: fc.constant("add"), key, level, delayMs: fc.constantFrom(0, 0, 1, 5, 40) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("fail"), key, level }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("forget"), key }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant("take") }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant("done"), nth: fc.nat(9) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("advance"), byMs: fc.nat(30) }) },
);

/** The queue as a plain list, in the clearest way rather than the fastest. */
class Model {
  nowMs = 0;
  readonly held: string[] = [];
  readonly failures = new Map<string, number>();
  #serial = 0;
  #turn = 0;
  #takes = 0;
  readonly #again = new Map<string, { level: number; dueMs: number }>();
  #waiting: { key: string; level: number; dueMs: number; serial: number; turn: number }[] = [];

  add(key: string, level: number, dueMs: number): void {
    if (this.held.includes(key)) {
      const before = this.#again.get(key);
      const merged = { level: Math.max(level, before?.level ?? level), dueMs: Math.min(dueMs, before?.dueMs ?? dueMs) };
      this.#again.set(key, merged);
      return;
    }
    const entry = this.#waiting.find((waiting) => waiting.key === key);
    if (!entry) this.#waiting.push({ key, level, dueMs, serial: this.#serial++, turn: Infinity });
    else {
      const wasDue = entry.dueMs <= this.nowMs;
      // A raised entry goes to the end of its new level.
      if (wasDue && level > entry.level) entry.turn = this.#turn++;
      entry.level = Math.max(entry.level, level);
      entry.dueMs = Math.min(entry.dueMs, dueMs);
    }
    this.ripen();
  }

  ripen(): void {
    const ripe = this.#waiting.filter((entry) => entry.dueMs <= this.nowMs && entry.turn === Infinity);
    for (const entry of ripe.sort((a, b) => a.dueMs - b.dueMs || a.serial - b.serial)) entry.turn = this.#turn++;
  }

  get due(): number {
    return this.#waiting.filter((entry) => entry.turn < Infinity).length;
  }

  get waiting(): number {
    return this.#waiting.length + this.#again.size;
  }

  take(): string | undefined {
    const due = this.#waiting.filter((entry) => entry.turn < Infinity);
    if (due.length === 0) return undefined;
    const levels = due.map((entry) => entry.level);
    const wanted = ++this.#takes % fairTake === 0 ? Math.min(...levels) : Math.max(...levels);
    const [first] = due.filter((entry) => entry.level === wanted).sort((a, b) => a.turn - b.turn);
    this.#waiting = this.#waiting.filter((entry) => entry !== first);
    if (first) this.held.push(first.key);
    return first?.key;
  }

  done(key: string): void {
    this.held.splice(this.held.indexOf(key), 1);
    const again = this.#again.get(key);
    this.#again.delete(key);
    if (again) this.add(key, again.level, again.dueMs);
  }
}

async function runStep(step: Step, model: Model, subject: ReturnType<typeof newSubject>): Promise<void> {
  const { clock, queue } = subject;
  switch (step.do) {
    case "add":
      queue.add(step.key, { priority: step.level, delayMs: step.delayMs });
      return model.add(step.key, step.level, model.nowMs + step.delayMs);
    case "fail": {
      const failures = model.failures.get(step.key) ?? 0;
      model.failures.set(step.key, failures + 1);
      const delayMs = queue.addFailed(step.key, { priority: step.level });
      assert.equal(delayMs, Math.min(300_000, 5 * 2 ** failures));
      return model.add(step.key, step.level, model.nowMs + delayMs);
    }
    case "forget":
      queue.forget(step.key);
      return void model.failures.delete(step.key);
    case "take": {
      const expected = model.take();
      if (expected === undefined) return;
      assert.equal((await queue.next())?.key, expected);
      return;
    }
    case "done": {
      const held = model.held[step.nth % Math.max(1, model.held.length)];
      if (held === undefined) return;
      queue.done(held);
      return model.done(held);
    }
    case "advance":
      clock.advance(step.byMs);
      model.nowMs += step.byMs;
      model.ripen();
  }
}

describe("queue", () => {
  test("behaves like its model: no key twice at once, none lost, earliest time and highest level win, FIFO", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 120, size: "max" }), async (steps) => {
        const subject = newSubject();
        const model = new Model();
        for (const next of steps) {
          await runStep(next, model, subject);
          assert.equal(subject.queue.depth, model.due);
          assert.equal(subject.queue.waiting, model.waiting);
          assert.equal(new Set(model.held).size, model.held.length);
        }
        subject.queue.shut();
        assert.equal(subject.clock.timers, 0);
      }),
      { numRuns: runs(1_000) },
    );
  });

  test("runs every added key with workers of any number, one at a time per key, and at last is empty", async () => {
    const adds = fc.array(fc.record({ key, delayMs: fc.nat(20), level }), { minLength: 1, maxLength: 60 });
    await fc.assert(
      fc.asyncProperty(adds, fc.integer({ min: 1, max: 4 }), async (wanted, workers) => {
        const { clock, queue } = newSubject();
        const running = new Set<string>();
        const ranAfter = new Map<string, number>();
        let serial = 0;
        const work = async (): Promise<void> => {
          for (let lease = await queue.next(); lease; lease = await queue.next()) {
            assert.ok(!running.has(lease.key), "same key twice at once");
            running.add(lease.key);
            ranAfter.set(lease.key, serial);
            await Promise.resolve();
            running.delete(lease.key);
            queue.done(lease.key);
          }
        };
        const all = Promise.all(Array.from({ length: workers }, work));
        const lastAdd = new Map<string, number>();
        for (const add of wanted) {
          lastAdd.set(add.key, ++serial);
          queue.add(add.key, { delayMs: add.delayMs, priority: add.level });
          if (serial % 3 === 0) await Promise.resolve();
        }
        for (let turns = 0; queue.waiting > 0 || running.size > 0; turns++) {
          assert.ok(turns < 10_000, "keys are stuck");
          clock.advance(1);
          await Promise.resolve();
        }
        queue.shut();
        await all;
        for (const [name, at] of lastAdd)
          assert.ok((ranAfter.get(name) ?? 0) >= at, `the last add of ${name} was lost`);
      }),
      { numRuns: runs(200) },
    );
  });

  test("hands a key that comes later to a worker that waits", async () => {
    const { queue, clock } = newSubject();
    const waiting = queue.next();
    queue.add("late", { delayMs: 10 });
    clock.advance(10);
    assert.deepEqual(await waiting, { key: "late", priority: priority.live });
  });

  test("runs a held key exactly once more however often it is added", async () => {
    const { queue } = newSubject();
    queue.add("a");
    await queue.next();
    for (let times = 0; times < 5; times++) queue.add("a");
    queue.done("a");
    assert.equal(queue.waiting, 1);
    assert.equal((await queue.next())?.key, "a");
    queue.done("a");
    assert.equal(queue.waiting, 0);
  });

  test("doubles the backoff of a key up to the cap and starts anew after forget", () => {
    const { queue } = newSubject({ backoffBaseMs: 5, backoffCapMs: 30 });
    assert.deepEqual(
      [1, 2, 3, 4, 5].map(() => queue.addFailed("a")),
      [5, 10, 20, 30, 30],
    );
    assert.equal(queue.addFailed("b", { atLeastMs: 700 }), 700);
    queue.forget("a");
    assert.equal(queue.addFailed("a"), 5);
  });

  test("serves the lowest level now and then while a higher one never ends", async () => {
    const { queue } = newSubject();
    queue.add("old", { priority: priority.background });
    const served: (string | undefined)[] = [];
    for (let turn = 0; turn < 2 * fairTake; turn++) {
      queue.add(`live-${turn}`);
      const lease = await queue.next();
      served.push(lease?.key);
      if (lease) queue.done(lease.key);
    }
    assert.ok(served.includes("old"));
  });

  test("holds everything back while paused and brings retries forward on demand", async () => {
    const { queue, clock } = newSubject();
    queue.pause();
    queue.add("a");
    queue.addFailed("b", { atLeastMs: 300_000 });
    queue.add("c", { delayMs: 300_000 });
    const first = queue.next();
    assert.equal(queue.depth, 1);
    queue.retrySoon(2_000);
    queue.resume();
    assert.equal((await first)?.key, "a");
    clock.advance(2_000);
    assert.equal((await queue.next())?.key, "b");
    assert.equal(queue.depth, 0, "a delay that is no retry keeps its time");
  });

  test("is fast with 100,000 keys", async () => {
    const { queue, clock } = newSubject();
    const count = 100_000;
    const startedMs = performance.now();
    for (let n = 0; n < count; n++) queue.add(`key-${n}`, { delayMs: n % 3 === 0 ? n % 977 : 0, priority: n % 2 });
    clock.advance(1_000);
    for (let n = 0; n < count; n++) {
      const lease = await queue.next();
      if (lease) queue.done(lease.key);
    }
    assert.equal(queue.waiting, 0);
    const perKeyUs = ((performance.now() - startedMs) * 1000) / count;
    assert.ok(perKeyUs < 100, `${perKeyUs.toFixed(1)} µs per key`);
  });

  test("reports controller-runtime's metrics", async () => {
    const { queue, metrics } = newSubject();
    queue.add("a");
    queue.addFailed("b");
    await queue.next();
    const text = await metrics.registry.metrics();
    assert.match(text, /workqueue_depth\{name="test",controller="test",priority="0"\} 0/);
    assert.match(text, /workqueue_adds_total\{name="test",controller="test"\} 1/);
    assert.match(text, /workqueue_retries_total\{name="test",controller="test"\} 1/);
    assert.match(text, /workqueue_longest_running_processor_seconds\{name="test",controller="test"\} 0/);
  });
});
