// What a tenant's requests, tricks and renamings do to the bill: nothing. The whole operator on a real control plane, windows of 5 s.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import type { CapacityClaim } from "../../operator/api/capacityclaim.ts";
import { sealedRecords } from "../chaos/ledger.ts";
import type { LedgerRecord } from "../chaos/ledger.ts";
import { apiPath } from "../cluster/client.ts";
import { eventually } from "../cluster/eventually.ts";
import { closeStage, stage, tenant } from "./stage.ts";
import type { Tenant } from "./stage.ts";

const WINDOW_SECONDS = 5;
before(async () => {
  await stage({ windowSeconds: String(WINDOW_SECONDS), sealGraceSeconds: "1", sealSpreadSeconds: "0" });
});
after(closeStage);

const secondOf = (instant: string): number => Date.parse(instant) / 1000;

/** Records of the whole windows in [from, to) milliseconds of one deployment, once all of them are sealed. */
async function sealedBetween(uid: string, from: number, to: number): Promise<LedgerRecord[]> {
  const { ledger } = await stage();
  const own = (): LedgerRecord[] => sealedRecords(ledger).filter(({ deploymentUID }) => deploymentUID === uid);
  await eventually(() => own().some(({ windowStart }) => secondOf(windowStart) * 1000 >= to), {
    what: "the windows are sealed",
    deadlineMs: 60_000,
    recheckMs: 500,
  });
  return own().filter(({ windowStart }) => {
    const start = secondOf(windowStart) * 1000;
    return start >= from && start + WINDOW_SECONDS * 1000 <= to;
  });
}

/** The record's bytes but for the id and the place of its window in time. */
function bytesOf({ id: _id, windowStart, from, to, ...record }: LedgerRecord): string {
  const { windowEnd: _end, ...rest } = record as typeof record & { windowEnd?: string };
  const offset = (instant: string): number => secondOf(instant) - secondOf(windowStart);
  return JSON.stringify({ ...rest, from: offset(from), to: offset(to) });
}

/** Runs for `windows` whole windows; resolves with the time that it took, in milliseconds since the epoch. */
async function during(windows: number, run: () => Promise<void>): Promise<{ from: number; to: number }> {
  const from = Date.now();
  const to = from + (windows + 1) * WINDOW_SECONDS * 1000;
  while (Date.now() < to) await run();
  return { from, to: Date.now() };
}

describe("traffic", () => {
  test("none, heavy and failing, and edited counters leave the same bytes", async (t) => {
    const at = await tenant(t, { nodes: 2 });
    await at.deploy("chat", { replicas: 2 });
    const uid = (await at.ready("chat")).metadata.uid ?? "";
    const { admin } = at.cluster;
    let rounds = 0;
    const onPods = async (change: (pod: string) => Promise<unknown>): Promise<void> => {
      rounds += 1;
      for (const { metadata } of await at.pods()) await change(at.path("pods", metadata.name)).catch(() => undefined);
    };
    const none = await during(2, async () => void (await at.get("chat")));
    const heavy = await during(2, () =>
      onPods((pod) =>
        admin.patch(pod, { metadata: { annotations: { "vllm/prompt_tokens_total": String(rounds * 1e6) } } }),
      ),
    );
    const failing = await during(2, () =>
      onPods((pod) => {
        const status = rounds % 2 === 0 ? "True" : "False";
        const conditions = [
          { type: "Ready", status },
          { type: "ContainersReady", status },
        ];
        return admin.patch(`${pod}/status`, { status: { conditions } });
      }),
    );
    const edited = await during(2, () =>
      onPods((pod) => admin.patch(pod, { metadata: { annotations: { "vllm/prompt_tokens_total": "0" } } })),
    );
    const phases = await Promise.all(
      [none, heavy, failing, edited].map(({ from, to }) => sealedBetween(uid, from, to)),
    );
    for (const records of phases) assert.ok(records.length >= 2, "each phase has whole windows");
    const bytes = new Set(phases.flat().map(bytesOf));
    assert.equal(bytes.size, 1, [...bytes].join("\n"));
    assert.match([...bytes][0] ?? "", new RegExp(`"billableNodeSeconds":${String(2 * WINDOW_SECONDS)}`));
    assert.ok(rounds > 10, `${String(rounds)} rounds`);
  });
});

