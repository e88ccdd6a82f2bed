import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { nextAnswers } from "../../../operator/plan/model/answers.ts";

test("an import whose connections never rest asks for parts, and one whose connections wait for memory does not", () => {
  assert.equal(nextAnswers("Files", { parts: 8, fillMs: 3_000, waitMs: 1_000 }), "Parts");
  assert.equal(nextAnswers("Files", { parts: 80, fillMs: 2_999, waitMs: 1_000 }), "Files");
  assert.equal(nextAnswers("Files", { parts: 7, fillMs: 3_000, waitMs: 0 }), "Files", "so few say nothing");
});

test("it never goes back, and more time on the way never speaks for one answer a file", () => {
  const count = fc.nat({ max: 100_000 });
  fc.assert(
    fc.property(count, count, count, (parts, fillMs, waitMs) => {
      assert.equal(nextAnswers("Parts", { parts, fillMs, waitMs }), "Parts");
      if (nextAnswers("Files", { parts, fillMs, waitMs }) === "Parts")
        assert.equal(nextAnswers("Files", { parts, fillMs: fillMs + 1, waitMs }), "Parts");
    }),
  );
});
