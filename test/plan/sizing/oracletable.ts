/** Our layout of the cache beside vLLM's own, a row for each case of oraclecases.ts: `node test/plan/sizing/oracletable.ts` prints it. */
import { existsSync, readFileSync } from "node:fs";
import { cacheOf } from "../../../operator/plan/model/cache.ts";
import { shapeOf } from "../../../operator/plan/model/shape.ts";
import { cachePlan, cacheSize } from "../../../operator/plan/sizing/kv.ts";
import { askOracle } from "./oracle.ts";
import type { OracleAnswer } from "./oracle.ts";
import { oracleCases } from "./oraclecases.ts";
import type { OracleCase } from "./oraclecases.ts";

/** Bytes that are cut into blocks: more than one request of each case, few enough that one block shows. */
export const CACHE_BYTES = 2 ** 30;
/** Releases behave alike from this one on; the installed one is asked. */
const release = [0, 32, 0] as const;

export interface OracleRow {
  readonly kind: string;
  readonly ours: Pick<OracleAnswer, "tokens" | "blocks" | "requestBlocks"> & {
    readonly groupBlockTokens: readonly number[];
  };
  /** Absent where vLLM cannot build the model here, with its reason. */
  readonly theirs?: OracleAnswer;
  readonly refused?: string;
  /** Not refused: not answered in time. */
  readonly late?: true;
}

/** The CPU kernels' own: 32 tokens, and 16 for latent attention (platforms/cpu.py). On a GPU 16 is the default. */
const blockTokensOf = (config: OracleCase["config"]): number => ("kv_lora_rank" in config ? 16 : 32);

const hasWideStates = (): boolean =>
  existsSync("/proc/cpuinfo") && /\bavx512_bf16\b/.test(readFileSync("/proc/cpuinfo", "utf8"));

function oursOf({ config, maxModelLen, batchedTokens, extra }: OracleCase): OracleRow["ours"] {
  const [architecture = ""] = config["architectures"] as readonly string[];
  const task = extra?.["runner"] === "pooling" ? "Embed" : "Generate";
  // The CPU build keeps recurrent states in 32 bits wherever the processor has AVX-512 BF16 (platforms/cpu.py), as this key asks for.
  const wide = hasWideStates() ? { ...config, mamba_ssm_cache_dtype: "float32" } : config;
  const cache = cacheOf(architecture, task, wide, shapeOf(config, []));
  if (!cache) throw new Error(`${architecture}: the cache is unknown`);
  const plan = cachePlan(cache, {
    tensorParallel: 1,
    elementBytes: 2,
    batchedTokens,
    release,
    prefixCaching: true,
    blockTokens: blockTokensOf(config),
    batchesInFlight: 1,
  });
  if (!plan) return { tokens: 0, blocks: 0, requestBlocks: 0, groupBlockTokens: [] };
  const { blocks, reportedTokens: tokens } = cacheSize(plan, CACHE_BYTES, maxModelLen, release);
  return {
    tokens,
    blocks,
    requestBlocks: plan.blocksFor(maxModelLen),
    groupBlockTokens: plan.groups.map(({ blockTokens }) => blockTokens),
  };
}

/** Asks vLLM once for all cases. */
export function oracleRows(cases: readonly OracleCase[] = oracleCases, afresh = false): readonly OracleRow[] {
  const said = askOracle(
    cases.map(({ config, maxModelLen, batchedTokens, extra = {} }) => ({
      config,
      maxModelLen,
      cacheBytes: CACHE_BYTES,
      // The CPU build settles each batch before the next one: asked so that a default elsewhere changes nothing.
      extra: {
        block_size: blockTokensOf(config),
        async_scheduling: false,
        max_num_batched_tokens: batchedTokens,
        enable_prefix_caching: true,
        ...extra,
      },
    })),
    afresh,
  );
  return cases.map((one, index) => {
    const answer = said[index] ?? { refused: "no answer" };
    const row = { kind: one.kind, ours: oursOf(one) };
    return "refused" in answer ? { ...row, ...answer } : { ...row, theirs: answer };
  });
}

/** The rows as a Markdown table. */
export function oracleTable(rows: readonly OracleRow[]): string {
  const line = ({ kind, ours, theirs, refused }: OracleRow): string => {
    if (!theirs) return `| ${kind} | refused: ${refused ?? ""} | | |`;
    const groups = theirs.groups.map(
      (group) => `${String(group.layers)} ${group.kind.replace(/Spec$/, "")} × ${String(group.blockTokens)}`,
    );
    const pair = (a: number, b: number): string => `${String(a)} / ${String(b)}`;
    return `| ${kind} | ${groups.join(", ") || "none"} | ${pair(ours.requestBlocks, theirs.requestBlocks)} | ${pair(ours.blocks, theirs.blocks)} | ${pair(ours.tokens, theirs.tokens)} |`;
  };
  return [
    "| kind | vLLM's groups | blocks of a request | blocks | tokens |",
    "|---|---|---|---|---|",
    ...rows.map(line),
  ].join("\n");
}

if (import.meta.main) console.log(oracleTable(oracleRows()));
