import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import {
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  PutObjectCommand,
  UploadPartCommand,
} from "@aws-sdk/client-s3";
import { openStore } from "../../operator/adapters/store/open.ts";
import { parseManifest, recordKey } from "../../operator/plan/model/manifest.ts";
import type { ObjectStore } from "../../operator/ports.ts";
import { RetryError, TerminalError } from "../../operator/runtime/errors.ts";
import { importModel } from "../../operator/transfer/import.ts";
import { emptyModel } from "../../operator/transfer/revisions.ts";
import { startFaultProxy } from "../cluster/faultproxy.ts";
import type { HttpFault } from "../cluster/faultproxy.ts";
import { startS3 } from "../cluster/s3.ts";
import type { S3Server } from "../cluster/s3.ts";
import { llamaFolder } from "../models/llama.ts";
import { miniLmFolder } from "../models/minilm.ts";
import { filesBelow, uploadFolder } from "../models/upload.ts";
import { RECORD, digestOf, hashesOf, jobFor, kinds, newObserver, newSource, newStore, withoutHash } from "./bench.ts";

let s3: S3Server;
before(async () => {
  s3 = await startS3();
  await s3.createBucket("source");
  const client = s3.client();
  await uploadFolder(client, "source", "models/llama/", llamaFolder());
  client.destroy();
});
after(() => s3.stop());

async function stored(store: Awaited<ReturnType<typeof newStore>>, key: string): Promise<string> {
  return new TextDecoder().decode(await store.get(key, 1 << 24));
}

async function keysOf(store: ObjectStore, below: string): Promise<string[]> {
  const keys: string[] = [];
  for await (const { key } of store.list(below)) keys.push(withoutHash(key.slice(below.length)));
  return keys.sort();
}

for (const kind of kinds) {
  test(`a generated Llama model arrives whole in a ${kind} store, under the digest of its files`, async (t) => {
    const store = await newStore(t, s3, kind);
    const observer = newObserver();
    const result = await importModel(
      jobFor({ source: newSource(t, s3, "source"), store, prefix: "models/llama", observer }),
    );
    assert.equal(result.kind, "imported");
    assert.ok(result.kind === "imported");
    const folder = llamaFolder();
    const paths = filesBelow(folder);
    assert.equal(result.revisions.at(-1)?.digest, digestOf(folder, paths));
    const manifest = JSON.parse(await stored(store, "models/ns-uid/model-uid/1/MANIFEST.json")) as {
      files: { path: string; sha256: string }[];
    };
    assert.deepEqual(new Map(manifest.files.map((f) => [f.path, f.sha256])), hashesOf(folder));
    assert.equal(observer.copiedBytes, result.facts.sizeBytes);
    const { architecture, task, dtype, contextLength, kvBytesPerToken, parameters, weightBytes, shape, quantization } =
      result.facts;
    assert.deepEqual(
      [architecture, task, dtype, contextLength, quantization],
      ["LlamaForCausalLM", "Generate", "BF16", 2048, undefined],
    );
    assert.equal(weightBytes, (parameters ?? 0) * 2);
    assert.equal(kvBytesPerToken, (shape?.layers ?? 0) * 4 * 32 * 2 * 2);

    const again = await importModel(jobFor({ source: newSource(t, s3, "source"), store, prefix: "models/llama" }));
    assert.ok(again.kind === "imported");
    assert.equal(again.copied, false, "an unchanged source is not copied again");
    assert.ok((await emptyModel(store, { namespaceUID: "ns-uid", modelUID: "model-uid" })) > paths.length);
    for await (const object of store.list("")) assert.fail(`${object.key} was left behind`);
  });

  test(`what a writer killed after its manifest left in a ${kind} store is gone after the next import`, async (t) => {
    const store = await newStore(t, s3, kind);
    const source = newSource(t, s3, "source");
    const folder = "models/ns-uid/model-uid/1/";
    const keys = (): Promise<string[]> => keysOf(store, folder);
    await importModel(jobFor({ source, store, prefix: "models/llama" }));
    const clean = await keys();
    await store.put(folder + recordKey("config.json"), new Uint8Array(1));
    await importModel(jobFor({ source, store, prefix: "models/llama" }));
    assert.deepEqual(await keys(), clean);
  });
}

