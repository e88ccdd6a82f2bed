/** Sums of usage as a table, CSV and a bar chart: by the hour, day or month and by what was asked for. At most 80 columns where names allow. */
import type { GroupedUsage, UsageGroup } from "../api/usage.ts";
import { asPlainText } from "../plan/rating/csv.ts";
import { barsOf, hours } from "./usagechart.ts";
import { aligned, cell } from "./usagetable.ts";

type Quantity = Exclude<
  { [K in keyof UsageGroup]: UsageGroup[K] extends number ? K : never }[keyof UsageGroup],
  "records" | undefined
>;

const memberHeadings = {
  namespace: "NAMESPACE",
  deploymentName: "DEPLOYMENT",
  account: "ACCOUNT",
  sku: "SKU",
} as const;
const narrow: readonly (readonly [string, Quantity])[] = [
  ["CLAIMED", "claimedNodeSeconds"],
  ["READY", "readyNodeSeconds"],
  ["BILLABLE", "billableNodeSeconds"],
];
const wide: readonly (readonly [string, Quantity])[] = [
  ["DESIRED", "desiredNodeSeconds"],
  ...narrow,
  ["SURGE", "surgeNodeSeconds"],
  ["SHORTFALL", "shortfallNodeSeconds"],
  ["GPU-SECONDS", "gpuSeconds"],
];

/** Node-seconds by period and group with totals. */
export function sumsTableOf(sums: GroupedUsage, { isWide = false } = {}): string {
  const { groups, asOf } = sums;
  if (groups.length === 0) return nothing(sums);
  const members = membersIn(groups);
  const texts = [
    [`${sums.granularity.toUpperCase()} (UTC)`, ...groups.map((group) => labelOf(sums, group)), "TOTAL"],
    ...members.map((name) => [memberHeadings[name], ...groups.map(({ by }) => by[name] ?? ""), ""]),
  ];
  const numbers = (isWide ? wide : narrow).map(([heading, of]) => {
    const values = groups.map((group) => group[of]);
    return [heading, ...values, values.reduce((all, one) => all + one, 0)];
  });
  const state = ["STATE", ...groups.map(({ open }) => (open ? "open" : "sealed")), ""];
  const lines = aligned([...texts, ...numbers, state]);
  return `${lines.join("\n")}\nnode-seconds; divide by 3600 for node-hours\n${openWords(groups, asOf)}`;
}

/** RFC 4180 with a heading. */
export function sumsCsvOf({ groups }: GroupedUsage): string {
  const members = ["namespace", "deploymentName", "deploymentUID", "account", "sku"] as const;
  const quantities = [...wide.map(([, of]) => of), "estimatedNodeSeconds", "records"] as const;
  const rows = groups.map((group) => [
    group.start,
    group.end,
    String(group.open),
    ...members.map((name) => asPlainText(group.by[name] ?? "")),
    ...quantities.map((name) => String(group[name])),
  ]);
  const heading = ["start", "end", "open", ...members, ...quantities];
  return [heading, ...rows].map((row) => `${row.map(cell).join(",")}\r\n`).join("");
}

/** A bar a period and group: billable node-hours full, what was held beyond it light. */
export function sumsChartOf(sums: GroupedUsage): string {
  const { groups, asOf } = sums;
  if (groups.length === 0) return nothing(sums);
  const members = membersIn(groups);
  const labels = aligned([
    groups.map((group) => labelOf(sums, group)),
    ...members.map((name) => groups.map(({ by }) => by[name] ?? "")),
  ]);
  const width = Math.max(...labels.map((label) => label.length), "TOTAL".length);
  const bars = groups.map((group, at) => ({
    label: (labels[at] ?? "").padEnd(width),
    billable: group.billableNodeSeconds,
    claimed: group.claimedNodeSeconds,
    open: group.open,
  }));
  const total = hours(groups.reduce((all, { billableNodeSeconds }) => all + billableNodeSeconds, 0));
  const last = `${"TOTAL".padEnd(width)} ${total.padStart(10)} node-hours, billable █, beyond it ░`;
  return `${barsOf(bars).join("\n")}\n${last}\n${openWords(groups, asOf)}`;
}

type Member = keyof typeof memberHeadings;

function membersIn(groups: readonly UsageGroup[]): Member[] {
  return (Object.keys(memberHeadings) as Member[]).filter((name) => groups.some(({ by }) => by[name] !== undefined));
}

function labelOf({ granularity }: GroupedUsage, { start }: UsageGroup): string {
  return start.replace("T", " ").slice(0, { hour: 16, day: 10, month: 7 }[granularity]);
}

function openWords(groups: readonly UsageGroup[], asOf: string): string {
  return groups.some(({ open }) => open) ? `open: not sealed yet, counted up to ${asOf}\n` : "";
}

function nothing({ from, to }: GroupedUsage): string {
  return `no capacity between ${from} and ${to}, or none that you may read\n`;
}
