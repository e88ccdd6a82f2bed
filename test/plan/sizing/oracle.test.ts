// Our blocks, groups and tokens against vLLM's own functions over its own layers: docs/sizing.md, "Against the engine itself".
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { oracleMissing } from "./oracle.ts";
import { oracleCases } from "./oraclecases.ts";
import { oracleRows } from "./oracletable.ts";

/** BERTH_ORACLE=0 leaves it out, 1 asks everything afresh; else only what this installation has not answered yet (two minutes at first). */
const asked = process.env["BERTH_ORACLE"];
const missing = asked === "0" ? "BERTH_ORACLE=0" : oracleMissing();

describe("the cache as vLLM cuts it", () => {
  const rows = missing === undefined ? oracleRows(oracleCases, asked === "1") : [];

  test("is asked for each attention kind", (t) => {
    if (missing !== undefined) t.diagnostic(`not run: ${missing}`);
    assert.equal(rows.length, missing === undefined ? oracleCases.length : 0);
  });

  for (const { kind, ours, theirs, refused, late } of rows) {
    test(kind, (t) => {
      if (late) return t.skip(refused);
      if (!theirs) return assert.fail(`vLLM's CPU build refuses it: ${refused ?? ""}`);
      const groups = theirs.groups.length;
      const off = (a: number, b: number): number => Math.abs(a - b);
      assert.ok(
        off(ours.requestBlocks, theirs.requestBlocks) <= groups,
        `${String(ours.requestBlocks)} blocks a request`,
      );
      assert.ok(
        off(ours.blocks, theirs.blocks) <= groups,
        `${String(ours.blocks)} blocks, not ${String(theirs.blocks)}`,
      );
      // One block per group, in the tokens of one block.
      const slack = groups * Math.max(0, ...theirs.groups.map(({ blockTokens }) => blockTokens));
      assert.ok(
        off(ours.tokens, theirs.tokens) <= slack,
        `${String(ours.tokens)} tokens, not ${String(theirs.tokens)}`,
      );
    });
  }
});
