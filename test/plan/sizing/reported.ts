/**
 * Compares our two numbers with start-up reports of the real engine (reports.json) over the models' configurations
 * (test/plan/model/configs). Weight bytes are counted from the configuration, never taken from the report, where that is possible.
 */
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { cacheOf } from "../../../operator/plan/model/cache.ts";
import { quantizationOf, textConfig } from "../../../operator/plan/model/config.ts";
import { shapeOf } from "../../../operator/plan/model/shape.ts";
import { capacityOf, type TwoEstimates } from "../../../operator/plan/sizing/capacity.ts";
import { cacheLayersOf, type ModelFacts } from "../../../operator/plan/sizing/facts.ts";
import { cachePlan, cacheSize } from "../../../operator/plan/sizing/kv.ts";
import { releaseOf } from "../../../operator/plan/sizing/release.ts";
import { counted, number } from "./parameters.ts";

type Config = Readonly<Record<string, unknown>>;

export interface Report {
  readonly id: string;
  readonly url: string;
  readonly model: string;
  readonly gpu: string;
  readonly gpuCount: number;
  readonly pp?: number;
  readonly vllmVersion: string;
  readonly gpuMemoryUtilization: number;
  readonly maxModelLen: number;
  readonly maxNumSeqs?: number;
  readonly maxNumBatchedTokens?: number;
  readonly quantization?: string;
  readonly kvCacheDtype?: string;
  readonly enforceEager?: boolean;
  readonly flashInferSampler?: boolean;
  readonly prefixCaching?: boolean;
  readonly speculative?: string;
  /** Served without its encoders (--language-model-only, or no input of another kind allowed). */
  readonly textOnly?: boolean;
  readonly modelLoadingGiB?: number;
  readonly availableKvGiB?: number;
  readonly kvTokens?: number;
  readonly maxConcurrency?: number;
  readonly estimatedMaxLen?: number;
  readonly dataParallel?: number;
  /** Of model, GPU, version, utilization and length what the source does not state: such a report is shown and not counted. */
  readonly inferred?: readonly string[];
  readonly note?: string;
  /** Found after the formulas and compared once before any of them was changed by it. */
  readonly heldOut?: boolean;
  /** File of test/plan/model/configs whose shape the reported checkpoint has. */
  readonly config?: string;
}

export interface Compared {
  readonly report: Report;
  /** Tokens of the cache: concurrency × length where the report has both, else its tokens. */
  readonly reported: number;
  readonly expected: number;
  readonly safe: number;
  /** Weights of one GPU in bytes, ours beside the report's; undefined where we took the report's, since the shape is not counted here. */
  readonly weightBytes: number;
  readonly reportedWeightBytes: number | undefined;
}

const configs = join(import.meta.dirname, "../model/configs");

function configOf({ model, config }: Report): { readonly config: Config; readonly weightBytes?: number } | undefined {
  const path = join(configs, config ?? `${model.replace("/", "__")}.json`);
  return existsSync(path)
    ? (JSON.parse(readFileSync(path, "utf8")) as { config: Config; weightBytes?: number })
    : undefined;
}

/** Bytes of one number of a matrix in the checkpoint that the report served. */
function matrixBytes(report: Report, method: string | undefined): number {
  const words = `${report.model} ${report.quantization ?? ""} ${method ?? ""}`;
  if (/awq|gptq|int4|w4a16|4bit/i.test(words)) return 0.53;
  if (/mxfp4/i.test(words)) return 4.25 / 8;
  if (/fp4/i.test(words)) return 4.5 / 8;
  return /fp8|int8|w8a8/i.test(words) ? 1 : 2;
}

/** Whether we count the weights ourselves. */
function isCounted(report: Report): boolean {
  const config = configOf(report)?.config;
  return config !== undefined && counted(config) !== undefined;
}

const withoutEncoders = (shape: ReturnType<typeof shapeOf>): typeof shape => ({ ...shape, visionTokens: 0 });

