// The chart's list of node types, taken apart before anything is applied.
import assert from "node:assert/strict";
import { test } from "node:test";
import { samples } from "../../operator/api/samples.ts";
import { listedNodeTypes } from "../../operator/controllers/platform.ts";

const good = samples["NodeType"] as { metadata: object; spec: object };

test("a listed NodeType becomes an object of ours", () => {
  const [first, ...rest] = listedNodeTypes([
    { metadata: { name: "h100-8", labels: { tier: "gold" } }, spec: good.spec },
  ]);
  assert.deepEqual(rest, []);
  assert.deepEqual(first, {
    ...good,
    metadata: { name: "h100-8", labels: { tier: "gold", "app.kubernetes.io/managed-by": "berth" } },
  });
});

test("an empty file lists none", () => assert.deepEqual(listedNodeTypes(null), []));

for (const [title, entry] of [
  ["without a name", { metadata: {}, spec: {} }],
  ["without a spec", { metadata: { name: "h100-8" } }],
  ["that is text", "h100-8"],
  ["that is nothing", null],
] as const) {
  test(`an entry ${title} is refused by its number`, () => {
    assert.throws(() => listedNodeTypes([good, entry]), {
      name: "TerminalError",
      reason: "InvalidNodeTypesFile",
      message: "entry 1 of the node types file needs metadata.name and spec",
    });
  });
}
