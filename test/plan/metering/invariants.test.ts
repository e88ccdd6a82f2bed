/** I9, I13 and I14: what records do not depend on, and what is not recorded yet. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";

import { canonicalJson } from "../../../operator/plan/metering/canonical.ts";
import { historiesOf } from "../../../operator/plan/metering/history.ts";
import { metersOf, nextWindow, recordsOf } from "../../../operator/plan/metering/records.ts";
import { usageLines } from "../../../operator/plan/metering/segment.ts";
import { dueThrough } from "../../../operator/plan/metering/windows.ts";
import { claim, deployment, pool } from "../../controllers/meteringobjects.ts";
import { runs } from "../../propertyruns.ts";
import { CLUSTER, arbitraryHistory, hour } from "./histories.ts";

const facts = {
  deployments: [deployment("chat")],
  pools: [pool({ deployment: "chat", sizes: [["10:12:00", 1]] })],
  claims: [claim({ id: "n1", deployment: "chat", claimed: "10:14:20" })],
  closings: [],
};
const lines = (all: Parameters<typeof historiesOf>[0]) =>
  canonicalJson([...usageLines(metersOf(historiesOf(all)), hour(10), CLUSTER)]);

test("I9: counters, conditions, labels and whatever else traffic or tenants write leave the bytes alone", () => {
  const noise = fc.dictionary(fc.string({ minLength: 1 }), fc.oneof(fc.string(), fc.integer()));
  fc.assert(
    fc.property(noise, noise, fc.dictionary(fc.string(), fc.string()), fc.nat(), (spoken, extra, labels, ready) => {
      const marked = {
        ...facts,
        deployments: facts.deployments.map((one) => ({
          ...one,
          metadata: { ...one.metadata, labels, annotations: labels, resourceVersion: String(ready) },
          status: { ...extra, tokens: spoken, readyReplicas: ready } as never,
        })),
        pools: facts.pools.map((one) => ({
          ...one,
          metadata: { ...one.metadata, labels },
          status: { ...one.status, ready, claimed: ready },
        })),
        claims: facts.claims.map((one) => ({
          ...one,
          metadata: { ...one.metadata, labels },
          status: { ...one.status, lastSeenAt: "2026-11-21T10:59:00Z" },
        })),
      };
      assert.equal(lines(marked), lines(facts));
    }),
    { numRuns: runs(200) },
  );
});

test("I13: a name that is deleted and made again shares no id and no second with the one before", () => {
  fc.assert(
    fc.property(arbitraryHistory(120), arbitraryHistory(120), (first, second) => {
      const again = { ...second, deploymentUID: "uid-again", poolUID: "pool-again" };
      const window = { start: 0, end: 240 };
      const of = (...all: readonly (typeof first)[]) => recordsOf(all, window, { clusterId: CLUSTER });
      const both = of(first, again);
      assert.equal(
        canonicalJson(both.filter((r) => r.deploymentUID === first.deploymentUID)),
        canonicalJson(of(first)),
      );
      assert.equal(canonicalJson(both.filter((r) => r.deploymentUID === "uid-again")), canonicalJson(of(again)));
      assert.equal(new Set(both.map(({ id }) => id)).size, both.length);
    }),
    { numRuns: runs(200) },
  );
});

test("I14: no window is chosen before its end, the grace and the place in the spread have passed", () => {
  const times = fc.record({
    windowSeconds: fc.constantFrom(10, 60, 3600),
    graceSeconds: fc.integer({ min: 0, max: 300 }),
    offsetSeconds: fc.integer({ min: 0, max: 300 }),
  });
  fc.assert(
    fc.property(arbitraryHistory(7200), times, fc.integer({ min: 0, max: 20_000 }), (history, given, now) => {
      const dueEnd = dueThrough(now, given);
      let sealedThrough: number | undefined;
      for (;;) {
        const window = nextWindow([history], { sealedThrough, dueEnd, windowSeconds: given.windowSeconds });
        if (!window) return;
        assert.ok(window.end + given.graceSeconds + given.offsetSeconds <= now);
        sealedThrough = window.end;
      }
    }),
    { numRuns: runs(100) },
  );
});