test("the real MiniLM arrives with its own SHA-256 and its facts", async (t) => {
  const model = await miniLmFolder();
  if ("missing" in model) {
    t.diagnostic(`${model.missing}: only the generated model was imported`);
    return;
  }
  const client = s3.client();
  await uploadFolder(client, "source", "minilm/", model.folder);
  client.destroy();
  const store = await newStore(t, s3, "s3");
  const result = await importModel(jobFor({ source: newSource(t, s3, "source"), store, prefix: "minilm/" }));
  assert.ok(result.kind === "imported");
  const paths = filesBelow(model.folder).filter((path) => !path.startsWith("."));
  assert.equal(result.revisions.at(-1)?.digest, digestOf(model.folder, paths));
  const { weightBytes, architecture, task, parameters, dtype, contextLength, kvBytesPerToken, shape } = result.facts;
  assert.deepEqual(
    [architecture, task, parameters, dtype, contextLength, kvBytesPerToken],
    ["BertModel", "Embed", 22_713_728, "F32", 256, 0],
  );
  assert.deepEqual(shape, {
    layers: 6,
    hiddenSize: 384,
    attentionHeads: 12,
    keyValueHeads: 12,
    headSize: 32,
    vocabularySize: 30522,
    intermediateSize: 1536,
  });
  // Stored are 90,868,376 bytes: 8 of length, 11,408 of header, 512 position ids of 8 bytes (a buffer of whole numbers, never cast)
  // and 32-bit floats. vLLM's dtype "auto" casts a 32-bit pooling model to float16 (config/model.py _resolve_auto_dtype).
  const positionBytes = 512 * 8;
  const floatBytes = 90_868_376 - 8 - 11_408 - positionBytes;
  assert.equal(weightBytes, floatBytes / 2 + positionBytes);
  assert.deepEqual(result.facts.dtypes, { F32: floatBytes, I64: positionBytes });
});

test("an import that was stopped goes on with the files that are missing", async (t) => {
  const store = await newStore(t, s3, "s3");
  const source = newSource(t, s3, "source");
  const stop = new AbortController();
  const first = newObserver({ file: () => first.files === 7 && stop.abort() });
  await assert.rejects(
    importModel(jobFor({ source, store, prefix: "models/llama", observer: first, signal: stop.signal })),
    { name: "AbortError" },
  );
  const second = newObserver();
  const result = await importModel(jobFor({ source, store, prefix: "models/llama", observer: second }));
  assert.ok(result.kind === "imported");
  assert.ok(second.skippedBytes > 0, "finished files are not copied twice");
  assert.equal(second.skippedBytes + second.copiedBytes, result.facts.sizeBytes);
  assert.equal(result.revisions.at(-1)?.digest, digestOf(llamaFolder(), filesBelow(llamaFolder())));
});

test("a source that changes while it is copied is not imported as a mixture", async (t) => {
  const client = s3.client();
  t.after(() => client.destroy());
  await uploadFolder(client, "source", "moving/", llamaFolder());
  const store = await newStore(t, s3, "s3");
  const source = newSource(t, s3, "source");
  let overwritten: Promise<unknown> | undefined;
  const replace = (): void => {
    const Body = new TextEncoder().encode("something else");
    overwritten ??= client.send(new PutObjectCommand({ Bucket: "source", Key: "moving/tokenizer.json", Body }));
  };
  const held: typeof source = {
    ...source,
    fill: async (object, ...rest) => {
      if (object.key === "moving/tokenizer.json") {
        replace();
        await overwritten;
      }
      assert.ok(source.fill);
      return source.fill(object, ...rest);
    },
  };
  await assert.rejects(importModel(jobFor({ source: held, store, prefix: "moving" })), (error: unknown) => {
    assert.ok(error instanceof RetryError && error.cause instanceof TerminalError);
    assert.equal(error.cause.reason, "SourceChanged");
    return true;
  });
  assert.equal(await store.head("models/ns-uid/model-uid/1/MANIFEST.json"), undefined);
  const result = await importModel(jobFor({ source, store, prefix: "moving" }));
  assert.ok(result.kind === "imported");
  assert.equal(await stored(store, "models/ns-uid/model-uid/1/tokenizer.json"), "something else");
});

