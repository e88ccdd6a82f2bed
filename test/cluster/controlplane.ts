// The real control plane: etcd, kube-apiserver, kube-controller-manager, kube-scheduler, kwok and Karpenter as
// processes of this machine, each a part that a test can kill and start again. Facts: see README.md of this folder.
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Agent, request } from "undici";
import { ensureTools } from "./build.ts";
import type { Progress } from "./build.ts";
import { newCluster } from "./cluster.ts";
import type { Capability, Cluster, ClusterInfo } from "./cluster.ts";
import { newApiClient } from "./client.ts";
import { prepare } from "./files.ts";
import type { Prepared } from "./files.ts";
import { applyCrds, applyKarpenterCrds, applyNodeClass } from "./karpenter.ts";
import { newParts } from "./parts.ts";
import type { PartName, Parts } from "./parts.ts";
import { PartFailed } from "./process.ts";
import type { Part } from "./process.ts";
import { newRunDir } from "./rundir.ts";
import type { RunDir } from "./rundir.ts";

export interface ControlPlaneOptions {
  /** False: neither Karpenter nor its CRDs. */
  readonly karpenter?: boolean;
  /** False: Karpenter runs without its static-capacity gate. */
  readonly staticCapacity?: boolean;
  /** True: kube-controller-manager and kube-scheduler keep their stock limits of requests per second. */
  readonly defaultClientLimits?: boolean;
  /** kube-controller-manager's flag, e.g. `10m` in fault runs (default: its own, 50s). */
  readonly nodeMonitorGracePeriod?: string;
  /** False: nodes and pods are not played. */
  readonly kwok?: boolean;
  /** Life of a node's Lease, renewed four times in it (default 40): longer ones keep 1,000 idle nodes quiet. */
  readonly nodeLeaseSeconds?: number;
  /** False: only etcd and the API server (no controllers, no scheduler, no kwok, no Karpenter). */
  readonly controllers?: boolean;
  /** False: the API server runs without the NodeRestriction admission plugin. */
  readonly nodeRestriction?: boolean;
  /** Folders of CRD files that are there before the controllers start (whose caches learn of new kinds only every 30 s). */
  readonly crdFolders?: readonly string[];
  /**
   * Where the API server listens and what it tells pods to reach it by (default 127.0.0.1, which only processes of this
   * machine reach; then the Service `kubernetes` gets no endpoints).
   */
  readonly address?: string;
  /** An existing folder for the parts' logs, which outlives the control plane (default: one in its own folder). */
  readonly logDir?: string;
  /** Told of each part when it is ready, with its time. */
  readonly progress?: Progress;
}

export interface ControlPlane extends Cluster {
  readonly etcd: Part;
  readonly apiserver: Part;
  readonly controllerManager: Part;
  readonly scheduler: Part;
  readonly kwok: Part;
  readonly karpenter: Part;
  /** Plays the cloud's controller manager for Karpenter's nodes (see cloud.ts). */
  readonly cloud: Part;
  /** Path of `info.json`: another process uses this control plane with BERTH_TEST_CLUSTER set to it. */
  readonly infoPath: string;
  /** Compacts etcd's whole history, so that watches and lists at older resource versions get a real 410. Returns the revision. */
  compactEtcd(): Promise<number>;
  /** Ends every part and removes the folder; `keepLogs` leaves the logs. */
  stop(options?: { keepLogs?: boolean }): Promise<void>;
}

/** Starts a control plane in a folder of its own. Throws with the failing part's log named; then nothing is left running. */
export async function startControlPlane(options: ControlPlaneOptions = {}): Promise<ControlPlane> {
  const tools = await ensureTools(options.progress);
  for (let attempt = 1; ; attempt += 1) {
    const own = newRunDir();
    const runDir = options.logDir ? { ...own, logs: options.logDir } : own;
    const prepared = await prepare(runDir, tools, options);
    const parts = newParts(prepared, options);
    const killAll = (): void => Object.values(parts).forEach((part) => part.killNow());
    process.once("exit", killAll);
    try {
      return await startAll({ runDir, prepared, parts, options, killAll });
    } catch (error) {
      process.off("exit", killAll);
      await stopParts(parts);
      const collided =
        error instanceof PartFailed && /address already in use/.test(readFileSync(error.logPath, "utf8"));
      if (!collided || attempt === 3) throw error;
      runDir.remove();
    }
  }
}

interface Starting {
  readonly runDir: RunDir;
  readonly prepared: Prepared;
  readonly parts: Parts;
  readonly options: ControlPlaneOptions;
  readonly killAll: () => void;
}

function startsParts({ karpenter = true, kwok = true, controllers = true }: ControlPlaneOptions): Set<PartName> {
  const names: PartName[] = ["etcd", "apiserver"];
  if (controllers) names.push("controllerManager", "scheduler");
  if (controllers && kwok) names.push("kwok");
  if (controllers && karpenter) names.push("karpenter", "cloud");
  return new Set(names);
}

