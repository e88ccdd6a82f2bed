/**
 * One history, replayed with an operator that dies, hears nothing, is doubled, sleeps or is away: the ledger on a real S3 server has
 * the keys and bytes that an undisturbed replay leaves. `SEED=` repeats the random ones.
 */
import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { join } from "node:path";
import { after, before, test } from "node:test";
import fc from "fast-check";

import { signerOf, trustedKeysOf } from "../../operator/adapters/ledger/signing.ts";
import { verifyLedger } from "../../operator/controllers/verify.ts";
import { secondsOf } from "../../operator/plan/metering/windows.ts";
import { seedOfRun } from "../chaos/random.ts";
import { startS3 } from "../cluster/s3.ts";
import type { S3Server } from "../cluster/s3.ts";
import { runs } from "../propertyruns.ts";
import { readHistory } from "./changes.ts";
import { ledgerAt } from "./life.ts";
import { arbitraryLives, historyOf } from "./lives.ts";
import type { LifeOfDeployment } from "./lives.ts";
import { play } from "./play.ts";
import type { Fate, Played, Replay } from "./play.ts";

const { privateKey, publicKey } = generateKeyPairSync("ed25519", {
  privateKeyEncoding: { type: "pkcs8", format: "pem" },
  publicKeyEncoding: { type: "spki", format: "pem" },
});
const signer = signerOf(privateKey, "a test's key");
const trust = trustedKeysOf(publicKey, "a test's key");
const seed = seedOfRun();

let s3: S3Server;
before(async () => {
  s3 = await startS3();
  await s3.createBucket("ledger");
});
after(() => s3.stop());

/** Keys and bytes; says at which keys they differ, not all of the bytes. */
function assertSame(found: Replay["ledger"], wanted: Replay["ledger"], what: string): void {
  const keys = [...new Set([...Object.keys(found), ...Object.keys(wanted)])].sort();
  assert.deepEqual(
    keys.filter((key) => found[key] !== wanted[key]),
    [],
    what,
  );
}

const hourly = (history: Played["history"]): Played => ({
  ...{ history, s3, signer, windowSeconds: 3600, graceSeconds: 300 },
});
const evening = (time: string): number => secondsOf(`2026-11-21T${time}Z`);
const calmClaim = { readyAfter: 60, isEndEstimated: false, lateBegin: 0, lateEnd: 0 };

/** Over midnight: a node whose end is known late and taken back, and a deployment that is deleted and leaves its closing object. */
const small: readonly LifeOfDeployment[] = [
  {
    ...{ name: "chat", delay: 2, endedAt: undefined },
    sizes: [{ since: evening("22:12:00"), size: 1, account: "team-a" }],
    claims: [{ ...calmClaim, start: evening("22:14:20"), end: evening("22:50:00"), lateEnd: 2400 }],
  },
  {
    ...{ name: "late", delay: 5, endedAt: evening("23:20:00") },
    sizes: [{ since: evening("22:30:00"), size: 1, account: "team-b" }],
    claims: [{ ...calmClaim, start: evening("22:31:00"), end: evening("23:21:00") }],
  },
  {
    ...{ name: "next-day", delay: 0, endedAt: undefined },
    sizes: [{ since: evening("22:12:00") + 2 * 3600, size: 1, account: "team-a" }],
    claims: [],
  },
];

/** What a death before a step leaves is what one after the step before it leaves: in `make soak` that is not taken for granted. */
const effects = process.env["BERTH_SOAK"] === "1" ? [true, false] : [true];
const AT_ONCE = 4;

test("a small history, killed at every step, and deaf at every request", async (t) => {
  const played = hourly(historyOf(small));
  const calm = await play(played);
  const keys = Object.keys(calm.ledger);
  for (const part of ["adjusted-by=", "root.json", "root.sig.json", "shard=01"])
    assert.ok(
      keys.some((key) => key.includes(part)),
      `${part} is among ${keys.join(", ")}`,
    );
  assert.ok(!keys.some((key) => key.startsWith("closing/")));
  const doomed = [...Array(calm.steps).keys()].flatMap((i) => effects.map((effect) => ({ step: i + 1, effect })));
  for (let from = 0; from < doomed.length; from += AT_ONCE) {
    const replays = doomed.slice(from, from + AT_ONCE).map(async (doom) => {
      const { ledger, struck } = await play(played, { doom });
      assertSame(ledger, calm.ledger, `killed ${doom.effect ? "after" : "before"} step ${String(doom.step)}`);
      assert.equal(struck, 1);
    });
    await Promise.all(replays);
  }
  t.diagnostic(`${String(doomed.length)} deaths at ${String(calm.steps)} steps`);
  // A repeated request is a step, too: with one in four unheard, each of them is unheard in one of three replays.
  for (const first of [1, 2, 3]) {
    const deaf = Array.from({ length: calm.steps }, (_none, i) => first + 4 * i);
    const { ledger } = await play(played, { deaf });
    assertSame(ledger, calm.ledger, `deaf at every fourth step from ${String(first)}`);
  }
});

