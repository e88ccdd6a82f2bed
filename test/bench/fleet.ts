// N deployments applied at once on static nodes: rate to Ready beside the plain loop, delays, requests, CPU, memory, idle.
import { setTimeout as wait } from "node:timers/promises";
import { apiPath } from "../cluster/client.ts";
import type { ControlPlane } from "../cluster/controlplane.ts";
import { eventually } from "../cluster/eventually.ts";
import { tally, writeVerbs, type AuditEntry } from "../cluster/audit.ts";
import type { Replica } from "../chart/rendered.ts";
import { cpuSeconds, print, quantile, residentMegabytes, say } from "./figures.ts";
import { plainClient, plainLoop } from "./plainloop.ts";
import {
  addFleet,
  applyAtOnce,
  deploymentsPath,
  installBerth,
  ownerName,
  readyOperator,
  stagePlane,
  watchReady,
} from "./stage.ts";

/** Issue 3: two operators measured before Berth was begun, whose figures cannot be taken again here. */
const PEER_RATES = [0.33, 3.3];
const podsPath = (namespace: string): string => apiPath("v1", "pods", { namespace });
const DEADLINE_MS = 1_200_000;

export async function fleet({
  count,
  idleSeconds = 60,
  stockLimits = false,
}: {
  count: number;
  idleSeconds?: number;
  stockLimits?: boolean;
}): Promise<void> {
  const label = stockLimits ? `fleet.${count}.stock-limits` : `fleet.${count}`;
  const plainRate = await onPlane(label, stockLimits, (cp) => plain(cp, count));
  await onPlane(label, stockLimits, async (cp) => {
    const operator = await readyOperator(cp, count);
    await wait(5000);
    await berth(cp, operator, { count, label, plainRate, idleSeconds });
    await restarted(cp, operator, label);
    await operator.stop();
  });
}

/** A fresh control plane of the same kind for each, so that neither has to work beside what the other left. */
async function onPlane<T>(label: string, stockLimits: boolean, work: (cp: ControlPlane) => Promise<T>): Promise<T> {
  say(`${label}: starting a control plane`);
  const cp = await stagePlane({ defaultClientLimits: stockLimits });
  try {
    await installBerth(cp);
    return await work(cp);
  } finally {
    await cp.stop();
  }
}

async function plain(cp: ControlPlane, count: number): Promise<number> {
  await addFleet(cp, "plain", count);
  await cp.admin.create("/api/v1/namespaces", { apiVersion: "v1", kind: "Namespace", metadata: { name: "plain" } });
  const stop = new AbortController();
  const ready = watchReady(cp, podsPath("plain"), ownerName, stop.signal);
  const { client, close } = await plainClient(cp);
  const start = performance.now();
  await plainLoop(cp, client, "plain", "plain", count);
  const written = performance.now() - start;
  await eventually(() => Promise.resolve(ready.size === count), {
    what: `${count} pods of the plain loop`,
    deadlineMs: DEADLINE_MS,
    logDir: cp.logDir,
  });
  const seconds = (Math.max(...ready.values()) - start) / 1000;
  stop.abort();
  say(`plain loop: ${count} in ${seconds.toFixed(1)} s (requests ${(written / 1000).toFixed(1)} s)`);
  await close();
  return count / seconds;
}

interface Run {
  readonly count: number;
  readonly label: string;
  readonly plainRate: number;
  readonly idleSeconds: number;
}

