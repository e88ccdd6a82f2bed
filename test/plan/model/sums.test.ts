import assert from "node:assert/strict";
import { test } from "node:test";
import { manifestText, removedText } from "../../../operator/plan/model/manifest.ts";
import { newSums, withSums } from "../../../operator/plan/model/sums.ts";
import type { SumsText } from "../../../operator/plan/model/sums.ts";

const a = "a".repeat(64);
const b = "B".repeat(64);

/** What lists say of a model with these files. */
function parseSums(lists: readonly SumsText[]): ReadonlyMap<string, string> {
  const sums = newSums(["d/y", "deep/config.json", "model.safetensors", "two words.txt", "w", "x", "y", "z"]);
  for (const list of lists) sums.add(list);
  return sums.agreed();
}

test("the lines of sha256sum are digests by path, and nothing else is", () => {
  const text = `${a}  model.safetensors\n${b} *./deep/config.json\r\n# a remark\n${a} one blank\nabc  short\n${a}  two words.txt\n`;
  assert.deepEqual(
    [...parseSums([{ name: "SHA256SUMS", text }])],
    [
      ["deep/config.json", b.toLowerCase()],
      ["model.safetensors", a],
      ["two words.txt", a],
    ],
  );
});

test("a manifest of Berth is such a list, for the files that lie under their paths; any other of its name is none", () => {
  const file = (path: string, key?: string) => ({ path, sizeBytes: 1, sha256: a, ...(key ? { key } : {}) });
  const files = [file("x"), file("d/y", "2/d/y"), file("z", "1/.berth/objects/0/z"), file("w", "1/v")];
  const of = (text: string) => [...parseSums([{ name: "MANIFEST.json", text }])];
  assert.deepEqual(of(manifestText({ digest: "sha256:of nothing", files })), [
    ["d/y", a],
    ["x", a],
  ]);
  assert.deepEqual(of(manifestText({ digest: "", files: [{ ...file("x"), sha256: "no digest" }] })), []);
  for (const text of ["", "{}", "[]", '{"format":"berth.dev/manifest/v1","files":{}}', removedText(), `${a}  x`])
    assert.deepEqual(of(text), [], text);
});

test("a manifest of another source is read as far as one of 10,000 files goes, and no further", () => {
  const files = Array.from({ length: 10_000 }, (_, at) => ({
    path: `f${String(at)}`,
    sizeBytes: 1,
    sha256: a,
    key: `1/f${String(at)}`,
  }));
  const x = { path: "x", sizeBytes: 1, sha256: a };
  const said = (text: string) => [...parseSums([{ name: "MANIFEST.json", text }])];
  assert.deepEqual(said(manifestText({ digest: "", files: [...files.slice(1), x] })), [["x", a]]);
  const more = files.slice(0, 3_000).map((file) => ({ ...file, path: `more-${file.path}` }));
  assert.deepEqual(said(manifestText({ digest: "", files: [...files, ...more, x] })), []);
  const one = manifestText({ digest: "", files: [x] });
  for (const hostile of ['"more":[[[[]]]]', `"more":[${"{},".repeat(60_000)}{}]`, '"digest":""'])
    assert.deepEqual(said(one.replace("{", `{${hostile},`)), [], hostile.slice(0, 20));
});

test("of a list that names other files only the model's own are kept", () => {
  const text = Array.from({ length: 1_000 }, (_, at) => `${a}  other-${String(at)}\n`).join("");
  assert.deepEqual([...parseSums([{ name: "SHA256SUMS", text: `${text}${b}  x` }])], [["x", b.toLowerCase()]]);
});

test("a path with two digests has none", () => {
  const text = `${a}  x\n${b}  x\n${a}  y\n${a}  y\n${a}  z`;
  const manifest = manifestText({ digest: "", files: [{ path: "z", sizeBytes: 1, sha256: b.toLowerCase() }] });
  const lists = [
    { name: "SHA256SUMS", text },
    { name: "MANIFEST.json", text: manifest },
  ];
  assert.deepEqual([...parseSums(lists)], [["y", a]]);
});

test("files take the list's digest where their listing has none", () => {
  const file = { path: "x", key: "m/x", sizeBytes: 1, etag: "e" };
  const sums = new Map([["x", a]]);
  assert.deepEqual(withSums([file, { ...file, path: "y" }, { ...file, sha256: "own" }], sums), [
    { ...file, sha256: a },
    { ...file, path: "y" },
    { ...file, sha256: "own" },
  ]);
});
