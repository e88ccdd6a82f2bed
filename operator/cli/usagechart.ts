/** Usage as a bar chart for the terminal: a line a day, or an hour where the question spans two days or less. At most 80 columns. */
import type { UsageLine, UsageReport } from "../api/usage.ts";

const barWidth = 44;
const twoDaysMs = 2 * 86_400_000;
const mostBuckets = 400;

/** Full blocks are billable; light ones after them are node-seconds that were held or asked for and are not billed. */
export function chartOf({ records, from, to, asOf }: UsageReport): string {
  if (records.length === 0) return `no capacity between ${from} and ${to}, or none that you may read\n`;
  const byHour = Date.parse(to) - Date.parse(from) <= twoDaysMs;
  const keyOf = ({ windowStart }: UsageLine): string => windowStart.slice(0, byHour ? 13 : 10);
  const sums = new Map(
    bucketsOf(records.map(keyOf), byHour).map((key) => [key, { billable: 0, claimed: 0, open: false }]),
  );
  for (const line of records) {
    const sum = sums.get(keyOf(line));
    if (!sum) continue;
    sum.billable += line.billableNodeSeconds;
    sum.claimed += line.claimedNodeSeconds;
    sum.open ||= line.open;
  }
  const lines = barsOf(
    [...sums].map(([key, sum]) => ({ label: (byHour ? `${key.replace("T", " ")}:00` : key).padEnd(16), ...sum })),
  );
  const total = hours(records.reduce((all, line) => all + line.billableNodeSeconds, 0));
  const open = records.some((line) => line.open) ? `open: not sealed yet, counted up to ${asOf}\n` : "";
  return `${lines.join("\n")}\n${"TOTAL".padEnd(16)} ${total.padStart(10)} node-hours, billable █, beyond it ░\n${open}`;
}

export interface Bar {
  /** Padded to one width. */
  readonly label: string;
  readonly billable: number;
  readonly claimed: number;
  readonly open: boolean;
}

/** One line a bar, the longest of which fills what 80 columns leave. */
export function barsOf(bars: readonly Bar[]): string[] {
  const most = Math.max(1, ...bars.map(({ billable, claimed }) => Math.max(billable, claimed)));
  const width = Math.max(10, Math.min(barWidth, barWidth + 16 - Math.max(0, ...bars.map(({ label }) => label.length))));
  const cells = (seconds: number): number => Math.round((seconds / most) * width);
  return bars.map(({ label, billable, claimed, open }) => {
    const full = cells(billable);
    const bar = "█".repeat(full) + "░".repeat(Math.max(0, cells(claimed) - full));
    return `${label} ${hours(billable).padStart(10)} ${bar}${open ? " open" : ""}`.trimEnd();
  });
}

/** Every day or hour from the first to the last, so that gaps are seen. */
function bucketsOf(keys: readonly string[], byHour: boolean): string[] {
  const sorted = keys.toSorted();
  const instant = (key: string | undefined): number =>
    Date.parse(byHour ? `${key ?? ""}:00:00Z` : `${key ?? ""}T00:00:00Z`);
  const [first, last] = [instant(sorted[0]), instant(sorted.at(-1))];
  const stepMs = byHour ? 3_600_000 : 86_400_000;
  const count = Math.min(mostBuckets, (last - first) / stepMs + 1);
  return Array.from({ length: count }, (_, i) => new Date(first + i * stepMs).toISOString().slice(0, byHour ? 13 : 10));
}

export function hours(seconds: number): string {
  return (seconds / 3600).toFixed(2);
}