async function berth(cp: ControlPlane, operator: Replica, run: Run): Promise<void> {
  const { count, label, plainRate } = run;
  const pid = operator.pid() ?? 0;
  print({
    name: `${label}.rss-empty`,
    value: residentMegabytes(pid),
    unit: "MB",
    limit: 125,
    against: "peers in Go: 125 to 146 MB",
  });
  const stop = new AbortController();
  const podsReady = watchReady(cp, podsPath("bench"), ownerName, stop.signal);
  const ready = watchReady(cp, deploymentsPath("bench"), ({ metadata }) => metadata.name, stop.signal);
  const mark = await cp.audit.mark();
  const cpuBefore = cpuSeconds(pid);
  const start = performance.now();
  const names = await applyAtOnce(cp, count);
  say(`${count} deployments applied after ${((performance.now() - start) / 1000).toFixed(1)} s`);
  await eventually(() => Promise.resolve(ready.size === count), {
    what: `${count} deployments Ready`,
    deadlineMs: DEADLINE_MS,
    logDir: cp.logDir,
  });
  const seconds = (Math.max(...ready.values()) - start) / 1000;
  const cpu = cpuSeconds(pid) - cpuBefore;
  stop.abort();
  const lags = names.map((name) => ((ready.get(name) ?? 0) - (podsReady.get(name) ?? 0)) / 1000);
  const firstReady = Math.min(...ready.values());
  const first = names.find((name) => ready.get(name) === firstReady) ?? "";
  print({
    name: `${label}.rate`,
    value: count / seconds,
    unit: "1/s",
    limit: plainRate,
    against: "plain loop of the same requests, 32 in flight",
  });
  for (const peer of PEER_RATES) {
    print({
      name: `${label}.rate-beside-peer`,
      value: count / seconds,
      unit: "1/s",
      limit: peer,
      against: "a peer's rate to Ready with 1,000 objects on such a test bed; not of this run",
    });
  }
  print({
    name: `${label}.first-ready-lag`,
    value: (firstReady - (podsReady.get(first) ?? 0)) / 1000,
    unit: "s",
    limit: 1,
  });
  print({ name: `${label}.ready-lag-p50`, value: quantile(lags, 0.5), unit: "s" });
  print({ name: `${label}.ready-lag-p99`, value: quantile(lags, 0.99), unit: "s", limit: 2 });
  print({
    name: `${label}.cpu-per-deployment`,
    value: (cpu * 1000) / count,
    unit: "ms",
    limit: 10,
    against: "peers: 10 to 20 ms",
  });
  print({
    name: `${label}.rss-converged`,
    value: residentMegabytes(pid),
    unit: "MB",
    limit: 150,
    against: "wanted at most",
  });
  await wait(8000);
  print({
    name: `${label}.rss-full`,
    value: residentMegabytes(pid),
    unit: "MB",
    limit: 146,
    against: "peers in Go: 125 to 146 MB",
  });
  const made = await ofOperator(cp, mark);
  requests(label, count, made);
  const quiet = await cp.audit.mark();
  await wait(run.idleSeconds * 1000);
  const idle = (await ofOperator(cp, quiet)).filter(({ resource, verb }) => resource !== "leases" && verb !== "watch");
  print({ name: `${label}.idle-requests`, value: idle.length, unit: `requests in ${run.idleSeconds} s` });
  print({
    name: `${label}.rss-resting`,
    value: residentMegabytes(pid),
    unit: "MB",
    limit: 150,
    against: "wanted at most",
  });
  if (idle.length > 0) say(`idle requests: ${JSON.stringify(tally(idle))}`);
}

/** What a new process writes that finds everything as it should be. */
async function restarted(cp: ControlPlane, operator: Replica, label: string): Promise<void> {
  await operator.stop();
  const mark = await cp.audit.mark();
  await operator.start();
  await operator.ready();
  await eventually(async () => /^leader_election_master_status\{[^}]*\} 1$/m.test(await metricsOf(operator)), {
    what: "the restarted operator leads",
    deadlineMs: 60_000,
    logDir: cp.logDir,
  });
  await wait(20_000);
  const writes = (await ofOperator(cp, mark)).filter(
    ({ verb, resource }) => writeVerbs.includes(verb) && resource !== "leases",
  );
  print({ name: `${label}.writes-after-restart`, value: writes.length, unit: "writes until it has led for 20 s" });
  if (writes.length > 0) say(`writes after the restart: ${JSON.stringify(tally(writes))}`);
  print({ name: `${label}.rss-restarted`, value: residentMegabytes(operator.pid() ?? 0), unit: "MB", limit: 150 });
}

async function metricsOf({ urls }: Replica): Promise<string> {
  return (await fetch(`${urls["metrics"]}/metrics`)).text();
}

function ofOperator(cp: ControlPlane, mark: Awaited<ReturnType<ControlPlane["audit"]["mark"]>>): Promise<AuditEntry[]> {
  return cp.audit.since(mark, { user: /berth-operator$/ });
}

function requests(label: string, count: number, made: readonly AuditEntry[]): void {
  const writes = made.filter(({ verb, resource }) => writeVerbs.includes(verb) && resource !== "leases");
  const events = writes.filter(({ resource }) => resource.startsWith("events"));
  const failed = writes.filter(({ code }) => code >= 400);
  const own = writes.length - events.length;
  print({
    name: `${label}.writes-per-deployment`,
    value: own / count,
    unit: "writes",
    limit: 14,
    against: "5 children, finalizer, 3 patches of the deployment, 4 on pool and claim, 1 on the node",
  });
  print({ name: `${label}.events-per-deployment`, value: events.length / count, unit: "writes" });
  print({ name: `${label}.failed-writes`, value: failed.length, unit: "writes" });
  const reads = made.filter(({ verb, resource }) => (verb === "get" || verb === "list") && resource !== "leases");
  print({
    name: `${label}.reads-per-deployment`,
    value: reads.length / count,
    unit: "reads",
    limit: 1,
    against: "one pod list by spec.nodeName for each claimed node",
  });
  say(`${label}: ${JSON.stringify(tally(made))}`);
}
