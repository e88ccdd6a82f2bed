/** The directory ledger on a real file system that is full. */
import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { pathToFileURL } from "node:url";

import { openLedger } from "../../operator/adapters/ledger/open.ts";
import { putClosing } from "../../operator/controllers/closing.ts";
import { verifyLedger } from "../../operator/controllers/verify.ts";
import { newSmallDisk } from "../cluster/smalldisk.ts";
import { dump, gone, sealerAt } from "./sealerrig.ts";

test("a disk that is full delays the hour and leaves nothing half; with room again the bytes are the same", async (t) => {
  const disk = await newSmallDisk("size=256k");
  if ("reason" in disk) return t.skip(disk.reason);
  t.after(() => disk.remove());
  const { folder } = disk;
  const calm = await mkdtemp(join(tmpdir(), "berth-calm-"));
  t.after(() => rm(calm, { recursive: true, force: true }));
  const [full, roomy] = [folder, calm].map((place) => openLedger({ url: pathToFileURL(place).href }));
  assert.ok(full && roomy);
  for (const ledger of [full, roomy]) await putClosing(ledger, gone);
  await sealerAt({ ledger: roomy, at: "12:06:00" }).sealer.pass();
  await writeFile(join(folder, "ballast"), Buffer.alloc(2 ** 20)).catch(() => undefined);
  const { sealer } = sealerAt({ ledger: full, at: "12:06:00" });
  await assert.rejects(sealer.pass(), /ENOSPC/);
  assert.deepEqual(await full.list("v1/"), []);
  await rm(join(folder, "ballast"));
  await sealer.pass();
  assert.deepEqual(await dump(full), await dump(roomy));
  assert.deepEqual((await verifyLedger(full)).findings, []);
});
