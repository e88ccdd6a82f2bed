// Fair turns at the streams of one store role: nobody starves and nobody takes more by asking for more.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import type { TestContext } from "node:test";
import fc from "fast-check";
import { openStore } from "../../operator/adapters/store/open.ts";
import { serve } from "../../operator/http/serve.ts";
import { createStoreApp } from "../../operator/http/store.ts";
import { newShares } from "../../operator/http/storeshares.ts";
import type { Leave, Shares } from "../../operator/http/storeshares.ts";
import { newSender } from "../../operator/storesend.ts";
import { pause, systemClock } from "../../operator/runtime/clock.ts";
import { newStoreClient } from "../../operator/transfer/fetchclient.ts";
import { newRedirects } from "../../operator/transfer/fetchredirects.ts";
import { sha256Hex } from "../../operator/transfer/hash.ts";
import "../propertyruns.ts";
import { eventually } from "../cluster/eventually.ts";
import { newMemoryLog } from "../runtime/rig.ts";

const never = new AbortController().signal;
/** A clock whose timers a test fires by hand. */
function newTimers() {
  const timers = new Set<() => void>();
  const clock = {
    ...systemClock,
    after(_delayMs: number, run: () => void) {
      timers.add(run);
      return () => void timers.delete(run);
    },
  };
  return { clock, fire: () => [...timers].forEach((run) => (timers.delete(run), run())) };
}

const settled = (): Promise<void> => new Promise((resolve) => void setImmediate(resolve));

test("a place goes to the pod that has the fewest, and nobody waits longer than two turns of everybody else", async () => {
  const setup = fc.record({
    pods: fc.integer({ min: 2, max: 30 }),
    streams: fc.integer({ min: 1, max: 12 }),
    streamsPerPod: fc.integer({ min: 1, max: 4 }),
    /** How many requests each pod keeps open, and in which order they end. */
    wishes: fc.array(fc.integer({ min: 1, max: 8 }), { minLength: 30, maxLength: 30 }),
    ends: fc.array(fc.nat(), { minLength: 150, maxLength: 150 }),
  });
  await fc.assert(
    fc.asyncProperty(setup, async ({ pods, streams, streamsPerPod, wishes, ends }) => {
      let now = { taken: 0, waiting: 0 };
      const onChange = (taken: number, waiting: number): void => void (now = { taken, waiting });
      const shares = newShares({ streams, streamsPerPod, waitMs: 1, clock: newTimers().clock, onChange });
      const running: { pod: number; leave: Leave }[] = [];
      const open = Array.from({ length: pods }, () => 0);
      const has = (pod: number): number => running.filter((one) => one.pod === pod).length;
      /** Turns of others while this pod had none. */
      const passedOver = Array.from({ length: pods }, () => 0);
      const ask = (pod: number): void => {
        open[pod] = (open[pod] ?? 0) + 1;
        void shares.enter(String(pod), never).then((leave) => {
          if (!leave) return void (open[pod] = (open[pod] ?? 1) - 1);
          for (let other = 0; other < pods; other++)
            if (other !== pod && has(other) === 0) passedOver[other] = (passedOver[other] ?? 0) + 1;
          passedOver[pod] = 0;
          running.push({ pod, leave });
        });
      };
      const wished = (pod: number): number => Math.min(wishes[pod] ?? 1, streamsPerPod * 4);
      for (let pod = 0; pod < pods; pod++) for (let n = 0; n < wished(pod); n++) ask(pod);
      await settled();
      // Who came first had the places that were free.
      passedOver.fill(0);
      for (const end of ends) {
        const [one] = running.splice(end % running.length, 1);
        if (!one) break;
        one.leave();
        open[one.pod] = (open[one.pod] ?? 1) - 1;
        ask(one.pod);
        await settled();
        assert.ok(running.length <= streams);
        assert.deepEqual(now.taken, running.length);
        for (let pod = 0; pod < pods; pod++) {
          assert.ok(has(pod) <= streamsPerPod);
          assert.ok(
            (passedOver[pod] ?? 0) <= 2 * pods,
            `pod ${String(pod)} was passed over ${String(passedOver[pod])} times`,
          );
        }
        // No place is empty while somebody could use it.
        const eligible = open.some((count, pod) => count > has(pod) && has(pod) < streamsPerPod);
        assert.ok(running.length === streams || !eligible);
      }
    }),
    { numRuns: 60 },
  );
});

test("a turn that does not come in time, and a caller that goes away, leave nothing behind", async () => {
  const { clock, fire } = newTimers();
  const seen: [number, number][] = [];
  const onChange = (taken: number, waiting: number): void => void seen.push([taken, waiting]);
  const shares: Shares = newShares({ streams: 1, streamsPerPod: 1, waitMs: 1, clock, onChange });
  const leave = await shares.enter("a", never);
  const late = shares.enter("b", never);
  fire();
  assert.equal(await late, undefined);
  const ending = new AbortController();
  const gone = shares.enter("b", ending.signal);
  ending.abort();
  assert.equal(await gone, undefined);
  assert.equal(await shares.enter("c", ending.signal), undefined);
  assert.deepEqual(seen.at(-1), [1, 0]);
  const more = Array.from({ length: 5 }, () => shares.enter("a", never));
  assert.equal(await more[4], undefined);
  leave?.();
  leave?.();
  assert.deepEqual(seen.at(-1), [1, 3]);
});

