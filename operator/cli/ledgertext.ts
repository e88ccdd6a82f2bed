/** Words for people about what was found in a ledger. */
import type { Recomputed } from "../controllers/recompute.ts";
import type { Finding, Verification } from "../controllers/verify.ts";
import type { SinkState } from "../controllers/sinkstate.ts";
import { quantityNames } from "../plan/metering/fold.ts";
import type { Line } from "../plan/metering/segment.ts";
import type { QuarantinedRecord } from "./ledgersinks.ts";
import { aligned } from "./usagetable.ts";

export function verificationText(result: Verification): string {
  const { windows, records, billableNodeSeconds, head, unchained, unproven, removedThrough, findings } = result;
  const lines = findings.map(
    ({ key, line, problem }: Finding) => `${key}${line === undefined ? "" : `:${line}`} ${problem}`,
  );
  lines.push(`${windows} windows, ${records} records, ${billableNodeSeconds} billable node-seconds`);
  if (removedThrough !== undefined)
    lines.push(`windows up to ${removedThrough} were removed; a checkpoint stands for them`);
  if (removedThrough !== undefined && result.signed === undefined)
    lines.push("WARNING: that checkpoint is believed without proof: only --trust shows whether the operator wrote it");
  if (unchained > 0) lines.push(`${unchained} windows are not chained: they were sealed by an older build`);
  if (unproven > 0) lines.push(`${unproven} records have no evidence: they were sealed by an older build`);
  if (result.signed === undefined)
    lines.push("signatures were not checked: name the operator's public key with --trust");
  else
    lines.push(
      `${result.signed} windows signed with a trusted key, ${result.beforeSignatures} before them by the chain`,
    );
  if (result.unsigned.length > 0)
    lines.push(
      `${result.unsigned.length} windows have no signature of their own: the operator found other bytes than it computed, or somebody took theirs away; ` +
        `signed windows after them are chained over them: ${result.unsigned.slice(0, 10).join(", ")}`,
    );
  const left = result.doubts.filter(({ key }) => !result.unsigned.includes(key));
  for (const { key, problem } of left) lines.push(`${key} ${problem}`);
  if (head)
    lines.push(`head ${head.sha256} (${head.key}, sealed through ${head.windowEnd}): note it elsewhere for --head`);
  const doubts = result.doubts.length === 0 ? "" : `, ${result.doubts.length} doubts (--strict ends with 5)`;
  lines.push(findings.length === 0 ? `intact${doubts}` : `DAMAGED: ${findings.length} findings`);
  return `${lines.join("\n")}\n`;
}

/** One line a deployment and window; the quantities that differ; its evidence where it was asked for. */
export function recomputedText(again: Recomputed, evidence: readonly Line[]): string {
  const { windowStart, namespace, deploymentName, sku, recorded, recomputed, same } = again;
  const what = `${windowStart} ${namespace}/${deploymentName} ${sku}`;
  const lines: string[] = [];
  if (!recomputed) lines.push(`${what} NO EVIDENCE: sealed by an older build`);
  else lines.push(`${what} billable ${recomputed.billableNodeSeconds} ${same ? "as recorded" : "DIFFERENT"}`);
  for (const name of quantityNames)
    if (recomputed && recomputed[name] !== recorded[name])
      lines.push(`  ${name}: recorded ${recorded[name]}, the evidence gives ${recomputed[name]}`);
  for (const line of evidence) lines.push(`  ${JSON.stringify(line)}`);
  return `${lines.join("\n")}\n`;
}

export function sinksText(states: readonly SinkState[]): string {
  if (states.length === 0) return "no sink ever wrote into this ledger\n";
  const columns: readonly (readonly [string, (state: SinkState) => string | number])[] = [
    ["SINK", ({ sink }) => sink],
    ["NEWEST TAKEN", ({ newestTaken }) => newestTaken ?? "none"],
    ["OWED", ({ owed }) => owed ?? "unknown"],
    ["OLDEST OWED", ({ oldestOwed }) => oldestOwed ?? "-"],
    ["QUARANTINED", (state) => state.quarantined],
    ["REPLAYS WAITING", ({ replaysWaiting }) => replaysWaiting],
  ];
  const lines = aligned(columns.map(([heading, of]) => [heading, ...states.map(of)]));
  return `${lines.join("\n")}\n`;
}

/** A line a record: when, whose, and the receiver's words. Those are a stranger's text: control characters do not reach the terminal. */
export function quarantineText(records: readonly QuarantinedRecord[]): string {
  if (records.length === 0) return "nothing is in quarantine\n";
  const lines = records.map(({ recordId, reason, record, manifest }) => {
    const about = record
      ? `${record.windowStart} ${record.namespace}/${record.deploymentName} ${record.sku} account ${record.account}`
      : `${manifest} (its window is gone)`;
    return `${recordId} ${about}: ${reason.replaceAll(/[\p{Cc}\p{Cf}]/gu, "?")}`;
  });
  return `${lines.join("\n")}\n`;
}
