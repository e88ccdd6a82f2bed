import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { partLine, partsOf, planLine } from "../../../operator/adapters/store/journal.ts";

const plan = { sizeBytes: 100, partBytes: 10, content: '"etag" some key\nwith a line' };
const whole = planLine(plan) + partLine(0, 0xdead_beef) + partLine(3, 0, "0ff".repeat(16)) + partLine(7, 1);
const partOf = (checksum: number, seal?: string) => ({ checksum, seal });

test("a journal tells its parts to the same plan alone", () => {
  assert.deepEqual(
    [...(partsOf(whole, plan) ?? [])],
    [
      [0, partOf(0xdead_beef)],
      [3, partOf(0, "0ff".repeat(16))],
      [7, partOf(1)],
    ],
  );
  for (const other of [{ sizeBytes: 101 }, { partBytes: 11 }, { content: "other" }])
    assert.equal(partsOf(whole, { ...plan, ...other }), undefined);
  assert.equal(partsOf("", plan), undefined);
});

test("cut anywhere, it tells no part that was not written, and none wrong", () => {
  const parts = partsOf(whole, plan);
  for (let end = 0; end < whole.length; end++)
    for (const [number, part] of partsOf(whole.slice(0, end), plan) ?? []) assert.deepEqual(parts?.get(number), part);
});

test("bytes that were spoilt make no part", () => {
  fc.assert(
    fc.property(fc.nat(whole.length - 1), fc.integer({ min: 32, max: 126 }), (at, code) => {
      const spoilt = whole.slice(0, at) + String.fromCharCode(code) + whole.slice(at + 1);
      const parts = partsOf(whole, plan);
      for (const [number, part] of partsOf(spoilt, plan) ?? []) assert.deepEqual(parts?.get(number), part);
    }),
  );
});
