/**
 * Verification of a whole ledger by what lies in it and by a head that somebody noted elsewhere: the chain of manifests, the tiling
 * of windows, digests, and every line's own arithmetic. Reads only; one window is held in memory at a time.
 */
import { manifest as manifestSchema, usageRecord } from "../api/ledger.ts";
import type { Manifest, UsageRecord } from "../api/ledger.ts";
import { canonicalJson } from "../plan/metering/canonical.ts";
import { addQuantities } from "../plan/metering/fold.ts";
import { recordId, sha256Hex } from "../plan/metering/identity.ts";
import { manifestBytes } from "../plan/metering/records.ts";
import { manifestKey, secondsOf, segmentKey, signatureKeyOf, startOfManifestKey } from "../plan/metering/windows.ts";
import type { Ledger, TrustedKeys } from "../ports.ts";
import { TerminalError, messageOf } from "../runtime/errors.ts";
import { signatureProblem } from "./signatures.ts";

/** One thing that is not as Berth writes it. `line` counts from 1 in the uncompressed segment. */
export interface Finding {
  readonly key: string;
  readonly line?: number;
  readonly problem: string;
}

export interface Verification {
  readonly windows: number;
  readonly records: number;
  /** Manifests after the first one that are not chained to the one before (written by a build before the chain). */
  readonly unchained: number;
  readonly billableNodeSeconds: number;
  /** Manifests for which a trusted key vouches; undefined where no key was given, since what lies beside the data proves nothing. */
  readonly signed: number | undefined;
  /** Manifests from before the first signature, which vouches for them through the chain. */
  readonly beforeSignatures: number;
  /** SHA-256 of the newest manifest's stored bytes: note it outside of the ledger. */
  readonly head: { readonly key: string; readonly sha256: string; readonly windowEnd: string } | undefined;
  readonly findings: readonly Finding[];
}

interface Link {
  readonly key: string;
  readonly bytes: Uint8Array;
  readonly manifest: Manifest;
  readonly sha256: string;
}

/** What the auditor brings along: a digest that must still stand in the chain, and the keys that must vouch for it. */
export interface Noted {
  readonly head?: string;
  readonly trust?: TrustedKeys;
}

/** Throws where the ledger cannot be reached; everything else is a finding. */
export async function verifyLedger(ledger: Ledger, noted: Noted = {}): Promise<Verification> {
  const keys = await ledger.list("v1/");
  const findings: Finding[] = [];
  const signatures = newSignatureCheck(ledger, new Set(keys), noted.trust);
  const seen = new Set<string>();
  let previous: Link | undefined;
  let [windows, records, unchained, billableNodeSeconds] = [0, 0, 0, 0];
  for (const key of keys.filter((one) => startOfManifestKey(one) !== undefined)) {
    const link = await readLink(ledger, key, findings);
    if (!link) continue;
    findings.push(...linkProblems(key, link, previous));
    if (previous && link.manifest.previousManifestSha256 === undefined) unchained += 1;
    findings.push(...(await signatures.look(link, previous)));
    const segment = await segmentProblems(ledger, link.manifest);
    findings.push(...segment.findings);
    windows += 1;
    records += segment.records;
    billableNodeSeconds += link.manifest.totals.billableNodeSeconds;
    seen.add(link.sha256);
    previous = link;
  }
  if (windows === 0) findings.push({ key: "v1/", problem: "holds no sealed window: is this the ledger's place?" });
  if (noted.head !== undefined && !seen.has(noted.head)) {
    findings.push({
      key: "v1/",
      problem: `no manifest has the noted head ${noted.head}: the tail was cut off or rewritten`,
    });
  }
  findings.push(...signatures.end());
  const head = previous && {
    key: manifestKey(windowOf(previous.manifest)),
    sha256: previous.sha256,
    windowEnd: previous.manifest.windowEnd,
  };
  return { windows, records, unchained, billableNodeSeconds, ...signatures.counts(), head, findings };
}

/**
 * From the first manifest that a trusted key vouches for, every one must be vouched for; those before it are held by the chain.
 * So neither taking signatures away nor adding windows without any goes unseen.
 */
function newSignatureCheck(ledger: Ledger, keys: ReadonlySet<string>, trust: TrustedKeys | undefined) {
  let [signed, beforeSignatures] = [0, 0];
  return {
    async look(link: Link, previous: Link | undefined): Promise<Finding[]> {
      if (!trust) return [];
      const { key, manifest } = link;
      const findings: Finding[] = [];
      if (previous && manifest.previousManifestSha256 === undefined)
        findings.push({ key, problem: "is not chained, so no signature covers what was before it" });
      const signatureKey = signatureKeyOf(key);
      if (!keys.has(signatureKey)) {
        if (signed > 0) findings.push({ key, problem: "has no signature, though a window before it has one" });
        else beforeSignatures += 1;
        return findings;
      }
      const problem = await signatureProblem(ledger, link, trust);
      if (problem === undefined) signed += 1;
      else findings.push({ key: signatureKey, problem });
      return findings;
    },
    end: (): Finding[] =>
      trust && signed === 0 ? [{ key: "v1/", problem: "no window is signed with a trusted key" }] : [],
    counts: () => ({ signed: trust ? signed : undefined, beforeSignatures }),
  };
}

