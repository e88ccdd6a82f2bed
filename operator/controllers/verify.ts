/**
 * Verification of a whole ledger by what lies in it and by what somebody noted elsewhere: the chain of manifests, the tiling of
 * windows, digests, day roots, and every line (verifysegment.ts). Reads only; a piece of one segment is held in memory at a time.
 */
import type { Manifest, Segment } from "../api/ledger.ts";
import { canonicalJson } from "../plan/metering/canonical.ts";
import { addQuantities } from "../plan/metering/fold.ts";
import { sha256Hex } from "../plan/metering/identity.ts";
import { asManifest, chainsAfter, isFirstForm, manifestBytes } from "../plan/metering/segment.ts";
import { manifestKey, secondsOf, segmentKey, startOfManifestKey } from "../plan/metering/windows.ts";
import type { Ledger, TrustedKeys } from "../ports.ts";
import { linesBefore, parseManifest } from "./ledgerreads.ts";
import { readingAhead } from "./readahead.ts";
import { adjustedPointer } from "./segments.ts";
import { newCheckpointCheck } from "./verifycheckpoint.ts";
import { newDayRootCheck } from "./verifydays.ts";
import { newSegmentCheck } from "./verifysegment.ts";
import type { Finding, SegmentCheck } from "./verifysegment.ts";
import { newSignatureCheck } from "./verifysignatures.ts";
import { lookAtUncommitted } from "./verifyuncommitted.ts";
import { strayFindings } from "./verifystray.ts";

export type { Finding } from "./verifysegment.ts";

export interface Verification {
  readonly windows: number;
  readonly records: number;
  /** Manifests after the first one that are not chained to the one before (written by a build before the chain). */
  readonly unchained: number;
  /** Records without evidence, written by a build before it: their arithmetic alone was checked. */
  readonly unproven: number;
  readonly billableNodeSeconds: number;
  /** Manifests for which a trusted key vouches; undefined where no key was given, since what lies beside the data proves nothing. */
  readonly signed: number | undefined;
  /** Manifests from before the first signature, which vouches for them through the chain. */
  readonly beforeSignatures: number;
  /** Manifests between signed ones that have no signature of their own: a later signed one is chained over them. */
  readonly unsigned: readonly string[];
  /** End of the windows that retention removed behind a checkpoint. */
  readonly removedThrough: string | undefined;
  /** SHA-256 of the newest manifest's stored bytes: note it outside of the ledger. */
  readonly head: { readonly key: string; readonly sha256: string; readonly windowEnd: string } | undefined;
  /** Damage. */
  readonly findings: readonly Finding[];
  /** What an honest death leaves and a stranger may have put in: nobody but the chain vouches for it. No damage. */
  readonly doubts: readonly Finding[];
}

/** A manifest with its place in the chain. */
export interface Link {
  readonly key: string;
  readonly bytes: Uint8Array;
  readonly manifest: Manifest;
  readonly sha256: string;
}

/** What the next manifest has to follow. */
export interface Before {
  readonly cluster: string;
  readonly windowEnd: string;
  readonly sha256: string;
  readonly chains: readonly string[] | undefined;
  readonly chained: boolean;
}

/** What the auditor brings along: a digest that must still stand in the chain, and the keys that must vouch for it. */
export interface Noted {
  readonly head?: string;
  /** The head that the operator keeps in the cluster: nothing may be cut off behind it. */
  readonly kept?: { readonly key: string; readonly sha256: string };
  readonly trust?: TrustedKeys;
  /** Begin in seconds of the first window that was sealed with a key: those before it need no signature. Without it all need one. */
  readonly signedFrom?: number;
  /** Called after each window. */
  readonly progress?: (windows: number, of: number) => void;
}

/** Throws where the ledger cannot be reached; everything else is a finding. */
export async function verifyLedger(ledger: Ledger, noted: Noted = {}): Promise<Verification> {
  const keys = await ledger.list("v1/");
  const all = new Set(keys);
  const checkpoints = await newCheckpointCheck(ledger, noted.trust);
  const { isGone, removedThrough } = checkpoints;
  const signatures = newSignatureCheck(ledger, all, noted);
  const days = newDayRootCheck(ledger, all, noted.trust);
  const manifests = keys.filter((one) => startOfManifestKey(one) !== undefined);
  const left = manifests.filter(checkpoints.removed);
  const chained = manifests.slice(left.length);
  const findings: Finding[] = [
    ...checkpoints.findings,
    ...checkpoints.cutProblems(chained[0]),
    ...strayFindings(keys, isGone),
    ...(await leftBehind(ledger, left, { keys: all, look: checkpoints.left })),
  ];
  const segments = readingAhead(
    ledger,
    keys.filter((one) => one.endsWith(".gz")),
  );
  const checks = { present: { ledger, keys: all, isGone }, segments, signatures, days };
  const { seen, named, last, counts, ...walked } = await walkChain(chained, checkpoints.before, checks, noted.progress);
  findings.push(...walked.findings);
  if (counts.windows === 0)
    findings.push({ key: "v1/", problem: "holds no sealed window: is this the ledger's place?" });
  const uncommitted = await lookAtUncommitted(ledger, keys, { named, last: last?.manifest, isGone });
  findings.push(...uncommitted.findings);
  findings.push(...(await days.end()), ...notedProblems(seen, noted), ...signatures.end());
  const doubts = [...walked.doubts, ...uncommitted.doubts, ...signatures.doubts()];
  const head = last && { key: last.key, sha256: last.sha256, windowEnd: last.manifest.windowEnd };
  return { ...counts, ...signatures.counts(), removedThrough, head, findings, doubts };
}

