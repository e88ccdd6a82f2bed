// One measured job on a directory ledger in a process of its own, so that its memory and CPU are its own:
//   seal <folder> <deployments> <hours> <shards> (goes on after what is sealed, until there are so many)   |   verify <folder>
//   catchup <folder> <deployments> <hours> <shards>   |   point <folder>
import { pathToFileURL } from "node:url";

import { Registry } from "prom-client";

import { openLedger } from "../../operator/adapters/ledger/open.ts";
import { dayRootOf } from "../../operator/controllers/dayroots.ts";
import { packedByShard } from "../../operator/controllers/histories.ts";
import type { Histories } from "../../operator/controllers/histories.ts";
import { newLedgerMetrics } from "../../operator/controllers/ledgermetrics.ts";
import { newHead, readSealed, sealedKeys } from "../../operator/controllers/ledgerreads.ts";
import type { SealerDeps } from "../../operator/controllers/sealer.ts";
import { sealDue } from "../../operator/controllers/sealing.ts";
import type { SealedDue } from "../../operator/controllers/sealing.ts";
import { sealWindow } from "../../operator/controllers/segments.ts";
import { settle } from "../../operator/controllers/settling.ts";
import { verifyLedger } from "../../operator/controllers/verify.ts";
import type { Manifest } from "../../operator/api/ledger.ts";
import { canonicalBytes } from "../../operator/plan/metering/canonical.ts";
import type { PoolHistory } from "../../operator/plan/metering/history.ts";
import { shardOf, uuidV5 } from "../../operator/plan/metering/identity.ts";
import type { ChainHead } from "../../operator/plan/metering/segment.ts";
import { dayOf, dayRootKey, secondsOf } from "../../operator/plan/metering/windows.ts";
import type { Ledger, Log } from "../../operator/ports.ts";
import { systemClock } from "../../operator/runtime/clock.ts";

const [job, folder = "", deployments = "10000", hours = "1", shards = "1"] = process.argv.slice(2);
const first = secondsOf("2026-11-01T00:00:00Z");
const clusterId = uuidV5("bench");

/** A deployment of one or two nodes since a day; one of a hundred changes its size every few hours. */
function historyOf(i: number): PoolHistory {
  const uid = (what: string) => uuidV5(`${what}-${i}`);
  const nodes = 1 + (i % 2);
  const since = first - 86_400 + (i % 3_000);
  const label = { account: `team-${i % 50}`, tags: { env: "prod" } };
  const moves = i % 100 === 0 ? Array.from({ length: 90 }, (_, n) => first + 1_800 + n * 28_800) : [];
  const sources = (node: number) => ({
    object: `Node/gpu-${i}-${node}/${uid(`node-${node}`)}`,
    claimedAt: "Node/metadata.managedFields[berth-claim].time",
    readyAt: "Node/status.conditions[Ready].lastTransitionTime",
  });
  return {
    namespace: `team-${i % 50}`,
    namespaceUID: uuidV5(`namespace-${i % 50}`),
    deploymentName: `model-${i}`,
    deploymentUID: deploymentUID(i),
    poolUID: uid("pool"),
    sku: "dedicated.h100-sxm.8",
    gpus: 8,
    endedAt: undefined,
    steps: [{ since, size: nodes, ...label }, ...moves.map((at, n) => ({ since: at, size: n % 3, ...label }))],
    claims: Array.from({ length: nodes }, (_, node) => ({
      id: `${uid("pool")}-${node}`,
      claimedAt: since + 90 + node,
      readyAt: since + 400 + node,
      releasedAt: undefined,
      estimatedStart: false,
      estimatedEnd: false,
      sources: sources(node),
    })),
  };
}

const deploymentUID = (i: number): string => uuidV5(`deployment-${i}`);

/** As a pass of the sealer makes them from the cached objects: packed shard by shard. */
function fleetOf(count: number, shardCount: number): Histories {
  const indexes = Array.from({ length: shardCount }, (): number[] => []);
  for (let i = 0; i < count; i += 1) indexes[shardOf(deploymentUID(i), shardCount)]?.push(i);
  return packedByShard(indexes.map((own) => () => own.map(historyOf)));
}

