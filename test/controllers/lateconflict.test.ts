/**
 * Late knowledge that is in no window yet: the one that had to carry it was found with another leader's bytes, or none is due. The
 * cluster keeps what is written to it: what is forgotten too early is gone for the passes after it.
 */
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { pathToFileURL } from "node:url";

import { openLedger } from "../../operator/adapters/ledger/open.ts";
import { putClosing } from "../../operator/controllers/closing.ts";
import { readRecorded, recordedWindows } from "../../operator/controllers/ledgerreads.ts";
import { verifyLedger } from "../../operator/controllers/verify.ts";
import { addQuantities } from "../../operator/plan/metering/fold.ts";
import { secondsOf } from "../../operator/plan/metering/windows.ts";
import type { Ledger } from "../../operator/ports.ts";
import type { Change } from "../replay/changes.ts";
import { newWorld } from "../replay/world.ts";
import type { World } from "../replay/world.ts";
import { CLUSTER, claim, deployment, epochMs, instant, pool } from "./meteringobjects.ts";
import { sealerAt } from "./sealerrig.ts";

const manifest11 = "v1/dt=2026-11-21/hr=11/manifest.json";
const chat = pool({ deployment: "chat", sizes: [["10:12:00", 1]] });
const n1 = (released?: string) =>
  claim({ id: "n1", deployment: "chat", claimed: "10:14:20", ...(released && { released }) });
/** Known from the begin; what the tests add comes when the first leader is dead. */
const from = `${instant("10:00:00").slice(0, -1)}.000Z`;
const later = `${instant("12:06:30").slice(0, -1)}.000Z`;
const begin: readonly Change[] = [
  { at: from, kind: "ModelDeployment", uid: "uid-chat", change: deployment("chat") },
  { at: from, kind: "GPUNodePool", uid: "pool-chat", change: chat },
];
const held: Change = { at: from, kind: "CapacityClaim", uid: "claim-n1", change: n1() };

