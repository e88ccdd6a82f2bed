import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { KubeObject } from "../../operator/ports.ts";
import { holds } from "../../operator/runtime/compare.ts";
import { deepFreeze } from "../../operator/runtime/freeze.ts";
import { newPacker } from "../../operator/runtime/packed.ts";
import { runs } from "../propertyruns.ts";

interface Thing extends KubeObject {
  readonly spec?: unknown;
  readonly status?: unknown;
}

test("a packed object reads as it was, also after many others were read", () => {
  const { pack } = newPacker();
  fc.assert(
    fc.property(fc.array(fc.jsonValue(), { minLength: 1, maxLength: 200 }), (specs) => {
      const things: Thing[] = specs.map((spec, at) => ({
        metadata: { name: `t${at}` },
        spec: spec ?? null,
        status: at,
      }));
      const packed = things.map((thing) => deepFreeze(pack(thing, ["spec"])));
      for (const [at, thing] of things.entries()) {
        const read = packed[at];
        assert.deepEqual(JSON.parse(JSON.stringify(read?.spec)), JSON.parse(JSON.stringify(thing.spec)));
        assert.equal(read?.status, at);
        assert.deepEqual(read?.metadata, thing.metadata);
      }
    }),
    { numRuns: runs(50) },
  );
});

test("drift is seen through the packing", () => {
  const live = newPacker().pack<Thing>({ metadata: { name: "t" }, spec: { replicas: 1, extra: true } }, ["spec"]);
  assert.equal(holds({ spec: { replicas: 1 } }, live), true);
  assert.equal(holds({ spec: { replicas: 2 } }, live), false);
});
