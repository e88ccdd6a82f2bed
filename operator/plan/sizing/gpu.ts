/**
 * What a GPU really offers, by its commercial name. The engine divides what torch reports as total memory
 * (torch.cuda.mem_get_info, gpu_worker.py init_device), which is less than the number on the box: firmware and ECC take their part.
 */
import type { GpuShape } from "../../api/nodetype.ts";
import { wholeQuantity } from "../quantity.ts";
import { atLeast, type EngineRelease } from "./release.ts";

const GiB = 2 ** 30;

export interface Gpu {
  /** Bytes that torch reports as total. */
  readonly usableBytes: number;
  /** Major times ten plus minor, for example 89; undefined where the name is not known. */
  readonly computeCapability: number | undefined;
  readonly vendor: "nvidia" | "amd";
  /** Whether the GPUs of a node reach each other directly; without, pipelines suit better than tensor parallelism. */
  readonly linked: boolean;
  /** A100: the engine keeps the small defaults although it has the memory (engine/arg_utils.py get_batch_defaults). */
  readonly smallDefaults: boolean;
}

interface Row {
  readonly name: RegExp;
  /** Nominal GB on the box and GiB that torch reports, as start-up reports and threads state them (docs/sizing.md). */
  readonly sizes: readonly (readonly [nominal: number, usableGiB: number])[];
  readonly capability: number;
  readonly linked: boolean;
  readonly amd?: true;
}

const rows: readonly Row[] = [
  { name: /\bMI300X\b/i, sizes: [[192, 191.98]], capability: 94, linked: true, amd: true },
  { name: /\bMI325X\b/i, sizes: [[256, 255.98]], capability: 94, linked: true, amd: true },
  { name: /\bMI35[05]X\b/i, sizes: [[288, 287.98]], capability: 95, linked: true, amd: true },
  { name: /\bMI2[15]0X?\b/i, sizes: [[64, 63.98], [128, 127.98]], capability: 90, linked: true, amd: true },
  { name: /\bB300\b|\bGB300\b/i, sizes: [[288, 267.6]], capability: 103, linked: true },
  { name: /\bB200\b|\bGB200\b/i, sizes: [[180, 178.35], [192, 178.35]], capability: 100, linked: true },
  { name: /\bH200\b/i, sizes: [[141, 139.8]], capability: 90, linked: true },
  { name: /\bH20\b/i, sizes: [[96, 95.0], [141, 139.72]], capability: 90, linked: true },
  { name: /\bGH200\b/i, sizes: [[96, 94.5], [144, 140.0]], capability: 90, linked: true },
  { name: /\bH100\b.*\bNVL\b|\bH100\b.*\b94\b/i, sizes: [[94, 93.1]], capability: 90, linked: true },
  { name: /\bH[18]00\b/i, sizes: [[80, 79.18]], capability: 90, linked: true },
  { name: /\bA[18]00\b/i, sizes: [[40, 39.49], [80, 79.25]], capability: 80, linked: true },
  { name: /\bA30\b/i, sizes: [[24, 23.5]], capability: 80, linked: false },
  { name: /\bA10G?\b/i, sizes: [[24, 22.0]], capability: 86, linked: false },
  { name: /\bA40\b|\bA6000\b/i, sizes: [[48, 44.4]], capability: 86, linked: false },
  { name: /\bA16\b|\bA2\b/i, sizes: [[16, 14.5]], capability: 86, linked: false },
  { name: /\bL40S?\b/i, sizes: [[48, 44.39]], capability: 89, linked: false },
  { name: /\bL4\b/i, sizes: [[24, 22.03]], capability: 89, linked: false },
  { name: /\b6000\b.*\bAda\b/i, sizes: [[48, 47.3]], capability: 89, linked: false },
  { name: /\bPRO\b.*\b6000\b/i, sizes: [[96, 94.97]], capability: 120, linked: false },
  { name: /\bGB10\b/i, sizes: [[128, 119.7]], capability: 121, linked: false },
  { name: /\bA5000\b/i, sizes: [[24, 23.68]], capability: 86, linked: false },
  { name: /\b5090\b/, sizes: [[32, 31.36]], capability: 120, linked: false },
  { name: /\b50[78]0\b/, sizes: [[16, 15.48]], capability: 120, linked: false },
  { name: /\b4090\b/, sizes: [[24, 23.64]], capability: 89, linked: false },
  { name: /\b40[678]0\b/, sizes: [[12, 11.6], [16, 15.6]], capability: 89, linked: false },
  { name: /\b3090\b/, sizes: [[24, 23.69]], capability: 86, linked: false },
  { name: /\b30[678]0\b/, sizes: [[8, 7.6], [12, 11.65]], capability: 86, linked: false },
  { name: /\bV100\b/i, sizes: [[16, 15.77], [32, 31.73]], capability: 70, linked: true },
  { name: /\bT4\b/i, sizes: [[16, 14.56]], capability: 75, linked: false },
]; // prettier-ignore

/** Memory of an unknown GPU: what drivers keep of the nominal size is 1 to 8 % in the table above. */
const UNKNOWN_USABLE = 0.92;

const cache = new Map<string, Gpu>();

/** A NodeType's GPU as the engine will see it: never more than the NodeType says. */
export function gpuOf({ product, memory }: Pick<GpuShape, "product" | "memory">): Gpu {
  const key = `${product}\n${memory}`;
  const known = cache.get(key);
  if (known) return known;
  const gpu = read(product, wholeQuantity(memory) ?? 0);
  if (cache.size < 1000) cache.set(key, gpu);
  return gpu;
}

function read(product: string, saidBytes: number): Gpu {
  const row = rows.find(({ name }) => name.test(product));
  const sizes = row?.sizes.map(([, usable]) => usable * GiB) ?? [];
  // The size on the box nearest to what the NodeType says: 80G, 80Gi and 79Gi all mean an 80 GB card.
  const nearest = sizes.sort((a, b) => Math.abs(a - saidBytes) - Math.abs(b - saidBytes))[0];
  const fits = nearest !== undefined && Math.abs(nearest - saidBytes) < 0.2 * saidBytes;
  return {
    usableBytes: Math.floor(fits ? Math.min(saidBytes, nearest) : saidBytes * UNKNOWN_USABLE),
    computeCapability: row?.capability,
    vendor: row?.amd ? "amd" : "nvidia",
    linked: row?.linked ?? false,
    smallDefaults: /\bA100\b/i.test(product),
  };
}

export interface Settings {
  /** --max-num-seqs */
  readonly maxNumSeqs: number;
  /** --max-num-batched-tokens */
  readonly maxNumBatchedTokens: number;
}

/** What the API server takes where nothing is said (engine/arg_utils.py get_batch_defaults; 160 GiB since 0.22, 1024 sequences since 0.9). */
export function defaultSettings(gpu: Gpu, release: EngineRelease): Settings {
  if (gpu.usableBytes >= 160 * GiB && atLeast(release, 0, 22)) return { maxNumSeqs: 1024, maxNumBatchedTokens: 16_384 };
  if (gpu.usableBytes >= 70 * GiB && !gpu.smallDefaults)
    return { maxNumSeqs: atLeast(release, 0, 8, 5) ? 1024 : 256, maxNumBatchedTokens: 8192 };
  return { maxNumSeqs: 256, maxNumBatchedTokens: 2048 };
}
