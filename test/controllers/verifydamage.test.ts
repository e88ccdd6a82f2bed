/**
 * I7 for each object of a sealed and signed ledger, each kind of damage at each place: `berth ledger verify --trust` ends with 3 and
 * names the object, and the line where a record was changed. verifytamper.test.ts does the same at random places.
 */
import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { cp, mkdtemp, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { after, before, test } from "node:test";
import { pathToFileURL } from "node:url";
import { gunzipSync, gzipSync } from "node:zlib";

import { openLedger } from "../../operator/adapters/ledger/open.ts";
import { signerOf } from "../../operator/adapters/ledger/signing.ts";
import { ledgerCommand } from "../../operator/cli/ledger.ts";
import type { Finding, Verification } from "../../operator/controllers/verify.ts";
import { envelopeBytes } from "../../operator/plan/metering/dsse.ts";
import type { ManifestSigner } from "../../operator/ports.ts";
import { sealThreeDays } from "./signedledger.ts";

let root = "";
let head = "";
let objects: readonly string[] = [];
let stranger: ManifestSigner;

const open = (place: string) => openLedger({ url: pathToFileURL(join(root, place)).href });

async function keyPair(name: string): Promise<ManifestSigner> {
  const { privateKey, publicKey } = generateKeyPairSync("ed25519");
  await writeFile(join(root, `${name}.pub`), publicKey.export({ type: "spki", format: "pem" }));
  return signerOf(privateKey.export({ type: "pkcs8", format: "pem" }).toString(), name);
}

before(async () => {
  root = await mkdtemp(join(tmpdir(), "berth-damage-"));
  const signer = await keyPair("operator");
  stranger = await keyPair("stranger");
  await sealThreeDays(open("sealed"), signer);
  objects = await keysOf("sealed");
  const { code, found } = await verify("sealed");
  assert.deepEqual({ code, findings: found.findings }, { code: 0, findings: [] });
  head = found.head?.sha256 ?? "";
  for (const part of ["shard=00", "shard=01", "adjusted-by=", "root.json", "root.sig.json", "manifest.sig.json"])
    assert.ok(
      objects.some((key) => key.includes(part)),
      `${part} is among ${objects.join(" ")}`,
    );
  assert.equal(objects.filter((key) => key.startsWith("checkpoints/")).length, 2);
  assert.equal(objects.filter((key) => key.endsWith("/manifest.json")).length, 6);
});
after(() => rm(root, { recursive: true, force: true }));

async function keysOf(place: string): Promise<string[]> {
  const entries = await readdir(join(root, place), { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile());
  return files.map((entry) => relative(join(root, place), join(entry.parentPath, entry.name))).sort();
}

async function verify(place: string, ...flags: string[]) {
  let [code, out] = [-1, ""];
  const io = { env: {}, write: (text: string) => void (out += text), complain: (text: string) => void (out += text) };
  const url = pathToFileURL(join(root, place)).href;
  const args = ["verify", "--ledger-url", url, "--trust", join(root, "operator.pub"), "-o", "json", ...flags];
  await ledgerCommand(io, (ended) => (code = ended)).parseAsync(args, { from: "user" });
  assert.ok([0, 3, 5].includes(code), out);
  return { code, found: JSON.parse(out) as Verification };
}

const isPacked = (key: string): boolean => key.endsWith(".gz");
const segments = () => objects.filter(isPacked);

async function bytesOf(key: string): Promise<Buffer> {
  const stored = await readFile(join(root, "sealed", key));
  return isPacked(key) ? gunzipSync(stored) : stored;
}

/** With these contents in place of the sealed ones; undefined removes. The copy is mended afterwards. */
async function withDamage(
  damage: ReadonlyMap<string, Uint8Array | undefined>,
  look: (told: { code: number; found: Verification }) => void,
  ...flags: string[]
): Promise<void> {
  const at = (key: string, place = "damaged"): string => join(root, place, key);
  if (!(await readdir(root)).includes("damaged"))
    await cp(join(root, "sealed"), join(root, "damaged"), { recursive: true });
  for (const [key, bytes] of damage) {
    if (bytes === undefined) await rm(at(key));
    else await writeFile(at(key), isPacked(key) ? gzipSync(bytes, { level: 1 }) : bytes);
  }
  try {
    look(await verify("damaged", ...flags));
  } finally {
    for (const key of damage.keys()) await cp(at(key, "sealed"), at(key));
  }
}

/** The object itself, or the signature beside it, which does not fit any more. */
const isAbout = (key: string, finding: Finding): boolean =>
  finding.key === key ||
  finding.key === key.replace(/(?<!\.sig)\.json$/, ".sig.json") ||
  finding.key === key.replace(/\.sig\.json$/, ".json");

async function isNamed(key: string, bytes: Uint8Array | undefined, what: string, line?: number): Promise<void> {
  await withDamage(new Map([[key, bytes]]), ({ code, found: { findings } }) => {
    const said = `${what} of ${key}: exit ${String(code)}, ${JSON.stringify(findings)}`;
    assert.equal(code, 3, said);
    assert.ok(
      findings.some((one) => isAbout(key, one)),
      said,
    );
    if (line !== undefined)
      assert.ok(
        findings.some((one) => one.key === key && one.line === line),
        `line ${line}: ${said}`,
      );
  });
}

interface Line {
  readonly key: string;
  readonly lines: readonly string[];
  readonly index: number;
  readonly isUsage: boolean;
}

async function linesOf(): Promise<Line[]> {
  const all: Line[] = [];
  for (const key of segments()) {
    const lines = (await bytesOf(key)).toString().split(/(?<=\n)/);
    lines.forEach((line, index) => all.push({ key, lines, index, isUsage: line.includes('"kind":"usage"') }));
  }
  return all;
}

const joined = (lines: readonly string[]): Buffer => Buffer.from(lines.join(""));

test("each number of each line, changed: the segment is named, and the line where it is one of usage", async (t) => {
  let numbers = 0;
  for (const { key, lines, index, isUsage } of await linesOf()) {
    const line = lines[index] ?? "";
    for (const { index: at, 0: number } of line.matchAll(/(?<=":)-?\d+|(?<=T\d\d:)\d\d(?=:\d\dZ)/g)) {
      const end = at + number.length;
      const changed = `${line.slice(0, end - 1)}${String((Number(line[end - 1]) + 1) % 10)}${line.slice(end)}`;
      await isNamed(
        key,
        joined(lines.with(index, changed)),
        `${number} in line ${String(index + 1)}`,
        isUsage ? index + 1 : undefined,
      );
      numbers += 1;
    }
  }
  t.diagnostic(`${String(numbers)} numbers in ${String(segments().length)} segments`);
});

test("a line that is deleted, doubled, or swapped with the next: the segment is named, and the line of one that is doubled or moved", async () => {
  for (const { key, lines, index } of await linesOf()) {
    const line = lines[index] ?? "";
    await isNamed(key, joined(lines.toSpliced(index, 1)), `deleted line ${String(index + 1)}`);
    const doubled = joined(lines.toSpliced(index, 0, line));
    await withDamage(new Map([[key, doubled]]), ({ code, found: { findings } }) => {
      const said = `line ${String(index + 1)} of ${key} doubled: ${JSON.stringify(findings)}`;
      assert.equal(code, 3, said);
      assert.ok(
        findings.some((one) => one.key === key && one.line !== undefined && one.line >= index + 1),
        said,
      );
    });
    if (index + 1 === lines.length) continue;
    const swapped = joined(lines.with(index, lines[index + 1] ?? "").with(index + 1, line));
    await withDamage(new Map([[key, swapped]]), ({ code, found: { findings } }) => {
      const said = `lines ${String(index + 1)} and the next of ${key} swapped: ${JSON.stringify(findings)}`;
      assert.equal(code, 3, said);
      assert.ok(
        findings.some((one) => one.key === key && (one.line ?? 0) >= index + 1),
        said,
      );
    });
  }
});

/** Objects whose loss changes nothing that anybody reads, and that a death may leave out: the head of a later window covers them. */
const isCovered = (key: string): boolean => key.endsWith("/manifest.sig.json");

const isDoubted =
  (key: string) =>
  ({ code, found }: { readonly code: number; readonly found: Verification }): void => {
    const said = `${key} gone: exit ${String(code)}, ${JSON.stringify(found.doubts)}`;
    assert.deepEqual(found.findings, [], said);
    assert.ok(code === 5 && found.doubts.some((one) => isAbout(key, one)), said);
  };

test("each object, gone: named; a signature before others is a doubt, since the next one vouches for its window", async () => {
  const newest = objects.findLast(isCovered);
  for (const key of objects) {
    if (!isCovered(key) || key === newest) await isNamed(key, undefined, "deletion");
    else await withDamage(new Map([[key, undefined]]), isDoubted(key), "--strict");
  }
});

/** In `make soak` each byte. */
const BYTES_APART = process.env["BERTH_SOAK"] === "1" ? 1 : 47;

test("each object, cut at every quarter, and bytes all over those that are no segments, changed: named", async () => {
  for (const key of objects) {
    const bytes = await bytesOf(key);
    for (const quarter of [0, 1, 2, 3])
      await isNamed(key, bytes.subarray(0, Math.floor((bytes.length * quarter) / 4)), `cut at ${String(quarter)}/4`);
    await isNamed(key, bytes.subarray(0, -1), "cut of the last byte");
    if (isPacked(key)) continue;
    for (let at = bytes.length - 1; at >= 0; at -= BYTES_APART) {
      const changed = Buffer.from(bytes);
      changed[at] = (changed[at] ?? 0) ^ 1;
      await isNamed(key, changed, `byte ${String(at)}`);
    }
  }
});

const kindOf = (key: string): string => (key.split("/").at(-1) ?? "").replace(/\d+/g, "");

test("each object in the place of another of its kind: named", async () => {
  for (const key of objects) {
    const alike = objects.filter((other) => kindOf(other) === kindOf(key));
    const other = alike[(alike.indexOf(key) + 1) % alike.length] ?? key;
    const [own, foreign] = [await bytesOf(key), await bytesOf(other)];
    if (!own.equals(foreign)) await isNamed(key, foreign, `${other} in place`);
  }
});

test("each signature, made anew with another key: named, and so are all of them together", async () => {
  const all = new Map<string, Uint8Array>();
  for (const key of objects.filter((one) => one.endsWith(".sig.json"))) {
    const forged = envelopeBytes(await bytesOf(key.replace(".sig.json", ".json")), stranger);
    await isNamed(key, forged, "another key");
    all.set(key, forged);
  }
  await withDamage(all, ({ code, found: { findings } }) => {
    assert.equal(code, 3);
    for (const key of all.keys())
      assert.ok(
        findings.some((one) => one.key === key),
        key,
      );
  });
});

test("a whole other history, sealed and signed with another key in place of ours: every signature is named", async () => {
  await sealThreeDays(open("forged"), stranger, "21T22:30:00");
  const { code, found } = await verify("forged");
  assert.equal(code, 3);
  const keys = (await keysOf("forged")).filter((key) => key.endsWith(".sig.json"));
  assert.equal(keys.length, objects.filter((key) => key.endsWith(".sig.json")).length);
  for (const key of keys)
    assert.ok(
      found.findings.some((one) => one.key === key && /not trusted/.test(one.problem)),
      key,
    );
});

test("the tail cut off after any window: no key shows that, the noted head does", async () => {
  const windows = [
    ...new Set(objects.map((key) => /^v1\/dt=[^/]+\/hr=[^/]+\//.exec(key)?.[0]).filter((one) => one !== undefined)),
  ];
  for (const [index, first] of windows.entries()) {
    if (index === 0) continue;
    const cut = objects.filter(
      (key) => key.startsWith("v1/") && (/^v1\/dt=[^/]+\/hr=[^/]+\//.exec(key)?.[0] ?? key) >= first,
    );
    const told = ({ code, found: { findings } }: { code: number; found: Verification }): void => {
      assert.equal(code, 3, `cut off from ${first}`);
      assert.ok(findings.some(({ problem }) => problem.includes("the tail was cut off or rewritten")));
    };
    await withDamage(new Map(cut.map((key) => [key, undefined])), told, "--head", head);
  }
});
