/** Verification of one segment, a line at a time: form, order, ids, arithmetic, and every record computed anew from its evidence. */
import type { Manifest, Quantities, Segment, UsageRecord } from "../api/ledger.ts";
import { newDigest } from "../plan/metering/identity.ts";
import { none, quantityNames } from "../plan/metering/fold.ts";
import { canonicalJson } from "../plan/metering/canonical.ts";
import { isEvidence } from "../plan/metering/segment.ts";
import type { Line } from "../plan/metering/segment.ts";
import { isSteadyAt, steadyMeter, windowBytes } from "../plan/metering/steady.ts";
import type { SteadyMeter, WindowBytes } from "../plan/metering/steady.ts";
import { adjustmentProblems, groupPlace, lineProblems, orderProblems, usageProblems } from "../plan/metering/check.ts";
import type { NumberedLine } from "../plan/metering/check.ts";
import type { Ledger } from "../ports.ts";
import { sha256BesideLoop } from "../runtime/digest.ts";
import { TerminalError, messageOf } from "../runtime/errors.ts";
import { parseLine } from "./ledgerreads.ts";

/** One thing that is not as Berth writes it. `line` counts from 1 in the uncompressed segment. */
export interface Finding {
  readonly key: string;
  readonly line?: number;
  readonly problem: string;
}

export interface CheckedSegment {
  readonly findings: readonly Finding[];
  readonly records: number;
  /** Records without evidence: of an older build. Their arithmetic alone was checked. */
  readonly unproven: number;
  /** Earlier windows that its adjustments belong to, as begin/end. */
  readonly adjusts: readonly string[];
}

/**
 * What the ledger says elsewhere about the window and meter of an adjustment, up to the manifest that is being checked; undefined
 * where retention removed that window, so that nothing can be added up any more.
 */
export type StoredBefore = (record: UsageRecord) => Promise<readonly Line[] | undefined>;

export type SegmentCheck = (manifest: Manifest, segment: Segment) => Promise<CheckedSegment>;

/** Remembers unchanged deployments from one window to the next: one for a whole ledger. */
export function newSegmentCheck(ledger: Pick<Ledger, "read">, storedBefore: StoredBefore): SegmentCheck {
  const steady = new Map<number, readonly SteadyMeter[]>();
  let place = "";
  return async (manifest, segment) => {
    // Two lines alone do not say whether they lie in their own shard, and of which cluster the manifest is.
    const { cluster, shards } = manifest;
    if (canonicalJson([cluster, shards]) !== place) steady.clear();
    place = canonicalJson([cluster, shards]);
    const scan = new SegmentScan(manifest, segment, { known: steady.get(segment.shard) ?? [], storedBefore });
    let result: CheckedSegment;
    try {
      const pieces = await ledger.read(segment.key);
      if (!pieces) return failed(segment.key, "is missing");
      result = await scanned(scan, pieces);
    } catch (error) {
      if (!(error instanceof TerminalError) || error.reason !== "LedgerObjectDamaged") throw error;
      return failed(segment.key, messageOf(error));
    }
    steady.set(segment.shard, scan.kept);
    return result;
  };
}

/** What comes as a single piece is hashed on another thread while its lines are looked at. */
async function scanned(scan: SegmentScan, pieces: AsyncIterable<Uint8Array>): Promise<CheckedSegment> {
  const digest = newDigest();
  let only: { readonly piece: Uint8Array; readonly sha256: Promise<string> } | undefined;
  let begun = false;
  for await (const { piece, last } of withLast(pieces)) {
    if (last && !begun) only = { piece, sha256: sha256BesideLoop(piece) };
    else digest.add(piece);
    begun = true;
    await scan.piece(piece);
  }
  const result = await scan.end(only ? await only.sha256 : digest.hex());
  if (only) letGo(only.piece);
  return result;
}

async function* withLast(pieces: AsyncIterable<Uint8Array>) {
  let held: Uint8Array | undefined;
  for await (const piece of pieces) {
    if (held) yield { piece: held, last: false };
    held = piece;
  }
  if (held) yield { piece: held, last: true };
}

/** Gigabytes that wait for the garbage collector keep it busier than all the lines. What shares its memory with others is left alone. */
function letGo({ buffer, byteLength }: Uint8Array): void {
  if (buffer instanceof ArrayBuffer && 2 * byteLength > buffer.byteLength) buffer.transfer(0);
}

function failed(key: string, problem: string): CheckedSegment {
  return { findings: [{ key, problem }], records: 0, unproven: 0, adjusts: [] };
}

interface Given {
  readonly known: readonly SteadyMeter[];
  readonly storedBefore: StoredBefore;
}

const lineFeed = 10;
const seamLength = 1 << 16;

class SegmentScan {
  /** In the order of their places, each once. */
  readonly kept: SteadyMeter[] = [];
  private readonly findings: Finding[] = [];
  private readonly totals = { ...none };
  private readonly adjusts = new Set<string>();
  private readonly window: WindowBytes;
  /** What is not looked at yet, from `at` on. */
  private bytes: Buffer = Buffer.alloc(0);
  private at = 0;
  private lines = 0;
  private records = 0;
  private unproven = 0;
  private next = 0;
  private group: NumberedLine[] = [];
  private last = "";

  private readonly manifest: Manifest;
  private readonly segment: Segment;
  private readonly given: Given;

  constructor(manifest: Manifest, segment: Segment, given: Given) {
    this.manifest = manifest;
    this.segment = segment;
    this.given = given;
    this.window = windowBytes(manifest);
  }

