/** `berth ledger gc` over a directory: what it must not break, and what it must not put its signature under. */
import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { pathToFileURL } from "node:url";

import { openLedger } from "../../operator/adapters/ledger/open.ts";
import { signerOf } from "../../operator/adapters/ledger/signing.ts";
import { ledgerCommand } from "../../operator/cli/ledger.ts";
import type { MeteredObjects } from "../../operator/controllers/facts.ts";
import { verifyLedger } from "../../operator/controllers/verify.ts";
import { ackKey } from "../../operator/plan/sinks/keys.ts";
import { claim, pool } from "../controllers/meteringobjects.ts";
import { sealerAt } from "../controllers/sealerrig.ts";

let root = "";
before(async () => {
  root = await mkdtemp(join(tmpdir(), "berth-gc-"));
});
after(() => rm(root, { recursive: true, force: true }));

const at = (name: string) => join(root, name);
const open = (place: string) => openLedger({ url: pathToFileURL(at(place)).href });

async function keyPair(name: string) {
  const { privateKey, publicKey } = generateKeyPairSync("ed25519");
  const pem = privateKey.export({ type: "pkcs8", format: "pem" }).toString();
  await writeFile(at(`${name}.pem`), pem);
  await writeFile(at(`${name}.pub`), publicKey.export({ type: "spki", format: "pem" }).toString());
  return signerOf(pem, name);
}

async function berth(sub: string, place: string, ...args: string[]) {
  let [code, out, err] = [-1, "", ""];
  const io = { env: {}, write: (text: string) => void (out += text), complain: (text: string) => void (err += text) };
  const command = ledgerCommand(io, (ended) => (code = ended));
  await command.parseAsync([sub, "--ledger-url", pathToFileURL(at(place)).href, ...args], { from: "user" });
  return { code, out, err };
}

/** So many whole days that the day itself stays and the one before it goes. */
function keepFrom(day: string): string[] {
  return ["--keep-days", String(Math.floor((Date.now() - Date.parse(`${day}T00:00:00Z`)) / 86_400_000))];
}

const pools = [pool({ deployment: "a", sizes: [["22:00:00", 1]] })];
const held = claim({ id: "c-a", deployment: "a", claimed: "22:00:00" });
const objects = (...claims: MeteredObjects["claims"]): MeteredObjects => ({ deployments: [], pools, claims });

test("gc: a day that a later one corrected goes, and the ledger verifies; so does the next day's gc", async () => {
  const ledger = open("adjusted");
  await sealerAt({ ledger, at: "2026-11-22T02:06:00Z", objects: objects() }).sealer.pass();
  await sealerAt({ ledger, at: "2026-11-22T03:06:00Z", objects: objects(held) }).sealer.pass();
  const pointers = (await ledger.list("v1/dt=2026-11-21/")).filter((key) => key.includes("adjusted-by"));
  assert.equal(pointers.length, 2);
  assert.deepEqual((await verifyLedger(ledger)).findings, []);
  assert.equal((await berth("gc", "adjusted", ...keepFrom("2026-11-22"))).code, 0);
  assert.deepEqual(await ledger.list("v1/dt=2026-11-21/"), []);
  assert.deepEqual((await verifyLedger(ledger)).findings, []);
  const marked = { ...held, status: { ...held.status, sealedThrough: "2026-11-22T03:00:00Z" } };
  await sealerAt({ ledger, at: "2026-11-23T03:06:00Z", objects: objects(marked) }).sealer.pass();
  const next = await berth("gc", "adjusted", ...keepFrom("2026-11-23"));
  assert.equal(next.code, 0, next.err);
  assert.deepEqual((await verifyLedger(ledger)).findings, []);
});

test("gc: an hour that was taken for empty and corrected later goes with its day, though no checkpoint reaches it", async () => {
  const ledger = open("gap");
  const times = (claimed: string, released: string, sealedThrough?: string) => ({
    claimedAt: { time: claimed, evidence: "Node/x" },
    releasedAt: { time: released, evidence: "Node/x" },
    ...(sealedThrough !== undefined && { sealedThrough }),
  });
  const first = { ...held, status: times("2026-11-21T10:00:00Z", "2026-11-21T10:30:00Z", "2026-11-21T10:30:00Z") };
  const second = claim({ id: "c-z", deployment: "z" });
  const nextDay = { ...second, status: times("2026-11-22T02:00:00Z", "2026-11-22T02:30:00Z", "2026-11-22T02:30:00Z") };
  const brief = (name: string, from: string, to: string) => pool({ deployment: name, sizes: [[from, 1]], deleted: to });
  const bare = pool({ deployment: "z", sizes: [] });
  const z: typeof bare = {
    ...bare,
    metadata: { ...bare.metadata, deletionTimestamp: "2026-11-22T02:10:00Z" },
    status: { sizeLog: [{ since: "2026-11-22T02:00:00Z", size: 1, account: "team-a" }] },
  };
  const known = { deployments: [], pools: [brief("a", "10:00:00", "10:30:00"), z], claims: [first, nextDay] };
  await sealerAt({ ledger, at: "2026-11-22T03:06:00Z", objects: known }).sealer.pass();
  const late = {
    ...claim({ id: "c-b", deployment: "b" }),
    status: times("2026-11-21T20:00:00Z", "2026-11-21T20:30:00Z"),
  };
  const pools = [...known.pools, brief("b", "20:00:00", "20:30:00")];
  const objectsThen = { ...known, pools, claims: [first, nextDay, late] };
  await sealerAt({ ledger, at: "2026-11-22T04:06:00Z", objects: objectsThen }).sealer.pass();
  assert.deepEqual(await ledger.list("v1/dt=2026-11-21/hr=20/"), [
    "v1/dt=2026-11-21/hr=20/adjusted-by=1795316400-3600.json",
  ]);
  const done = await berth("gc", "gap", ...keepFrom("2026-11-22"));
  assert.equal(done.code, 0, done.err);
  assert.deepEqual((await verifyLedger(ledger)).findings, []);
});

