/** The head that the cluster keeps, on the real API server: what somebody with the bucket's keys plants or cuts off is noticed. */
import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { pathToFileURL } from "node:url";

import { openLedger } from "../../operator/adapters/ledger/open.ts";
import { signerOf } from "../../operator/adapters/ledger/signing.ts";
import { annotations } from "../../operator/api/keys.ts";
import { putClosing } from "../../operator/controllers/closing.ts";
import { HEAD_LEASE, headLeases, newHeadKeeper } from "../../operator/controllers/clusterhead.ts";
import type { HeadKeeper } from "../../operator/controllers/clusterhead.ts";
import type { MeteredObjects } from "../../operator/controllers/facts.ts";
import { readRecorded, recordedWindows } from "../../operator/controllers/ledgerreads.ts";
import { verifyLedger } from "../../operator/controllers/verify.ts";
import { addQuantities } from "../../operator/plan/metering/fold.ts";
import { shardOf } from "../../operator/plan/metering/identity.ts";
import type { Ledger } from "../../operator/ports.ts";
import { testCluster, testNamespace } from "../cluster/session.ts";
import { newRig } from "../runtime/rig.ts";
import { claim, deployment, pool } from "./meteringobjects.ts";
import { awayLedger, dyingAt, dump, gone, running, sealerAt } from "./sealerrig.ts";

const manifest = (h: string) => `v1/dt=2026-11-21/hr=${h}/manifest.json`;

