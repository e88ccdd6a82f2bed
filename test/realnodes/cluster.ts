// A cluster with real nodes inside the namespaces of this process (namespaces.ts): control plane, five nodes, kube-proxy,
// CoreDNS. With BERTH_TEST_KUBECONFIG it is somebody's own cluster instead, with what cannot be done there marked.
import { existsSync, mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { ensureTools } from "../cluster/build.ts";
import type { Progress } from "../cluster/build.ts";
import { apiPath } from "../cluster/client.ts";
import type { Cluster } from "../cluster/cluster.ts";
import { startControlPlane } from "../cluster/controlplane.ts";
import type { ControlPlane } from "../cluster/controlplane.ts";
import { cacheDir } from "../cluster/paths.ts";
import { foreignCluster } from "../cluster/session.ts";
import { ensureNodeTools } from "./build.ts";
import { makeCgroups } from "./cgroups.ts";
import type { Allocation, EngineMount } from "./deviceplugin.ts";
import type { Taint } from "./kubelet.ts";
import { command } from "./command.ts";
import { mountAll, shortDir } from "./mounts.ts";
import { insideRun, listenForSignals } from "./namespaces.ts";
import { hostAddress, setUpNetwork } from "./network.ts";
import { newRealNode, untilReady } from "./node.ts";
import type { RealNode } from "./node.ts";
import { startServices } from "./services.ts";
import type { Services } from "./services.ts";
import type { State } from "./state.ts";

/** What a test may do to a cluster; on somebody's own cluster none of these. */
export type Ability = "kill-node" | "control-plane" | "load-images" | "audit" | "device-plugin";

export interface RealClusterOptions {
  /** Default 2: `system-1` … */
  readonly systemNodes?: number;
  /** Default 3: `gpu-1` … */
  readonly gpuNodes?: number;
  /** Default 1. */
  readonly gpusPerNode?: number;
  /** What every container with a GPU sees, read-only. */
  readonly engineMounts?: readonly EngineMount[];
  readonly engineEnv?: Readonly<Record<string, string>>;
  /** Labels of GPU nodes beside the kubelet's own. */
  readonly gpuNodeLabels?: Readonly<Record<string, string>>;
  /** Default: `nvidia.com/gpu=present:NoSchedule`, as the operators of GPU nodes usually do. */
  readonly gpuNodeTaints?: readonly Taint[];
  /** Archives of images by the kind of node that gets them; the pause image comes by itself. */
  readonly images?: { readonly system?: readonly string[]; readonly gpu?: readonly string[] };
  /** CRDs that are there before the controllers start (default none). */
  readonly crdFolders?: readonly string[];
  /** Flag of kube-controller-manager (default: its own, 50s). */
  readonly nodeMonitorGracePeriod?: string;
  readonly progress?: Progress;
}

export interface RealCluster {
  readonly cluster: Cluster;
  /** Its parts, to be killed and restarted; undefined on somebody's own cluster. */
  readonly controlPlane: ControlPlane | undefined;
  /** Empty on somebody's own cluster. */
  readonly nodes: readonly RealNode[];
  readonly services: Services | undefined;
  /** Address of this process as pods reach it. */
  readonly hostAddress: string;
  can(ability: Ability): boolean;
  /** The node of this name; throws where there is none. */
  node(name: string): RealNode;
  /** Ends all and unmounts; the process outside removes the folders. */
  stop(): Promise<void>;
}

/** Path of the pause image's archive: `make e2e-setup` puts it there. */
export const pauseArchive = (): string => join(cacheDir(), "images", "pause.tar");

/**
 * Starts the cluster and returns when every node is Ready with its GPUs. Must run inside (`runInside`), except with
 * BERTH_TEST_KUBECONFIG. Throws with the log's place where a part fails; then the caller should end, which ends all.
 */
export async function startRealCluster(options: RealClusterOptions = {}): Promise<RealCluster> {
  const kubeconfig = process.env["BERTH_TEST_KUBECONFIG"];
  if (kubeconfig) return foreign(await foreignCluster(kubeconfig));
  const state = insideRun();
  if (!state) throw new Error("real nodes run in namespaces of their own: start this program by runInside()");
  if (!existsSync(pauseArchive())) throw new Error(`${pauseArchive()} is missing: run make e2e-setup`);
  const kinds = [
    ...Array.from({ length: options.systemNodes ?? 2 }, (_, index) => ({ kind: "system" as const, index })),
    ...Array.from({ length: options.gpuNodes ?? 3 }, (_, index) => ({ kind: "gpu" as const, index })),
  ];
  const names = kinds.map(({ kind, index }) => ({ kind, name: `${kind}-${String(index + 1)}` }));
  await prepareMachine(
    state,
    names.map(({ name }) => name),
  );
  const tools = await ensureNodeTools(options.progress);
  await ensureTools(options.progress);
  const controlPlane = await startControlPlane({
    karpenter: false,
    kwok: false,
    address: hostAddress,
    logDir: state.logs,
    crdFolders: options.crdFolders ?? [],
    nodeMonitorGracePeriod: options.nodeMonitorGracePeriod,
    progress: options.progress,
  });
  const nodes = names.map(({ name, kind }, index) =>
    newRealNode({
      name,
      kind,
      index,
      cluster: controlPlane,
      kubeletProgram: tools.kubelet,
      dir: join(shortDir, name),
      logDir: state.logs,
      run: state.run,
      gpus: gpusOf(kind, options),
      allocation: allocationOf(options),
      taints: kind === "gpu" ? (options.gpuNodeTaints ?? usualTaints) : [],
    }),
  );
  const servicesPlace = { dir: shortDir, logDir: state.logs, node: names[0]?.name ?? "" };
  const [services] = await Promise.all([
    startServices(controlPlane, tools, servicesPlace),
    ...nodes.map((node) => bringUp(controlPlane, node, options)),
  ]);
  return handle(controlPlane, nodes, services);
}

const usualTaints: readonly Taint[] = [{ key: "nvidia.com/gpu", value: "present", effect: "NoSchedule" }];
const gpusOf = (kind: RealNode["kind"], { gpusPerNode = 1 }: RealClusterOptions): number =>
  kind === "gpu" ? gpusPerNode : 0;
const allocationOf = ({ engineMounts = [], engineEnv = {} }: RealClusterOptions): Allocation => ({
  mounts: engineMounts,
  env: engineEnv,
});

async function prepareMachine(state: State, names: readonly string[]): Promise<void> {
  if (!existsSync(shortDir)) {
    listenForSignals();
    await mountAll(state);
  }
  await setUpNetwork(names.length);
  makeCgroups(state.run, names);
  for (const name of names) mkdirSync(join(shortDir, name), { recursive: true });
}

async function bringUp(cluster: Cluster, node: RealNode, options: RealClusterOptions): Promise<void> {
  const start = Date.now();
  await node.containerd.start();
  await node.load([pauseArchive(), ...(options.images?.[node.kind] ?? [])]);
  const loadedMs = Date.now() - start;
  await node.revive();
  await untilReady(cluster, node, gpusOf(node.kind, options));
  const labels = node.kind === "gpu" ? options.gpuNodeLabels : undefined;
  if (labels) await cluster.admin.patch(apiPath("v1", "nodes", { name: node.name }), { metadata: { labels } });
  const seconds = (ms: number): string => (ms / 1000).toFixed(1);
  options.progress?.(
    `  node ${node.name.padEnd(19)} ${seconds(Date.now() - start)} s, ${seconds(loadedMs)} s of it loading images`,
  );
}

function handle(controlPlane: ControlPlane, nodes: readonly RealNode[], services: Services): RealCluster {
  let stopped: Promise<void> | undefined;
  const stop = async (): Promise<void> => {
    await Promise.all([...nodes.map((node) => node.killEverything()), services.kubeProxy.kill(), services.dns.kill()]);
    await controlPlane.stop({ keepLogs: true });
    await unmountBelow(`${shortDir}/`);
    for (const node of nodes) rmSync(join(shortDir, node.name), { recursive: true, force: true });
  };
  return {
    cluster: controlPlane,
    controlPlane,
    nodes,
    services,
    hostAddress,
    can: () => true,
    node: (name) => {
      const found = nodes.find((node) => node.name === name);
      if (!found) throw new Error(`there is no node ${name}; there are ${nodes.map((node) => node.name).join(", ")}`);
      return found;
    },
    stop: () => (stopped ??= stop()),
  };
}

/** Unmounts what containers and volumes left, the deepest first. */
async function unmountBelow(prefix: string): Promise<void> {
  const listed = await command("findmnt", ["--raw", "--noheadings", "--output", "TARGET"]);
  const targets = listed.split("\n").filter((target) => target.startsWith(prefix));
  if (targets.length > 0) await command("umount", ["--lazy", ...targets.reverse()]);
}

function foreign(cluster: Cluster): RealCluster {
  return {
    cluster,
    controlPlane: undefined,
    nodes: [],
    services: undefined,
    hostAddress: process.env["BERTH_TEST_HOST_ADDRESS"] ?? "127.0.0.1",
    can: () => false,
    node: (name) => {
      throw new Error(`node ${name} cannot be touched: the cluster of BERTH_TEST_KUBECONFIG is somebody's own`);
    },
    stop: () => cluster.admin.close(),
  };
}
