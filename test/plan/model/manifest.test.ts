import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { manifestProblem } from "../../../operator/plan/model/manifest.ts";
import type { StoredFile } from "../../../operator/plan/model/manifest.ts";

const sha256 = "0".repeat(64);
const file = (path: string, change: Partial<StoredFile> = {}): StoredFile => ({
  path,
  sizeBytes: 1,
  sha256,
  ...change,
});
const problemOf = (...files: StoredFile[]): string | undefined => manifestProblem({ digest: "", files });

test("ordinary paths are no problem", () => {
  for (const path of [
    "config.json",
    "a/b c/d.safetensors",
    "ü/模型.json",
    "..a",
    "a..b",
    "a/MANIFEST.json",
    ".gitattributes",
    "a%20b",
  ])
    assert.equal(problemOf(file(path)), undefined, path);
});

const bad: readonly string[] = [
  "",
  "/etc/passwd",
  "../x",
  "a/../../x",
  "a/..",
  "..",
  ".",
  "a/./b",
  "a//b",
  "a/",
  "a\\b",
  "a\0b",
  "a\nb",
  "a\u202eb",
  "a\u2028b",
  "a\ud800b",
  ".berth-fetch/0.part",
  ".berth",
  "MANIFEST.json",
  "manifest.json/x",
  "x".repeat(256),
  "ü".repeat(128),
  Array.from({ length: 300 }, () => "abcd").join("/"),
];
for (const path of bad) {
  test(`a path ${JSON.stringify(path.slice(0, 30))} is a problem`, () => {
    assert.match(problemOf(file(path)) ?? "", /^its path .* is none$/);
  });
}

test("files that cannot stand side by side, or have no size or digest, are a problem", () => {
  assert.match(problemOf() ?? "", /names no file/);
  assert.match(problemOf(file("a"), file("a")) ?? "", /twice/);
  assert.match(problemOf(file("a"), file("a/b")) ?? "", /below another file/);
  assert.match(problemOf(file("a", { sizeBytes: -1 })) ?? "", /has no size/);
  for (const wrong of ["", "0".repeat(63), "G".repeat(64), `sha256:${sha256}`])
    assert.match(problemOf(file("a", { sha256: wrong })) ?? "", /has no SHA-256/);
  assert.match(problemOf(...Array.from({ length: 10_001 }, (_, n) => file(String(n)))) ?? "", /more than 10000/);
});

test("no path that passes leaves its folder", () => {
  const segment = fc.oneof(fc.constantFrom("..", ".", "", "a", "/", "\\", "\0"), fc.string({ unit: "binary" }));
  fc.assert(
    fc.property(fc.array(segment, { minLength: 1, maxLength: 6 }), (segments) => {
      const path = segments.join("/");
      if (problemOf(file(path)) !== undefined) return;
      const at = new URL(`file:///into/${path.split("/").map(encodeURIComponent).join("/")}`).pathname;
      assert.ok(at.startsWith("/into/") && decodeURIComponent(at) === `/into/${path}`, path);
    }),
    { numRuns: 2_000 },
  );
});

test("what a problem says of a path holds no character that a terminal obeys", () => {
  for (const code of [0x1b, 0x7f, 0x9b, 0x202e]) {
    const words = problemOf(file(`a${String.fromCodePoint(code)}b`)) ?? "";
    assert.match(words, /is none$/);
    assert.doesNotMatch(words, /[\p{Cc}\p{Cf}]/u);
  }
});
