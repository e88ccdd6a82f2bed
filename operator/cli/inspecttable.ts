/** An inspection as text for people, good enough to paste into a design document. Pure. */
import { bytesText } from "../plan/quantity.ts";
import type { ModelFacts } from "../plan/model/inspect.ts";
import type { Recommendation, ReportRow } from "../plan/sizing/report.ts";
import type { Inspection } from "./inspect.ts";

export function textOf(inspection: Inspection, wide: boolean): string {
  const { model, matrix, recommendation, warnings, read } = inspection;
  const parts = [
    `Model ${inspection.source}`,
    factLines(model),
    ...warnings.map((warning) => `! ${warning}`),
    `Nodes for ${wishText(inspection)}, vLLM ${inspection.engineVersion}`,
    matrixTable(wide ? matrix : shown(matrix), wide),
    recommendation ? recommended(recommendation, wide) : "No node type of the list can serve this.",
    `Read ${bytesText(read.bytes)} in ${read.requests} requests, ${read.seconds.toFixed(2)} s. Estimates: docs/sizing.md.`,
  ];
  return `${parts.join("\n\n")}\n`;
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
    ["unknown", unknown.length > 0 ? unknown.join("; ") : undefined],
  ];
  return lines.flatMap(([name, value]) => (value ? [`  ${name.padEnd(13)} ${value}`] : [])).join("\n");
}

function parametersText(count: number): string {
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

type Column = readonly [head: string, cell: (row: ReportRow) => string];

function matrixTable(rows: readonly ReportRow[], wide: boolean): string {
  const columns: Column[] = [
    ["NODE TYPE", (row) => row.nodeType],
    ["GPUS", (row) => row.gpus],
    ["BITS", (row) => String(row.bits)],
    ["FITS", (row) => (row.allowed ? "yes" : "no")],
    ["MAX CONTEXT", (row) => (row.maxContextLength > 0 ? grouped(row.maxContextLength) : "-")],
    ["AT ONCE", (row) => atOnce(row)],
    ...(wide
      ? ([
          ["EXPECTED", (row) => (row.concurrency ? String(row.concurrency.expected) : "-")],
          ["WEIGHTS/GPU", (row) => (row.weightBytesPerGpu === undefined ? "-" : gigabytes(row.weightBytesPerGpu))],
          ["CACHE/GPU", (row) => (row.cacheBytesPerGpu === undefined ? "-" : gigabytes(row.cacheBytesPerGpu))],
        ] as Column[])
      : []),
    ...(rows.some((row) => row.price) ? ([["PRICE", (row) => row.price ?? "-"]] as Column[]) : []),
    ["WHY", (row) => shortened(row.reason ?? "", wide)],
  ];
  const cells = [columns.map(([head]) => head), ...rows.map((row) => columns.map(([, cell]) => cell(row)))];
  const widths = columns.map((_, i) => Math.max(...cells.map((line) => line[i]?.length ?? 0)));
  return cells.map((line) => `  ${line.map((cell, i) => cell.padEnd(widths[i] ?? 0)).join("  ")}`.trimEnd()).join("\n");
}

function atOnce({ concurrency }: ReportRow): string {
  return concurrency ? grouped(concurrency.safe) : "-";
}

function recommended(
  { nodeType, bits, price, because, contextLength, command }: Recommendation,
  wide: boolean,
): string {
  const head = `Recommended: ${nodeType} at ${bits} bits${price ? `, ${price}` : ""} (${because})`;
  const spec = `  spec.nodeType: ${nodeType}   spec.contextLength: ${contextLength}`;
  const lines = command.map(({ words }) => words.map(quoted).join(" "));
  const widest = Math.max(...lines.map((line) => line.length));
  const shown = command.map(({ why }, i) => {
    const line = lines[i] ?? "";
    const end = i === command.length - 1 ? "" : " \\";
    return wide ? `    ${`${line}${end}`.padEnd(widest + 3)}# ${why}` : `    ${line}${end}`;
  });
  const shell = wide ? "  vllm serve, argument by argument:" : "  vllm serve \\";
  return [head, spec, "", shell, ...(wide ? shown.map((line) => line.replace(" \\", "  ")) : shown)].join("\n");
}

function quoted(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}

function shortened(text: string, wide: boolean): string {
  return wide || text.length <= 90 ? text : `${text.slice(0, 89)}…`;
}

function gigabytes(bytes: number): string {
  return bytes >= 1e8 ? `${(bytes / 1e9).toFixed(1)} GB` : `${(bytes / 1e6).toFixed(1)} MB`;
}

function grouped(count: number): string {
  return String(count).replace(/\B(?=(\d{3})+(?!\d))/g, ",");
}