const PODS = 100;
const PART = 128 << 10;
const PARTS = 12;

/** The store's API over a folder, with 8 places; whoever shows a token is the pod of that name. */
async function startRole(t: TestContext) {
  const folder = mkdtempSync(join(tmpdir(), "berth-shares-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const bytes = Buffer.alloc(PART * PARTS, "berth");
  const sha256 = sha256Hex(bytes);
  writeFileSync(join(folder, "weights"), bytes);
  const store = openStore({ url: `file://${folder}`, region: "us-east-1" });
  const peak = { taken: 0, waiting: 0 };
  const shares = newShares({
    streams: 8,
    streamsPerPod: 4,
    waitMs: 60_000,
    clock: systemClock,
    onChange(taken, waiting) {
      peak.taken = Math.max(peak.taken, taken);
      peak.waiting = Math.max(peak.waiting, waiting);
    },
  });
  const app = createStoreApp({
    log: newMemoryLog(),
    authorize: (token) => Promise.resolve({ grant: { folder: "", digest: "" }, podUID: token }),
    revision: () =>
      Promise.resolve({
        manifest: new Uint8Array(0),
        signature: () => Promise.resolve(undefined),
        sizeBytes: bytes.length,
        file: () => ({ key: "weights", sizeBytes: bytes.length }),
      }),
    send: newSender(store).send,
    enter: shares.enter,
    onReport: () => undefined,
    onAnswer: () => undefined,
    onBytes: () => undefined,
    leaving: () => false,
  });
  const serving = await serve(app, 0, "127.0.0.1");
  t.after(() => serving.stop());
  const newClient = (pod: string, maxSockets: number) => {
    const tokenFile = join(folder, `token-${pod}`);
    writeFileSync(tokenFile, pod);
    const redirects = newRedirects({ origin: undefined, log: newMemoryLog(), nowMs: () => 0 });
    const url = `http://127.0.0.1:${String(serving.port)}`;
    const client = newStoreClient({ url, tokenFile, maxSockets, redirects, silenceMs: 60_000 });
    t.after(() => client.close());
    return client;
  };
  return { newClient, sha256, bytes, peak, shares };
}

test("a hundred pods that fetch at once all get on at the same pace, and one that asks for more gets no more", async (t) => {
  const { newClient, sha256, bytes, peak, shares } = await startRole(t);
  // All places are taken until everybody is there: who comes later has less at the end, which is no fault.
  const places = await Promise.all(
    [1, 2].flatMap((pod) => [1, 2, 3, 4].map(() => shares.enter(`holder-${String(pod)}`, never))),
  );
  const received = new Map<string, number>();
  let atFirstEnd: ReadonlyMap<string, number> | undefined;

  /** Reads the file in parts, so many at once, each again as long as it is refused. */
  async function fetchAll(pod: string, atOnce: number, isCounted: boolean): Promise<void> {
    const client = newClient(pod, atOnce);
    const parts = Array.from({ length: PARTS }, (_none, index) => index * PART);
    const one = async (): Promise<void> => {
      for (let offset = parts.shift(); offset !== undefined; offset = parts.shift()) {
        const into = new Uint8Array(PART);
        for (let at = 0; at < PART;) {
          const count = (length: number): void => {
            at += length;
            received.set(pod, (received.get(pod) ?? 0) + length);
          };
          const part = { sha256, offset: offset + at, into: into.subarray(at) };
          await client.part(part, count, never).catch((error: unknown) => {
            assert.match(String(error), /too many reads at once/);
            return pause(systemClock, 100);
          });
        }
        assert.ok(Buffer.from(into.buffer).equals(bytes.subarray(offset, offset + PART)));
        // The greedy one never ends by itself.
        if (!isCounted && !atFirstEnd) parts.push(offset);
      }
    };
    await Promise.all(Array.from({ length: atOnce }, one));
    if (isCounted) atFirstEnd ??= new Map(received);
  }

  const many = Array.from({ length: PODS - 1 }, (_none, index) => fetchAll(`pod-${String(index)}`, 2, true));
  const all = Promise.all([...many, fetchAll("greedy", PARTS, false)]);
  const asked = (PODS - 1) * 2 + PARTS;
  await eventually(() => peak.waiting >= asked, { what: "everybody waits", deadlineMs: 30_000 });
  for (const leave of places) leave?.();
  await all;
  assert.ok(atFirstEnd);
  const { greedy = 0, ...others } = Object.fromEntries(atFirstEnd);
  const portions = Object.values(others);
  assert.equal(portions.length, PODS - 1, "everybody had something before the first had all");
  assert.ok(
    Math.min(...portions) >= bytes.length * 0.5,
    `the slowest has ${String(Math.min(...portions))} of ${String(bytes.length)}`,
  );
  assert.ok(greedy <= bytes.length * 1.5, `the greedy one has ${String(greedy)} of ${String(bytes.length)}`);
  assert.equal(peak.taken, 8);
});
