/** `berth ledger recompute | export | tail | gc` over a directory, as somebody runs them who has nothing but the ledger. */
import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { pathToFileURL } from "node:url";
import { gunzipSync, gzipSync } from "node:zlib";

import { openLedger } from "../../operator/adapters/ledger/open.ts";
import { signerOf } from "../../operator/adapters/ledger/signing.ts";
import { ledgerCommand } from "../../operator/cli/ledger.ts";
import { planRetention, retain } from "../../operator/controllers/retention.ts";
import { verifyLedger } from "../../operator/controllers/verify.ts";
import { canonicalBytes } from "../../operator/plan/metering/canonical.ts";
import { addQuantities } from "../../operator/plan/metering/fold.ts";
import { parseCsv } from "../../operator/plan/rating/csv.ts";
import { ackKey } from "../../operator/plan/sinks/keys.ts";
import { claim, pool } from "../controllers/meteringobjects.ts";
import { sealerAt } from "../controllers/sealerrig.ts";

let root = "";
const at = (name: string) => join(root, name);
const { privateKey, publicKey } = generateKeyPairSync("ed25519");
const open = (place: string) => openLedger({ url: pathToFileURL(at(place)).href });

/** Two days and an hour of two deployments; the first day's claim of one is corrected on the second. */
before(async () => {
  root = await mkdtemp(join(tmpdir(), "berth-tools-"));
  await writeFile(at("key.pem"), privateKey.export({ type: "pkcs8", format: "pem" }).toString());
  await writeFile(at("key.pub"), publicKey.export({ type: "spki", format: "pem" }).toString());
  const signer = signerOf(await readFile(at("key.pem"), "utf8"), "key.pem");
  const names = ["a", "b"];
  const objects = {
    deployments: [],
    pools: names.map((deployment) => pool({ deployment, sizes: [["22:10:00", 1]] })),
    claims: names.map((name) => claim({ id: `c-${name}`, deployment: name, claimed: "22:20:00" })),
  };
  for (const place of ["plain", "signed"])
    await sealerAt({
      ledger: open(place),
      at: "2026-11-23T01:06:00Z",
      objects,
      ...(place === "signed" && { signer }),
    }).sealer.pass();
});
after(() => rm(root, { recursive: true, force: true }));

async function berth(sub: string, place: string, ...args: string[]) {
  let [code, out, err] = [-1, "", ""];
  const io = { env: {}, write: (text: string) => void (out += text), complain: (text: string) => void (err += text) };
  const command = ledgerCommand(io, (ended) => (code = ended));
  await command.parseAsync([sub, "--ledger-url", pathToFileURL(at(place)).href, ...args], { from: "user" });
  return { code, out, err };
}

test("recompute rebuilds an hour from its evidence; an edited record differs: 3", async () => {
  const whole = await berth(
    "recompute",
    "plain",
    "--from",
    "2026-11-21T22:00:00Z",
    "--to",
    "2026-11-21T23:00:00Z",
    "--evidence",
  );
  assert.equal(whole.code, 0, whole.err);
  assert.match(whole.out, /22:00:00Z team-a\/a dedicated\.l4\.1 billable 2400 as recorded/);
  assert.match(whole.out, /"from":"Node\/metadata\.managedFields\[berth-claim\]\.time"/);
  assert.match(whole.out, /1 windows: 2 deployments' hours recomputed alike, 0 not/);
  await cp(at("plain"), at("edited"), { recursive: true });
  const hour = join(at("edited"), "v1/dt=2026-11-21/hr=22");
  const text = gunzipSync(await readFile(join(hour, "segment-r0.ndjson.gz"))).toString();
  const edited = text.replace('"since":"2026-11-21T22:10:00Z","size":1', '"since":"2026-11-21T22:10:00Z","size":0');
  await writeFile(join(hour, "segment-r0.ndjson.gz"), gzipSync(edited));
  // The segment is not what its manifest says: reading it is refused, verify names the line.
  const refused = await berth("recompute", "edited", "--from", "2026-11-21T22:00:00Z", "--to", "2026-11-21T23:00:00Z");
  assert.deepEqual([refused.code, /is not what Berth wrote/.test(refused.err)], [1, true]);
  const named = await berth("verify", "edited");
  assert.equal(named.code, 3);
  assert.match(named.out, /segment-r0\.ndjson\.gz:2 is not what its evidence gives/);
  const json = await berth("recompute", "plain", "-o", "json", "--deployment", "uid-a");
  const lines = json.out
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as { same: boolean; deploymentUID: string });
  assert.equal(lines.length, 27);
  assert.ok(lines.every(({ same, deploymentUID }) => same && deploymentUID === "uid-a"));
});

test("export: a line a record in its range, as JSON and as CSV that can be read again", async () => {
  const range = ["--from", "2026-11-22", "--to", "2026-11-23"];
  const { out } = await berth("export", "plain", ...range);
  const records = out
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as { billableNodeSeconds: number });
  assert.equal(records.length, 48);
  const csv = parseCsv((await berth("export", "plain", ...range, "--format", "csv")).out);
  const column = csv.names.indexOf("billableNodeSeconds");
  assert.deepEqual(
    csv.rows.map((row) => Number(row[column])),
    records.map((record) => record.billableNodeSeconds),
  );
  await assert.rejects(berth("export", "plain", "--from", "yesterday"), /write a UTC day like 2026-11-21/);
});

