/** What a checkpoint may stand for: whole days that are gone, and nothing that is still served. */
import assert from "node:assert/strict";
import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { pathToFileURL } from "node:url";
import { gunzipSync, gzipSync } from "node:zlib";

import { openLedger } from "../../operator/adapters/ledger/open.ts";
import { verificationText } from "../../operator/cli/ledgertext.ts";
import { readManifest } from "../../operator/controllers/ledgerreads.ts";
import { verifyLedger } from "../../operator/controllers/verify.ts";
import { canonicalBytes } from "../../operator/plan/metering/canonical.ts";
import { addQuantities } from "../../operator/plan/metering/fold.ts";
import { checkpointKey, secondsOf } from "../../operator/plan/metering/windows.ts";
import { claim, pool } from "./meteringobjects.ts";
import { sealerAt } from "./sealerrig.ts";

let root = "";
let head = "";
const open = (place: string) => openLedger({ url: pathToFileURL(join(root, place)).href });
const last = "v1/dt=2026-11-21/hr=23/";
const segment = (hour: string) => `v1/dt=2026-11-21/hr=${hour}/segment-r0.ndjson.gz`;

/** Hours of the evening, of which one is edited, and of the next day. */
before(async () => {
  root = await mkdtemp(join(tmpdir(), "berth-checkpoint-"));
  const objects = {
    deployments: [],
    pools: [pool({ deployment: "a", sizes: [["21:00:00", 1]] })],
    claims: [claim({ id: "c-a", deployment: "a", claimed: "21:00:00" })],
  };
  await sealerAt({ ledger: open("sealed"), at: "2026-11-22T02:06:00Z", objects }).sealer.pass();
  head = (await verifyLedger(open("sealed"))).head?.sha256 ?? "";
});
after(() => rm(root, { recursive: true, force: true }));

async function copied(place: string, edited?: string) {
  await cp(join(root, "sealed"), join(root, place), { recursive: true });
  if (edited === undefined) return open(place);
  const path = join(root, place, segment(edited));
  const text = gunzipSync(await readFile(path)).toString();
  await writeFile(path, gzipSync(text.replace('"billableNodeSeconds":3600', '"billableNodeSeconds":9999')));
  return open(place);
}

/** Somebody without any key puts a checkpoint behind the window that is sealed in `folder`. */
async function plant(place: string, folder: string, sha256?: string): Promise<void> {
  const ledger = open(place);
  const { manifest, sha256: stored } = await readManifest(ledger, `${folder}manifest.json`);
  const { cluster, windowEnd } = manifest;
  const sums = { windows: 3, records: 3, totals: addQuantities([]) };
  const checkpoint = { schema: "berth.dev/checkpoint.v1", cluster, removedThrough: windowEnd, ...sums };
  const bytes = canonicalBytes({ ...checkpoint, lastManifestSha256: sha256 ?? stored });
  await ledger.putOnce(checkpointKey(secondsOf(windowEnd)), bytes);
}

test("a planted checkpoint does not hide an edit of a window that is still there and served", async () => {
  const ledger = await copied("hidden", "22");
  await plant("hidden", last);
  const { findings } = await verifyLedger(ledger, { head });
  assert.ok(
    findings.some(({ key, line }) => key === segment("22") && line === 2),
    JSON.stringify(findings),
  );
});

test("a checkpoint within a day, or over another chain, was put in", async () => {
  const within = await copied("within");
  await plant("within", "v1/dt=2026-11-21/hr=22/");
  assert.deepEqual((await verifyLedger(within, { head })).findings[0], {
    key: "checkpoints/20261121T230000Z.json",
    problem: "stands for a part of a day, and retention removes whole days: it was put in",
  });
  const other = await copied("other");
  await plant("other", last, "0".repeat(64));
  const { findings } = await verifyLedger(other, { head });
  assert.ok(findings.some(({ key, problem }) => key === `${last}manifest.json` && /is not the last/.test(problem)));
});

test("what retention left when it died is no damage; without keys its checkpoint is said to be believed only", async () => {
  const ledger = await copied("left");
  await plant("left", last);
  for (const key of [segment("21"), "v1/dt=2026-11-21/hr=22/manifest.json"]) await ledger.remove(key);
  const found = await verifyLedger(ledger, { head });
  assert.deepEqual(found.findings, []);
  assert.match(verificationText(found), /WARNING: that checkpoint is believed without proof/);
});