interface Checks {
  readonly present: Present;
  readonly segments: Parameters<typeof newSegmentCheck>[0];
  readonly signatures: ReturnType<typeof newSignatureCheck>;
  readonly days: ReturnType<typeof newDayRootCheck>;
}

/** Follows the chain from its oldest manifest that stands, whatever it finds on the way. */
async function walkChain(
  manifests: readonly string[],
  first: Before | undefined,
  { present, segments, signatures, days }: Checks,
  progress: Noted["progress"],
) {
  const { ledger, isGone } = present;
  const findings: Finding[] = [];
  const doubts: Finding[] = [];
  const seen = new Map<string, string>();
  const named = new Set<string>();
  const counts = { windows: 0, records: 0, unchained: 0, unproven: 0, billableNodeSeconds: 0 };
  let current = "";
  let before = first;
  let last: Link | undefined;
  const checkSegment = newSegmentCheck(segments, async (record) =>
    isGone(record.windowStart) ? undefined : linesBefore(ledger, record, current),
  );
  for (const key of manifests) {
    current = key;
    const link = await readLink(ledger, key, findings);
    if (!link) continue;
    findings.push(...linkProblems(key, link, before));
    doubts.push(...clusterDoubts(key, link, before));
    if (before && link.manifest.previousManifestSha256 === undefined) counts.unchained += 1;
    findings.push(...(await signatures.look(link, before !== undefined)));
    const checked = await checkSegments(checkSegment, link, present);
    findings.push(...checked.findings, ...(await days.look(link)));
    counts.windows += 1;
    counts.records += checked.records;
    counts.unproven += checked.unproven;
    counts.billableNodeSeconds += link.manifest.totals.billableNodeSeconds;
    seen.set(link.sha256, key);
    for (const segment of link.manifest.segments) named.add(segment.key);
    before = beforeOf(link);
    last = link;
    progress?.(counts.windows, manifests.length);
  }
  return { findings, doubts, seen, named, last, counts };
}

/** A cluster that was rebuilt may have gone on in the place of the former one; two at once may not. */
function clusterDoubts(key: string, { manifest }: Link, before: Before | undefined): Finding[] {
  if (!before || before.cluster === manifest.cluster) return [];
  const change = `is of the cluster ${manifest.cluster}, the window before it of ${before.cluster}`;
  return [{ key, problem: `${change}: one that was rebuilt, or two that share this place` }];
}

/** Windows that retention has not removed yet: readers still see them, so what is there of them is as it was sealed. */
async function leftBehind(
  ledger: Ledger,
  manifests: readonly string[],
  { keys, look }: { readonly keys: ReadonlySet<string>; readonly look: (link: Link) => readonly Finding[] },
): Promise<Finding[]> {
  const findings: Finding[] = [];
  const check = newSegmentCheck(ledger, async () => undefined);
  for (const key of manifests) {
    const link = await readLink(ledger, key, findings);
    if (!link) continue;
    findings.push(...look(link));
    for (const segment of link.manifest.segments.filter((one) => keys.has(one.key)))
      findings.push(...(await check(link.manifest, segment)).findings);
  }
  return findings;
}

function beforeOf({ manifest, sha256 }: Link): Before {
  const { cluster, windowEnd, chains, previousManifestSha256 } = manifest;
  return { cluster, windowEnd, sha256, chains, chained: previousManifestSha256 !== undefined };
}

function notedProblems(seen: ReadonlyMap<string, string>, { head, kept }: Noted): Finding[] {
  const findings: Finding[] = [];
  if (head !== undefined && !seen.has(head)) {
    const problem = `no manifest has the noted head ${head}: the tail was cut off or rewritten`;
    findings.push({ key: "v1/", problem });
  }
  if (kept !== undefined && seen.get(kept.sha256) !== kept.key) {
    const problem = `is not the manifest ${kept.sha256} that the cluster keeps as the head: the tail was cut off or rewritten`;
    findings.push({ key: kept.key, problem });
  }
  return findings;
}

