import assert from "node:assert/strict";
import { test } from "node:test";

import { newFirstLook } from "../../operator/controllers/firstlook.ts";
import { newMemoryLog } from "../runtime/rig.ts";

test("complete once every key of the start was worked on; one that fails again and again does not hold it up", async () => {
  const look = newFirstLook();
  const log = newMemoryLog();
  const reconcile = look.watch(async (key) => {
    if (key === "broken") throw new Error("provider is away");
    return {};
  });
  assert.equal(look.complete(), false, "nothing has begun");
  look.begin(["a", "broken"]);
  assert.deepEqual(await reconcile("a", log), {});
  for (let tries = 1; tries <= 5; tries++) {
    assert.equal(look.complete(), false, `after ${tries - 1} failures`);
    await assert.rejects(() => reconcile("broken", log), /provider is away/);
  }
  assert.equal(look.complete(), true);
  await reconcile("later", log);
  assert.equal(look.complete(), true);
});
