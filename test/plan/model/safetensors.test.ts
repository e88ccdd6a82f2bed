import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { isProblem } from "../../../operator/plan/model/problem.ts";
import { headerLength, parseHeader } from "../../../operator/plan/model/safetensors.ts";
import { safetensors } from "../../models/tiny.ts";

function read(
  file: Uint8Array,
): string | readonly { readonly name: string; readonly elements: number; readonly bytes: number }[] {
  const length = headerLength("f", file.subarray(0, 8), file.length);
  if (typeof length !== "number") return length.message;
  const tensors = parseHeader("f", file.subarray(8, 8 + length), file.length);
  return isProblem(tensors) ? tensors.message : tensors.map(({ name, elements, bytes }) => ({ name, elements, bytes }));
}

const t = (begin: number, end: number, shape = [end - begin], dtype = "U8") => ({
  dtype,
  shape,
  data_offsets: [begin, end],
});

test("good headers give names, elements and bytes", () => {
  assert.deepEqual(
    read(safetensors({ __metadata__: { format: "pt" }, b: t(4, 8, [2], "BF16"), a: t(0, 4, [], "F32") }, 8)),
    [
      { name: "a", elements: 1, bytes: 4 },
      { name: "b", elements: 2, bytes: 4 },
    ],
  );
  assert.deepEqual(read(safetensors({}, 0)), [], "a file without tensors is legal");
  assert.deepEqual(read(safetensors({ a: t(0, 0, [0, 5], "F16"), b: t(0, 1, [2], "F4") }, 1)), [
    { name: "a", elements: 0, bytes: 0 },
    { name: "b", elements: 2, bytes: 1 },
  ]);
});

const bad: readonly (readonly [string, Uint8Array, RegExp])[] = [
  ["hole", safetensors({ a: t(0, 4), b: t(5, 8) }, 8), /hole/],
  ["overlap", safetensors({ a: t(0, 4), b: t(3, 8) }, 8), /overlaps/],
  ["trailing bytes", safetensors({ a: t(0, 4) }, 5), /end at byte/],
  ["unknown dtype", safetensors({ a: { ...t(0, 4), dtype: "toString" } }, 4), /dtype/],
  ["negative shape", safetensors({ a: t(0, 4, [-4]) }, 4), /shape/],
  ["fractional shape", safetensors({ a: t(0, 4, [0.5, 8]) }, 4), /shape/],
  ["huge shape", safetensors({ a: t(0, 4, [2 ** 52, 2 ** 52]) }, 4), /do not match/],
  ["wrong bytes", safetensors({ a: t(0, 4, [4], "F32") }, 4), /do not match/],
  ["backwards", safetensors({ a: t(4, 0, [4]) }, 4), /do not match/],
  ["no object", safetensors([1, 2], 0), /not a JSON object/],
  ["tensor is a list", safetensors({ a: [] }, 0), /not an object|dtype/],
];
test("bad headers are refused in words", () => {
  for (const [name, file, words] of bad) assert.match(String(read(file)), words, name);
  const evil = safetensors({ ["\u001b[31m".padEnd(500, "x")]: t(1, 4) }, 4);
  assert.match(String(read(evil)), /\\u001b/);
  assert.ok(String(read(evil)).length < 400);
});

test("no header, however broken, throws or claims more bytes than the file has", () => {
  fc.assert(
    fc.property(
      fc.oneof(
        fc.uint8Array({ minLength: 0, maxLength: 200 }),
        fc.json().map((json) => safetensors(JSON.parse(json) as object, 3)),
      ),
      (file) => {
        const result = read(file);
        if (typeof result === "string") return;
        assert.ok(result.reduce((sum, tensor) => sum + tensor.bytes, 0) <= file.length);
      },
    ),
  );
});
