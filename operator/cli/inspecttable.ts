/** An inspection as text for people, good enough to paste into a design document. Pure. */
import { bytesText } from "../plan/quantity.ts";
import type { ModelFacts } from "../plan/model/inspect.ts";
import { releaseOf } from "../plan/sizing/release.ts";
import type { Recommendation, ReportRow } from "../plan/sizing/report.ts";
import { servedProblem } from "../plan/sizing/served.ts";
import type { Inspection } from "./inspect.ts";

/** Columns of a terminal and of a page: the default table stays within them, `wide` does not. */
const WIDTH = 80;

export function textOf(inspection: Inspection, wide: boolean): string {
  const { model, matrix, recommendation, warnings, read } = inspection;
  const parts = [
    `Model ${inspection.source}`,
    factLines(model),
    ...warnings.map((warning) => wrapped(`! ${warning}`, "  ")),
    `Nodes for ${wishText(inspection)}, vLLM ${inspection.engineVersion}`,
    wide ? matrixTable(matrix, WIDE, undefined) : narrow(shown(matrix), recommendation),
    recommendation ? recommended(recommendation, wide) : nothing(inspection),
    `AT ONCE is promised, EXPECTED is the estimate: docs/sizing.md.\nRead ${bytesText(read.bytes)} in ${read.requests} requests, ${read.seconds.toFixed(2)} s.`,
  ];
  return `${parts.join("\n\n")}\n`;
}

function nothing({ context, concurrency, matrix, model, engineVersion }: Inspection): string {
  const unserved = servedProblem(model.architecture, releaseOf(engineVersion));
  if (unserved !== undefined) return wrapped(`No node type can serve this: ${unserved}.`, "");
  const most = Math.max(0, ...matrix.map(({ maxContextLength }) => maxContextLength));
  const remedy =
    most === 0
      ? "add larger node types, or take a smaller or quantized model"
      : `ask for ${context === undefined || context <= most ? "fewer requests at once" : `at most --context ${String(most)}`}, or add larger node types`;
  const wish = concurrency === undefined ? "this" : "this many requests";
  return wrapped(`No node type of the list can serve ${wish}: ${remedy}.`, "");
}

function wishText({ context, concurrency }: Inspection): string {
  const length = context === undefined ? "the largest context that fits" : `${grouped(context)} tokens of context`;
  return concurrency === undefined ? length : `${concurrency} requests at once of ${length}`;
}

function factLines(model: ModelFacts): string {
  const { shape, unknown = [] } = model;
  const experts = shape?.experts ? `, ${shape.experts} experts (${shape.expertsPerToken ?? "?"} used per token)` : "";
  const lines: (readonly [string, string | undefined])[] = [
    ["architecture", model.architecture && `${model.architecture} (${model.task ?? "Unknown"})${experts}`],
    ["parameters", model.parameters === undefined ? undefined : parametersText(model.parameters)],
    [
      "weights",
      model.weightBytes === undefined ? undefined : `${gigabytes(model.weightBytes)} (${weightsText(model)})`,
    ],
    ["context", model.contextLength === undefined ? undefined : `${grouped(model.contextLength)} tokens`],
    ["KV cache", model.kvBytesPerToken ? `${bytesText(model.kvBytesPerToken)} per token, whole model` : undefined],
    ["tool calls", parsersText(model)],
    ["unknown", unknown.length > 0 ? unknown.join("; ") : undefined],
  ];
  return lines
    .flatMap(([name, value]) => (value ? [wrapped(`  ${name.padEnd(13)} ${value}`, " ".repeat(16))] : []))
    .join("\n");
}

function parsersText({ parsers, chatTemplate, task }: ModelFacts): string | undefined {
  if (task !== "Generate") return undefined;
  if (chatTemplate === undefined) return "no chat template: give one in spec.chatTemplate, or use completions";
  const { toolCallParser: tool, reasoningParser: reasoning, because } = parsers ?? {};
  const names = [tool && `parser ${tool}`, reasoning && `reasoning ${reasoning}`].filter(Boolean).join(", ");
  return `${names || "no parser is sure"} (${because ?? ""})`;
}