async function world(t: TestContext) {
  const namespace = await testNamespace(t);
  const { kube } = newRig(t, await testCluster(), { userAgent: "sealer-head" });
  const keeper = () => newHeadKeeper({ kube, namespace });
  const folder = await mkdtemp(join(tmpdir(), "berth-head-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const ledger = openLedger({ url: pathToFileURL(folder).href });
  await putClosing(ledger, gone);
  const at = (time: string, on: Ledger = ledger, signer?: ReturnType<typeof signerOf>, objects = running) =>
    sealerAt({ ledger: on, at: time, objects, headKeeper: keeper(), ...(signer && { signer }) });
  return { kube, namespace, keeper, ledger, at };
}

async function mismatch(registry: { metrics(): Promise<string> }): Promise<string | undefined> {
  return /^berth_ledger_head_mismatch (\d)$/m.exec(await registry.metrics())?.[1];
}

test("each sealed window is kept; an auditor's verify compares it", async (t) => {
  const { keeper, ledger, at } = await world(t);
  await at("11:06:00").sealer.pass();
  const early = await keeper().read();
  assert.equal(early?.key, manifest("10"));
  await at("12:06:00").sealer.pass();
  const kept = await keeper().read();
  const { head, findings } = await verifyLedger(ledger, { kept });
  assert.deepEqual([kept?.key, kept?.sha256, kept?.windowEnd], [head?.key, head?.sha256, head?.windowEnd]);
  assert.deepEqual(findings, []);
  await ledger.remove(manifest("11"));
  assert.match(
    (await verifyLedger(ledger, { kept })).findings[0]?.problem ?? "",
    /that the cluster keeps as the head: the tail was cut off/,
  );
});

test("a process that never reached the ledger knows its lag from the head that the cluster keeps", async (t) => {
  const { at } = await world(t);
  await at("11:06:00").sealer.pass();
  const { sealer, registry } = at("15:06:00", awayLedger);
  sealer.start();
  await assert.rejects(sealer.pass(), /connection refused/);
  // The window from 11:00 ended at 12:00.
  assert.match(await registry.metrics(), /^berth_ledger_seal_lag_seconds 11160$/m);
  await sealer.stop();
});

test("a tail that was cut off holds sealing back, with the remedy in its message", async (t) => {
  const { kube, namespace, ledger, at } = await world(t);
  await at("12:06:00").sealer.pass();
  await ledger.remove(manifest("11"));
  const { sealer, registry } = at("13:06:00");
  await assert.rejects(sealer.pass(), {
    reason: "LedgerHeadForeign",
    message:
      /hr=11\/manifest\.json in the ledger is gone: the newest windows were cut off; nothing is sealed: .*delete the Lease berth-ledger-head/,
  });
  assert.equal(await mismatch(registry), "1");
  assert.equal(await ledger.get(manifest("12")), undefined);
  await kube.remove(headLeases, namespace, HEAD_LEASE);
  await sealer.pass();
  assert.equal(await mismatch(registry), "0");
});

test("a planted window and a rewritten one hold sealing back and are named", async (t) => {
  const { ledger, at } = await world(t);
  await at("11:06:00").sealer.pass();
  const text = Buffer.from((await ledger.get(manifest("10"))) ?? []).toString();
  await ledger.putOnce(manifest("20"), Buffer.from(text.replaceAll("T10:", "T20:").replaceAll("T11:", "T21:")));
  await assert.rejects(
    at("12:06:00").sealer.pass(),
    /hr=20\/manifest\.json in the ledger was not sealed by this operator/,
  );
  await ledger.remove(manifest("20"));
  await ledger.remove(manifest("10"));
  await ledger.putOnce(manifest("10"), Buffer.from(text.replace('"billableNodeSeconds":', '"billableNodeSeconds":1')));
  await assert.rejects(at("12:06:00").sealer.pass(), /hr=10\/manifest\.json in the ledger was rewritten/);
});

test("killed before or after any request, with and without a key: the next process recognises its own window and goes on", async (t) => {
  const { ledger: first, at } = await world(t);
  const { privateKey } = generateKeyPairSync("ed25519");
  const signer = signerOf(privateKey.export({ type: "pkcs8", format: "pem" }).toString(), "a test");
  await at("11:06:00", first).sealer.pass();
  for (const key of [undefined, signer]) {
    const wanted = await fresh(t, key);
    for (const when of ["before", "after"] as const) {
      for (let n = 1, died = true; died; n++) {
        const { ledger, at: here } = await world(t);
        const dying = dyingAt(ledger, n, when);
        await here("12:06:00", dying.ledger, key)
          .sealer.pass()
          .catch(() => undefined);
        died = dying.state.died;
        await here("12:06:00", ledger, key).sealer.pass();
        assert.deepEqual(await dump(ledger), wanted, `killed ${when} request ${n}`);
      }
    }
  }
});

async function fresh(t: TestContext, signer: ReturnType<typeof signerOf> | undefined): Promise<Record<string, string>> {
  const { ledger, at } = await world(t);
  await at("12:06:00", ledger, signer).sealer.pass();
  return dump(ledger);
}

test("a process that was leader once cannot put its older head in place of a newer one", async (t) => {
  const { keeper, at } = await world(t);
  await at("11:06:00").sealer.pass();
  const sleeper = keeper();
  const old = await sleeper.read();
  await at("12:06:00").sealer.pass();
  assert.ok(old);
  await assert.rejects(sleeper.write(old), { name: "RetryError" });
  assert.equal((await keeper().read())?.key, manifest("11"));
});

/** n1 turns out to have ended in the hour before the one that the dead process sealed. */
const endedLate: MeteredObjects = {
  ...running,
  claims: [
    claim({ id: "n1", deployment: "chat", claimed: "10:14:20", released: "10:40:00" }),
    ...running.claims.filter(({ metadata }) => metadata.name !== "n1"),
  ],
};

async function billable(ledger: Ledger): Promise<number[]> {
  const sums: number[] = [];
  for (const window of await recordedWindows(ledger, 0, Infinity))
    sums.push(addQuantities(await readRecorded(ledger, window)).billableNodeSeconds);
  return sums;
}

test("killed after any request, and something becomes known late before the next pass: its window is recognised and adjusted", async (t) => {
  const { privateKey } = generateKeyPairSync("ed25519");
  const signer = signerOf(privateKey.export({ type: "pkcs8", format: "pem" }).toString(), "a test");
  for (const key of [undefined, signer]) {
    for (let n = 1, died = true; died; n++) {
      const { ledger, at } = await world(t);
      await at("11:06:00", ledger, key).sealer.pass();
      const dying = dyingAt(ledger, n, "after");
      await at("12:06:00", dying.ledger, key)
        .sealer.pass()
        .catch(() => undefined);
      died = dying.state.died;
      for (const time of ["12:06:00", "13:06:00"]) await at(time, ledger, key, endedLate).sealer.pass();
      // One until 11:20; 10:14:20 to 10:40; 11:33 to 11:50.
      const told = `killed after request ${n}`;
      assert.deepEqual((await billable(ledger)).slice(1, 3), [1540 + 3600, 17 * 60 + 20 * 60], told);
      assert.deepEqual((await verifyLedger(ledger)).findings, [], told);
    }
  }
});

test("one leader sleeps before its manifest, another that knows more dies there: the one that is stored is recognised", async (t) => {
  const { ledger, keeper } = await world(t);
  const shards = 4;
  const taken = ["chat", "gone"].map((name) => shardOf(`uid-${name}`, shards));
  const name = ["d1", "d2", "d3", "d4", "d5", "d6"].find((one) => !taken.includes(shardOf(`uid-${one}`, shards))) ?? "";
  const more: MeteredObjects = {
    deployments: [...running.deployments, deployment(name)],
    pools: [...running.pools, pool({ deployment: name, sizes: [["11:05:00", 1]] })],
    claims: [...running.claims, claim({ id: "n7", deployment: name, claimed: "11:10:00" })],
  };
  const at = (time: string, on: Ledger, objects = running) =>
    sealerAt({ ledger: on, at: time, objects, shards, headKeeper: keeper() }).sealer.pass();
  await at("11:06:00", ledger);
  const before = (key: string, run: () => Promise<void>): Ledger => ({
    ...ledger,
    putOnce: async (put, body) => {
      if (put === key) await run();
      return ledger.putOnce(put, body);
    },
  });
  const dies = before(manifest("11"), () => Promise.reject(new Error("killed")));
  const sleeps = before(manifest("11"), () => assert.rejects(at("12:06:00", dies, more), /killed/));
  await assert.rejects(at("12:06:00", sleeps), { name: "RetryError" });
  const was = await billable(ledger);
  for (const time of ["12:06:00", "13:06:00"]) await at(time, ledger, more);
  assert.equal((await billable(ledger))[2], (was[2] ?? 0) + 50 * 60);
  assert.deepEqual((await verifyLedger(ledger)).findings, []);
});

/** After its n-th request of the ledger or the Lease, something else happens. */
function afterRequest(n: number, world: { ledger: Ledger; headKeeper: HeadKeeper }, run: () => Promise<unknown>) {
  let count = 0;
  const state = { ran: false };
  const then = async <T>(answer: Promise<T>): Promise<T> => {
    const given = await answer;
    if (++count === n) {
      state.ran = true;
      await run();
    }
    return given;
  };
  const { ledger, headKeeper } = world;
  const interrupted = {
    ledger: {
      ...ledger,
      list: (...given: Parameters<Ledger["list"]>) => then(ledger.list(...given)),
      get: (key: string) => then(ledger.get(key)),
      putOnce: (...given: Parameters<Ledger["putOnce"]>) => then(ledger.putOnce(...given)),
    },
    headKeeper: { ...headKeeper, read: () => then(headKeeper.read()) },
  };
  return { ...interrupted, state };
}

test("another honest leader seals after any request of a pass: nothing of it is taken for planted or cut off", async (t) => {
  for (const objects of [running, endedLate]) {
    for (let n = 1, ran = true; ran; n++) {
      const { ledger, at, keeper } = await world(t);
      await at("11:06:00").sealer.pass();
      const other = at("12:06:00", ledger, undefined, objects);
      const first = afterRequest(n, { ledger, headKeeper: keeper() }, () => other.sealer.pass());
      const one = sealerAt({ ...first, at: "12:06:00" });
      const told = `interrupted after request ${n}`;
      await one.sealer.pass().catch((error: unknown) => assert.equal((error as Error).name, "RetryError", told));
      ran = first.state.ran;
      assert.notEqual(await mismatch(one.registry), "1", told);
      for (const time of ["12:06:00", "13:06:00"]) await at(time, ledger, undefined, objects).sealer.pass();
      assert.deepEqual((await verifyLedger(ledger, { kept: await keeper().read() })).findings, [], told);
    }
  }
});

test("a Lease of an older build, without what was announced: what the cluster's objects still give is recognised", async (t) => {
  const { kube, namespace, ledger, at, keeper } = await world(t);
  await at("11:06:00").sealer.pass();
  const kept = await keeper().read();
  await at("12:06:00").sealer.pass();
  const older = { [annotations.ledgerHeadKey]: kept?.key, [annotations.ledgerHead]: kept?.sha256 };
  const metadata = { annotations: { ...older, [annotations.ledgerAnnounced]: null } };
  const asBeforeSettling = async (): Promise<void> => {
    await kube.mergePatch(headLeases, namespace, HEAD_LEASE, { metadata }, { manager: "test" });
    await putClosing(ledger, gone);
  };
  await asBeforeSettling();
  await at("12:06:00").sealer.pass();
  assert.equal((await keeper().read())?.key, manifest("11"));
  await asBeforeSettling();
  await assert.rejects(at("12:06:00", ledger, undefined, endedLate).sealer.pass(), { reason: "LedgerHeadForeign" });
});

test("two writes to the Lease a window, none between windows", async (t) => {
  const { kube, namespace, ledger } = await world(t);
  let writes = 0;
  const counted: Parameters<typeof newHeadKeeper>[0]["kube"] = {
    read: (...given) => kube.read(...given),
    create: (...given) => ((writes += 1), kube.create(...given)),
    mergePatch: (...given) => ((writes += 1), kube.mergePatch(...given)),
  };
  for (const [at, wanted] of [
    ["11:06:00", 4],
    ["12:06:00", 6],
    ["12:30:00", 6],
  ] as const) {
    await sealerAt({ ledger, at, headKeeper: newHeadKeeper({ kube: counted, namespace }) }).sealer.pass();
    assert.equal(writes, wanted, at);
  }
});

test("the place of another cluster is left alone: nothing is sealed, adopted or removed, and a chain of two clusters is a doubt", async (t) => {
  const { ledger, at, keeper } = await world(t);
  const { keeper: others } = await world(t);
  for (const key of await ledger.list("closing/")) await ledger.remove(key);
  const cluster = "another-cluster";
  const elsewhere = { ledger, at: "11:06:00", objects: running, headKeeper: others() };
  await sealerAt({ ...elsewhere, clusterId: cluster }).sealer.pass();
  const before = await dump(ledger);
  await assert.rejects(at("12:06:00").sealer.pass(), {
    reason: "LedgerClusterForeign",
    message: /hr=10\/manifest.json in the ledger belongs to the cluster another-cluster, this is .*place of its own/,
  });
  assert.deepEqual(await dump(ledger), before);
  assert.equal(await keeper().read(), undefined);
  await sealerAt({ ledger, at: "12:06:00" }).sealer.pass();
  const { doubts } = await verifyLedger(ledger);
  const rebuilt = /cluster [-0-9a-f]+, the window before it of another-cluster: one that was rebuilt, or two/;
  assert.ok(
    doubts.some(({ problem }) => rebuilt.test(problem)),
    JSON.stringify(doubts),
  );
});
