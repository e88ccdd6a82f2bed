/** A usage report as a table for people and as CSV for spreadsheets. */
import type { UsageLine, UsageReport } from "../api/usage.ts";

const headings = [
  "HOUR (UTC)",
  "NAMESPACE",
  "DEPLOYMENT",
  "SKU",
  "ACCOUNT",
  "BILLABLE",
  "CLAIMED",
  "READY",
  "DESIRED",
  "GPU-SECONDS",
  "STATE",
] as const;
/** Columns from here to the last but one are numbers, aligned to the right. */
const firstNumber = 5;

function numbersOf(line: UsageLine): number[] {
  return [
    line.billableNodeSeconds,
    line.claimedNodeSeconds,
    line.readyNodeSeconds,
    line.desiredNodeSeconds,
    line.gpuSeconds,
  ];
}

/** Node-seconds by window with totals; open windows are marked and explained below. */
export function tableOf(report: UsageReport): string {
  const { records, asOf } = report;
  if (records.length === 0) return `no capacity between ${report.from} and ${report.to}, or none that you may read\n`;
  const wholeHours = records.every(({ windowStart }) => windowStart.endsWith(":00Z"));
  const rows = records.map((line) => [
    line.windowStart.replace("T", " ").slice(0, wholeHours ? 16 : 19),
    line.namespace,
    line.deploymentName,
    line.sku,
    line.account,
    ...numbersOf(line).map(String),
    `${line.open ? "open" : "sealed"}${line.estimatedNodeSeconds > 0 ? ", estimated" : ""}`,
  ]);
  const sums = records.map(numbersOf).reduce((a, b) => a.map((value, i) => value + (b[i] ?? 0)));
  const total = ["TOTAL", "", "", "", "", ...sums.map(String), ""];
  const lines = aligned([[...headings], ...rows, total]);
  const open = records.some((line) => line.open) ? `open: not sealed yet, counted up to ${asOf}\n` : "";
  return `${lines.join("\n")}\nnode-seconds; divide by 3600 for node-hours\n${open}`;
}

function aligned(rows: readonly (readonly string[])[]): string[] {
  const widths = headings.map((_, column) => Math.max(...rows.map((row) => (row[column] ?? "").length)));
  return rows.map((row) =>
    row
      .map((cell, column) => {
        const number = column >= firstNumber && column < headings.length - 1;
        return number ? cell.padStart(widths[column] ?? 0) : cell.padEnd(widths[column] ?? 0);
      })
      .join("   ")
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
      return cell(typeof value === "object" ? JSON.stringify(value) : String(value));
    }),
  );
  return [csvFields, ...rows].map((row) => `${row.join(",")}\r\n`).join("");
}

function cell(text: string): string {
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
