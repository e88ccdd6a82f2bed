import assert from "node:assert/strict";
import { test } from "node:test";
import { parseSums, withSums } from "../../../operator/plan/model/sums.ts";

const a = "a".repeat(64);
const b = "B".repeat(64);

test("the lines of sha256sum are digests by path, and nothing else is", () => {
  const text = `${a}  model.safetensors\n${b} *./deep/config.json\r\n# a remark\n${a} one blank\nabc  short\n${a}  two words.txt\n`;
  assert.deepEqual(
    [...parseSums(text)],
    [
      ["model.safetensors", a],
      ["deep/config.json", b.toLowerCase()],
      ["two words.txt", a],
    ],
  );
});

test("a path with two digests has none", () => {
  assert.deepEqual([...parseSums(`${a}  x\n${b}  x\n${a}  y\n${a}  y`)], [["y", a]]);
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
