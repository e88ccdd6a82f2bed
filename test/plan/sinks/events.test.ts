/** What an event says of its place: one order for all of a source's events, whoever sends them, when and in which batches. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";

import "../../propertyruns.ts";
import { sinkWindowOf } from "../../../operator/controllers/sinkbatches.ts";
import { secondsOf } from "../../../operator/plan/metering/windows.ts";
import { batchBody, eventOf, jsonLines } from "../../../operator/plan/sinks/events.ts";
import type { UsageEvent } from "../../../operator/plan/sinks/events.ts";
import { aRecord } from "../rating/samples.ts";
import { arbitraryWindows } from "./sealedwindows.ts";

const ten = secondsOf("2026-11-21T10:00:00Z");
const hour = (at: number) => ({ start: ten + at * 3600, end: ten + (at + 1) * 3600 });

function placesOf(records: Parameters<typeof sinkWindowOf>[0]["records"], at: number) {
  return sinkWindowOf({ window: hour(at), manifest: {} as never, sha256: "", records });
}

test("sequence: the window that carries the record, then its place there", () => {
  const records = ["a", "b"].map((name) => aRecord({ name, hour: 9 }));
  const [, second] = records;
  assert.ok(second);
  const { sequence, time } = eventOf(second, placesOf(records, 2));
  assert.deepEqual([sequence, time], ["00179526240000000001", "2026-11-21T09:00:00Z"]);
  assert.throws(() => eventOf(second, placesOf([], 2)), RangeError);
});

test("sequence strictly increases for each source in the order of sealing, adjustments too, and is the same at every delivery", () => {
  fc.assert(
    fc.property(
      arbitraryWindows(() => ""),
      fc.integer({ min: 1, max: 5 }),
      fc.infiniteStream(fc.nat()),
      (all, size, lots) => {
        const inOrder = all.flatMap((records, at) => records.map((record) => eventOf(record, placesOf(records, at))));
        const known = new Map(inOrder.map(({ id, sequence }) => [id, sequence]));
        for (const events of Map.groupBy(inOrder, ({ source }) => source).values()) {
          for (const [i, { sequence }] of events.entries()) {
            assert.match(sequence, /^\d{20}$/);
            if (i > 0) assert.ok(sequence > (events[i - 1]?.sequence ?? ""), `${sequence} does not follow`);
          }
        }
        const batches = all.flatMap((records, at) => {
          const starts = Array.from({ length: Math.ceil(records.length / size) }, (_, i) => i * size);
          return starts.map((from) => ({ batch: records.slice(from, from + size), places: placesOf(records, at) }));
        });
        const shuffled = batches
          .map((one) => ({ one, lot: lots.next().value as number }))
          .sort((a, b) => a.lot - b.lot);
        for (const { one } of shuffled) {
          const sent = JSON.parse(batchBody(one.batch, one.places)) as UsageEvent[];
          const lines = jsonLines(one.batch, one.places).split("\n").filter(Boolean);
          assert.deepEqual(
            sent,
            lines.map((line) => JSON.parse(line) as UsageEvent),
          );
          for (const { id, sequence } of sent) assert.equal(sequence, known.get(id));
        }
      },
    ),
  );
});