test("tail: the newest windows, then each that is sealed, until it is ended", async () => {
  const { out } = await berth("tail", "plain", "-n", "2", "--no-follow");
  assert.equal(out.trimEnd().split("\n").length, 4);
  const stop = new AbortController();
  const seen: string[] = [];
  const io = {
    env: {},
    signal: stop.signal,
    write: (text: string) => void (seen.push(text), seen.length === 2 && stop.abort()),
  };
  let code = -1;
  const command = ledgerCommand(io, (ended) => (code = ended));
  const place = ["--ledger-url", pathToFileURL(at("plain")).href];
  await command.parseAsync(["tail", ...place, "--interval", "1"], { from: "user" });
  assert.deepEqual([code, seen.length], [0, 2]);
});

test("gc: refuses what a sink has not taken, and a signed ledger without a key: 4, nothing is removed", async () => {
  await cp(at("plain"), at("owed"), { recursive: true });
  const ledger = open("owed");
  const keys = await ledger.list("v1/");
  await ledger.putOnce(ackKey("billing", "v1/dt=2026-11-21/hr=22/manifest.json"), Buffer.from("{}\n"));
  const refused = await berth("gc", "owed", "--keep-days", "1");
  assert.equal(refused.code, 4);
  assert.match(
    refused.err,
    /sink billing has not taken \d+ windows, the first is v1\/dt=2026-11-21\/hr=23\/manifest\.json/,
  );
  const named = await berth("gc", "owed", "--keep-days", "1", "--ignore-sink", "billing", "--sink", "focus");
  assert.match(named.err, /sink focus has not taken/);
  assert.deepEqual(await ledger.list("v1/"), keys);
  const signed = await berth("gc", "signed", "--keep-days", "1");
  assert.equal(signed.code, 4);
  assert.match(signed.err, /give --signing-key/);
});

test("gc: whole days go behind a signed checkpoint; what stays verifies, what was cut off behind it does not", async () => {
  await cp(at("signed"), at("trimmed"), { recursive: true });
  const ledger = open("trimmed");
  const keep = ["--keep-days", String(daysSince("2026-11-22"))];
  const dry = await berth("gc", "trimmed", ...keep, "--signing-key", at("key.pem"), "--dry-run");
  assert.match(dry.out, /^would remove 1 days, 2 windows, \d+ objects$/m);
  const done = await berth("gc", "trimmed", ...keep, "--signing-key", at("key.pem"));
  assert.equal(done.code, 0, done.err);
  assert.deepEqual(await ledger.list("v1/dt=2026-11-21"), []);
  const trusted = await berth("verify", "trimmed", "--trust", at("key.pub"));
  assert.equal(trusted.code, 0, trusted.out);
  assert.match(trusted.out, /windows up to 2026-11-22T00:00:00Z were removed; a checkpoint stands for them/);
  const again = await berth("gc", "trimmed", ...keep, "--signing-key", at("key.pem"));
  assert.match(again.out, /removed 0 days/);
  for (const key of await ledger.list("v1/dt=2026-11-22/hr=00/")) await ledger.remove(key);
  assert.match((await berth("verify", "trimmed")).out, /hr=01\/manifest\.json follows the window that ended at/);
});

test("gc: a checkpoint that is forged, or signed by somebody else, is named", async () => {
  await cp(at("signed"), at("forged"), { recursive: true });
  const ledger = open("forged");
  await berth("gc", "forged", "--keep-days", String(daysSince("2026-11-22")), "--signing-key", at("key.pem"));
  const [key = ""] = await ledger.list("checkpoints/");
  const text = Buffer.from((await ledger.get(key)) ?? []).toString();
  await ledger.remove(key);
  await ledger.putOnce(key, Buffer.from(text.replace(/"windows":\d+/, '"windows":9')));
  const told = await berth("verify", "forged", "--trust", at("key.pub"));
  assert.equal(told.code, 3);
  assert.match(told.out, /checkpoints\/.*\.sig\.json signs other bytes/);
});

test("gc died between the checkpoint and the last removal: the rest goes with the next run, and it verifies all the time", async () => {
  await cp(at("plain"), at("died"), { recursive: true });
  const ledger = open("died");
  const keep = ["--keep-days", String(daysSince("2026-11-22"))];
  await cp(at("plain"), at("whole"), { recursive: true });
  await berth("gc", "whole", ...keep);
  const [checkpoint = ""] = await open("whole").list("checkpoints/");
  await ledger.putOnce(checkpoint, (await open("whole").get(checkpoint)) ?? Buffer.from(""));
  await ledger.remove("v1/dt=2026-11-21/hr=22/manifest.json");
  assert.deepEqual((await verifyLedger(ledger)).findings, []);
  assert.equal((await berth("gc", "died", ...keep)).code, 0);
  assert.deepEqual(await ledger.list("v1/"), await open("whole").list("v1/"));
});

/** So many whole days that the day itself stays and the one before it goes. */
function daysSince(day: string): number {
  return Math.floor((Date.now() - Date.parse(`${day}T00:00:00Z`)) / 86_400_000);
}

test("gc: a chain that is broken is not put behind a checkpoint", async () => {
  await cp(at("plain"), at("broken"), { recursive: true });
  const plan = await planRetention(open("broken"), {
    before: Date.parse("2026-11-22T00:00:00Z") / 1000,
    sinks: [],
    ignored: [],
  });
  await open("broken").putOnce("checkpoints/20261121T220000Z.json", canonicalBytes(aCheckpoint));
  await assert.rejects(retain(open("broken"), plan, undefined), {
    reason: "LedgerChainBroken",
    message: /nothing was removed/,
  });
});

const aCheckpoint = {
  schema: "berth.dev/checkpoint.v1",
  cluster: "c",
  removedThrough: "2026-11-21T22:00:00Z",
  lastManifestSha256: "0".repeat(64),
  windows: 1,
  records: 0,
  totals: addQuantities([]),
};
