// One tenant's source that asks for patience without end, beside the import of another tenant in the same process.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { crc32 } from "node:zlib";
import { openStore } from "../../operator/adapters/store/open.ts";
import type { ObjectSource } from "../../operator/ports.ts";
import { systemClock } from "../../operator/runtime/clock.ts";
import { RetryError, TerminalError } from "../../operator/runtime/errors.ts";
import { importModel } from "../../operator/transfer/import.ts";
import { newPartPlaces } from "../../operator/transfer/places.ts";
import { newSlots } from "../../operator/transfer/slots.ts";
import { safetensors, tinyModel } from "../models/tiny.ts";
import { jobFor } from "./bench.ts";

const MIB = 1 << 20;
const weights = safetensors({ w: { dtype: "U8", shape: [20 * MIB], data_offsets: [0, 20 * MIB] } }, 20 * MIB);
const files = new Map(
  Object.entries(tinyModel({ "model.safetensors": weights })).map(([path, content]) => [
    `m/${path}`,
    Buffer.from(content as Uint8Array),
  ]),
);

function sourceOf(asleep: (() => void) | undefined): ObjectSource {
  const part = (key: string, offset: number, lengthBytes: number): Buffer =>
    (files.get(key) ?? Buffer.alloc(0)).subarray(offset, offset + lengthBytes);
  return {
    list: () =>
      Promise.resolve({ objects: [...files].map(([key, { length }]) => ({ key, sizeBytes: length, etag: '"e"' })) }),
    read: ({ key }, offset, lengthBytes) => Promise.resolve(part(key, offset, lengthBytes)),
    fill: ({ key }, offset, into) => {
      asleep?.();
      if (asleep) return Promise.reject(new RetryError(new TerminalError("SourceError", "SlowDown"), 60_000, true));
      into.set(part(key, offset, into.length));
      return Promise.resolve({ crc32: crc32(into), stated: {} });
    },
    close: () => undefined,
  };
}

function storeOf(t: TestContext) {
  const folder = mkdtempSync(join(tmpdir(), "berth-store-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return openStore({ url: `file://${folder}`, region: "us-east-1" });
}

test("a source that asks for patience holds up nobody else", { timeout: 50_000 }, async (t) => {
  const places = newPartPlaces({ clock: systemClock, bufferBytes: 16 * MIB, partBytes: MIB, imports: 2 });
  const shared = { places, copies: newSlots(2), prefix: "m" };
  const stop = new AbortController();
  const asleep = Promise.withResolvers<void>();
  let asked = 0;
  const onAsked = (): void => void (++asked >= 3 && asleep.resolve());
  const held = importModel(
    jobFor({ ...shared, source: sourceOf(onAsked), store: storeOf(t), signal: stop.signal }),
  ).catch(() => "stopped");
  await asleep.promise;
  const result = await importModel(jobFor({ ...shared, source: sourceOf(undefined), store: storeOf(t) }));
  assert.equal(result.kind, "imported");
  stop.abort();
  assert.equal(await held, "stopped");
});