async function freshLedger(t: TestContext): Promise<Ledger> {
  const folder = await mkdtemp(join(tmpdir(), "berth-late-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  return openLedger({ url: pathToFileURL(folder).href });
}

/** 10:00 is sealed and settled; a leader dies after the segment of 11:00; then the world goes on to what the others know. */
async function deadLeader(t: TestContext, history: readonly Change[]): Promise<{ ledger: Ledger; world: World }> {
  const [ledger, world] = [await freshLedger(t), newWorld(history)];
  world.advance(epochMs("11:06:00"));
  await sealerAt({ ledger, at: "11:06:00", world }).sealer.pass();
  await sealerAt({ ledger, at: "12:06:00", objects: world.objects() }).sealer.pass();
  await ledger.remove(manifest11);
  world.advance(epochMs("12:07:00"));
  return { ledger, world };
}

async function billable(ledger: Ledger): Promise<number[]> {
  const hours = ["10", "11", "12"].map(async (h) => {
    const start = secondsOf(instant(`${h}:00:00`));
    const [window] = await recordedWindows(ledger, start, start + 3600);
    return window ? addQuantities(await readRecorded(ledger, window)).billableNodeSeconds : 0;
  });
  return Promise.all(hours);
}

async function sealOn(ledger: Ledger, world: World): Promise<void> {
  for (const at of ["12:07:00", "13:06:00", "14:06:00"]) await sealerAt({ ledger, at, world }).sealer.pass();
  assert.deepEqual((await verifyLedger(ledger)).findings, []);
}

test("an end in sealed time whose window was found with other bytes is taken back by the next one; then the claim goes", async (t) => {
  const ended = { status: n1("10:30:00").status ?? {} };
  const known: Change = { at: later, kind: "CapacityClaim", uid: "claim-n1", change: ended };
  const { ledger, world } = await deadLeader(t, [...begin, held, known]);
  assert.deepEqual(await billable(ledger), [2740, 0, 0]);
  await sealerAt({ ledger, at: "12:07:00", world }).sealer.pass();
  assert.deepEqual(await billable(ledger), [2740, 3600, 0], "what was stored first stays");
  assert.deepEqual(
    world.objects().claims.map(({ metadata, status }) => [metadata.name, status?.sealedThrough]),
    [["n1", instant("11:00:00")]],
    "nothing is forgotten before it is recorded",
  );
  await sealOn(ledger, world);
  assert.deepEqual(await billable(ledger), [15 * 60 + 40, 0, 0]);
  assert.deepEqual(world.objects().claims, []);
});

test("a begin in sealed time whose window was found with other bytes is added by the next one", async (t) => {
  const { ledger, world } = await deadLeader(t, [...begin, { ...held, at: later }]);
  await sealOn(ledger, world);
  assert.deepEqual(await billable(ledger), [2740, 3600, 3600]);
  assert.equal(world.objects().claims[0]?.status?.sealedThrough, instant("14:00:00"));
});

test("what only a closing object says stays there until a window has recorded it", async (t) => {
  const goes = (kind: Change["kind"], uid: string): Change => ({ at: later, kind, uid, change: null });
  const gone = [goes("CapacityClaim", "claim-n1"), goes("GPUNodePool", "pool-chat")];
  const { ledger, world } = await deadLeader(t, [...begin, held, ...gone]);
  const left = pool({ deployment: "chat", sizes: [["10:12:00", 1]], deleted: "10:40:00" });
  const ended = n1("10:30:00");
  const claims = [{ ...ended, status: { ...ended.status, sealedThrough: instant("11:00:00") } }];
  await putClosing(ledger, { deployment: undefined, pool: left, claims, clusterId: CLUSTER });
  for (const one of world.leaving()) world.leave(one);
  await sealOn(ledger, world);
  assert.deepEqual(await billable(ledger), [15 * 60 + 40, 0, 0]);
  assert.deepEqual(await ledger.list("closing/"), []);
});

test("an end in sealed time that becomes known between two windows outlives a start in between", async (t) => {
  const ended = { status: n1("11:10:00").status ?? {} };
  const known: Change = { at: later, kind: "CapacityClaim", uid: "claim-n1", change: ended };
  const [ledger, world] = [await freshLedger(t), newWorld([...begin, held, known])];
  world.advance(epochMs("12:06:00"));
  await sealerAt({ ledger, at: "12:06:00", world }).sealer.pass();
  world.advance(epochMs("12:30:00"));
  await sealerAt({ ledger, at: "12:30:00", world }).sealer.pass();
  assert.equal(world.objects().claims.length, 1, "no window holds its end yet");
  await sealOn(ledger, world);
  assert.deepEqual(await billable(ledger), [2740, 600, 0]);
  assert.deepEqual(world.objects().claims, []);
});

test("sizes of a window that waits for its adjustment are kept, whatever is written meanwhile", async (t) => {
  const ledger = await freshLedger(t);
  const world = newWorld([
    ...begin,
    { at: from, kind: "CapacityClaim", uid: "claim-n1", change: n1() },
    {
      at: from,
      kind: "GPUNodePool",
      uid: "pool-other",
      change: pool({ deployment: "other", sizes: [["11:00:00", 0]] }),
    },
  ]);
  world.advance(epochMs("11:06:00"));
  await sealerAt({ ledger, at: "11:06:00", world }).sealer.pass();
  // A process that knew only the other pool died before its manifest.
  const { pools } = world.objects();
  const others = { deployments: [], claims: [], pools: pools.filter(({ metadata }) => metadata.name === "other") };
  await sealerAt({ ledger, at: "12:06:00", objects: others }).sealer.pass();
  await ledger.remove(manifest11);
  for (const at of ["12:07:00", "12:08:00"]) {
    await sealerAt({ ledger, at, world }).sealer.pass();
    const [chat] = world.objects().deployments;
    assert.equal(chat?.status?.metering?.sealedThrough, instant("11:00:00"), "by this mark sizes are forgotten");
  }
  await sealerAt({ ledger, at: "13:06:00", world }).sealer.pass();
  assert.equal(world.objects().deployments[0]?.status?.metering?.sealedThrough, instant("13:00:00"));
  assert.deepEqual(await billable(ledger), [2740, 3600, 3600]);
});
