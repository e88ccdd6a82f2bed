/** `berth ledger verify` and segments that no manifest names: what an honest death leaves is no damage, what Berth never writes is. */
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
import type { Verification } from "../../operator/controllers/verify.ts";
import { canonicalBytes } from "../../operator/plan/metering/canonical.ts";
import { historiesOf } from "../../operator/plan/metering/history.ts";
import { metersOf } from "../../operator/plan/metering/records.ts";
import { isEvidence, lineChunks, newTally, usageLines } from "../../operator/plan/metering/segment.ts";
import type { Line } from "../../operator/plan/metering/segment.ts";
import type { Ledger } from "../../operator/ports.ts";
import { CLUSTER, claim, pool } from "../controllers/meteringobjects.ts";
import { dyingAt, sealerAt } from "../controllers/sealerrig.ts";
import type { Setup } from "../controllers/sealerrig.ts";
import { hour } from "../plan/metering/histories.ts";

let root = "";
const { privateKey, publicKey } = generateKeyPairSync("ed25519");
const signer = signerOf(privateKey.export({ type: "pkcs8", format: "pem" }).toString(), "a test");
before(async () => {
  root = await mkdtemp(join(tmpdir(), "berth-strict-"));
  await writeFile(join(root, "operator.pub"), publicKey.export({ type: "spki", format: "pem" }));
});
after(() => rm(root, { recursive: true, force: true }));

const open = (place: string): Ledger => openLedger({ url: pathToFileURL(join(root, place)).href });
const eleven = "v1/dt=2026-11-21/hr=11/segment-r0.ndjson.gz";
const factsOf = (deployment: string) => ({
  deployments: [],
  pools: [pool({ deployment, sizes: [["10:10:00", 1]] })],
  claims: [claim({ id: `c-${deployment}`, deployment, claimed: "10:20:00" })],
});

async function verify(place: string, ...args: string[]) {
  let [code, out] = [-1, ""];
  const io = { env: {}, write: (text: string) => void (out += text), complain: () => undefined };
  const command = ledgerCommand(io, (ended) => (code = ended));
  await command.parseAsync(["verify", "--ledger-url", pathToFileURL(join(root, place)).href, ...args], {
    from: "user",
  });
  return { code, out };
}

/** Exit code without and with --strict, and what is doubted. */
async function judged(place: string, ...args: string[]) {
  const { findings, doubts } = JSON.parse((await verify(place, ...args, "-o", "json")).out) as Verification;
  const codes = [(await verify(place, ...args)).code, (await verify(place, ...args, "--strict")).code];
  return { codes, findings, doubts: doubts.map(({ key, problem }) => `${key} ${problem}`) };
}

const sealAt = (ledger: Ledger, at: string, more: Partial<Setup> = {}) =>
  sealerAt({ ledger, at, objects: factsOf("a"), signer, ...more }).sealer.pass();

/** The process that seals 11:00 dies between segment and manifest. */
async function died(place: string): Promise<Ledger> {
  const ledger = open(place);
  await sealAt(ledger, "11:06:00");
  for (let n = 1; !(await ledger.get(eleven)); n++)
    await sealAt(dyingAt(ledger, n, "after").ledger, "12:06:00").catch(() => undefined);
  return ledger;
}

function segmentOf(deployment: string, cluster = CLUSTER): Line[] {
  const histories = historiesOf({ ...factsOf(deployment), closings: [] });
  return [...usageLines(metersOf(histories), hour(11), cluster)];
}

const put = (ledger: Ledger, key: string, lines: readonly Line[]) =>
  ledger.putOnce(key, lineChunks(lines, newTally().add));

test("a segment that a death left is doubted, no damage; the next leader takes it in, and nothing is doubted any more", async () => {
  const ledger = await died("adopted");
  const { codes, findings, doubts } = await judged("adopted");
  assert.deepEqual([codes, findings, doubts.length], [[0, 5], [], 1]);
  assert.match(doubts[0] ?? "", new RegExp(`^${eleven} waits for its window to be sealed`));
  assert.match((await verify("adopted")).out, /^intact, 1 doubts \(--strict ends with 5\)$/m);
  await sealAt(ledger, "12:06:00");
  assert.deepEqual(await judged("adopted", "--trust", join(root, "operator.pub")), {
    codes: [0, 0],
    findings: [],
    doubts: [],
  });
});