/** Facts of the reported model by its configuration; undefined where neither that nor the report tells its weights. */
export function factsOf(report: Report): ModelFacts | undefined {
  const found = configOf(report);
  if (!found) return undefined;
  const { config } = found;
  const whole = shapeOf(config, []);
  const shape = report.textOnly === true ? withoutEncoders(whole) : whole;
  const architectures = config["architectures"] as readonly string[] | undefined;
  const cache = cacheOf(architectures?.[0] ?? "", "Generate", config, shape);
  if (!cache) return undefined;
  const size = counted(config);
  const task = /Embedding/.test(report.model) ? "Embed" : "Generate";
  // Embedders have no output layer.
  const embeddings =
    task === "Embed" ? number(textConfig(config), "vocab_size") * (shape.hiddenSize ?? 0) : size?.embedding;
  const embeddingBytes = (embeddings ?? 0) * 2;
  const gpus = report.gpuCount * (report.pp ?? 1);
  const bytes = matrixBytes(report, quantizationOf(config));
  // gpt-oss quantizes its experts alone.
  const others = /mxfp4/.test(quantizationOf(config) ?? "") ? 2 : bytes;
  const visionBytes = report.textOnly === true ? 0 : (size?.vision ?? 0) * 2;
  const own = size && (size.matrices - size.experts) * others + size.experts * bytes + embeddingBytes + visionBytes;
  // The engine's number holds the tables of rotary positions, which every GPU has whole.
  const tables = shape.rotaryBytes ?? 0;
  const total =
    own ?? (report.modelLoadingGiB === undefined ? undefined : (report.modelLoadingGiB * 2 ** 30 - tables) * gpus);
  if (total === undefined) return undefined;
  const weights = {
    embeddingBytes, linearBytes: 0, dividedBytes: Math.max(0, total - embeddingBytes - visionBytes), replicatedBytes: 0, visionBytes,
    expertBytes: (size?.experts ?? 0) * bytes, extraBytes: 0,
  }; // prettier-ignore
  const quantization = quantizationOf(config);
  return {
    weightBytes: total, contextLength: report.maxModelLen, task, shape,
    weights, cache: [...cache], ...(quantization === undefined ? {} : { quantization }),
  }; // prettier-ignore
}

const memoryOf = (gpu: string): string =>
  /(\d+) ?Gi?B\b/i.exec(gpu)?.[1] ?? nominal.find(([name]) => name.test(gpu))?.[1] ?? "80";
const nominal: readonly (readonly [RegExp, string])[] = [
  [/L40/, "48"], [/L4/, "24"], [/A10\b|A10G/, "24"], [/H200/, "141"], [/B200/, "180"], [/B300/, "288"], [/MI300/, "192"], [/MI325/, "256"],
  [/4090|3090/, "24"], [/5090/, "32"], [/A6000/, "48"], [/PRO 6000/, "96"], [/T4/, "16"], [/GB10/, "128"], [/A5000/, "24"], [/4080|9070/, "16"], [/GH200/, "96"], [/A40/, "48"], [/H20/, "96"],
]; // prettier-ignore

/** Our estimates for the report's flags. */
export function estimateOf(report: Report, facts: ModelFacts): TwoEstimates | undefined {
  const { maxNumSeqs, maxNumBatchedTokens } = report;
  return capacityOf({
    facts,
    gpu: { product: report.gpu, memory: `${memoryOf(report.gpu)}Gi` },
    tensorParallel: report.gpuCount,
    pipelineParallel: report.pp ?? 1,
    engineVersion: report.vllmVersion,
    utilization: report.gpuMemoryUtilization,
    cacheElementBytes: /fp8/.test(report.kvCacheDtype ?? "") ? 1 : 2,
    enforceEager: report.enforceEager ?? false,
    flashInferSampler: report.flashInferSampler ?? false,
    ...(report.prefixCaching === undefined ? {} : { prefixCaching: report.prefixCaching }),
    settings: {
      ...(maxNumSeqs === undefined ? {} : { maxNumSeqs }),
      ...(maxNumBatchedTokens === undefined ? {} : { maxNumBatchedTokens }),
    },
  });
}

