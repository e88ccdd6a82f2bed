/** What must hold between the lines of a segment, as an auditor counts it again. */
import type { Manifest, Segment, UsageRecord } from "../../api/ledger.ts";
import { netDifferences } from "./adjust.ts";
import { canonicalJson } from "./canonical.ts";
import { historyOfEvidence } from "./clip.ts";
import { recordId, shardOf } from "./identity.ts";
import { meterRecords } from "./records.ts";
import { isEvidence } from "./segment.ts";
import { ownPlace } from "./steady.ts";
import type { Line } from "./segment.ts";
import { secondsOf } from "./windows.ts";

export interface NumberedLine {
  readonly line: Line;
  readonly text: string;
  /** From 1. */
  readonly at: number;
}

export interface Problem {
  readonly at: number;
  readonly problem: string;
}

/** Order of groups in a segment: the window's own meters first, then adjustments by window and meter. */
export function groupPlace(line: Line, manifest: Pick<Manifest, "windowStart">): string {
  if (line.windowStart === manifest.windowStart) return ownPlace(line);
  return `1 ${line.windowStart} ${canonicalJson([line.deploymentUID, line.sku])}`;
}

export function lineProblems(
  { line, text, at }: NumberedLine,
  { manifest, segment, own }: { readonly manifest: Manifest; readonly segment: Segment; readonly own: boolean },
): Problem[] {
  const problems: string[] = [];
  if (`${canonicalJson(line)}\n` !== text) problems.push("is not in canonical form");
  if (shardOf(line.deploymentUID, manifest.shards) !== segment.shard) problems.push("belongs to another shard");
  const strange = own ? line.windowEnd !== manifest.windowEnd : line.windowEnd > manifest.windowStart || line.rev === 0;
  if (strange) problems.push("belongs to another window or cluster");
  if (!isEvidence(line)) problems.push(...recordProblems(line, manifest, own));
  else if (own && line.rev !== 0) problems.push("is of a kind that does not belong here");
  return problems.map((problem) => ({ at, problem }));
}

function recordProblems(record: UsageRecord, manifest: Manifest, own: boolean): string[] {
  const problems: string[] = [];
  if (recordId(record) !== record.id) problems.push(`has id ${record.id}, which its own fields do not give`);
  if (record.cluster !== manifest.cluster) problems.push("belongs to another window or cluster");
  const { windowStart, windowEnd, from, to, kind, rev } = record;
  if (!(windowStart <= from && from < to && to <= windowEnd)) problems.push("lies outside of its window");
  const adjusts = kind === "adjustment" && rev > 0 && record.corrects === recordId({ ...record, rev: 0 });
  const counts = kind === "usage" && rev === 0 && record.corrects === undefined;
  if (own ? !counts : !adjusts) problems.push("is of a kind that does not belong here");
  if (own && !addsUp(record)) problems.push("does not add up: its seconds contradict each other or its claims");
  return problems;
}

/** What holds between the fields of any honest record; claimed seconds are counted again from its claims. */
function addsUp(record: UsageRecord): boolean {
  const { claimedNodeSeconds: claimed, billableNodeSeconds: billable, desiredNodeSeconds: desired } = record;
  const [from, to] = [secondsOf(record.from), secondsOf(record.to)];
  const held = record.claims.reduce((sum, { claimedAt, releasedAt }) => {
    const end = Math.min(to, releasedAt === undefined ? to : secondsOf(releasedAt));
    return sum + Math.max(0, end - Math.max(from, secondsOf(claimedAt)));
  }, 0);
  const { surgeNodeSeconds, shortfallNodeSeconds, readyNodeSeconds, estimatedNodeSeconds, gpuSeconds, gpus } = record;
  const all = [claimed, billable, desired, surgeNodeSeconds, shortfallNodeSeconds, readyNodeSeconds];
  return (
    all.every((seconds) => seconds >= 0) &&
    claimed === held &&
    billable + surgeNodeSeconds === claimed &&
    billable + shortfallNodeSeconds === desired &&
    readyNodeSeconds <= billable &&
    estimatedNodeSeconds >= 0 &&
    estimatedNodeSeconds <= claimed &&
    gpuSeconds === billable * gpus
  );
}

/** Within a group: evidence by pool, each once, and the records after all of it. */
export function orderProblems(group: readonly NumberedLine[]): Problem[] {
  return group.flatMap(({ line, at }, i): Problem[] => {
    const before = group[i - 1]?.line;
    if (!before || !isEvidence(line)) return [];
    const inOrder = isEvidence(before) && before.poolUID < line.poolUID;
    return inOrder ? [] : [{ at, problem: "is doubled or out of order" }];
  });
}

/** Records of one meter beside what its lines of evidence give: the same seconds, by the same fold, to the byte. */
export function usageProblems(group: readonly NumberedLine[], manifest: Manifest): Problem[] {
  const pools = group.flatMap(({ line }) => (isEvidence(line) ? historyOfEvidence(line) : []));
  const records = group.filter(({ line }) => !isEvidence(line));
  const window = { start: secondsOf(manifest.windowStart), end: secondsOf(manifest.windowEnd) };
  const wanted = meterRecords(pools, { window, cut: window, clusterId: manifest.cluster });
  const problems = records.flatMap(({ text, at }, i) =>
    wanted[i] && `${canonicalJson(wanted[i])}\n` === text ? [] : [{ at, problem: "is not what its evidence gives" }],
  );
  const at = group.at(-1)?.at ?? 1;
  if (records.length < wanted.length)
    problems.push({ at, problem: "is followed by fewer records than its evidence gives" });
  return problems;
}

function haveOneLabel(a: UsageRecord, b: UsageRecord): boolean {
  return canonicalJson([a.account, a.tags]) === canonicalJson([b.account, b.tags]);
}

/** Usage, earlier adjustments and these must add up to what the newest evidence gives. */
export function adjustmentProblems(
  group: readonly NumberedLine[],
  stored: readonly Line[],
  manifest: Manifest,
): Problem[] {
  const [first] = group;
  if (!first) return [];
  const lines = group.map(({ line }) => line);
  const window = { start: secondsOf(first.line.windowStart), end: secondsOf(first.line.windowEnd) };
  const rest = netDifferences([...stored, ...lines], { window, clusterId: manifest.cluster });
  const wrong = group.filter(({ line }) => !isEvidence(line) && rest.some((one) => haveOneLabel(one, line)));
  const revs = new Set(lines.map(({ rev }) => rev));
  const rev = 1 + stored.reduce((most, line) => Math.max(most, line.rev), 0);
  const problems: Problem[] = [];
  for (const { at } of wrong.length > 0 || rest.length === 0 ? wrong : [first])
    problems.push({ at, problem: "does not lead to what its evidence gives" });
  if (revs.size !== 1 || !revs.has(rev))
    problems.push({ at: first.at, problem: `is not revision ${rev} of its window` });
  return problems;
}