test("gc: a ledger that somebody else sealed gets no checkpoint with our signature", async () => {
  const ledger = open("forged");
  await keyPair("operator");
  const forger = await keyPair("forger");
  await sealerAt({ ledger, at: "2026-11-22T02:06:00Z", objects: objects(held), signer: forger }).sealer.pass();
  const keys = await ledger.list("v1/");
  const told = await berth("gc", "forged", ...keepFrom("2026-11-22"), "--signing-key", at("operator.pem"));
  assert.equal(told.code, 3, told.out);
  assert.match(told.err, /manifest\.sig\.json .*; nothing was removed|manifest\.sig\.json .*run berth ledger verify/);
  assert.deepEqual([await ledger.list("v1/"), await ledger.list("checkpoints/")], [keys, []]);
});

test("gc: after a rotation it trusts the keys that it is given; a head that was cut off is refused", async () => {
  const ledger = open("rotated");
  const [first, second] = [await keyPair("first"), await keyPair("second")];
  await keyPair("third");
  await sealerAt({ ledger, at: "2026-11-22T01:06:00Z", objects: objects(held), signer: first }).sealer.pass();
  const marked = { ...held, status: { ...held.status, sealedThrough: "2026-11-22T01:00:00Z" } };
  await sealerAt({ ledger, at: "2026-11-22T02:06:00Z", objects: objects(marked), signer: second }).sealer.pass();
  const command = ["gc", "rotated", ...keepFrom("2026-11-22"), "--signing-key", at("second.pem")] as const;
  const refused = await berth(...command);
  assert.equal(refused.code, 3, refused.out);
  const words =
    /is signed with a key that is not trusted \([0-9a-f]{64}\), the first of \d+: .*--trust, or in the chart's metering\.signing\.earlierKeys;.*nothing was removed/;
  assert.match(refused.err, words);
  const wholly = await berth("gc", "rotated", ...keepFrom("2026-11-22"), "--signing-key", at("third.pem"));
  assert.match(wholly.err, words, "also where the new key has not signed a window yet");
  const cut = await berth(...command, "--trust", at("first.pub"), "--head", "0".repeat(64));
  assert.deepEqual([cut.code, /the tail was cut off/.test(cut.err)], [3, true]);
  const done = await berth(...command, "--trust", at("first.pub"));
  assert.equal(done.code, 0, done.err);
  const verified = await berth("verify", "rotated", "--trust", at("first.pub"), at("second.pub"));
  assert.equal(verified.code, 0, verified.out);
});

test("gc: windows before a sink's first one hold nothing back, what it owes after it does", async () => {
  const ledger = open("later");
  await sealerAt({ ledger, at: "2026-11-22T02:06:00Z", objects: objects(held) }).sealer.pass();
  const dry = (...more: string[]) => berth("gc", "later", ...keepFrom("2026-11-22"), "--dry-run", ...more);
  // One that is configured and took nothing yet owes from its startAt on, else everything.
  assert.equal((await dry("--sink", "fresh=2026-11-22T00:00:00Z")).code, 0);
  const partly = await dry("--sink", "fresh=2026-11-21T23:00:00Z");
  assert.match(partly.err, /sink fresh has not taken 1 windows, the first is v1\/dt=2026-11-21\/hr=23\//);
  const whole = await dry("--sink", "fresh");
  assert.deepEqual([whole.code, /has not taken 2 windows/.test(whole.err)], [4, true]);
  await assert.rejects(dry("--sink", "fresh=soon"), /write a UTC day like|NAME=INSTANT/);
  // One that is known by what it took alone owes from there on.
  await ledger.putOnce(ackKey("known", "v1/dt=2026-11-22/hr=01/manifest.json"), Buffer.from("{}\n"));
  assert.equal((await dry()).code, 0);
  await ledger.putOnce(ackKey("known", "v1/dt=2026-11-21/hr=22/manifest.json"), Buffer.from("{}\n"));
  assert.match((await dry()).err, /sink known has not taken 1 windows, the first is v1\/dt=2026-11-21\/hr=23\//);
});
