/** What is taken by its bytes alone is what reading each line would take, whatever is done to a segment and however it comes in. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";

import type { Manifest } from "../../operator/api/ledger.ts";
import { newSegmentCheck } from "../../operator/controllers/verifysegment.ts";
import type { CheckedSegment } from "../../operator/controllers/verifysegment.ts";
import { parseLine } from "../../operator/controllers/ledgerreads.ts";
import { metersOf } from "../../operator/plan/metering/records.ts";
import { isEvidence, lineChunks, manifestOf, newTally, usageLines } from "../../operator/plan/metering/segment.ts";
import type { Line } from "../../operator/plan/metering/segment.ts";
import { isSteadyAt, steadyMeter, windowBytes } from "../../operator/plan/metering/steady.ts";
import type { Ledger } from "../../operator/ports.ts";
import { CLUSTER, claim, history, hour, step } from "../plan/metering/histories.ts";
import { runs } from "../propertyruns.ts";

const hours = [10, 11, 12, 13, 14];

/** Most go on unchanged; some begin, change their size, end or hold nothing on the way. */
const fleet = metersOf(
  Array.from({ length: 12 }, (_, i) =>
    history({
      deploymentUID: `uid-${String(i).padStart(2, "0")}`,
      poolUID: `pool-${i}`,
      ...(i % 2 === 0 && { namespaceUID: "namespace-a" }),
      ...(i === 5 && { endedAt: hour(12).start + 1 }),
      steps: [
        step(i === 3 ? "12:30:00" : "09:00:00", 1, "team-a", { note: "é\u2028" }),
        ...(i === 4 ? [step("11:20:00", 2)] : []),
      ],
      claims: i === 7 ? [] : [claim({ id: `node-${i}`, claimed: i === 3 ? "12:31:00" : "09:01:00" })],
    }),
  ),
);

interface Sealed {
  readonly manifest: Manifest;
  readonly lines: readonly string[];
}

function sealedHours(): Sealed[] {
  return hours.map((h) => {
    const tally = newTally();
    const lines: string[] = [];
    const seen = (line: Line, text: string): void => {
      tally.add(line, text);
      lines.push(text);
    };
    for (const _ of lineChunks(usageLines(fleet, hour(h), CLUSTER), seen));
    const at = { clusterId: CLUSTER, shards: 1, previous: undefined };
    return { manifest: manifestOf(hour(h), [{ shard: 0, tally: tally.result() }], at), lines };
  });
}

const sealed = sealedHours();

/** A segment's bytes in pieces of `length`. */
function reading(text: string, length: number): Pick<Ledger, "read"> {
  const bytes = Buffer.from(text);
  return {
    read: () =>
      Promise.resolve(
        (async function* () {
          for (let at = 0; at < bytes.length; at += length) yield bytes.subarray(at, at + length);
          await Promise.resolve();
        })(),
      ),
  };
}

async function findingsOf(texts: readonly string[], pieceLength: number, remembering: boolean) {
  const nothing = () => Promise.resolve([]);
  const place: { ledger: Pick<Ledger, "read"> } = { ledger: reading("", 1) };
  const ledger = { read: (key: string) => place.ledger.read(key) } as Ledger;
  let check = newSegmentCheck(ledger, nothing);
  const found = [];
  for (const [index, { manifest }] of sealed.entries()) {
    place.ledger = reading(texts[index] ?? "", pieceLength);
    if (!remembering) check = newSegmentCheck(ledger, nothing);
    for (const segment of manifest.segments) found.push(await check(manifest, segment));
  }
  return found;
}

const kinds = ["none", "digit", "drop", "dropTwo", "double", "swap", "older", "cut", "garble"] as const;
type Harm = { readonly kind: (typeof kinds)[number]; readonly where: number };

function harmed(index: number, { kind, where }: Harm): string {
  const lines = [...(sealed[index]?.lines ?? [])];
  const at = where % lines.length;
  const line = lines[at] ?? "";
  if (kind === "digit") lines[at] = line.replace(/\d(?=[^\d]*$)/, (digit) => String((Number(digit) + 1) % 10));
  if (kind === "drop") lines.splice(at, 1);
  if (kind === "dropTwo") lines.splice(at - (at % 2), 2);
  if (kind === "double") lines.splice(at, 0, line);
  if (kind === "swap") lines.splice(at, 2, lines[at + 1] ?? "", line);
  if (kind === "older") lines[at] = sealed[index - 1]?.lines[at] ?? "";
  if (kind === "garble") lines[at] = `${line.slice(0, where % line.length)}\n`;
  const text = lines.join("");
  return kind === "cut" ? text.slice(0, where % text.length) : text;
}