test("killed before or after any request, with shards and adjustments on their way: verify never takes what is left for damage", async () => {
  const known = { ...factsOf("a"), claims: [] };
  let doubted = 0;
  for (const when of ["before", "after"] as const) {
    for (let n = 1; ; n++) {
      const place = `killed-${when}-${String(n)}`;
      const ledger = open(place);
      await sealAt(ledger, "11:06:00", { objects: known, shards: 3 });
      const dying = dyingAt(ledger, n, when);
      await sealAt(dying.ledger, "13:06:00", { shards: 3 }).catch(() => undefined);
      if (!dying.state.died) break;
      const { codes, findings, doubts } = await judged(place);
      assert.deepEqual([findings, codes], [[], [0, doubts.length > 0 ? 5 : 0]], place);
      doubted += doubts.length;
      await sealAt(ledger, "13:06:00", { shards: 3 });
      assert.deepEqual((await judged(place)).codes, [0, 0], place);
    }
  }
  assert.ok(doubted > 2, "some deaths leave a segment");
});

test("one that the next leader passes over, since hours are cut into shards or windows are shorter now, is no damage either", async () => {
  await sealAt(await died("shards"), "12:06:00", { shards: 2 });
  await sealAt(await died("shorter"), "12:06:00", { windowSeconds: 1800 });
  for (const place of ["shards", "shorter"]) {
    const { codes, findings, doubts } = await judged(place);
    assert.deepEqual([codes, findings, doubts.length], [[0, 5], [], 1], place);
    assert.match(doubts[0] ?? "", /is not what its window was sealed with, and nobody reads it/);
  }
});

test("a stranger's segment in good form cannot be told from a death's: doubted before it is sealed, and after, where it has no signature", async () => {
  const ledger = open("stranger");
  await sealAt(ledger, "11:06:00");
  await put(ledger, eleven, [...segmentOf("a"), ...segmentOf("phantom")]);
  assert.deepEqual((await judged("stranger")).codes, [0, 5]);
  await sealAt(ledger, "12:06:00");
  await sealAt(ledger, "13:06:00");
  const { codes, findings, doubts } = await judged("stranger", "--trust", join(root, "operator.pub"));
  assert.deepEqual([codes, findings, doubts.length], [[0, 5], [], 1]);
  assert.match(
    doubts[0] ?? "",
    /hr=11\/manifest\.json has no signature of its own \(2 records, 7200 billable node-seconds\)/,
  );
});

test("a planted window is not hidden by taking the signatures before it: they are doubted, unless the auditor knows that signing began later", async () => {
  const ledger = open("begin");
  await sealAt(ledger, "11:06:00");
  await put(ledger, eleven, [...segmentOf("a"), ...segmentOf("phantom")]);
  await sealAt(ledger, "12:06:00");
  await sealAt(ledger, "13:06:00");
  await ledger.remove("v1/dt=2026-11-21/hr=10/manifest.sig.json");
  const trust = ["--trust", join(root, "operator.pub")];
  const begin = await judged("begin", ...trust);
  assert.deepEqual([begin.codes, begin.findings, begin.doubts.length], [[0, 5], [], 1]);
  assert.match(
    begin.doubts[0] ?? "",
    /hr=10\/manifest\.json is the first of those before the first signature \(2 windows, 9600 billable node-seconds\).* --signed-from 2026-11-21T12:00:00Z$/,
  );
  const from = async (time: string) => judged("begin", ...trust, "--signed-from", `2026-11-21T${time}Z`);
  const noted = await from("11:00:00");
  assert.deepEqual(noted.codes, [0, 5]);
  assert.match(noted.doubts.join(), /^[^ ]*hr=11\/manifest\.json is the first .* \(1 windows, 7200 billable/);
  assert.deepEqual((await from("12:00:00")).codes, [0, 0]);
});

test("what claims to be a segment and is none of this cluster's, or has records that its evidence does not give, is damage", async () => {
  const wrong: Readonly<Record<string, (ledger: Ledger, key: string) => Promise<unknown>>> = {
    junk: (ledger, key) => ledger.putOnce(key, canonicalBytes({})),
    empty: (ledger, key) => ledger.putOnce(key, Buffer.alloc(0)),
    foreign: (ledger, key) => put(ledger, key, segmentOf("a", "11111111-0000-4000-8000-000000000000")),
    edited: (ledger, key) =>
      put(
        ledger,
        key,
        segmentOf("a").map((line) => (isEvidence(line) ? line : { ...line, billableNodeSeconds: 1 })),
      ),
  };
  const keys = [
    eleven,
    "v1/dt=2026-11-21/hr=10/shard=01/segment-r0.ndjson.gz",
    "v1/dt=2026-11-21/hr=08/segment-r0.ndjson.gz",
  ];
  for (const [what, harm] of Object.entries(wrong)) {
    for (const [i, key] of keys.entries()) {
      const place = `${what}-${String(i)}`;
      const ledger = open(place);
      await sealAt(ledger, "11:06:00");
      await harm(ledger, key);
      const { codes, findings } = await judged(place);
      assert.deepEqual(
        [codes, findings[0]],
        [[3, 3], { key, problem: "is no segment that Berth writes: it was put in" }],
        place,
      );
    }
  }
});
