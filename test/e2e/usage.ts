// What the bill says, asked as a user of the tenant's namespace asks; and that requests are no part of it.
import { isDeepStrictEqual } from "node:util";
import { usageReport } from "../../operator/api/usage.ts";
import type { UsageLine, UsageReport } from "../../operator/api/usage.ts";
import { berthProgram } from "../chart/rendered.ts";
import { run } from "../cluster/cluster.ts";
import { eventually } from "../cluster/eventually.ts";
import { bind, serviceAccountIdentity } from "../cluster/users.ts";
import { systemNamespace, team, timing } from "./names.ts";
import { leaderPod, paths, podUrl, serviceUrl } from "./objects.ts";
import type { RunningPod } from "./objects.ts";
import { startTraffic } from "./requests.ts";
import type { TrafficReport } from "./requests.ts";
import type { Stage } from "./stage.ts";

/** Of the tenant's namespace, from the day on which the journey began. */
export async function usage(stage: Stage): Promise<UsageReport> {
  const { cluster } = stage;
  const { token = "" } = await serviceAccountIdentity(cluster, team, "billing");
  const subject = { kind: "ServiceAccount", name: "billing", namespace: team } as const;
  await bind(cluster, subject, { name: "billing", namespace: team, role: { kind: "ClusterRole", name: "view" } });
  const { items } = await cluster.admin.list<RunningPod>(paths.pods(systemNamespace));
  const leader = await leaderPod(stage);
  const pod = items.find(({ metadata }) => metadata.name === leader);
  const server = await podUrl(stage, pod, 8082);
  // A run over midnight belongs to two days.
  const from = new Date(stage.tour.startedAt).toISOString().slice(0, 10);
  const args = ["usage", "-n", team, "--from", from, "--server", server, "--plain-http", "-o", "json"];
  const env = { BERTH_TOKEN: token, NODE_OPTIONS: "--disable-warning=ExperimentalWarning" };
  const { code, stdout, stderr } = await run(process.execPath, [...berthProgram(), ...args], { env });
  if (code !== 0) throw new Error(`berth usage failed: ${(stderr || stdout).trim()}`);
  return usageReport.parse(JSON.parse(stdout));
}

const windowMs = timing.windowSeconds * 1000;

/** Resolves once that time has come, by this machine's clock, which is the API server's too. */
function until(at: number): Promise<unknown> {
  return eventually(async () => Promise.resolve(Date.now() >= at), {
    what: `it is ${new Date(at).toISOString()}`,
    deadlineMs: at - Date.now() + 10_000,
    recheckMs: 100,
  });
}

/** All that a record says but which window it is of. */
function withoutTime(line: UsageLine): object {
  const { id: _id, windowStart: _start, windowEnd: _end, from: _from, to: _to, open: _open, ...rest } = line;
  return rest;
}

/** A window of heavy traffic, one of none and one of nothing but failures: three records that differ in their times alone. */
export async function trafficIsNotBilled(stage: Stage, name: string): Promise<void> {
  const base = await serviceUrl(stage, name);
  const first = Math.ceil((Date.now() + 1_000) / windowMs) * windowMs;
  const sent: TrafficReport[] = [];
  for (const [n, start] of [
    () => startTraffic(base, name, 0),
    () => undefined,
    // No such model: vLLM answers each with an error.
    () => startTraffic(base, `${name}-of-nobody`, 0),
  ].entries()) {
    await until(first + n * windowMs);
    const traffic = start();
    await until(first + (n + 1) * windowMs);
    const report = await traffic?.stop();
    if (report) sent.push(report);
  }
  const [heavy, failing] = sent;
  if (!heavy || !failing || heavy.failures.length > 0 || failing.failures.length < failing.sent || failing.sent === 0)
    throw new Error(`traffic was not as it had to be: ${JSON.stringify(sent).slice(0, 500)}`);
  const starts = [0, 1, 2].map((n) => new Date(first + n * windowMs).toISOString().replace(".000Z", "Z"));
  const lines = await eventually(
    async () => {
      const { records } = await usage(stage);
      const own = records.filter((line) => line.deploymentName === name && starts.includes(line.windowStart));
      return own.length >= starts.length && own.every(({ open }) => !open) ? own : undefined;
    },
    { what: "the three windows are sealed", deadlineMs: 2 * windowMs, recheckMs: 2_000 },
  );
  const [one, ...others] = lines.map(withoutTime);
  if (lines.length !== starts.length || !others.every((other) => isDeepStrictEqual(other, one)))
    throw new Error(`records of ${name} differ with its traffic: ${JSON.stringify(lines)}`);
  if (lines[0]?.billableNodeSeconds !== timing.windowSeconds)
    throw new Error(`a whole window of ${name} is not billed as one: ${JSON.stringify(lines[0])}`);
  stage.tour.say(
    `three windows of ${name}, ${String(heavy.sent)} requests in the first, none in the second, ${String(failing.sent)} that failed in the third: equal records, ${String(timing.windowSeconds)} node-seconds billable in each`,
  );
}