async function readLink(ledger: Ledger, key: string, findings: Finding[]): Promise<Link | undefined> {
  const bytes = await ledger.get(key);
  if (!bytes) {
    findings.push({ key, problem: "is listed and cannot be read" });
    return undefined;
  }
  try {
    const read = parseManifest(JSON.parse(Buffer.from(bytes).toString()));
    const sha256 = sha256Hex(bytes);
    if (sha256Hex(manifestBytes(read)) !== sha256) findings.push({ key, problem: "is not in canonical form" });
    if (isFirstForm(read) && read.segment !== segmentKey(windowOf(asManifest(read))))
      findings.push({ key, problem: "says another window than its key" });
    return { key, bytes, manifest: asManifest(read), sha256 };
  } catch {
    findings.push({ key, problem: "is no manifest of Berth's" });
    return undefined;
  }
}

function windowOf(manifest: Manifest) {
  return { start: secondsOf(manifest.windowStart), end: secondsOf(manifest.windowEnd) };
}

function isInPlace({ key, shard }: Segment, manifest: Manifest): boolean {
  return shard < manifest.shards && key === segmentKey(windowOf(manifest), shard, manifest.shards);
}

function linkProblems(key: string, { manifest }: Link, before: Before | undefined): Finding[] {
  const window = windowOf(manifest);
  const { shards, segments, chains } = manifest;
  const problems: string[] = [];
  if (manifestKey(window) !== key || !segments.every((one) => isInPlace(one, manifest)))
    problems.push("says another window than its key");
  if (manifest.windowSeconds !== window.end - window.start) problems.push("has another length than its window");
  const { previousWindowEnd, previousManifestSha256 } = manifest;
  if (previousWindowEnd !== before?.windowEnd) {
    const found = before?.windowEnd ?? "nothing";
    problems.push(
      `follows the window that ended at ${previousWindowEnd ?? "nothing"}, but ${found} is there: a window is missing or was put in`,
    );
  }
  if (before && window.start < secondsOf(before.windowEnd)) problems.push("overlaps the window before");
  const chained = previousManifestSha256 !== undefined;
  if (chained && previousManifestSha256 !== before?.sha256)
    problems.push("is chained to another manifest than the one before it: that one was edited, replaced or removed");
  if (!chained && before?.chained) problems.push("is cut from the chain before it");
  const wanted = chainsAfter(before?.chains ?? [], segments, shards);
  // A checkpoint does not carry the chains of shards: the chain of manifests covers them.
  const known = before === undefined || before.chains !== undefined;
  if (known && chains.length > 0 && canonicalJson(chains) !== canonicalJson(wanted))
    problems.push("has shards that are not chained to those before");
  if (new Set(segments.map(({ shard }) => shard)).size !== segments.length) problems.push("names a shard twice");
  return problems.map((problem) => ({ key, problem }));
}

interface Present {
  readonly ledger: Ledger;
  readonly keys: ReadonlySet<string>;
  /** Whether retention removed a window that begins there, and the pointers in its folder with it. */
  readonly isGone: (windowStart: string) => boolean;
}

async function checkSegments(check: SegmentCheck, { key, manifest }: Link, { ledger, keys, isGone }: Present) {
  const findings: Finding[] = [];
  let [records, unproven] = [0, 0];
  const adjusts = new Set<string>();
  // Nothing is read where a manifest points elsewhere; linkProblems() names that.
  for (const segment of manifest.segments.filter((one) => isInPlace(one, manifest))) {
    const checked = await check(manifest, segment);
    findings.push(...checked.findings);
    records += checked.records;
    unproven += checked.unproven;
    for (const one of checked.adjusts) adjusts.add(one);
  }
  const sums = addQuantities(manifest.segments.map(({ totals }) => totals));
  const counted = manifest.segments.reduce((sum, segment) => sum + segment.records, 0);
  if (counted !== manifest.records || canonicalJson(sums) !== canonicalJson(manifest.totals))
    findings.push({ key, problem: "adds up to other totals than its segments'" });
  if (findings.length === 0 && canonicalJson([...adjusts].sort()) !== canonicalJson(manifest.adjusts ?? []))
    findings.push({ key, problem: "names other adjusted windows than its segments hold" });
  for (const one of adjusts) {
    const pointer = adjustedPointer(one, windowOf(manifest));
    if (isGone(one.split("/")[0] ?? "")) continue;
    const problem = keys.has(pointer.key)
      ? await pointerProblem(ledger, pointer)
      : "is missing: readers of that window miss its adjustments";
    if (problem !== undefined) findings.push({ key: pointer.key, problem });
  }
  return { findings, records, unproven };
}

async function pointerProblem(
  ledger: Ledger,
  { key, bytes }: { readonly key: string; readonly bytes: Uint8Array },
): Promise<string | undefined> {
  const stored = await ledger.get(key);
  return stored && Buffer.from(bytes).equals(stored) ? undefined : "does not say which window adjusts which";
}
