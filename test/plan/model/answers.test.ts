import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { nextAnswers } from "../../../operator/plan/model/answers.ts";

test("an import whose parts wait for their connection asks for parts, and one whose parts wait for memory does not", () => {
  assert.equal(nextAnswers("Files", { parts: 20, behind: 15 }), "Parts");
  assert.equal(nextAnswers("Files", { parts: 20, behind: 14 }), "Files");
  assert.equal(nextAnswers("Files", { parts: 7, behind: 7 }), "Files", "so few say nothing");
});

test("it never goes back, and more that wait never speak for one answer a file", () => {
  const count = fc.nat({ max: 1_000 });
  fc.assert(
    fc.property(count, count, (parts, some) => {
      const behind = Math.min(parts, some);
      assert.equal(nextAnswers("Parts", { parts, behind }), "Parts");
      const less = nextAnswers("Files", { parts, behind });
      if (behind < parts && less === "Parts")
        assert.equal(nextAnswers("Files", { parts, behind: behind + 1 }), "Parts");
    }),
  );
});
