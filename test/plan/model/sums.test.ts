import assert from "node:assert/strict";
import { test } from "node:test";
import { manifestText, removedText } from "../../../operator/plan/model/manifest.ts";
import { parseSums, withSums } from "../../../operator/plan/model/sums.ts";

const a = "a".repeat(64);
const b = "B".repeat(64);

test("the lines of sha256sum are digests by path, and nothing else is", () => {
  const text = `${a}  model.safetensors\n${b} *./deep/config.json\r\n# a remark\n${a} one blank\nabc  short\n${a}  two words.txt\n`;
  assert.deepEqual(
    [...parseSums([{ name: "SHA256SUMS", text }])],
    [
      ["model.safetensors", a],
      ["deep/config.json", b.toLowerCase()],
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