const claimsOf = async ({ cluster, namespace }: Tenant): Promise<CapacityClaim[]> => {
  const { items } = await cluster.admin.list<CapacityClaim>(apiPath("berth.dev/v1alpha1", "capacityclaims"));
  return items.filter(({ spec }) => spec.namespace === namespace);
};

/** Claims that begin and end within one second of the server's clock hold nothing that a record could name. */
async function untilClaimsLasted(at: Tenant, seconds: number): Promise<void> {
  const began = (await claimsOf(at)).map(({ status }) => Date.parse(status?.claimedAt?.time ?? ""));
  assert.ok(began.length > 0 && !began.some(Number.isNaN), "every claim has begun");
  const over = Math.max(...began) + seconds * 1000;
  await eventually(() => Promise.resolve(Date.now() >= over), { what: "the claims' seconds are over" });
}

describe("tricks", () => {
  test("pods that linger behind a budget of the tenant's own hold a node no longer than the drain's grace, and are billed", async (t) => {
    const at = await tenant(t, { nodes: 2, drain: "600s" });
    await at.deploy("chat", { replicas: 2 });
    await at.ready("chat");
    await at.cluster.admin.create(at.path("poddisruptionbudgets"), {
      apiVersion: "policy/v1",
      kind: "PodDisruptionBudget",
      metadata: { name: "never" },
      spec: { maxUnavailable: 0, selector: { matchLabels: {} } },
    });
    const shrunkAt = Date.now();
    await at.patch("chat", { replicas: 1 });
    const over = await eventually(async () => (await claimsOf(at)).find(({ status }) => status?.releasedAt), {
      what: "one node is given back",
      deadlineMs: 60_000,
    });
    const end = Date.parse(over.status?.releasedAt?.time ?? "");
    assert.ok(end - shrunkAt < 45_000, "the grace of 600 s was not waited for");
    const { sizeLog = [] } = (await at.pool("chat")).status ?? {};
    const fell = Date.parse(sizeLog.at(-1)?.since ?? "");
    assert.equal(sizeLog.at(-1)?.size, 1);
    assert.ok(fell >= shrunkAt + 4_000, "what the drain took was wanted, so it is billed");
    assert.ok(end >= fell);
  });

  test("an account that the namespace was not allowed is not billed", async (t) => {
    const at = await tenant(t);
    await at.deploy("chat");
    await at.ready("chat");
    await at.patch("chat", { billing: { account: "somebody-else" } });
    await at.until("chat", "the account is refused", ({ status }) =>
      (status?.conditions ?? []).some(({ reason }) => reason === "AccountNotAllowed"),
    );
    const pool = await at.pool("chat");
    assert.equal(pool.spec.account, at.namespace);
    assert.deepEqual([...new Set(pool.status?.sizeLog?.map(({ account }) => account))], [at.namespace]);
  });

  test("a name that is used again is another deployment, and edited labels are nobody's business", async (t) => {
    const at = await tenant(t);
    await at.deploy("chat");
    const first = await at.ready("chat");
    const { admin } = at.cluster;
    await admin.patch(at.path("modeldeployments", "chat"), { metadata: { labels: { account: "free", tier: "none" } } });
    await untilClaimsLasted(at, 2);
    await at.kubectl("delete", "mdep", "chat", "--timeout=60s");
    await at.deploy("chat");
    const second = await at.ready("chat");
    const uids = [first.metadata.uid ?? "", second.metadata.uid ?? ""];
    assert.notEqual(uids[0], uids[1]);
    const { ledger } = await stage();
    const records = await eventually(
      () => {
        const all = uids.map((uid) => sealedRecords(ledger).filter(({ deploymentUID }) => deploymentUID === uid));
        return all.every((some) => some.some(({ claims }) => claims.length > 0)) && all;
      },
      { what: "both lives are sealed", deadlineMs: 60_000, recheckMs: 500 },
    );
    const [before, now] = records.map((some) => new Set(some.flatMap(({ claims }) => claims.map(({ id }) => id))));
    assert.ok(
      [...(before ?? [])].every((id) => !now?.has(id)),
      "no claim is in both",
    );
  });
});