async function seal(ledger: Ledger): Promise<object> {
  const histories = fleetOf(Number(deployments), Number(shards));
  const meters = histories.byShard(Number(shards));
  let previous: ChainHead | undefined = await newHead(ledger)();
  const from = previous === undefined ? 0 : (previous.end - first) / 3600;
  let [records, requests] = [0, 0];
  const counted = counting(ledger, () => (requests += 1));
  const today: { readonly manifest: Manifest; readonly sha256: string }[] = [];
  const factsMegabytes = process.memoryUsage.rss() / 2 ** 20;
  const begun = usage();
  for (let hour = from; hour < Number(hours); hour++) {
    const window = { start: first + hour * 3600, end: first + (hour + 1) * 3600 };
    const { manifest, manifestSha256 } = await sealWindow(counted, { window, meters, clusterId, previous });
    records += manifest.records;
    previous = { end: window.end, sha256: manifestSha256, chains: manifest.chains };
    today.push({ manifest, sha256: manifestSha256 });
    if (window.end % 86_400 === 0) await putDayRoot(counted, dayOf(window), today.splice(0));
  }
  return { ...since(begun), records, requests: requests / (Number(hours) - from), factsMegabytes };
}

const silent: Log = { debug() {}, info() {}, warn() {}, error() {}, child: () => silent };
const unused = (): never => {
  throw new Error("sealing alone does not ask for this");
};

/**
 * Batch after batch as a pass of the sealer does it, what is known packed anew for each. Without the caches of objects and without
 * the writes to the cluster, of which there are as many as without an outage.
 */
async function catchUp(ledger: Ledger): Promise<object> {
  const deps: SealerDeps = {
    ...{ ledger, clusterId, log: silent, clock: systemClock, windowSeconds: 3600, shards: Number(shards) },
    ...{ sealGraceSeconds: 300, sealSpreadSeconds: 0, caughtUp: () => true },
    ...{ kube: { mergePatch: unused, remove: unused }, freshObjects: unused },
    metrics: newLedgerMetrics(new Registry()),
  };
  const facts = { pools: [], claims: [], deployments: [], closings: [], stored: [], foreign: [], ofOthers: [] };
  // The fleet began a day before the first window of the other jobs.
  const dueEnd = first - 86_400 + Number(hours) * 3600;
  let [windows, records] = [0, 0];
  const begun = usage();
  for (let batch: Pick<SealedDue, "head" | "more"> = { head: undefined, more: true }; batch.more;) {
    const histories = fleetOf(Number(deployments), Number(shards));
    const due = await sealDue(deps, { facts, histories, dueEnd, signer: undefined }, batch.head);
    const { sealed, settledThrough: sealedThrough, isLateRecorded, head, more } = due;
    await settle(deps, { facts, histories, sealed, sealedThrough, mayForget: isLateRecorded });
    for (const { manifest } of sealed) records += manifest.records;
    windows += sealed.length;
    // Not what was sealed: its sums would stay in memory.
    batch = { head, more };
  }
  return { ...since(begun), windows, records };
}

async function putDayRoot(ledger: Ledger, day: string, windows: Parameters<typeof dayRootOf>[1]): Promise<void> {
  await ledger.putOnce(dayRootKey(day), canonicalBytes(dayRootOf(day, windows)));
}

function counting(ledger: Ledger, count: () => void): Ledger {
  return {
    putOnce: (...given) => (count(), ledger.putOnce(...given)),
    get: (...given) => (count(), ledger.get(...given)),
    read: (...given) => (count(), ledger.read(...given)),
    list: (...given) => (count(), ledger.list(...given)),
    remove: (...given) => (count(), ledger.remove(...given)),
    probe: () => ledger.probe(),
  };
}

async function verify(ledger: Ledger): Promise<object> {
  const begun = usage();
  const { windows, records, findings } = await verifyLedger(ledger);
  if (findings.length > 0) throw new Error(JSON.stringify(findings.slice(0, 3)));
  return { ...since(begun), windows, records };
}

/** One deployment's records of every window. */
async function point(ledger: Ledger): Promise<object> {
  const begun = usage();
  let records = 0;
  let requests = 0;
  const counted = counting(ledger, () => (requests += 1));
  const keys = await sealedKeys(counted, 0, Infinity);
  for (const key of keys) records += (await readSealed(counted, key, uuidV5("deployment-7"))).records.length;
  return { ...since(begun), records, requests: requests / keys.length };
}

function usage() {
  const { userCPUTime, systemCPUTime } = process.resourceUsage();
  return { cpu: (userCPUTime + systemCPUTime) / 1e6, at: performance.now() };
}

function since(begun: ReturnType<typeof usage>) {
  const { cpu, at } = usage();
  return {
    seconds: (at - begun.at) / 1000,
    cpuSeconds: cpu - begun.cpu,
    residentMegabytes: process.resourceUsage().maxRSS / 1024,
  };
}

const jobs: Readonly<Record<string, (ledger: Ledger) => Promise<object>>> = { seal, catchup: catchUp, verify, point };
const run = jobs[job ?? ""];
if (!run) throw new Error(`no job is called ${job ?? ""}`);
process.stdout.write(`${JSON.stringify(await run(openLedger({ url: pathToFileURL(folder).href })))}\n`);
