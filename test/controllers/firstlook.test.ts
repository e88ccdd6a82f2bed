import assert from "node:assert/strict";
import { test } from "node:test";

import { newFirstLook } from "../../operator/controllers/firstlook.ts";

test("a controller has caught up once every object was looked at, also in vain, and stays so", async () => {
  let keys = ["a", "b"];
  const look = newFirstLook(() => keys);
  const reconcile = look.watch(async (key: string, factor: number) => {
    if (key === "b") throw new Error("provider is away");
    return key.length * factor;
  });
  assert.equal(look.done(), false);
  assert.equal(await reconcile("a", 3), 3);
  assert.equal(look.done(), false);
  await assert.rejects(() => reconcile("b", 1), /provider is away/);
  assert.equal(look.done(), true);
  keys = ["a", "b", "new"];
  assert.equal(look.done(), true);
});
