import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { digestText, manifestText, objectKey, parseManifest } from "../../../operator/plan/model/manifest.ts";
import type { StoredFile } from "../../../operator/plan/model/manifest.ts";
import { importKey, parseImport } from "../../../operator/plan/model/importrecord.ts";
import type { FoundRevision, ImportRecord } from "../../../operator/plan/model/importrecord.ts";
import { pointedAtEarlier, reusable } from "../../../operator/plan/model/reuse.ts";

const bucket = { endpoint: "https://s3", bucket: "b", prefix: "models/x" };
const sha = (letter: string): string => letter.repeat(64);

function revision(number: number, files: readonly StoredFile[], change: Partial<ImportRecord> = {}): FoundRevision {
  const etags = Object.fromEntries(files.map(({ path, sha256 }) => [path, `"${sha256.slice(0, 4)}"`]));
  const record = { digest: "d", fingerprint: "f", source: bucket, importedAt: "t", version: "v", facts: {}, etags };
  return { number, manifest: { digest: "d", files }, record: { ...record, ...change } };
}
const stored = (path: string, letter: string, key?: string): StoredFile => ({
  path,
  sizeBytes: 5,
  sha256: sha(letter),
  ...(key === undefined ? {} : { key }),
});
const listed = (path: string, etag: string, change = {}) => ({
  path,
  key: `models/x/${path}`,
  sizeBytes: 5,
  etag,
  ...change,
});

test("a file is not read again where the same object has the ETag that was hashed, or the source states the hash", () => {
  const found = [revision(1, [stored("a", "1")]), revision(2, [stored("a", "1", "1/a"), stored("b", "2")])];
  const keysOf = (files: Parameters<typeof reusable>[0], origin: Parameters<typeof reusable>[1] = bucket) =>
    [...reusable(files, origin, found).values()].map(({ path, key }) => [path, key]);
  assert.deepEqual(keysOf([listed("a", '"1111"'), listed("b", '"2222"')]), [["a", "1/a"], ["b", "2/b"]]); // prettier-ignore
  assert.deepEqual(keysOf([listed("a", '"9999"')]), [], "another ETag");
  assert.deepEqual(keysOf([listed("a", '"1111"', { sizeBytes: 6 })]), [], "another size");
  assert.deepEqual(keysOf([listed("b", '"1111"')]), [], "another object with that ETag");
  for (const other of [{ endpoint: "https://other" }, { bucket: "other" }])
    assert.deepEqual(keysOf([listed("a", '"1111"')], { ...bucket, ...other }), [], "another place");
  const renamed = listed("c", '"x"', { sha256: sha("2") });
  assert.deepEqual(keysOf([renamed], { endpoint: "https://hub", repo: "o/n", commit: "c" }), [["c", "2/b"]]);
  assert.deepEqual(
    pointedAtEarlier([stored("z", "2", "3/z"), stored("y", "3", "3/y")], found).map(({ key }) => key),
    ["2/b", "3/y"],
  );
});

const name = fc.stringMatching(/^[a-zé]{1,6}$/u);
const fileArbitrary = fc.record({
  path: fc.array(name, { minLength: 1, maxLength: 3 }).map((segments) => segments.join("/")),
  sizeBytes: fc.nat(),
  sha256: fc.stringMatching(/^[0-9a-f]{64}$/),
  key: fc.option(
    fc.tuple(fc.integer({ min: 1, max: 99 }), name).map(([number, path]) => `${String(number)}/${path}`),
    { nil: undefined },
  ),
});
const filesArbitrary = fc.uniqueArray(fileArbitrary, { minLength: 1, maxLength: 12, selector: ({ path }) => path });

test("a digest is of paths, sizes and hashes alone: not of order, place, source, time or Berth's version", () => {
  fc.assert(
    fc.property(filesArbitrary, fc.infiniteStream(fc.nat()), fc.string(), (files, order, other) => {
      const shuffled = files
        .map((file) => ({ file: { ...file, key: `7/${other.length}` }, at: order.next().value }))
        .sort((a, b) => (a.at ?? 0) - (b.at ?? 0))
        .map(({ file }) => file);
      assert.equal(digestText(shuffled), digestText(files));
      const [first, ...rest] = files;
      const changed = { ...first, sizeBytes: (first?.sizeBytes ?? 0) + 1 } as StoredFile;
      assert.notEqual(digestText([changed, ...rest]), digestText(files));
    }),
  );
});

test("a manifest is canonical: what is read writes the same bytes, and leads to the objects that it names", () => {
  fc.assert(
    fc.property(filesArbitrary, fc.constantFrom(undefined, sha("a")), (files, record) => {
      const text = manifestText({ digest: "sha256:x", files, record });
      const read = parseManifest(text);
      assert.ok(read);
      assert.equal(read.record, record);
      assert.equal(manifestText(read), text);
      assert.equal(JSON.stringify(JSON.parse(text)), text.trimEnd());
      for (const file of files)
        assert.equal(objectKey("models/n/m/4/", file), `models/n/m/${file.key ?? `4/${file.path}`}`);
    }),
  );
});

test("a key that leaves the model's folder makes a manifest none", () => {
  for (const key of ["../1/a", "1/../a", "a", "0/a", "1//a", "/1/a", "1/", "1/a\\b", "1/a\u0000", "01/a", 7]) {
    const files = [{ path: "a", size: 1, sha256: sha("1"), key }];
    const text = JSON.stringify({ format: "berth.dev/manifest/v1", digest: "d", files });
    assert.equal(parseManifest(text), undefined, JSON.stringify(key));
  }
});

test("a manifest that names its record by anything but a SHA-256 is none", () => {
  for (const record of ["", "a", sha("g"), `../${sha("a")}`, sha("A"), 7, null]) {
    const text = JSON.stringify({ format: "berth.dev/manifest/v1", digest: "d", files: [], record });
    assert.equal(parseManifest(text), undefined, JSON.stringify(record));
  }
  assert.equal(importKey({ record: sha("a") }), `.berth/imports/${sha("a")}.json`);
  assert.equal(importKey({}), ".berth/import.json", "of before records were named");
});

test("a record of another manifest counts for nothing", () => {
  const { record } = revision(1, [stored("a", "1")]);
  assert.deepEqual(parseImport(JSON.stringify(record), "d"), record);
  assert.equal(parseImport(JSON.stringify(record), "other"), undefined);
  assert.equal(parseImport(JSON.stringify({ ...record, source: { endpoint: "x" } }), "d"), undefined);
});
