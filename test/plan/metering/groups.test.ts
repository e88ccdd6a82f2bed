import assert from "node:assert/strict";
import fc from "fast-check";
import { test } from "node:test";

import { granularities, groupings } from "../../../operator/api/usage.ts";
import type { UsageGroup, UsageLine } from "../../../operator/api/usage.ts";
import {
  addToGroups,
  comparePlaces,
  cursorOf,
  periodOf,
  placeOfCursor,
  placeOfGroup,
  placeOfLine,
} from "../../../operator/plan/metering/groups.ts";
import { secondsOf } from "../../../operator/plan/metering/windows.ts";
import { aRecord } from "../rating/samples.ts";

const aLine = fc
  .record({
    day: fc.constantFrom("2026-10-31", "2026-11-01", "2026-11-30"),
    hour: fc.integer({ min: 0, max: 23 }),
    name: fc.constantFrom("a", "b"),
    billable: fc.integer({ min: 0, max: 7200 }),
    open: fc.boolean(),
  })
  .map(({ open, ...choice }): UsageLine => ({ ...aRecord(choice), open }));
const sumsAsked = fc.record({ granularity: fc.constantFrom(...granularities), groupBy: fc.subarray([...groupings]) });

test("a group's seconds are those of its records, and every record is in one group", () => {
  fc.assert(
    fc.property(fc.array(aLine, { maxLength: 40 }), sumsAsked, (lines, asked) => {
      const groups = new Map<string, UsageGroup>();
      for (const line of lines) addToGroups(groups, line, asked);
      const all = [...groups.values()];
      const total = (of: readonly { billableNodeSeconds: number }[]) =>
        of.reduce((sum, { billableNodeSeconds }) => sum + billableNodeSeconds, 0);
      assert.equal(total(all), total(lines));
      for (const group of all) {
        const members = lines.filter(
          (line) =>
            line.windowStart >= group.start &&
            line.windowStart < group.end &&
            Object.entries(group.by).every(([field, value]) => line[field as keyof UsageLine] === value),
        );
        assert.equal(group.records, members.length);
        assert.equal(group.billableNodeSeconds, total(members));
        assert.equal(
          group.open,
          members.some(({ open }) => open),
        );
      }
      assert.equal(new Set(all.map((group) => JSON.stringify(placeOfGroup(group)))).size, all.length);
    }),
  );
});

test("the order of pages is the order of time, and a cursor says where it was", () => {
  fc.assert(
    fc.property(aLine, aLine, (a, b) => {
      const order = comparePlaces(placeOfLine(a), placeOfLine(b));
      assert.equal(order, -comparePlaces(placeOfLine(b), placeOfLine(a)) + 0);
      if (a.windowStart < b.windowStart) assert.equal(order, -1);
      assert.deepEqual(placeOfCursor(cursorOf(placeOfLine(a))), placeOfLine(a));
    }),
  );
});

test("text that is no cursor is known", () => {
  for (const text of ["", "!", cursorOf([]), cursorOf(["x", "", "", "", "", ""]), cursorOf(["2026-11-21T10:00:00Z"])]) {
    assert.equal(placeOfCursor(text), undefined, text);
  }
});

test("periods are the calendar's, also over the end of a year and a leap day", () => {
  const at = (text: string) => secondsOf(text);
  assert.deepEqual(periodOf(at("2026-12-31T23:59:59Z"), "month"), {
    start: at("2026-12-01T00:00:00Z"),
    end: at("2027-01-01T00:00:00Z"),
  });
  assert.deepEqual(periodOf(at("2028-02-29T00:00:00Z"), "month").end, at("2028-03-01T00:00:00Z"));
  assert.deepEqual(periodOf(at("2026-11-21T10:59:59Z"), "hour").start, at("2026-11-21T10:00:00Z"));
  assert.deepEqual(periodOf(at("2026-11-21T10:59:59Z"), "day").end, at("2026-11-22T00:00:00Z"));
});