test("a changed source becomes a revision beside the old one", async (t) => {
  const client = s3.client();
  t.after(() => client.destroy());
  await uploadFolder(client, "source", "growing/", llamaFolder());
  const store = await newStore(t, s3, "file");
  const source = newSource(t, s3, "source");
  const one = await importModel(jobFor({ source, store, prefix: "growing" }));
  await client.send(new PutObjectCommand({ Bucket: "source", Key: "growing/LICENSE", Body: "another" }));
  const two = await importModel(jobFor({ source, store, prefix: "growing" }));
  assert.ok(one.kind === "imported" && two.kind === "imported");
  assert.deepEqual(
    two.revisions.map((r) => r.number),
    [1, 2],
  );
  assert.deepEqual(two.revisions[0], one.revisions[0]);
  assert.equal(await stored(store, "models/ns-uid/model-uid/2/LICENSE"), "another");
});

for (const kind of kinds) {
  test(`a ${kind} store keeps what two revisions share once: unread by its ETag, or read and found equal`, async (t) => {
    const client = s3.client();
    t.after(() => client.destroy());
    const prefix = `shared-${kind}/`;
    await uploadFolder(client, "source", prefix, llamaFolder());
    const store = await newStore(t, s3, kind);
    const source = newSource(t, s3, "source");
    const first = await importModel(jobFor({ source, store, prefix }));
    assert.ok(first.kind === "imported");
    const shard = filesBelow(llamaFolder()).find((path) => path.endsWith(".safetensors")) ?? "";
    const Body = await readFile(join(llamaFolder(), shard));
    // The same bytes in parts have another ETag: only reading tells that they are the same.
    const upload = { Bucket: "source", Key: prefix + shard };
    const { UploadId } = await client.send(new CreateMultipartUploadCommand(upload));
    const { ETag } = await client.send(new UploadPartCommand({ ...upload, UploadId, PartNumber: 1, Body }));
    const MultipartUpload = { Parts: [{ PartNumber: 1, ETag }] };
    await client.send(new CompleteMultipartUploadCommand({ ...upload, UploadId, MultipartUpload }));
    await client.send(new PutObjectCommand({ Bucket: "source", Key: `${prefix}LICENSE`, Body: "another" }));
    const observer = newObserver();
    const second = await importModel(jobFor({ source, store, prefix, observer }));
    assert.ok(second.kind === "imported");
    assert.deepEqual([observer.copiedBytes, observer.skippedBytes], [Body.length + "another".length, 0]);
    assert.equal(observer.reusedBytes + observer.copiedBytes, second.facts.sizeBytes);
    const folder = "models/ns-uid/model-uid/";
    assert.deepEqual(await keysOf(store, `${folder}2/`), [RECORD, "LICENSE", "MANIFEST.json"]);
    const manifest = parseManifest(await stored(store, `${folder}2/MANIFEST.json`));
    for (const file of manifest?.files ?? []) {
      assert.equal(file.key, file.path === "LICENSE" ? "2/LICENSE" : `1/${file.path}`);
      assert.equal((await store.head(folder + file.key))?.sizeBytes, file.sizeBytes);
    }
    const third = newObserver();
    const anew = await importModel(jobFor({ source, store, prefix, observer: third, reimport: "now" }));
    assert.ok(anew.kind === "imported");
    assert.equal(third.copiedBytes, anew.facts.sizeBytes, "an import anew reads every byte");
    const answered = await importModel(jobFor({ source, store, prefix, reimport: "now" }));
    assert.ok(answered.kind === "imported" && !answered.copied, "the same request is answered once");
    assert.deepEqual(
      anew.revisions.map(({ number, digest }) => [number, digest]),
      [
        [1, first.revisions[0]?.digest],
        [2, second.revisions[1]?.digest],
        [3, second.revisions[1]?.digest],
      ],
    );
  });

  test(`an import that lost its Lease and slept breaks nothing of the revision that another completed in a ${kind} store`, async (t) => {
    const client = s3.client();
    t.after(() => client.destroy());
    const prefix = `stolen-${kind}/`;
    await uploadFolder(client, "source", prefix, llamaFolder());
    const source = newSource(t, s3, "source");
    const inner = await newStore(t, s3, kind);
    const folder = "models/ns-uid/model-uid/1/";
    // A state of the source that nobody finished: its file is in the way of both importers.
    await client.send(new PutObjectCommand({ Bucket: "source", Key: `${prefix}LICENSE`, Body: "an older state" }));
    const stop = new AbortController();
    const halfway = newObserver({ file: () => halfway.files === 5 && stop.abort() });
    await assert.rejects(importModel(jobFor({ source, store: inner, prefix, observer: halfway, signal: stop.signal })));
    assert.equal(await stored(inner, `${folder}LICENSE`), "an older state");
    await client.send(new PutObjectCommand({ Bucket: "source", Key: `${prefix}LICENSE`, Body: "the newer state" }));
    // The sleeper asks for every key that it finds taken or free, and each answer reaches it only after the other is done.
    const done = Promise.withResolvers<void>();
    let asked = 0;
    const sleepy: ObjectStore = {
      ...inner,
      head: async (key) => {
        const answer = await inner.head(key);
        if (asked++ >= 3) await done.promise;
        return answer;
      },
    };
    const sleeper = importModel(jobFor({ source, store: sleepy, prefix })).catch((error: unknown) => error);
    let winner = await importModel(jobFor({ source, store: inner, prefix })).catch((error: unknown) => error);
    for (let tries = 0; winner instanceof Error && tries < 5; tries++)
      winner = await importModel(jobFor({ source, store: inner, prefix }));
    done.resolve();
    await sleeper;
    const manifest = parseManifest(await stored(inner, `${folder}MANIFEST.json`));
    assert.equal(manifest?.files.length, filesBelow(llamaFolder()).length);
    for (const { key = "", sha256 } of manifest?.files ?? []) {
      const bytes = await inner.get(`models/ns-uid/model-uid/${key}`, 1 << 28);
      assert.equal(
        createHash("sha256")
          .update(bytes ?? "")
          .digest("hex"),
        sha256,
        key,
      );
    }
    await importModel(jobFor({ source, store: inner, prefix }));
    const named = manifest?.files.map(({ key = "" }) => key.slice(2)) ?? [];
    assert.deepEqual(await keysOf(inner, folder), [...named, RECORD, "MANIFEST.json"].sort());
  });
}

