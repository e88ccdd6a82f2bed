/** What `berth inspect` says: every node type at every number of bits, and which of them to take. Pure. */
import type { NodeType } from "../../api/nodetype.ts";
import { engineLine, type EngineArgument } from "../engine/render.ts";
import { fitOneNode, type Fit, type ModelFacts } from "./fit.ts";
import { byPriceOrMemory } from "./proposal.ts";
import { MATRIX_BITS } from "./quantize.ts";
import { nativeBits } from "./weights.ts";

export interface Wish {
  /** Tokens of prompt and answer together; the model's own, cut to what fits, where absent. */
  readonly context?: number | undefined;
  /** Requests of that length at once. */
  readonly concurrency?: number | undefined;
  readonly engineVersion: string;
}

export interface ReportRow {
  readonly nodeType: string;
  readonly gpus: string;
  readonly bits: number;
  readonly allowed: boolean;
  /** Largest context that is promised, in tokens. */
  readonly maxContextLength: number;
  /** Requests of the wished context (else of the largest) at once, promised and estimated. */
  readonly concurrency: { readonly safe: number; readonly expected: number } | undefined;
  readonly weightBytesPerGpu: number | undefined;
  readonly cacheBytesPerGpu: number | undefined;
  readonly price: string | undefined;
  readonly reason: string | undefined;
}

export interface Recommendation {
  readonly nodeType: string;
  readonly bits: number;
  /** Whether a deployment has to ask for the bits: they are fewer than the checkpoint's own. */
  readonly quantizes: boolean;
  readonly contextLength: number;
  readonly price: string | undefined;
  readonly because: string;
  readonly command: readonly EngineArgument[];
}

export interface Report {
  readonly rows: readonly ReportRow[];
  readonly recommendation: Recommendation | undefined;
}

export interface Served extends ModelFacts {
  readonly task?: Parameters<typeof engineLine>[0]["task"];
  readonly architecture?: string | undefined;
  readonly parsers?: Parameters<typeof engineLine>[0]["parsers"];
}

export interface ReportInput {
  readonly facts: Served;
  readonly nodeTypes: readonly NodeType[];
  readonly wish: Wish;
  readonly servedName: string;
  readonly modelPath: string;
}

interface Candidate {
  readonly type: NodeType;
  readonly row: ReportRow;
  readonly fit: Exclude<Fit, { readonly problem: unknown }> | undefined;
}

/** Rows for the bits that the checkpoint can be served with: its own, and those that it can be quantized to at load. */
export function reportOf(input: ReportInput): Report {
  const { facts, nodeTypes, wish } = input;
  const native = nativeBits(facts);
  const bits = [...new Set([...MATRIX_BITS.filter((value) => value < native), native])].sort((a, b) => b - a);
  const candidates = nodeTypes
    .filter(({ spec }) => !spec.disabled)
    .flatMap((type) => bits.map((value) => candidate(facts, type, value, wish)));
  const recommended = candidates.filter((entry) => suffices(entry, wish)).toSorted(better)[0];
  return {
    rows: candidates.map(({ row }) => row),
    recommendation: recommended && recommend(recommended, input, native),
  };
}

function candidate(facts: Served, type: NodeType, bits: number, { context, engineVersion }: Wish): Candidate {
  const { gpu } = type.spec;
  const options = { bits, engineVersion };
  const longest = fitOneNode(facts, gpu, undefined, options);
  const wished = context === undefined ? longest : fitOneNode(facts, gpu, context, options);
  const common = { nodeType: type.metadata.name, gpus: `${gpu.count} × ${gpu.product}`, bits, price: priceOf(type) };
  const most = "problem" in longest ? 0 : longest.capacity.contextLength;
  if ("problem" in wished) {
    const row = { ...common, allowed: false, maxContextLength: most, reason: wished.problem.message };
    return { type, fit: undefined, row: { ...row, ...UNKNOWN } };
  }
  const length = wished.capacity.contextLength;
  const { expected, safe } = wished.estimates;
  // More requests than the engine's slots wait, however much cache is left.
  const slots = wished.engine.maxNumSeqs;
  const row = {
    ...common,
    allowed: true,
    maxContextLength: most,
    concurrency: {
      safe: Math.min(slots, Math.floor(safe.concurrency(length))),
      expected: Math.min(slots, tenths(expected.concurrency(length))),
    },
    weightBytesPerGpu: expected.weightBytes,
    cacheBytesPerGpu: expected.cacheBytes,
    reason: wished.engine.lowered ? `with --max-num-seqs ${wished.engine.maxNumSeqs}` : undefined,
  };
  return { type, fit: wished, row };
}

const UNKNOWN = { concurrency: undefined, weightBytesPerGpu: undefined, cacheBytesPerGpu: undefined };

function tenths(value: number): number {
  return Math.floor(value * 10) / 10;
}

function suffices({ row }: Candidate, { concurrency = 1 }: Wish): boolean {
  return row.allowed && (row.concurrency?.safe ?? 0) >= concurrency;
}

/** Cheaper first, as proposals have it; then more bits; then more context; then the name. Only of those that fit. */
function better(a: Candidate, b: Candidate): number {
  const byContext = (b.fit?.capacity.contextLength ?? 0) - (a.fit?.capacity.contextLength ?? 0);
  return (
    byPriceOrMemory(a.type, b.type) ||
    b.row.bits - a.row.bits ||
    byContext ||
    (a.row.nodeType < b.row.nodeType ? -1 : 1)
  );
}

function recommend({ row, type, fit }: Candidate, input: ReportInput, native: number): Recommendation | undefined {
  if (!fit) return undefined;
  const { facts, wish, servedName, modelPath } = input;
  const rendered = engineLine({
    servedName,
    modelPath,
    gpuCount: type.spec.gpu.count,
    capacity: fit.capacity,
    task: facts.task,
    shutdownSeconds: 570,
    version: wish.engineVersion,
    settings: fit.engine,
    architecture: facts.architecture,
    parsers: facts.parsers,
    vision: (facts.shape?.visionTokens ?? 0) > 0,
  });
  const asked = `${wish.concurrency ?? 1} × ${fit.capacity.contextLength} tokens`;
  const cheapest = row.price === undefined ? "the least GPU memory" : "the lowest price";
  return {
    nodeType: row.nodeType,
    bits: row.bits,
    quantizes: row.bits < native,
    contextLength: fit.capacity.contextLength,
    price: row.price,
    because: `${cheapest} that promises ${asked}, ${row.bits === native ? "served as it is stored" : `quantized at load from ${native} bits`}`,
    command: "line" in rendered ? rendered.line : [],
  };
}

function priceOf({ spec }: NodeType): string | undefined {
  return spec.price && `${spec.price.perHour} ${spec.price.currency}/h`;
}
