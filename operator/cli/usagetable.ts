/** A usage report as a table for people and as CSV for spreadsheets. */
import type { UsageLine, UsageReport } from "../api/usage.ts";
import { asPlainText } from "../plan/rating/csv.ts";

interface Column {
  readonly heading: string;
  readonly of: (line: UsageLine) => string | number;
  /** False: shown in the wide table only, where a terminal of 80 columns need not hold it. */
  readonly narrow: boolean;
}

const text = (heading: string, narrow: boolean, of: (line: UsageLine) => string): Column => ({ heading, of, narrow });
const sum = (heading: string, narrow: boolean, of: (line: UsageLine) => number): Column => ({ heading, of, narrow });

function columnsOf(records: readonly UsageLine[], wide: boolean): Column[] {
  const wholeHours = records.every(({ windowStart }) => windowStart.endsWith(":00Z"));
  const oneNamespace = new Set(records.map(({ namespace }) => namespace)).size === 1;
  const all = [
    text("HOUR (UTC)", true, ({ windowStart }) => windowStart.replace("T", " ").slice(0, wholeHours ? 16 : 19)),
    text("NAMESPACE", !oneNamespace, ({ namespace }) => namespace),
    text("DEPLOYMENT", true, ({ deploymentName }) => deploymentName),
    text("SKU", true, ({ sku }) => sku),
    text("ACCOUNT", false, ({ account }) => account),
    sum("DESIRED", false, ({ desiredNodeSeconds }) => desiredNodeSeconds),
    sum("CLAIMED", true, ({ claimedNodeSeconds }) => claimedNodeSeconds),
    sum("READY", true, ({ readyNodeSeconds }) => readyNodeSeconds),
    sum("BILLABLE", true, ({ billableNodeSeconds }) => billableNodeSeconds),
    sum("GPU-SECONDS", false, ({ gpuSeconds }) => gpuSeconds),
    text("STATE", true, ({ open, estimatedNodeSeconds }) => {
      return `${open ? "open" : "sealed"}${estimatedNodeSeconds > 0 ? ", estimated" : ""}`;
    }),
  ];
  return all.filter(({ narrow }) => wide || narrow);
}

/** Node-seconds by window with totals; open windows are marked and explained below. `wide` adds account, desired and GPU-seconds. */
export function tableOf(report: UsageReport, { wide = false } = {}): string {
  const { records, asOf } = report;
  if (records.length === 0) return `no capacity between ${report.from} and ${report.to}, or none that you may read\n`;
  const columns = columnsOf(records, wide);
  const cells = columns.map((column) => column.of).map((of) => records.map(of));
  const totals = cells.map((column, at) => (at === 0 ? "TOTAL" : totalOf(column)));
  const lines = aligned(cells.map((column, at) => [columns[at]?.heading ?? "", ...column, totals[at] ?? ""]));
  const open = records.some((line) => line.open) ? `open: not sealed yet, counted up to ${asOf}\n` : "";
  return `${lines.join("\n")}\nnode-seconds; divide by 3600 for node-hours\n${open}`;
}

function totalOf(column: readonly (string | number)[]): string | number {
  return column.reduce<string | number>((all, cell) => (typeof cell === "number" ? Number(all) + cell : ""), 0);
}

/** Columns in, lines out; a column of numbers is aligned to the right. */
export function aligned(columns: readonly (readonly (string | number)[])[]): string[] {
  const padded = columns.map((column) => {
    const width = Math.max(...column.map((cell) => String(cell).length));
    const numbers = typeof column[1] === "number";
    return column.map((cell) => (numbers ? String(cell).padStart(width) : String(cell).padEnd(width)));
  });
  return (padded[0] ?? []).map((_, row) =>
    padded
      .map((column) => column[row] ?? "")
      .join("  ")
      .trimEnd(),
  );
}

const csvFields = [
  "windowStart",
  "windowEnd",
  "from",
  "to",
  "open",
  "namespace",
  "deploymentName",
  "deploymentUID",
  "sku",
  "gpus",
  "account",
  "billableNodeSeconds",
  "claimedNodeSeconds",
  "readyNodeSeconds",
  "desiredNodeSeconds",
  "surgeNodeSeconds",
  "shortfallNodeSeconds",
  "estimatedNodeSeconds",
  "gpuSeconds",
  "tags",
  "id",
] as const satisfies readonly (keyof UsageLine)[];

/** RFC 4180 with a heading; tags as one cell of JSON. */
export function csvOf({ records }: UsageReport): string {
  const rows = records.map((line) =>
    csvFields.map((field) => {
      const value = line[field];
      if (typeof value === "number") return cell(String(value));
      return cell(asPlainText(typeof value === "object" ? JSON.stringify(value) : String(value)));
    }),
  );
  return [csvFields, ...rows].map((row) => `${row.join(",")}\r\n`).join("");
}

export function cell(text: string): string {
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