test("two imports of one model at once end with one manifest", async (t) => {
  const store = await newStore(t, s3, "s3");
  const run = async () => {
    // Whoever is disturbed by the other begins again, as the queue would have it.
    for (let attempt = 0; ; attempt++) {
      try {
        return await importModel(jobFor({ source: newSource(t, s3, "source"), store, prefix: "models/llama" }));
      } catch (error) {
        if (!(error instanceof RetryError) || attempt > 5) throw error;
      }
    }
  };
  const results = await Promise.all([run(), run()]);
  const folder = llamaFolder();
  for (const result of results) {
    assert.ok(result.kind === "imported");
    assert.deepEqual(
      result.revisions.map((r) => r.digest),
      [digestOf(folder, filesBelow(folder))],
    );
  }
  const manifest = JSON.parse(await stored(store, "models/ns-uid/model-uid/1/MANIFEST.json")) as {
    files: { path: string; size: number }[];
  };
  for (const { path, size } of manifest.files) {
    assert.equal((await store.head(`models/ns-uid/model-uid/1/${path}`))?.sizeBytes, size);
  }
});

const passing: readonly HttpFault[] = [
  { kind: "status", code: 503, message: "SlowDown" },
  { kind: "status", code: 500 },
  { kind: "reset" },
  { kind: "lose-answer" },
];

test("faults of source and store that pass do not fail an import, nor change a byte", async (t) => {
  const proxy = await startFaultProxy({ target: s3.endpoint, dialect: "s3" });
  t.after(() => proxy.close());
  const bucket = await s3.createBucket("shaky-store");
  const { region, accessKeyId, secretAccessKey } = s3;
  const store = openStore({
    url: `s3://${bucket}`,
    endpoint: proxy.url,
    region,
    credentials: { accessKeyId, secretAccessKey },
  });
  t.after(() => store.close());
  const source = newSource(t, s3, "source", proxy.url);
  for (const [n, fault] of passing.entries()) {
    const owner = { namespaceUID: "ns-uid", modelUID: `model-${String(n)}` };
    const read = proxy.add({
      match: ({ method, path }) => method === "GET" && path.endsWith(".safetensors"),
      times: 3,
      fault,
    });
    // A lost answer of a commit is a commit: only parts are repeated here.
    const isPart = ({ query }: { query: URLSearchParams }) => query.has("partNumber");
    const write = proxy.add({ match: (request) => request.method === "PUT" && isPart(request), times: 2, fault });
    const result = await importModel(jobFor({ source, store, owner, prefix: "models/llama" }));
    assert.ok(result.kind === "imported");
    assert.deepEqual([fault.kind, read.hits, write.hits], [fault.kind, 3, 2]);
    assert.equal(result.revisions.at(-1)?.digest, digestOf(llamaFolder(), filesBelow(llamaFolder())));
    read.remove();
    write.remove();
  }
});