  async piece(bytes: Uint8Array): Promise<void> {
    const piece = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
    const rest = this.bytes.subarray(this.at);
    if (rest.length === 0) return this.scan(piece, 0);
    // What spans two pieces is copied, not the whole of both.
    await this.scan(Buffer.concat([rest, piece.subarray(0, seamLength)]), 0);
    if (this.at >= rest.length) return this.scan(piece, this.at - rest.length);
    await this.scan(Buffer.concat([this.bytes.subarray(this.at), piece.subarray(seamLength)]), 0);
  }

  /** Looks at all that is whole in `bytes` from `at` on. */
  private async scan(bytes: Buffer, at: number): Promise<void> {
    [this.bytes, this.at] = [bytes, at];
    for (;;) {
      const known = this.known();
      if (known && known.lines.length > bytes.length - this.at) return;
      if (known && isSteadyAt(known, this.window, bytes, this.at)) {
        if (this.group.length > 0) await this.endGroup();
        this.steady(known);
      } else if (!(await this.line())) return;
    }
  }

  /** `digest` is the SHA-256 of all pieces. */
  async end(digest: string): Promise<CheckedSegment> {
    const { key, lines, sha256, totals } = this.segment;
    while (await this.line());
    if (this.at < this.bytes.length) this.complain(this.lines + 1, "is cut off");
    await this.endGroup();
    const counted = this.manifest.chains.length === 0 ? this.records : this.lines;
    if (counted !== lines) this.complain(undefined, `holds ${counted} lines, its manifest says ${lines}`);
    if (canonicalJson(this.totals) !== canonicalJson(totals))
      this.complain(undefined, "adds up to other totals than its manifest's");
    if (digest !== sha256) this.complain(undefined, "has another SHA-256 than its manifest says");
    const { findings, records, unproven } = this;
    return { findings: findings.map((one) => ({ ...one, key })), records, unproven, adjusts: [...this.adjusts].sort() };
  }

  /** The unchanged deployment that may come next: none between the two lines of one that is read. */
  private known(): SteadyMeter | undefined {
    const { known } = this.given;
    const [first] = this.group;
    if (first && this.group.every(({ line }) => isEvidence(line))) return undefined;
    const last = first ? groupPlace(first.line, this.manifest) : this.last;
    let meter = known[this.next];
    while (meter && meter.place <= last) meter = known[++this.next];
    return meter;
  }

  /** Its two lines are there, to the byte. */
  private steady(meter: SteadyMeter): void {
    this.at += meter.lines.length;
    this.lines += 2;
    this.next += 1;
    this.accept(meter.quantities);
    this.keep(meter);
    this.last = meter.place;
  }

  private keep(meter: SteadyMeter): void {
    const newest = this.kept.at(-1);
    if (!newest || newest.place < meter.place) this.kept.push(meter);
  }

  /** Reads one line; false where none is whole. */
  private async line(): Promise<boolean> {
    const end = this.bytes.indexOf(lineFeed, this.at);
    if (end < 0) return false;
    const text = this.bytes.toString("utf8", this.at, end);
    this.at = end + 1;
    this.lines += 1;
    await this.slow(text, this.lines);
    return true;
  }

  private async slow(text: string, at: number): Promise<void> {
    let line: Line;
    try {
      line = parseLine(text);
    } catch {
      return this.complain(at, "is no usage record or line of evidence of Berth's");
    }
    const [first] = this.group;
    if (first && groupPlace(first.line, this.manifest) !== groupPlace(line, this.manifest)) await this.endGroup();
    this.group.push({ line, text: `${text}\n`, at });
  }

  private async endGroup(): Promise<void> {
    const { group, manifest, segment } = this;
    const [first] = group;
    if (!first) return;
    this.group = [];
    const place = groupPlace(first.line, manifest);
    if (place <= this.last) this.complain(first.at, "is doubled or out of order");
    this.last = place;
    const own = first.line.windowStart === manifest.windowStart;
    const problems = group.flatMap((one) => lineProblems(one, { manifest, segment, own }));
    problems.push(...orderProblems(group));
    for (const { line } of group) if (!isEvidence(line)) this.accept(line);
    if (own) problems.push(...this.usage(group));
    else {
      const record = group.map(({ line }) => line).find((line): line is UsageRecord => !isEvidence(line));
      this.adjusts.add(`${first.line.windowStart}/${first.line.windowEnd}`);
      const stored = record ? await this.given.storedBefore(record) : [];
      if (stored) problems.push(...adjustmentProblems(group, stored, manifest));
    }
    for (const { at, problem } of problems) this.complain(at, problem);
    const [evidence, record] = group.map(({ line }) => line);
    if (problems.length > 0 || group.length !== 2 || !own || !evidence || !record) return;
    if (!isEvidence(evidence) || isEvidence(record)) return;
    const steady = steadyMeter(evidence, record);
    if (steady) this.keep(steady);
  }

  private usage(group: readonly NumberedLine[]) {
    if (group.some(({ line }) => isEvidence(line))) return usageProblems(group, this.manifest);
    if (this.manifest.chains.length === 0) {
      this.unproven += group.length;
      return [];
    }
    return group.map(({ at }) => ({ at, problem: "has no evidence before it" }));
  }

  private accept(record: Quantities): void {
    this.records += 1;
    for (const name of quantityNames) this.totals[name] += record[name];
  }

  private complain(line: number | undefined, problem: string): void {
    this.findings.push({ key: this.segment.key, ...(line === undefined ? {} : { line }), problem });
  }
}