test("an intact fleet is intact, by whatever pieces its segments come in", async () => {
  for (const length of [97, 2_000, 1 << 16]) {
    const texts = sealed.map(({ lines }) => lines.join(""));
    for (const remembering of [true, false]) {
      const found = await findingsOf(texts, length, remembering);
      assert.deepEqual(
        found.map(({ findings, records }) => ({ findings, records })),
        sealed.map(({ manifest: { records } }) => ({ findings: [], records })),
      );
    }
  }
});

test("the two lines of a deployment that goes on are known by their bytes hours later, and not with another digit", () => {
  const [early, late] = [sealed[0], sealed[4]];
  assert.ok(early && late);
  const [evidence, record] = early.lines.map((line) => parseLine(line.trimEnd()));
  assert.ok(evidence && record && isEvidence(evidence) && !isEvidence(record));
  const meter = steadyMeter(evidence, record);
  const bytes = Buffer.from(late.lines.slice(0, 3).join(""));
  assert.ok(meter && isSteadyAt(meter, windowBytes(late.manifest), bytes, 0));
  for (let at = 0; at < meter.lines.length; at += 1) {
    bytes[at] = (bytes[at] ?? 0) ^ 1;
    assert.equal(isSteadyAt(meter, windowBytes(late.manifest), bytes, 0), false, `byte ${at}`);
    bytes[at] = (bytes[at] ?? 0) ^ 1;
  }
  assert.equal(isSteadyAt(meter, windowBytes({ ...late.manifest, windowSeconds: 1800 }), bytes, 0), false);
});

test("what is remembered counts for the same shards and cluster alone: lines in another's place are read, and named", async () => {
  const texts = new Map(
    sealed.flatMap(({ manifest, lines }) => manifest.segments.map(({ key }) => [key, lines.join("")])),
  );
  const ledger = { read: (key: string) => reading(texts.get(key) ?? "", 1 << 16).read(key) };
  const [first, second] = sealed.map(({ manifest }) => manifest);
  assert.ok(first && second);
  const others: readonly (readonly [Manifest, RegExp])[] = [
    [{ ...second, shards: 4 }, /^belongs to another shard$/],
    [{ ...second, cluster: "11111111-0000-4000-8000-000000000000" }, /^belongs to another window or cluster$/],
  ];
  for (const [manifest, problem] of others) {
    const nothing = () => Promise.resolve([]);
    const [quick, thorough] = [newSegmentCheck(ledger, nothing), newSegmentCheck(ledger, nothing)];
    for (const segment of first.segments) assert.deepEqual((await quick(first, segment)).findings, []);
    for (const segment of manifest.segments) {
      const [found, wanted] = [await quick(manifest, segment), await thorough(manifest, segment)];
      assert.deepEqual(found, wanted);
      assert.ok(found.findings.filter((one) => problem.test(one.problem)).length > 4, JSON.stringify(found.findings));
    }
  }
});

/** Words may differ: a third line of a deployment is a doubled one, or one that its evidence does not give. */
function named({ findings, ...counts }: CheckedSegment) {
  return { ...counts, lines: [...new Set(findings.map(({ line }) => line))] };
}

test("remembering unchanged deployments names the lines that reading every line names", async () => {
  const harm = fc.record({ kind: fc.constantFrom(...kinds), where: fc.nat({ max: 50_000 }) });
  const harms = fc.array(harm, { minLength: hours.length, maxLength: hours.length });
  await fc.assert(
    fc.asyncProperty(harms, fc.constantFrom(700, 3_000, 1 << 16), async (all, length) => {
      const texts = all.map((one, index) => harmed(index, one));
      const [quick, thorough] = [await findingsOf(texts, length, true), await findingsOf(texts, length, false)];
      assert.deepEqual(quick.map(named), thorough.map(named));
    }),
    { numRuns: runs(60) },
  );
});
