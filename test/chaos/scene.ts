// A running Berth with tenants of both providers, an observer beside it, and the comparison of its books with what was observed.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { pathToFileURL } from "node:url";
import type { Replica } from "../chart/rendered.ts";
import { writeVerbs } from "../cluster/audit.ts";
import type { AuditMark } from "../cluster/audit.ts";
import type { ControlPlane } from "../cluster/controlplane.ts";
import { eventually } from "../cluster/eventually.ts";
import { startApiProxy } from "../cluster/faultproxy.ts";
import type { FaultProxy } from "../cluster/faultproxy.ts";
import { ownCluster } from "../cluster/session.ts";
import { countSeconds } from "./count.ts";
import { OWN_NODES, tenants } from "./history.ts";
import { deliveredLines, filesOf, sealedLines, sealedRecords, totals } from "./ledger.ts";
import { leftovers } from "./leftovers.ts";
import { observe } from "./observer.ts";
import type { Observer } from "./observer.ts";
import { OPERATOR_USER, addOwnNodes, addTenant, installBerth, ledgerFolder } from "./stage.ts";
import { startBerth } from "./stage.ts";

export interface Scene {
  readonly t: TestContext;
  readonly cluster: ControlPlane;
  readonly proxy: FaultProxy;
  readonly operator: Replica;
  readonly observer: Observer;
  readonly ledger: string;
  /** Folder of the JSON-lines sink. */
  readonly delivered: string;
  readonly mark: AuditMark;
}

export async function setUp(t: TestContext): Promise<Scene> {
  const cluster = await ownCluster(t, { nodeMonitorGracePeriod: "10m" });
  const delivered = mkdtempSync(join(tmpdir(), "berth-delivered-"));
  t.after(() => rmSync(delivered, { recursive: true }));
  // The claim is only what the chart asks for: processes of this machine write to the folder itself.
  const sink = { name: "files", type: "jsonl", url: pathToFileURL(delivered).href, existingClaim: "berth-ledger" };
  await installBerth(cluster, { metering: { sinks: [sink] } });
  await addOwnNodes(cluster, OWN_NODES);
  for (const tenant of tenants) await addTenant(cluster, tenant);
  const proxy = await startApiProxy(cluster);
  t.after(() => proxy.close());
  const observer = await observe(cluster);
  t.after(() => observer.stop());
  const mark = await cluster.audit.mark();
  const operator = await startBerth(cluster, "operator", proxy.url);
  t.after(() => operator.kill());
  return { t, cluster, proxy, operator, observer, ledger: await ledgerFolder(cluster), delivered, mark };
}

/** The whole of it, from sealed windows and the open one, as the usage API tells it while everything runs. */
export async function compareOpen({ cluster, operator, observer }: Scene): Promise<void> {
  const day = (at: number): string => new Date(at).toISOString().slice(0, 10);
  const query = `from=${day(Date.now() - 86_400_000)}&to=${day(Date.now() + 86_400_000)}`;
  const authorization = `Bearer ${cluster.info.adminIdentity.token ?? ""}`;
  const response = await fetch(`${operator.urls["usage"] ?? ""}/v1/usage?${query}`, { headers: { authorization } });
  assert.equal(response.status, 200);
  const { asOf, records } = (await response.json()) as {
    asOf: string;
    records: Parameters<typeof totals>[0];
  };
  await observer.catchUp();
  const told = totals(records);
  const until = Date.parse(asOf) / 1000;
  for (const [uid, name] of observer.names) compare(name, told.get(uid), countSeconds(observer.seen(), uid, until));
}

const nothing = { claimed: 0, desired: 0, billable: 0 };

function compare(name: string, told: object = nothing, counted: object): void {
  assert.deepEqual(told, counted, `seconds of ${name}: told by Berth, counted by the observer`);
}

export function compareSealed({ ledger, observer }: Scene): void {
  const records = sealedRecords(ledger);
  const keys = records.map(({ deploymentUID, from }) => `${deploymentUID} ${from}`);
  assert.equal(new Set(keys).size, keys.length, "a stretch of time is recorded once");
  assert.equal(new Set(records.map(({ id }) => id)).size, records.length, "ids are used once");
  const sealed = totals(records);
  const until = Math.ceil(Date.now() / 1000);
  for (const [uid, name] of observer.names) compare(name, sealed.get(uid), countSeconds(observer.seen(), uid, until));
  const estimated = records.reduce((sum, record) => sum + record.estimatedNodeSeconds, 0);
  assert.equal(estimated, 0, "every instant has its evidence");
}

/** The server's own log says the same as the nodes: as many writes as changes of hands, each in its second. */
export async function compareAudit({ cluster, observer, mark }: Scene): Promise<void> {
  const wanted = { user: OPERATOR_USER, verbs: writeVerbs, resources: ["nodes"] };
  const entries = await cluster.audit.since(mark, { ...wanted, codes: (code) => code < 300 || code >= 499 });
  const writes = entries.filter(({ uri }) => uri.includes("fieldManager=berth-claim"));
  const seconds = (list: readonly { name: string; second: number }[]): string[] =>
    list.map(({ name, second }) => `${name} ${String(second)}`);
  const logged = writes.map(({ name, receivedAt }) => ({ name, second: Math.floor(Date.parse(receivedAt) / 1000) }));
  const noted = observer.handovers.map(({ node, second }) => ({ name: node, second }));
  // A write whose sender died is logged as failed, and may have been carried out.
  const sure = writes.filter(({ code }) => code < 300).length;
  assert.ok(sure <= noted.length, "every write of a claim or release changed hands once");
  // A write that is received at the end of a second may be stamped with the next.
  for (const { name, second } of noted) {
    const at = logged.findIndex((entry) => entry.name === name && second - entry.second <= 1 && second >= entry.second);
    assert.notEqual(at, -1, `no write of ${name} at ${String(second)} among ${seconds(logged).join(", ")}`);
    logged.splice(at, 1);
  }
}

/** Waits until nothing is left of any deployment: every window is sealed, and every record was delivered. */
export async function untilNothingIsLeft({ cluster, ledger, delivered }: Scene, deadlineMs: number): Promise<void> {
  const isClean = async (): Promise<boolean> => {
    // Claims go when their last window is sealed: only after them is the ledger's last record there to be owed.
    const objects = await leftovers(cluster, tenants);
    const closing = filesOf(ledger).filter((path) => /^closing\/.*\/[^.]/.test(path));
    const owed = new Set(sealedLines(ledger));
    for (const line of deliveredLines(delivered)) owed.delete(line);
    const left = [...objects, ...closing, ...[...owed].map((line) => `not delivered: ${line}`)];
    if (left.length > 0) throw new Error(left.join("\n"));
    return true;
  };
  await eventually(isClean, { what: "nothing is left", deadlineMs, recheckMs: 500, logDir: cluster.logDir });
}

/** What the sink holds is the ledger's records, byte by byte; a repeated one is the same one. */
export function compareDelivered({ ledger, delivered }: Scene): void {
  assert.deepEqual([...new Set(deliveredLines(delivered))].sort(), sealedLines(ledger).sort());
}
