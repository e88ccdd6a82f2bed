// GGUF files on the real S3 server: left out, or brought along where the platform says so (docs/decisions/0022).
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { importModel } from "../../operator/transfer/import.ts";
import { startS3 } from "../cluster/s3.ts";
import type { S3Server } from "../cluster/s3.ts";
import { tinyModel, uploadFiles } from "../models/tiny.ts";
import { jobFor, newSource, newStore } from "./bench.ts";

let s3: S3Server;
before(async () => {
  s3 = await startS3();
  await s3.createBucket("source");
});
after(() => s3.stop());

const good = Buffer.concat([Buffer.from("GGUF\x03\0\0\0"), Buffer.alloc(16), Buffer.from("and the rest")]);

test("GGUF files come along where the platform says so, and what only has the name is refused", async (t) => {
  const client = s3.client();
  await uploadFiles(client, "source", "real/", tinyModel({ "q4/model.gguf": good }));
  await uploadFiles(client, "source", "named/", tinyModel({ "q4.gguf": "\x80\x02} a pickle under another name" }));
  await uploadFiles(client, "source", "alone/", tinyModel({ "model.safetensors": undefined, "m.gguf": good }));
  client.destroy();
  const source = newSource(t, s3, "source");
  const imported = async (prefix: string, allowGguf: boolean) => {
    const store = await newStore(t, s3, "file");
    const result = await importModel(jobFor({ source, store, prefix, allowGguf }));
    const stored = await store.get("models/ns-uid/model-uid/1/q4/model.gguf", 1 << 20);
    if (result.kind === "refused") return { said: `${result.problem.reason}: ${result.problem.message}`, stored };
    return { sizeBytes: result.revisions.at(-1)?.sizeBytes ?? 0, stored };
  };
  const without = await imported("real", false);
  assert.equal(without.stored, undefined);
  const along = await imported("real", true);
  assert.ok(good.equals(along.stored ?? Buffer.alloc(0)));
  assert.equal(along.sizeBytes, (without.sizeBytes ?? 0) + good.length);
  assert.equal((await imported("named", false)).sizeBytes, without.sizeBytes);
  assert.match((await imported("named", true)).said ?? "", /^UnsafeFormat: q4\.gguf is no GGUF file/);
  assert.match((await imported("alone", true)).said ?? "", /^NotSafetensors: m\.gguf may come along/);
});
