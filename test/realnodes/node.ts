// One real node: a containerd, a kubelet and (with GPUs) a device plugin, which a test may kill and bring back.
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import type { Cluster } from "../cluster/cluster.ts";
import { eventually } from "../cluster/eventually.ts";
import { apiPath } from "../cluster/client.ts";
import type { Part } from "../cluster/process.ts";
import { processesOf } from "./cgroups.ts";
import { ctr, loadImage, newContainerd, shimsOf } from "./containerd.ts";
import { newDevicePlugin } from "./deviceplugin.ts";
import type { Allocation, DevicePlugin } from "./deviceplugin.ts";
import { newKubelet } from "./kubelet.ts";
import type { Taint } from "./kubelet.ts";
import { nodeAddress, writeCni } from "./network.ts";

export interface RealNode {
  readonly name: string;
  readonly kind: "system" | "gpu";
  readonly ip: string;
  readonly logDir: string;
  readonly kubelet: Part;
  readonly containerd: Part;
  /** What containers with a GPU get from now on; undefined on system nodes. */
  readonly allocation: { current: Allocation } | undefined;
  /** Only for nodes with GPUs. */
  readonly devicePlugin: DevicePlugin | undefined;
  /** SIGKILL for kubelet, containerd and device plugin. Containers go on, as on a node whose daemons died. */
  killKubeletAndContainerd(): Promise<void>;
  /** SIGKILL for everything on the node, its containers included: a machine without power. */
  killEverything(): Promise<void>;
  /** Starts what is not running; returns when the kubelet is healthy (not yet when the Node is Ready). */
  revive(): Promise<void>;
  /** Loads OCI or Docker archives of images. */
  load(archives: readonly string[]): Promise<void>;
  /** containerd's client on this node. */
  ctr(args: readonly string[]): Promise<string>;
  /** Cgroup below which the kubelet keeps its pods (`kubepods/…/pod<uid>`), relative to each hierarchy's root. */
  readonly cgroupRoot: string;
}

export interface NodeOptions {
  readonly name: string;
  readonly kind: "system" | "gpu";
  /** Place in the list of all nodes: address and pod subnet follow from it. */
  readonly index: number;
  readonly cluster: Cluster;
  readonly kubeletProgram: string;
  readonly dir: string;
  readonly logDir: string;
  /** Name of the run, whose cgroup folders are there. */
  readonly run: string;
  readonly gpus: number;
  readonly allocation: Allocation;
  readonly taints: readonly Taint[];
}

/** Makes a node; nothing runs before `revive()`. */
export function newRealNode(options: NodeOptions): RealNode {
  const { name, kind, index, cluster, dir, run, gpus, taints } = options;
  const logDir = join(options.logDir, name);
  mkdirSync(logDir, { recursive: true });
  const runtimeDir = join(dir, "containerd");
  const ip = nodeAddress(index);
  const cgroupRoot = `/${run}/${name}`;
  writeCni(join(runtimeDir, "cni"), join(dir, "cni-data"), index);
  const containerd = newContainerd(name, runtimeDir, logDir);
  const kubelet = newKubelet({
    program: options.kubeletProgram,
    cluster,
    name,
    address: ip,
    dir,
    logDir,
    cgroupRoot,
    taints,
  });
  const allocation = gpus > 0 ? { current: options.allocation } : undefined;
  const pluginDir = join(dir, "kubelet", "device-plugins");
  const devicePlugin =
    allocation && newDevicePlugin({ dir: pluginDir, node: name, devices: gpus, allocation: () => allocation.current });

  const killDaemons = async (): Promise<void> => {
    devicePlugin?.stop();
    await Promise.all([kubelet.kill(), containerd.kill()]);
  };
  const killEverything = async (): Promise<void> => {
    await killDaemons();
    await eventually(
      async () => {
        const pids = [...(await shimsOf(runtimeDir)), ...processesOf(cgroupRoot)];
        for (const pid of pids) killIfThere(pid);
        return pids.length === 0;
      },
      { what: `every process of ${name} has ended` },
    );
  };
  return {
    name,
    kind,
    ip,
    logDir,
    kubelet,
    containerd,
    allocation,
    devicePlugin,
    cgroupRoot,
    killKubeletAndContainerd: killDaemons,
    killEverything,
    revive: async () => {
      await containerd.start();
      await kubelet.start();
      devicePlugin?.start();
    },
    load: async (archives) => {
      for (const archive of archives) await loadImage(runtimeDir, archive);
    },
    ctr: (args) => ctr(runtimeDir, args),
  };
}

function killIfThere(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // It ended by itself in between.
  }
}

interface NodeObject {
  readonly status: {
    readonly conditions?: readonly { readonly type: string; readonly status: string }[];
    readonly allocatable?: Readonly<Record<string, string>>;
  };
}

/** Waits until the Node is Ready and, where it should have GPUs, has them to give. */
export async function untilReady(cluster: Cluster, node: RealNode, gpus: number): Promise<void> {
  await eventually(
    async () => {
      const { status } = await cluster.admin.get<NodeObject>(apiPath("v1", "nodes", { name: node.name }));
      const ready = status.conditions?.some((each) => each.type === "Ready" && each.status === "True") ?? false;
      return ready && Number(status.allocatable?.["nvidia.com/gpu"] ?? 0) === gpus;
    },
    { what: `node ${node.name} is Ready with ${String(gpus)} GPUs`, deadlineMs: 90_000, logDir: node.logDir },
  );
}
