/** Two processes that both take themselves for the leader seal the same windows at the same moment, again and again. */
import assert from "node:assert/strict";
import { fork } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { pathToFileURL } from "node:url";

import { openLedger } from "../../operator/adapters/ledger/open.ts";
import { putClosing } from "../../operator/controllers/closing.ts";
import { verifyLedger } from "../../operator/controllers/verify.ts";
import { runs } from "../propertyruns.ts";
import { dump, gone, sealerAt } from "./sealerrig.ts";

test("two processes raced: every time the bytes of one that was alone", async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "berth-race-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const at = (name: string) => pathToFileURL(join(folder, name)).href;
  const alone = openLedger({ url: at("alone") });
  await putClosing(alone, gone);
  await sealerAt({ ledger: alone, at: "12:06:00", shards: 3 }).sealer.pass();
  const wanted = await dump(alone);
  const racers = [1, 2].map(() => fork(join(import.meta.dirname, "sealerracer.ts")));
  t.after(() => racers.forEach((racer) => racer.disconnect()));
  for (let race = 0; race < runs(50); race++) {
    const url = at(`race-${race}`);
    const ledger = openLedger({ url });
    await putClosing(ledger, gone);
    const done = racers.map((racer) => once(racer, "message"));
    for (const racer of racers) racer.send(url);
    for (const [said] of await Promise.all(done)) assert.deepEqual(said, { done: true }, `race ${race}`);
    assert.deepEqual(await dump(ledger), wanted, `race ${race}`);
  }
  assert.deepEqual((await verifyLedger(alone)).findings, []);
});
