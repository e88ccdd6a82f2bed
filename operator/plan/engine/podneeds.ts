/**
 * What the pod around the engine needs, computed from the model and the node. Sources of the constants: docs/engine.md.
 * A node serves one pod, so requests only have to leave room for the kubelet and the platform's DaemonSets.
 */
import { wholeQuantity } from "../quantity.ts";

const GIB = 2 ** 30;

export interface PodNeedsInput {
  readonly weightBytes: number;
  readonly gpuCount: number;
  /** Extended resource of the GPUs, for example nvidia.com/gpu or amd.com/gpu. */
  readonly gpuResource: string;
  /** undefined when the NodeType is gone: then no request is stated beside the GPUs. */
  readonly node:
    | {
        readonly vcpus: number;
        readonly memory: string;
        /** Bytes per second as quantities; slow defaults where absent. */
        readonly diskThroughput?: string | undefined;
        readonly networkThroughput?: string | undefined;
      }
    | undefined;
  /** True where 16-bit weights are quantized at load. */
  readonly quantizes?: boolean;
  /** True for models that decode images: a cache of 4 GiB in host memory (--mm-processor-cache-gb). */
  readonly vision?: boolean;
}

export interface PodNeeds {
  /** sizeLimit of /dev/shm. */
  readonly sharedMemoryBytes: number;
  /** Requests; undefined where the node is unknown. */
  readonly cpuMillis: number | undefined;
  readonly memoryBytes: number | undefined;
  /** Seconds that the fetch of the files may take before it counts as stuck. */
  readonly fetchSeconds: number;
  /** Seconds from the container's start to the first answer, at most. */
  readonly startupSeconds: number;
  /** Groups beside the image's own that the GPU's device files need. */
  readonly supplementalGroups: readonly number[];
}

/** Where a NodeType says nothing: a slow network disk, and a tenth of the network that GPU nodes have. */
const DISK_BYTES_PER_SECOND = 200e6;
const NETWORK_BYTES_PER_SECOND = 125e6;
/** Imports, torch.compile, CUDA graphs and the profiling run (vLLM's k8s guide reckons 2 to 5 minutes). */
const COMPILE_SECONDS = 300;
/** A start may take this many times what was computed before it is given up. */
const PATIENCE = 2;

export function podNeeds(input: PodNeedsInput): PodNeeds {
  const { node, gpuCount } = input;
  const sharedMemoryBytes = sharedMemory(input);
  return {
    sharedMemoryBytes,
    // Docs of vLLM: 2 + one physical core for each GPU at least; a core is two virtual CPUs.
    cpuMillis: node && Math.min((2 + gpuCount) * 2000, node.vcpus * 800),
    memoryBytes: node && Math.min(hostMemory(input, sharedMemoryBytes), usableMemory(node.memory)),
    fetchSeconds: seconds(input.weightBytes, node?.networkThroughput, NETWORK_BYTES_PER_SECOND, 60),
    startupSeconds: seconds(
      input.weightBytes * (input.quantizes ? 2 : 1),
      node?.diskThroughput,
      DISK_BYTES_PER_SECOND,
      COMPILE_SECONDS,
    ),
    // AMD's device files belong to the group video (44 on Debian and Ubuntu), NVIDIA's to everybody.
    supplementalGroups: input.gpuResource.startsWith("amd.com/") ? [44] : [],
  };
}

/** Periods of a startup probe that cover the budget. */
export function startupFailures({ startupSeconds }: PodNeeds, periodSeconds: number): number {
  return Math.ceil(startupSeconds / periodSeconds);
}

/** Pulls of Berth's image and the engine's, some 10 GB where no node has it yet. */
const PULL_SECONDS = 900;

/** From a pod's creation on a ready node to its first answer, at most: images, files over the network, weights from the disk. */
export function progressSeconds({ fetchSeconds, startupSeconds }: PodNeeds): number {
  return PULL_SECONDS + fetchSeconds + startupSeconds;
}

/** The engine's own patience (default 600 s) must not end before the probe's. */
export function readyTimeout({ startupSeconds }: PodNeeds): { readonly name: string; readonly value: string } {
  return { name: "VLLM_ENGINE_READY_TIMEOUT_S", value: String(startupSeconds) };
}

/** Replicas spread over zones where the pool has nodes in several; never a reason not to run. */
export function zoneSpread(matchLabels: Readonly<Record<string, string>>): object {
  return {
    maxSkew: 1,
    topologyKey: "topology.kubernetes.io/zone",
    whenUnsatisfiable: "ScheduleAnyway",
    labelSelector: { matchLabels },
  };
}

/** 2 GiB for each GPU (queues between processes and NCCL); AMD's guide has 8 GiB; never more than a quarter of the node. */
function sharedMemory({ gpuCount, gpuResource, node }: PodNeedsInput): number {
  const least = gpuResource.startsWith("amd.com/") ? 8 * GIB : 2 * GIB;
  const wanted = Math.max(least, 2 * GIB * gpuCount);
  const quarter = node ? Math.floor((wholeQuantity(node.memory) ?? 0) / 4 / GIB) * GIB : wanted;
  return Math.max(GIB, Math.min(wanted, quarter));
}

/** One GPU's share of the weights on its way through host memory, 16 GiB for the processes, caches, and what /dev/shm holds. */
function hostMemory({ weightBytes, gpuCount, vision }: PodNeedsInput, sharedMemoryBytes: number): number {
  return Math.ceil(weightBytes / gpuCount) + 16 * GIB + sharedMemoryBytes + (vision ? 4 * GIB : 0);
}

/** Four fifths of the node's memory: the rest is the kubelet's and the DaemonSets'. */
function usableMemory(memory: string): number {
  return Math.floor(((wholeQuantity(memory) ?? 0) * 4) / 5);
}

function seconds(bytes: number, throughput: string | undefined, slow: number, fixed: number): number {
  const rate = (throughput === undefined ? undefined : wholeQuantity(throughput)) ?? slow;
  return Math.ceil((bytes / rate + fixed) * PATIENCE);
}
