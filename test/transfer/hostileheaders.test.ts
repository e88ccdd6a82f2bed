// Headers that keep every limit of one file and are too much together; and the largest model that is real.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { openStore } from "../../operator/adapters/store/open.ts";
import type { ObjectSource } from "../../operator/ports.ts";
import { importModel } from "../../operator/transfer/import.ts";
import { tinyConfig } from "../models/tiny.ts";
import { jobFor } from "./bench.ts";

const TEXTS = new Map(
  Object.entries({ "config.json": JSON.stringify(tinyConfig), "tokenizer.json": "{}" }).map(([path, text]) => [
    path,
    Buffer.from(text),
  ]),
);

/** A header with its length before it, of entries of no bytes each but one. */
function headerOf(entry: (number: number) => string, entries: number): Buffer {
  const rest = Array.from({ length: entries }, (_, number) => `,${entry(number)}`).join("");
  const json = Buffer.from(`{"w":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}${rest}}`);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  return Buffer.concat([length, json]);
}

/** Shards that all have this header, and what was asked of them. */
function sourceOf(shards: number, header: Buffer, size = header.length + 4) {
  const asked = { bytes: 0 };
  const etag = '"e"';
  const names = Array.from({ length: shards }, (_, number) => `m/model-${String(number)}.safetensors`);
  const source: ObjectSource = {
    list: () =>
      Promise.resolve({
        objects: [
          ...[...TEXTS].map(([path, text]) => ({ key: `m/${path}`, sizeBytes: text.length, etag })),
          ...names.map((key) => ({ key, sizeBytes: size, etag })),
        ],
      }),
    read: ({ key }, offset, lengthBytes) => {
      asked.bytes += lengthBytes;
      const bytes = Buffer.alloc(lengthBytes);
      (TEXTS.get(key.slice(2)) ?? header).copy(bytes, 0, offset, offset + lengthBytes);
      return Promise.resolve(bytes);
    },
    close: () => undefined,
  };
  return { source, asked };
}

async function inspect(t: TestContext, source: ObjectSource) {
  const folder = mkdtempSync(join(tmpdir(), "berth-store-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const store = openStore({ url: `file://${folder}`, region: "us-east-1" });
  return importModel(jobFor({ source, store, prefix: "m", copy: false }));
}

const empty = (number: number): string => `"t${String(number)}":{"dtype":"U8","shape":[0],"data_offsets":[4,4]}`;

test("headers that are too long together are refused before they are read", async (t) => {
  const { source, asked } = sourceOf(40, headerOf(empty, 190_000));
  const result = await inspect(t, source);
  assert.ok(result.kind === "refused");
  assert.equal(result.problem.reason, "SafetensorsInvalid");
  assert.match(result.problem.message, /the safetensors headers of the model have more than 50331648 bytes together/);
  assert.ok(asked.bytes < 4 << 20, `${String(asked.bytes)} bytes were asked for`);
});

test("tensors that are too many together are refused", async (t) => {
  const { source } = sourceOf(3, headerOf(empty, 150_000));
  const result = await inspect(t, source);
  assert.ok(result.kind === "refused");
  assert.match(result.problem.message, /more than 400000 tensors together/);
});

test("a header of many small things is refused before it becomes objects", async (t) => {
  const lists = headerOf(() => `"x":{"dtype":"U8","shape":[${"[],".repeat(4_000_000)}0],"data_offsets":[4,4]}`, 1);
  for (const header of [headerOf(empty, 200_000), headerOf(empty, 800_000), lists]) {
    const result = await inspect(t, sourceOf(1, header).source);
    assert.ok(result.kind === "refused");
    assert.match(result.problem.message, /lists more than 200000 tensors/);
  }
});

test("163 shards with 150,000 tensors are a real model", async (t) => {
  const entry = (number: number): string =>
    `"model.layers.${String(number % 61)}.mlp.experts.${String(number)}.down_proj.weight_scale_inv":{"dtype":"F32","shape":[0,16],"data_offsets":[4,4]}`;
  const { source } = sourceOf(163, headerOf(entry, 920));
  const result = await inspect(t, source);
  assert.equal(result.kind, "inspected", JSON.stringify(result));
});