function parametersText(count: number): string {
  if (count < 1e5) return grouped(count);
  return count >= 1e8 ? `${(count / 1e9).toFixed(2)} billion` : `${(count / 1e6).toFixed(1)} million`;
}

function weightsText({ dtype, quantization, effectiveBits }: ModelFacts): string {
  const bits = effectiveBits === undefined ? "" : `, ${effectiveBits} bits per weight`;
  return `${quantization ? `${quantization}, ` : ""}mostly ${dtype ?? "unknown"}${bits}`;
}

/** Without the bits that no node type allows, unless nothing would be left. */
function shown(rows: readonly ReportRow[]): readonly ReportRow[] {
  const possible = new Set(rows.filter(({ allowed }) => allowed).map(({ bits }) => bits));
  const highest = Math.max(...rows.map(({ bits }) => bits));
  return rows.filter(({ bits }) => possible.has(bits) || bits === highest);
}

interface Column {
  readonly head: string;
  readonly cell: (row: ReportRow) => string;
  readonly right?: true;
}

const count = (head: string, cell: Column["cell"]): Column => ({ head, cell, right: true });
const price: Column = { head: "PRICE", cell: (row) => row.price ?? "-" };
const NARROW: readonly Column[] = [
  { head: "NODE TYPE", cell: (row) => row.nodeType },
  { head: "GPUS", cell: ({ gpus }) => gpus.replace(/ × (NVIDIA|AMD) /, " × ") },
  count("BITS", ({ bits }) => String(bits)),
  count("MAX CONTEXT", ({ maxContextLength }) => (maxContextLength > 0 ? grouped(maxContextLength) : "-")),
  count("AT ONCE", ({ concurrency }) => (concurrency ? grouped(concurrency.safe) : "-")),
  count("EXPECTED", ({ concurrency }) => (concurrency ? String(concurrency.expected) : "-")),
];
const WIDE: readonly Column[] = [
  ...NARROW,
  count("WEIGHTS/GPU", ({ weightBytesPerGpu: bytes }) => (bytes === undefined ? "-" : gigabytes(bytes))),
  count("CACHE/GPU", ({ cacheBytesPerGpu: bytes }) => (bytes === undefined ? "-" : gigabytes(bytes))),
  { head: "WHY", cell: (row) => row.reason ?? "" },
];

/** What fits as a table, what does not below it in sentences. */
function narrow(rows: readonly ReportRow[], recommendation: Recommendation | undefined): string {
  const fits = rows.filter(({ allowed }) => allowed);
  const lowered = fits.filter(({ reason }) => reason !== undefined);
  return [
    ...(fits.length > 0 ? [matrixTable(fits, NARROW, recommendation)] : []),
    ...lowered.map((row) => wrapped(`  ${labelOf(row)}: ${row.reason ?? ""}`, "    ")),
    ...(fits.length < rows.length ? ["  Does not fit:"] : []),
    ...[...Map.groupBy(refusals(rows), sameReason)].map(([reason, those]) =>
      wrapped(`  ${namesOf(those)}: ${reason}`, "    "),
    ),
  ].join("\n");
}

/** Without the remedy, which the recommendation has. */
function sameReason({ reason = "" }: ReportRow): string {
  const colon = reason.lastIndexOf(": ");
  return colon > 0 ? reason.slice(0, colon) : reason;
}

/** "l4-4 and a10g-4, 8 bits". */
function namesOf(rows: readonly ReportRow[]): string {
  return [...Map.groupBy(rows, ({ bits }) => bits)]
    .map(([bits, those]) => `${those.map(({ nodeType }) => nodeType).join(", ")} at ${String(bits)} bits`)
    .join("; ");
}