async function readLink(ledger: Ledger, key: string, findings: Finding[]): Promise<Link | undefined> {
  const bytes = await ledger.get(key);
  if (!bytes) {
    findings.push({ key, problem: "is listed and cannot be read" });
    return undefined;
  }
  try {
    const manifest = manifestSchema.parse(JSON.parse(Buffer.from(bytes).toString()));
    const sha256 = sha256Hex(bytes);
    if (sha256Hex(manifestBytes(manifest)) !== sha256) findings.push({ key, problem: "is not in canonical form" });
    return { key, bytes, manifest, sha256 };
  } catch {
    findings.push({ key, problem: "is no manifest of Berth's" });
    return undefined;
  }
}

function windowOf(manifest: Manifest) {
  return { start: secondsOf(manifest.windowStart), end: secondsOf(manifest.windowEnd) };
}

function linkProblems(key: string, { manifest }: Link, previous: Link | undefined): Finding[] {
  const window = windowOf(manifest);
  const problems: string[] = [];
  if (manifestKey(window) !== key || manifest.segment !== segmentKey(window))
    problems.push("says another window than its key");
  if (manifest.windowSeconds !== window.end - window.start) problems.push("has another length than its window");
  const { previousWindowEnd, previousManifestSha256 } = manifest;
  if (previousWindowEnd !== previous?.manifest.windowEnd) {
    const found = previous?.manifest.windowEnd ?? "nothing";
    problems.push(
      `follows the window that ended at ${previousWindowEnd ?? "nothing"}, but ${found} is there: a window is missing or was put in`,
    );
  }
  if (previous && window.start < secondsOf(previous.manifest.windowEnd)) problems.push("overlaps the window before");
  const chained = previousManifestSha256 !== undefined;
  if (chained && previousManifestSha256 !== previous?.sha256)
    problems.push("is chained to another manifest than the one before it: that one was edited, replaced or removed");
  if (!chained && previous?.manifest.previousManifestSha256 !== undefined)
    problems.push("is cut from the chain before it");
  return problems.map((problem) => ({ key, problem }));
}

async function segmentProblems(ledger: Ledger, manifest: Manifest): Promise<{ findings: Finding[]; records: number }> {
  const key = manifest.segment;
  const damaged = (problem: string) => ({ findings: [{ key, problem }], records: 0 });
  let bytes: Uint8Array | undefined;
  try {
    bytes = await ledger.get(key);
  } catch (error) {
    if (error instanceof TerminalError && error.reason === "LedgerObjectDamaged") return damaged(messageOf(error));
    throw error;
  }
  if (!bytes) return damaged("is missing");
  const text = Buffer.from(bytes).toString();
  const lines = text.split("\n").slice(0, -1);
  const findings: Finding[] = [];
  const records: UsageRecord[] = [];
  let last: string | undefined;
  lines.forEach((line, i) => {
    const found = readLine(line, manifest);
    for (const problem of found.problems) findings.push({ key, line: i + 1, problem });
    if (!found.record) return;
    const place = placeOf(found.record);
    if (last !== undefined && place <= last) findings.push({ key, line: i + 1, problem: "is doubled or out of order" });
    last = place;
    records.push(found.record);
  });
  if (lines.length !== manifest.records)
    findings.push({ key, problem: `holds ${lines.length} lines, its manifest says ${manifest.records}` });
  if (canonicalJson(addQuantities(records)) !== canonicalJson(manifest.totals))
    findings.push({ key, problem: "adds up to other totals than its manifest's" });
  if (sha256Hex(bytes) !== manifest.sha256)
    findings.push({ key, problem: "has another SHA-256 than its manifest says" });
  return { findings, records: lines.length };
}

/** The order in which records are written (plan/metering/records.ts). */
function placeOf({ deploymentUID, sku, part }: UsageRecord): string {
  return `${canonicalJson([deploymentUID, sku])} ${String(part).padStart(10, "0")}`;
}

function readLine(line: string, manifest: Manifest): { record?: UsageRecord; problems: string[] } {
  let record: UsageRecord;
  try {
    record = usageRecord.parse(JSON.parse(line));
  } catch {
    return { problems: ["is no usage record of Berth's"] };
  }
  const problems: string[] = [];
  if (canonicalJson(record) !== line) problems.push("is not in canonical form");
  if (recordId(record) !== record.id) problems.push(`has id ${record.id}, which its own fields do not give`);
  const { windowStart, windowEnd, cluster, from, to } = record;
  if (windowStart !== manifest.windowStart || windowEnd !== manifest.windowEnd || cluster !== manifest.cluster)
    problems.push("belongs to another window or cluster");
  if (!(windowStart <= from && from < to && to <= windowEnd)) problems.push("lies outside of its window");
  if (!addsUp(record)) problems.push(`does not add up: its seconds contradict each other or its claims`);
  return { record, problems };
}

/** What holds between the fields of any honest record; claimed seconds are counted again from its claims. */
function addsUp(record: UsageRecord): boolean {
  const { claimedNodeSeconds: claimed, billableNodeSeconds: billable, desiredNodeSeconds: desired } = record;
  const [from, to] = [secondsOf(record.from), secondsOf(record.to)];
  const held = record.claims.reduce((sum, { claimedAt, releasedAt }) => {
    const end = Math.min(to, releasedAt === undefined ? to : secondsOf(releasedAt));
    return sum + Math.max(0, end - Math.max(from, secondsOf(claimedAt)));
  }, 0);
  return (
    claimed === held &&
    billable + record.surgeNodeSeconds === claimed &&
    billable + record.shortfallNodeSeconds === desired &&
    record.readyNodeSeconds <= billable &&
    record.estimatedNodeSeconds <= claimed &&
    record.gpuSeconds === billable * record.gpus
  );
}