const step = fc.integer({ min: 1, max: 40 });
const present: fc.Arbitrary<Fate> = fc.oneof(
  fc.constantFrom<Fate>({ kind: "calm" }, { kind: "restarted" }),
  fc.record({ kind: fc.constant("killed" as const), step, effect: fc.boolean() }),
  fc.record({ kind: fc.constant("unheard" as const), steps: fc.array(step, { minLength: 1, maxLength: 6 }) }),
  fc.record({ kind: fc.constant("doubled" as const), seed: fc.nat() }),
  fc.record({ kind: fc.constant("asleep" as const), step }),
);
const absent: fc.Arbitrary<Fate> = fc.constant({ kind: "down" });
const fatesOf = (fate: fc.Arbitrary<Fate>, passes: number): fc.Arbitrary<Fate[]> =>
  fc.array(fate, { minLength: passes, maxLength: passes });

const bounds = { from: evening("22:00:00"), to: evening("22:00:00") + 4 * 3600, longestDelay: 240, longestLate: 0 };

/** The undisturbed ledger, which an auditor finds intact; the disturbed one; and a replay of all of it over what is sealed. */
async function compare(played: Played, fates: readonly Fate[]): Promise<number> {
  const calm = await play(played);
  const at = { s3, place: calm.place };
  if (Object.keys(calm.ledger).length > 0) assert.deepEqual((await verifyLedger(ledgerAt(at), { trust })).findings, []);
  const { ledger, struck, place } = await play(played, { fates });
  assertSame(ledger, calm.ledger, "disturbed");
  assertSame((await play(played, { place })).ledger, calm.ledger, "replayed over itself");
  return struck;
}

test("generated histories: killed, deaf, doubled, asleep, away, caught up, replayed over themselves", async (t) => {
  let struck = 0;
  await fc.assert(
    fc.asyncProperty(arbitraryLives(bounds), fatesOf(fc.oneof(present, absent), 5), async (lives, fates) => {
      struck += await compare(hourly(historyOf(lives)), fates);
    }),
    { numRuns: runs(6), seed },
  );
  t.diagnostic(`seed ${String(seed)}: ${String(struck)} disturbances`);
});

test("the same where begins and ends become known hours late, as long as every process is there to see it", async (t) => {
  let struck = 0;
  const late = { ...bounds, longestLate: 2 * 3600 };
  await fc.assert(
    fc.asyncProperty(arbitraryLives(late), fatesOf(present, 7), async (lives, fates) => {
      struck += await compare(hourly(historyOf(lives)), fates);
    }),
    { numRuns: runs(6), seed },
  );
  t.diagnostic(`seed ${String(seed)}: ${String(struck)} disturbances`);
});

test("a recorded history of a real cluster, whatever befalls", async (t) => {
  const history = readHistory(join(import.meta.dirname, "recorded.ndjson"));
  const played = { ...hourly(history), windowSeconds: 30, graceSeconds: 5 };
  const calm = await play(played);
  const { windows, billableNodeSeconds, findings } = await verifyLedger(ledgerAt({ s3, place: calm.place }), { trust });
  assert.deepEqual(findings, []);
  assert.ok(windows > 5 && billableNodeSeconds > 0, "the recording holds something");
  let struck = 0;
  await fc.assert(
    fc.asyncProperty(fatesOf(fc.oneof(present, absent), windows), async (fates) => {
      const replay = await play(played, { fates });
      assertSame(replay.ledger, calm.ledger, "disturbed");
      struck += replay.struck;
    }),
    { numRuns: runs(5), seed },
  );
  assertSame((await play(played, { place: calm.place })).ledger, calm.ledger, "replayed over itself");
  t.diagnostic(`seed ${String(seed)}: ${String(struck)} disturbances over ${String(windows)} windows`);
});