/** Where a report states the cache's memory alone: the tokens that it holds by the rules of the block manager. */
export function tokensOfBytes(report: Report, facts: ModelFacts): number | undefined {
  if (report.availableKvGiB === undefined) return undefined;
  const settings = estimateOf(report, facts)?.settings;
  const plan = cachePlan(cacheLayersOf(facts) ?? [], {
    tensorParallel: report.gpuCount,
    pipelineParallel: report.pp ?? 1,
    elementBytes: /fp8/.test(report.kvCacheDtype ?? "") ? 1 : 2,
    batchedTokens: settings?.maxNumBatchedTokens ?? 8192,
    release: releaseOf(report.vllmVersion),
    prefixCaching: report.prefixCaching ?? true,
  });
  if (!plan) return undefined;
  const bytes = report.availableKvGiB * 2 ** 30;
  return cacheSize(plan, bytes, report.maxModelLen, releaseOf(report.vllmVersion)).concurrency * report.maxModelLen;
}

/** One report beside our numbers; undefined where it or its model's configuration lacks what a comparison needs. */
export function compare(report: Report): Compared | undefined {
  // Replicas inside one engine are not modelled.
  if ((report.dataParallel ?? 1) > 1) return undefined;
  const facts = factsOf(report);
  const two = facts && estimateOf(report, facts);
  const { maxModelLen: length, maxConcurrency, kvTokens, modelLoadingGiB } = report;
  // The concurrency has two digits behind the point: where few sequences fit, the tokens of a plain cache are more exact.
  const isPlain = facts?.cache?.every(({ kind }) => kind === "Full" || kind === "Latent") === true;
  const tokens =
    maxConcurrency === undefined || (isPlain && kvTokens !== undefined) ? kvTokens : maxConcurrency * length;
  const reported = tokens ?? (facts && tokensOfBytes(report, facts));
  if (!two || reported === undefined) return undefined;
  return {
    report,
    reported,
    expected: two.expected.concurrency(length) * length,
    safe: two.safe.concurrency(length) * length,
    weightBytes: two.expected.weightBytes,
    reportedWeightBytes: modelLoadingGiB === undefined || !isCounted(report) ? undefined : modelLoadingGiB * 2 ** 30,
  };
}

/** GPUs that share the host's memory are outside of what is promised, and so is what torch calls their total. */
export const isOwnMemory = ({ gpu }: Report): boolean => !/GB10|APU|Spark/i.test(gpu);

/** Whether model, GPU, parallelism, version, utilization and length are all stated, on a GPU with memory of its own. */
export const isStated = (report: Report): boolean => isOwnMemory(report) && report.inferred === undefined;

/** All reports of the data file. */
export function allReports(): readonly Report[] {
  const path = join(import.meta.dirname, "reports.json");
  return existsSync(path) ? (JSON.parse(readFileSync(path, "utf8")) as Report[]) : [];
}

/** Names of the recorded configurations. */
export const configNames = (): readonly string[] => readdirSync(configs).filter((name) => name.endsWith(".json"));

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  return sorted.length % 2 === 1 ? (sorted[middle] ?? 0) : ((sorted[middle - 1] ?? 0) + (sorted[middle] ?? 0)) / 2;
}

/** The error table, a line per report: ours over theirs, worst first. */
export function errorTable(rows: readonly Compared[]): string {
  const line = ({ report, reported, expected, safe }: Compared): string =>
    [
      `${report.model} ${String(report.gpuCount)} × ${report.gpu} ${report.vllmVersion}`.padEnd(86),
      String(Math.round(reported)).padStart(10),
      `${((100 * expected) / reported - 100).toFixed(1)} %`.padStart(9),
      `${((100 * safe) / reported - 100).toFixed(1)} %`.padStart(9),
    ].join(" ");
  const off = ({ expected, reported }: Compared): number => Math.abs(expected / reported - 1);
  return rows
    .toSorted((a, b) => off(b) - off(a))
    .map(line)
    .join("\n");
}