async function startAll(starting: Starting): Promise<ControlPlane> {
  const { parts, prepared, options } = starting;
  const wanted = startsParts(options);
  const timed = async (name: PartName): Promise<void> => {
    if (!wanted.has(name)) return;
    const start = Date.now();
    await parts[name].start();
    options.progress?.(`  ${parts[name].name.padEnd(24)} ${((Date.now() - start) / 1000).toFixed(1)} s`);
  };
  await Promise.all([timed("etcd"), timed("apiserver")]);
  const admin = newApiClient(prepared.url, readFileSync(prepared.caPath, "utf8"), { token: prepared.adminToken });
  await applyBasics(starting, admin, wanted);
  await admin.close();
  await Promise.all([
    timed("controllerManager"),
    timed("scheduler"),
    timed("kwok"),
    timed("karpenter"),
    timed("cloud"),
  ]);
  const info = describe(starting, wanted);
  writeFileSync(prepared.infoPath, JSON.stringify(info, undefined, 1), { mode: 0o600 });
  return handle(starting, info);
}

async function applyBasics(
  { options }: Starting,
  admin: ReturnType<typeof newApiClient>,
  wanted: Set<PartName>,
): Promise<void> {
  await Promise.all((options.crdFolders ?? []).filter(existsSync).map((folder) => applyCrds(admin, folder)));
  if (!wanted.has("karpenter")) return;
  await applyKarpenterCrds(admin);
  await applyNodeClass(admin);
  await admin.apply("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/test-bed-karpenter", {
    apiVersion: "rbac.authorization.k8s.io/v1",
    kind: "ClusterRoleBinding",
    metadata: { name: "test-bed-karpenter" },
    roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "ClusterRole", name: "cluster-admin" },
    subjects: ["karpenter", "cloud-node-lifecycle-controller"].map((name) => ({
      kind: "ServiceAccount",
      name,
      namespace: "kube-system",
    })),
  });
}

function describe({ prepared, runDir, options }: Starting, wanted: Set<PartName>): ClusterInfo {
  const capabilities: Capability[] = ["audit", "user-certificates", "server-restart"];
  if (wanted.has("kwok")) capabilities.push("kwok");
  if (wanted.has("karpenter") && options.staticCapacity !== false) capabilities.push("karpenter");
  const { url, caPath, adminToken, adminKubeconfigPath, auditLogPath, clientAuthority, tools, pkiDir } = prepared;
  return {
    url,
    caPath,
    adminIdentity: { token: adminToken },
    adminKubeconfigPath,
    runDir: runDir.path,
    logDir: runDir.logs,
    kubectlPath: tools.kubectl,
    helmPath: tools.helm,
    capabilities,
    auditLogPath,
    clientAuthority,
    servingCertPath: join(pkiDir, "apiserver.crt"),
    servingKeyPath: join(pkiDir, "apiserver.key"),
  };
}

/** The API server before etcd: with etcd gone it ignores SIGTERM for minutes and keeps its port. */
async function stopParts(parts: Parts): Promise<void> {
  await Promise.all([
    parts.karpenter.kill(),
    parts.cloud.kill(),
    parts.kwok.kill(),
    parts.scheduler.kill(),
    parts.controllerManager.kill(),
  ]);
  await parts.apiserver.kill();
  await parts.etcd.kill();
}

function handle({ runDir, prepared, parts, killAll }: Starting, info: ClusterInfo): ControlPlane {
  const cluster = newCluster(info);
  let stopped: Promise<void> | undefined;
  const stop = async (keepLogs: boolean): Promise<void> => {
    await stopParts(parts);
    await cluster.admin.close();
    process.off("exit", killAll);
    process.off("exit", removeNow);
    runDir.remove({ keepLogs });
  };
  const removeNow = (): void => runDir.remove();
  process.once("exit", removeNow);
  return {
    ...cluster,
    ...parts,
    infoPath: prepared.infoPath,
    compactEtcd: () => compactEtcd(prepared.etcdUrl),
    stop: ({ keepLogs = false } = {}) => (stopped ??= stop(keepLogs)),
  };
}

async function compactEtcd(url: string): Promise<number> {
  // https://etcd.io/docs/v3.6/dev-guide/api_grpc_gateway/: JSON over HTTP, 64-bit integers as strings.
  const dispatcher = new Agent();
  const call = async (path: string, body: object): Promise<{ header: { revision: string } }> => {
    const response = await request(`${url}${path}`, { method: "POST", body: JSON.stringify(body), dispatcher });
    if (response.statusCode >= 400) throw new Error(`etcd ${path}: ${await response.body.text()}`);
    return (await response.body.json()) as { header: { revision: string } };
  };
  const { header } = await call("/v3/kv/range", { key: "AA==", limit: "1" });
  await call("/v3/kv/compaction", { revision: header.revision, physical: true });
  await dispatcher.close();
  return Number(header.revision);
}
