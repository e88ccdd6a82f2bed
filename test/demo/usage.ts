// `berth usage` as the tenant's own service account: the real program, and its answer in columns that fit the screen.
import { usageReport } from "../../operator/api/usage.ts";
import type { UsageLine, UsageReport } from "../../operator/api/usage.ts";
import { berthProgram } from "../chart/rendered.ts";
import { run } from "../cluster/cluster.ts";
import { bind, serviceAccountIdentity } from "../cluster/users.ts";
import { team } from "./chapter.ts";
import type { Demo } from "./chapter.ts";
import { columns } from "./text.ts";

export const account = "billing";

/** Token of a service account that may view the team's namespace and nothing else. */
export async function viewerToken({ cluster }: Demo): Promise<string> {
  const { token } = await serviceAccountIdentity(cluster, team, account);
  const subject = { kind: "ServiceAccount", name: account, namespace: team } as const;
  await bind(cluster, subject, { name: account, namespace: team, role: { kind: "ClusterRole", name: "view" } });
  return token;
}

/** Asks the usage API as that service account. */
export async function askUsage(demo: Demo): Promise<UsageReport> {
  const token = await viewerToken(demo);
  const server = demo.operator.urls["usage"] ?? "";
  const args = [...berthProgram(), "usage", "-n", team, "--server", server, "-o", "json"];
  const env = { BERTH_TOKEN: token, NODE_OPTIONS: "--disable-warning=ExperimentalWarning" };
  const { code, stdout, stderr } = await run(process.execPath, args, { env });
  if (code !== 0) throw new Error(`berth usage failed: ${stderr.trim() || stdout.trim()}`);
  return usageReport.parse(JSON.parse(stdout));
}

export interface Sums {
  readonly billable: number;
  readonly claimed: number;
}

export function sumsOf(records: readonly UsageLine[]): Sums {
  const sum = (of: (line: UsageLine) => number): number => records.reduce((all, line) => all + of(line), 0);
  return { billable: sum((line) => line.billableNodeSeconds), claimed: sum((line) => line.claimedNodeSeconds) };
}

/** Windows with their node-seconds, and their totals. */
export function usageTable({ records }: UsageReport): string {
  const headings = ["WINDOW (UTC)", "SKU", "DESIRED", "CLAIMED", "READY", "BILLABLE", "STATE"];
  const rows = records.map((line) => [
    `${line.windowStart.slice(11, 19)}-${line.windowEnd.slice(11, 19)}`,
    line.sku,
    String(line.desiredNodeSeconds),
    String(line.claimedNodeSeconds),
    String(line.readyNodeSeconds),
    String(line.billableNodeSeconds),
    line.open ? "open" : "sealed",
  ]);
  const { billable, claimed } = sumsOf(records);
  const total = ["TOTAL", "", "", String(claimed), "", String(billable)];
  return columns([headings, ...rows, total], [2, 3, 4, 5]);
}