const labelOf = ({ nodeType, bits }: ReportRow): string => `${nodeType}, ${String(bits)} bits`;

/** Of a node type that fits at no bits the fewest: with more it fits even less. */
function refusals(rows: readonly ReportRow[]): readonly ReportRow[] {
  const fitting = new Set(rows.filter(({ allowed }) => allowed).map(({ nodeType }) => nodeType));
  const fewest = new Map<string, number>();
  for (const { nodeType, bits } of rows) fewest.set(nodeType, Math.min(bits, fewest.get(nodeType) ?? bits));
  return rows.filter(
    ({ nodeType, bits, allowed }) => !allowed && (fitting.has(nodeType) || fewest.get(nodeType) === bits),
  );
}

function matrixTable(
  rows: readonly ReportRow[],
  columns: readonly Column[],
  chosen: Recommendation | undefined,
): string {
  const all = rows.some((row) => row.price) ? [...columns.slice(0, 6), price, ...columns.slice(6)] : columns;
  const cells = [all.map(({ head }) => head), ...rows.map((row) => all.map(({ cell }) => cell(row)))];
  const widths = all.map((_, i) => Math.max(...cells.map((line) => line[i]?.length ?? 0)));
  const lines = cells.map((line) =>
    line.map((cell, i) => (all[i]?.right ? cell.padStart(widths[i] ?? 0) : cell.padEnd(widths[i] ?? 0))).join("  "),
  );
  const isChosen = (row: ReportRow | undefined): boolean =>
    row?.nodeType === chosen?.nodeType && row?.bits === chosen?.bits && chosen !== undefined;
  return lines.map((line, i) => `${isChosen(rows[i - 1]) ? "* " : "  "}${line}`.trimEnd()).join("\n");
}

function recommended(recommendation: Recommendation, wide: boolean): string {
  const { nodeType, bits, because, quantizes, contextLength, command } = recommendation;
  const price = recommendation.price ? `, ${recommendation.price}` : "";
  const quantization = quantizes ? [`    quantization: {bits: ${String(bits)}}`] : [];
  const lines = command.map(({ words }) => words.map(quoted).join(" "));
  const widest = Math.max(...lines.map((line) => line.length));
  const args = command.map(({ why }, i) => {
    const line = lines[i] ?? "";
    const end = i === command.length - 1 ? "" : " \\";
    return wide ? `    ${line.padEnd(widest + 3)}# ${why}` : `    ${line}${end}`;
  });
  return [
    `Recommended: ${nodeType} at ${String(bits)} bits${price}`,
    wrapped(`  ${because}`, "  "),
    "",
    "  spec:",
    `    nodeType: ${nodeType}`,
    `    contextLength: ${String(contextLength)}`,
    ...quantization,
    "",
    wide ? "  vllm serve, argument by argument:" : "  vllm serve \\",
    ...args,
  ].join("\n");
}

/** Lines of at most 80 columns, those after the first indented. */
function wrapped(text: string, indent: string): string {
  const start = /^ */.exec(text)?.[0] ?? "";
  const lines: string[] = [];
  let line = start;
  for (const word of text.trim().split(" ")) {
    const next = line.trim() === "" ? line + word : `${line} ${word}`;
    if (next.length <= WIDTH || line.trim() === "") line = next;
    else {
      lines.push(line);
      line = indent + word;
    }
  }
  return [...lines, line].join("\n");
}

function quoted(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}

function gigabytes(bytes: number): string {
  if (bytes < 1e5) return `${grouped(Math.round(bytes))} B`;
  return bytes >= 1e8 ? `${(bytes / 1e9).toFixed(1)} GB` : `${(bytes / 1e6).toFixed(1)} MB`;
}

function grouped(count: number): string {
  return String(count).replace(/\B(?=(\d{3})+(?!\d))/g, ",");
}
