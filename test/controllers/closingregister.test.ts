/** Closing objects count only where the cluster knows that they were left: on a real API server, beside a ledger that others write to. */
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { pathToFileURL } from "node:url";

import { openLedger } from "../../operator/adapters/ledger/open.ts";
import { CLOSING_SCHEMA } from "../../operator/api/ledger.ts";
import { annotations } from "../../operator/api/keys.ts";
import { CLOSINGS_LEASE, newClosingRegister } from "../../operator/controllers/closingregister.ts";
import { headLeases } from "../../operator/controllers/clusterhead.ts";
import { putClosing } from "../../operator/controllers/closing.ts";
import { readSealed, sealedKeys } from "../../operator/controllers/ledgerreads.ts";
import { addQuantities } from "../../operator/plan/metering/fold.ts";
import { canonicalBytes } from "../../operator/plan/metering/canonical.ts";
import type { Ledger } from "../../operator/ports.ts";
import { testCluster, testNamespace } from "../cluster/session.ts";
import { CLUSTER, claim, deployment, instant, pool } from "./meteringobjects.ts";
import { newRig } from "../runtime/rig.ts";
import { dump, dyingAt, gone, running, sealerAt } from "./sealerrig.ts";

/** With `isBegun` a sealer of this cluster has looked at the ledger once, when nothing lay there. */
async function world(t: TestContext, { isBegun = true } = {}) {
  const namespace = await testNamespace(t);
  const { kube } = newRig(t, await testCluster(), { userAgent: "closings" });
  const folder = await mkdtemp(join(tmpdir(), "berth-closings-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const ledger = openLedger({ url: pathToFileURL(folder).href });
  await ledger.probe();
  const register = newClosingRegister({ kube, namespace });
  if (isBegun) await sealerAt({ ledger, at: "10:06:00", register }).sealer.pass();
  const noted = async () => {
    const names = Object.keys((await kube.read(headLeases, namespace, CLOSINGS_LEASE))?.metadata.annotations ?? {});
    return names.filter((name) => name.startsWith(annotations.closingOf));
  };
  return { kube, namespace, ledger, register, noted };
}

const names = { namespace: "team-a", deploymentName: "chat", deploymentUID: "uid-chat", poolUID: "pool-chat" };
const shape = { sku: "dedicated.l4.1", gpus: 1 };

/** Fifty nodes for chat, whoever says so. */
function planted(over: object = {}): Uint8Array {
  return canonicalBytes({
    ...{ schema: CLOSING_SCHEMA, cluster: CLUSTER, ...names, ...shape },
    steps: [{ since: instant("10:00:00"), size: 50, account: "team-a", tags: {} }],
    claims: Array.from({ length: 50 }, (_, n) => ({ id: `fake-${String(n)}`, claimedAt: instant("10:00:00") })),
    ...over,
  });
}
const chatKey = "closing/uid-chat/pool-chat.json";

async function billable(ledger: Ledger): Promise<number> {
  let sum = 0;
  for (const key of await sealedKeys(ledger, 0, Infinity))
    sum += addQuantities((await readSealed(ledger, key)).records).billableNodeSeconds;
  return sum;
}

test("what lies there for a pool that lives changes no second, and is not removed", async (t) => {
  const { ledger, register } = await world(t);
  await sealerAt({ ledger, at: "11:06:00", register }).sealer.pass();
  const honest = await billable(ledger);
  for (const forged of [planted(), planted({ endedAt: instant("10:20:00"), steps: [], claims: [] })]) {
    const { ledger: other, register: own } = await world(t);
    await other.putOnce(chatKey, forged);
    await sealerAt({ ledger: other, at: "11:06:00", register: own }).sealer.pass();
    assert.equal(await billable(other), honest);
    assert.ok(await other.get(chatKey));
  }
});

test("what lies there for a pool that goes changes no second before the pool has left its own, and then stops its end", async (t) => {
  const { ledger, register } = await world(t);
  const leaving = pool({ deployment: "chat", sizes: [["10:12:00", 1]], deleted: "10:50:00" });
  const objects = {
    deployments: [deployment("chat", "10:50:00")],
    pools: [leaving],
    claims: [claim({ id: "n1", deployment: "chat", claimed: "10:14:20", released: "10:52:00" })],
  };
  await ledger.putOnce(chatKey, planted());
  await sealerAt({ ledger, at: "11:06:00", register, objects }).sealer.pass();
  // Wanted until 10:50.
  assert.equal(await billable(ledger), 35 * 60 + 40);
  const input = { deployment: undefined, pool: leaving, claims: objects.claims, clusterId: CLUSTER };
  await assert.rejects(putClosing(ledger, input, register), {
    reason: "LedgerClosingForeign",
    message: new RegExp(`${chatKey} in the ledger was not left by this operator.*move it out`),
  });
  await ledger.remove(chatKey);
  assert.equal(await putClosing(ledger, input, register), "created");
});

test("what lies there for a pool that nobody knows, or under another key, stops sealing with its key", async (t) => {
  const elsewhere = { deploymentUID: "uid-x", poolUID: "pool-x" };
  const cases: readonly [string, Uint8Array, RegExp][] = [
    ["closing/uid-x/pool-x.json", planted(elsewhere), /was not left by this operator/],
    ["closing/uid-y/pool-x.json", planted(elsewhere), /has what belongs at closing\/uid-x\/pool-x.json/],
  ];
  for (const [key, body, problem] of cases) {
    const { ledger, register } = await world(t);
    await ledger.putOnce(key, body);
    const { sealer } = sealerAt({ ledger, at: "11:06:00", register });
    await assert.rejects(sealer.pass(), { reason: "LedgerClosingForeign", message: problem });
    assert.deepEqual(await ledger.list("v1/"), []);
    await ledger.remove(key);
    await sealer.pass();
    assert.equal(await billable(ledger), 45 * 60 + 40);
  }
});

test("killed before or after any request to the ledger, the next pass leaves the pool behind and the sealer takes it in", async (t) => {
  const { ledger: whole, register: first } = await world(t);
  await putClosing(whole, gone, first);
  await sealerAt({ ledger: whole, at: "12:06:00", register: first }).sealer.pass();
  const wanted = await dump(whole);
  for (const when of ["before", "after"] as const) {
    for (let n = 1, died = true; died; n++) {
      const { ledger, register, noted } = await world(t);
      const dying = dyingAt(ledger, n, when);
      const life = async (on: Ledger, input = gone): Promise<void> => {
        await putClosing(on, input, register);
        await sealerAt({ ledger: on, at: "12:06:00", register }).sealer.pass();
      };
      await life(dying.ledger).catch(() => undefined);
      died = dying.state.died;
      // Another process may have sealed it: then there is nothing to leave behind any more.
      if ((await ledger.list("v1/")).length === 0) await putClosing(ledger, gone, register);
      await sealerAt({ ledger, at: "12:06:00", register }).sealer.pass();
      assert.deepEqual(await dump(ledger), wanted, `killed ${when} request ${String(n)}`);
      assert.ok((await noted()).length <= 1);
    }
  }
});

test("each of two passes that know something else may be the one whose bytes are there", async (t) => {
  const { ledger, register, noted } = await world(t);
  const later = { ...gone, deployment: undefined };
  const { ledger: never } = await world(t);
  await putClosing(never, later, register);
  assert.equal(await putClosing(ledger, gone, register), "created");
  assert.equal(await putClosing(ledger, later, register), "kept");
  assert.equal((await noted()).length, 2);
  await sealerAt({ ledger, at: "12:06:00", register }).sealer.pass();
  assert.deepEqual([await ledger.list("closing/"), await noted()], [[], []]);
});

test("where nothing was kept yet, what lies there is taken as it is", async (t) => {
  const { ledger, register, noted } = await world(t, { isBegun: false });
  await putClosing(ledger, gone);
  await sealerAt({ ledger, at: "10:06:00", register, objects: running }).sealer.pass();
  assert.equal((await noted()).length, 1);
  assert.equal(await putClosing(ledger, { ...gone, claims: [] }, register), "kept");
  await sealerAt({ ledger, at: "12:06:00", register }).sealer.pass();
  assert.deepEqual([await ledger.list("closing/"), await noted()], [[], []]);
});

test("what another cluster left there counts for nothing, stays, and holds nothing up", async (t) => {
  const { ledger, register } = await world(t);
  const key = "closing/uid-x/pool-x.json";
  await ledger.putOnce(key, planted({ deploymentUID: "uid-x", poolUID: "pool-x", cluster: "another" }));
  await sealerAt({ ledger, at: "11:06:00", register }).sealer.pass();
  assert.equal(await billable(ledger), 45 * 60 + 40);
  assert.ok(await ledger.get(key));
});

test("a pool that leaves its object again, while the sealer has removed the first and not forgotten it yet, stops nobody", async (t) => {
  const { ledger, register, noted } = await world(t);
  await putClosing(ledger, gone, register);
  const again: Ledger = {
    ...ledger,
    async remove(key) {
      await ledger.remove(key);
      assert.equal(await putClosing(ledger, gone, register), "created");
    },
  };
  await sealerAt({ ledger: again, at: "12:06:00", register }).sealer.pass();
  assert.equal((await noted()).length, 1);
  const before = await billable(ledger);
  await sealerAt({ ledger, at: "13:06:00", register }).sealer.pass();
  assert.equal((await billable(ledger)) - before, 3_600, "chat alone");
  assert.deepEqual([await ledger.list("closing/"), await noted()], [[], []]);
});

test("what a process noted and removed before it died is forgotten after two passes without pool and object", async (t) => {
  const { ledger, register, noted } = await world(t);
  await putClosing(ledger, gone, register);
  await ledger.remove("closing/uid-gone/pool-gone.json");
  const { sealer, clock } = sealerAt({ ledger, at: "11:06:00", register });
  await sealer.pass();
  assert.equal((await noted()).length, 1);
  clock.advance(3_600_000);
  await sealer.pass();
  assert.deepEqual(await noted(), []);
});

test("a pool that is there again, since the cluster was set back, ends as it had left it", async (t) => {
  const { ledger, register } = await world(t);
  await putClosing(ledger, gone, register);
  const { metadata, ...rest } = gone.pool;
  const { deletionTimestamp: _, ...living } = metadata;
  const objects = { ...running, pools: [...running.pools, { ...rest, metadata: living }] };
  const { ledger: other, register: own } = await world(t);
  await putClosing(other, gone, own);
  await sealerAt({ ledger, at: "12:06:00", register, objects }).sealer.pass();
  await sealerAt({ ledger: other, at: "12:06:00", register: own }).sealer.pass();
  assert.equal(await billable(ledger), await billable(other));
});

test("who only reads begins no register", async (t) => {
  const { register, kube, namespace } = await world(t, { isBegun: false });
  assert.equal(await register.peek(), undefined);
  assert.equal(await kube.read(headLeases, namespace, CLOSINGS_LEASE), undefined);
});
