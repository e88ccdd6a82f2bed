/** What stands for windows that retention removed, as an auditor looks at it. */
import {
  CHECKPOINTS_PREFIX,
  endOfDay,
  secondsOf,
  signatureKeyOf,
  startOfManifestKey,
} from "../plan/metering/windows.ts";
import type { Ledger, TrustedKeys } from "../ports.ts";
import { newestCheckpoint } from "./checkpoints.ts";
import { signatureProblem } from "./signatures.ts";
import type { Before, Link } from "./verify.ts";
import type { Finding } from "./verifysegment.ts";

/**
 * The chain begins behind the newest checkpoint. What is left of windows before it, where removing was cut short, is still served
 * to readers: it is looked at as far as it goes.
 */
export async function newCheckpointCheck(ledger: Ledger, trust: TrustedKeys | undefined) {
  const found = await newestCheckpoint(ledger);
  const findings: Finding[] = [];
  if (typeof found === "string") findings.push({ key: found, problem: "is no checkpoint of Berth's" });
  findings.push(...(await lostCheckpoints(ledger)));
  if (found === undefined || typeof found === "string")
    return { findings, before: undefined, removedThrough: undefined, ...nothingRemoved };
  const problem = trust && (await signatureProblem(ledger, found, trust));
  if (problem !== undefined) findings.push({ key: signatureKeyOf(found.key), problem });
  const { cluster, removedThrough, lastManifestSha256 } = found.checkpoint;
  const end = secondsOf(removedThrough);
  const known = { chains: undefined, chained: true };
  const before: Before = { cluster, windowEnd: removedThrough, sha256: lastManifestSha256, ...known };
  const removed = (key: string): boolean => (startOfManifestKey(key) ?? Infinity) < end;
  // Whole days go, with what later windows say of the hours in them.
  const daysEnd = endOfDay(end - 1);
  const isGone = (windowStart: string): boolean => secondsOf(windowStart) < daysEnd;
  const cutProblems = (firstKey: string | undefined): Finding[] =>
    firstKey !== undefined && (startOfManifestKey(firstKey) ?? Infinity) < daysEnd
      ? [{ key: found.key, problem: "stands for a part of a day, and retention removes whole days: it was put in" }]
      : [];
  const left = newLeftCheck(before);
  return { findings, before, removedThrough, removed, isGone, cutProblems, left };
}

/** A signature after the newest checkpoint: what it was made for is gone. Retention may leave older ones where it dies. */
async function lostCheckpoints(ledger: Ledger): Promise<Finding[]> {
  const keys = await ledger.list(CHECKPOINTS_PREFIX);
  const newest = keys.findLast((key) => !key.endsWith(".sig.json")) ?? "";
  return keys
    .filter((key) => key.endsWith(".sig.json") && key > newest && key !== signatureKeyOf(newest))
    .map((key) => ({ key: key.replace(/\.sig\.json$/, ".json"), problem: "is gone, though its signature is there" }));
}

const nothingRemoved = {
  removed: (): boolean => false,
  isGone: (): boolean => false,
  cutProblems: (): Finding[] => [],
  left: (): Finding[] => [],
};

/** Windows before the checkpoint that are still there: chained to each other where no gap is, the last one to the checkpoint. */
function newLeftCheck(checkpoint: Before) {
  let before: Before | undefined;
  return ({ key, manifest, sha256 }: Link): Finding[] => {
    const { previousManifestSha256, previousWindowEnd, windowEnd } = manifest;
    const problems: string[] = [];
    if (previousWindowEnd === before?.windowEnd && previousManifestSha256 !== before?.sha256)
      problems.push("is chained to another manifest than the one before it: that one was edited, replaced or removed");
    if (windowEnd > checkpoint.windowEnd || (windowEnd === checkpoint.windowEnd && sha256 !== checkpoint.sha256))
      problems.push("is not the last window that the checkpoint after it stands for");
    before = { cluster: manifest.cluster, windowEnd, sha256, chains: undefined, chained: true };
    return problems.map((problem) => ({ key, problem }));
  };
}
