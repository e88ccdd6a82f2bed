// Sources that mean no good while they are read: other bytes at the second look, under the same ETag and of the same length.
import assert from "node:assert/strict";
import { createServer } from "node:http";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { after, before, describe, test } from "node:test";
import type { TestContext } from "node:test";
import type { ObjectStore } from "../../operator/ports.ts";
import { problemOf } from "../../operator/controllers/modelimport.ts";
import { systemClock } from "../../operator/runtime/clock.ts";
import { importModel } from "../../operator/transfer/import.ts";
import { newPartPlaces } from "../../operator/transfer/places.ts";
import { newS3Source } from "../../operator/adapters/s3/source.ts";
import { MAX_VERSION_BYTES } from "../../operator/plan/model/entries.ts";
import { newRawClient } from "../../operator/transfer/rawget.ts";
import { startFaultProxy } from "../cluster/faultproxy.ts";
import type { FaultProxy } from "../cluster/faultproxy.ts";
import { startS3 } from "../cluster/s3.ts";
import type { S3Server } from "../cluster/s3.ts";
import { safetensors, tinyConfig, tinyModel, uploadFiles } from "../models/tiny.ts";
import type { Files } from "../models/tiny.ts";
import { jobFor, kinds, newSource, newStore } from "./bench.ts";

const PART = 5 << 20;
const FOLDER = "models/ns-uid/model-uid";

let s3: S3Server;
let proxy: FaultProxy;
before(async () => {
  s3 = await startS3();
  await s3.createBucket("source");
  proxy = await startFaultProxy({ target: s3.endpoint, dialect: "s3" });
  proxy.add({ match: ({ method }) => method === "HEAD", fault: { kind: "status", code: 403 } });
});
after(async () => {
  await proxy.close();
  await s3.stop();
});

async function upload(t: TestContext, prefix: string, files: Files): Promise<void> {
  const client = s3.client();
  t.after(() => client.destroy());
  await uploadFiles(client, "source", prefix, files);
}

/** Answers the reads of a key that take in byte `at` with other bytes: after the first `honest` of them. */
function lie(
  key: string,
  change: (body: Buffer, at: number) => Buffer,
  { honest = 1, at = 0 }: { readonly honest?: number; readonly at?: number } = {},
): { remove(): void } {
  let asked = 0;
  let from = 0;
  return proxy.add({
    match: ({ method, path, headers }) => {
      if (method !== "GET" || path !== `/source/${key}`) return false;
      const [, first = "0", last = "Infinity"] = /^bytes=(\d+)-(\d+)$/.exec(headers.range ?? "") ?? [];
      if (at < Number(first) || at > Number(last)) return false;
      from = Number(first);
      return ++asked > honest;
    },
    fault: { kind: "rewrite", headers: silent, body: (body) => change(body, at - from) },
  });
}

/** A liar states no checksum of what it replaces. */
const silent = { "x-amz-checksum-crc32": "", "x-amz-checksum-crc64nvme": "", "x-amz-checksum-type": "" };

function run(t: TestContext, store: ObjectStore, prefix: string) {
  const places = newPartPlaces({ clock: systemClock, bufferBytes: 4 * PART, partBytes: PART });
  const source = newSource(t, s3, "source", proxy.url);
  return importModel(jobFor({ source, store, prefix, places, retryBaseMs: 1 })).then(
    (result) => (result.kind === "refused" ? result.problem : result),
    (error: unknown) => problemOf(error) ?? error,
  );
}

/** Two configurations of one length: what was inspected, and what would run its author's code. */
const evil = JSON.stringify({ ...tinyConfig, auto_map: { AutoConfig: "evil--Config" } });
const good = JSON.stringify(tinyConfig).padEnd(evil.length);

async function textOf(store: ObjectStore, key: string): Promise<string | undefined> {
  const bytes = await store.get(`${FOLDER}/${key}`, 1 << 26);
  return bytes && new TextDecoder().decode(bytes);
}

async function assertRefused(outcome: unknown, store: ObjectStore, file: string): Promise<void> {
  const { reason, message } = outcome as { reason?: string; message: string };
  assert.equal(reason, "SourceChanged", JSON.stringify(outcome));
  assert.match(message, new RegExp(`${file}.* is not what was inspected`));
  assert.equal(await textOf(store, "1/MANIFEST.json"), undefined, "no revision");
  assert.equal(await textOf(store, `1/${file}`), undefined, "nothing under the file's name");
}

const padded = (header: object, dataBytes: number, headerBytes: number): Uint8Array => {
  const spaces = " ".repeat(headerBytes - JSON.stringify(header).length - '"__metadata__":{"x":""},'.length);
  return safetensors({ __metadata__: { x: spaces }, ...header }, dataBytes);
};
const weights = (bytes: number) => ({ w: { dtype: "U8", shape: [bytes], data_offsets: [0, bytes] } });

for (const kind of kinds) {
  describe(`a source that shows inspection one thing and a ${kind} store another`, () => {
    test("gets no auto_map into the stored configuration", async (t) => {
      const prefix = `auto-map-${kind}/`;
      await upload(t, prefix, tinyModel({ "config.json": good }));
      lie(`${prefix}config.json`, () => Buffer.from(evil));
      const store = await newStore(t, s3, kind);
      await assertRefused(await run(t, store, prefix), store, "config.json");
    });

    test("gets no pickle in the place of small weights", async (t) => {
      const prefix = `pickle-${kind}/`;
      await upload(t, prefix, tinyModel());
      lie(`${prefix}model.safetensors`, (body) => Buffer.alloc(body.length, 0x80));
      const store = await newStore(t, s3, kind);
      await assertRefused(await run(t, store, prefix), store, "model.safetensors");
    });

    test("gets no other header before large weights, nor the end of one that is longer than a part", async (t) => {
      const store = await newStore(t, s3, kind);
      for (const [name, headerBytes, at] of [
        ["short", 1000, 100],
        ["long", PART + 2000, PART + 1500],
      ] as const) {
        const prefix = `large-${name}-${kind}/`;
        await upload(t, prefix, tinyModel({ "model.safetensors": padded(weights(2 * PART), 2 * PART, headerBytes) }));
        const spoil = (body: Buffer, there: number): Buffer => {
          body[there] = 0x58;
          return body;
        };
        lie(`${prefix}model.safetensors`, spoil, { at });
        await assertRefused(await run(t, store, prefix), store, "model.safetensors");
      }
    });

    test("gets nothing in that an attempt brought which inspected something else", async (t) => {
      const prefix = `resumed-${kind}/`;
      const honest = tinyModel({ "config.json": good });
      await upload(t, prefix, honest);
      const store = await newStore(t, s3, kind);
      // The first attempt sees one state throughout, and ends after the configuration is in its place.
      const stranger = JSON.stringify({ ...tinyConfig, vocab_size: 99 }).padEnd(good.length);
      const once = lie(`${prefix}config.json`, () => Buffer.from(stranger), { honest: 0 });
      const refused = proxy.add({
        match: ({ method, path }) => method === "GET" && path === `/source/${prefix}tokenizer.json`,
        fault: { kind: "status", code: 403 },
      });
      await run(t, store, prefix);
      assert.equal(await textOf(store, "1/config.json"), stranger, "the first attempt brought it");
      once.remove();
      refused.remove();
      const outcome = (await run(t, store, prefix)) as { reason?: string };
      assert.equal(outcome.reason, "SourceChanged", JSON.stringify(outcome));
      assert.equal(await textOf(store, "1/MANIFEST.json"), undefined);
    });

    test("gets no object of an earlier revision reused that began otherwise", async (t) => {
      const prefix = `reused-${kind}/`;
      await upload(t, prefix, tinyModel({ "config.json": good }));
      const store = await newStore(t, s3, kind);
      const stranger = JSON.stringify({ ...tinyConfig, vocab_size: 99 }).padEnd(good.length);
      const once = lie(`${prefix}config.json`, () => Buffer.from(stranger), { honest: 0 });
      assert.equal(((await run(t, store, prefix)) as { kind?: string }).kind, "imported");
      once.remove();
      await upload(t, prefix, { "README.md": "a new file makes a new revision" });
      assert.equal(((await run(t, store, prefix)) as { kind?: string }).kind, "imported");
      assert.equal(await textOf(store, "2/config.json"), good);
    });
  });
}

type Answer = (request: IncomingMessage, response: ServerResponse) => void;

/** A server of its own where the real one cannot be made to lie so. */
async function serve(t: TestContext, answer: Answer): Promise<string> {
  const server = createServer(answer);
  await new Promise<void>((resolve) => void server.listen(0, "127.0.0.1", resolve));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${String((server.address() as AddressInfo).port)}`;
}

async function outcomeOf(t: TestContext, answer: Answer, leastDeadlineMs?: number) {
  const endpoint = await serve(t, answer);
  const bulk = newRawClient({ silenceMs: 20_000 });
  const source = newS3Source({ endpoint, region: "us-east-1", bucket: "source", bulk });
  t.after(() => source.close());
  const store = await newStore(t, s3, "file");
  return importModel(jobFor({ source, store, prefix: "m", retryBaseMs: 1, leastDeadlineMs })).then(
    (result) => (result.kind === "refused" ? result.problem : assert.fail(`it was ${result.kind}`)),
    (error: unknown) => problemOf(error) ?? assert.fail(String(error)),
  );
}

test("a server that answers with another range than was asked for gets none of its bytes in", async (t) => {
  const endpoint = await serve(t, (request, response) => {
    const [, first = 0, last = 0] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? "") ?? [];
    const length = Number(last) - Number(first) + 1;
    const range = `bytes 0-${String(length - 1)}/4000`;
    response.writeHead(206, { etag: '"e"', "content-length": length, "content-range": range });
    response.end(Buffer.alloc(length));
  });
  for (const bulk of [undefined, newRawClient({ silenceMs: 20_000 })]) {
    const source = newS3Source({ endpoint, region: "us-east-1", bucket: "source", ...(bulk ? { bulk } : {}) });
    t.after(() => source.close());
    const object = { key: "m/a", sizeBytes: 4000, etag: '"e"' };
    assert.equal((await source.read(object, 0, 10)).length, 10);
    await assert.rejects(source.read(object, 1000, 10), /answers from byte 0 where 1000 was asked for/);
  }
});

test("a file that is listed with no bytes is asked for, and is none where it has some", async (t) => {
  for (const [name, text, kind] of [
    ["empty", "", "imported"],
    ["full", "a licence", "SourceChanged"],
  ] as const) {
    const prefix = `listed-${name}/`;
    await upload(t, prefix, tinyModel({ LICENSE: text }));
    const listing = proxy.add({
      match: ({ query }) => query.has("list-type") && query.get("prefix") === prefix,
      fault: { kind: "rewrite", body: (body) => body.toString().replace("<Size>9</Size>", "<Size>0</Size>") },
    });
    const outcome = (await run(t, await newStore(t, s3, "file"), prefix)) as { kind?: string; reason?: string };
    assert.equal(outcome.reason ?? outcome.kind, kind, JSON.stringify(outcome));
    listing.remove();
  }
});

test("what a HEAD says of another length is of another object", async (t) => {
  const endpoint = await serve(t, (_request, response) =>
    response.writeHead(200, { etag: '"e"', "content-length": 11 }).end(),
  );
  const source = newS3Source({ endpoint, region: "us-east-1", bucket: "source" });
  t.after(() => source.close());
  const stated = source.stated ?? assert.fail();
  await assert.rejects(stated({ key: "m/a", sizeBytes: 10, etag: '"e"' }), /m\/a changed its size while it was read/);
  await stated({ key: "m/a", sizeBytes: 11, etag: '"e"' });
});

test("a version goes on being asked for after a moment in which everything was refused", async (t) => {
  let refuses = false;
  const versions: (string | null)[] = [];
  const endpoint = await serve(t, (request, response) => {
    versions.push(new URL(request.url ?? "", "http://x").searchParams.get("versionId"));
    if (refuses) return void response.writeHead(403).end();
    response.writeHead(200, { etag: '"e"', "x-amz-version-id": "v1", "content-length": 10 }).end(Buffer.alloc(10));
  });
  const bulk = newRawClient({ silenceMs: 20_000 });
  const source = newS3Source({ endpoint, region: "us-east-1", bucket: "source", bulk });
  t.after(() => source.close());
  const read = () => source.read({ key: "m/a", sizeBytes: 10, etag: '"e"' }, 0, 10);
  await read();
  refuses = true;
  await assert.rejects(read(), { reason: "AccessDenied" });
  refuses = false;
  await read();
  assert.equal(versions.at(-1), "v1");
});

test("a version's id that is longer than any pins nothing", async (t) => {
  for (const [id, isPinned] of [
    ["v".repeat(MAX_VERSION_BYTES - 2), true],
    ["v".repeat(MAX_VERSION_BYTES - 1), false],
    ['"'.repeat(200), false],
  ] as const) {
    const endpoint = await serve(t, (_request, response) =>
      response.writeHead(200, { etag: '"e"', "x-amz-version-id": id, "content-length": 10 }).end(Buffer.alloc(10)),
    );
    const bulk = newRawClient({ silenceMs: 20_000 });
    const source = newS3Source({ endpoint, region: "us-east-1", bucket: "source", bulk });
    t.after(() => source.close());
    const object = { key: "m/a", sizeBytes: 10, etag: '"e"' };
    await source.read(object, 0, 10);
    assert.equal(source.originOf?.(object).versionId, isPinned ? id : undefined);
  }
});

describe("an answer without an end", () => {
  const head = '<?xml version="1.0"?><ListBucketResult><IsTruncated>false</IsTruncated>';
  const entry = "<Contents><Key>m/a</Key><Size>1</Size><ETag>e</ETag></Contents>";
  for (const [what, status, piece, counted] of [
    ["a page of entries", 200, entry.repeat(1000), "tags"],
    ["a page of empty tags", 200, "<a/>".repeat(20_000), "tags"],
    ["a page of one long name", 200, "a".repeat(1 << 20), "bytes"],
    ["a refusal", 503, "<Message>no</Message>".repeat(4000), "bytes"],
    ["a refusal in one long word", 403, "a".repeat(1 << 20), "bytes"],
  ] as const) {
    test(`${what} is not read to its end`, async (t) => {
      let sentBytes = 0;
      const { reason, message, retryable } = await outcomeOf(t, (_request, response) => {
        response.writeHead(status, { "content-type": "application/xml" }).write(head);
        const more = (): void => {
          if (response.destroyed || sentBytes > 256 << 20) return void response.end();
          sentBytes += piece.length;
          response.write(piece, () => setImmediate(more));
        };
        more();
      });
      assert.deepEqual([reason, retryable], ["ListingInvalid", false], message);
      assert.match(message, new RegExp(`the answer (is longer than|has more than) \\d+ ${counted}`));
      assert.ok(sentBytes < 64 << 20, `${String(sentBytes)} bytes were taken`);
    });
  }
});

test("a refused read is a refusal, however long the server goes on to talk", async (t) => {
  let sentBytes = 0;
  const endpoint = await serve(t, (_request, response) => {
    response.writeHead(403, { "content-type": "application/xml", "content-length": String(1e14) });
    const more = (): void => {
      if (response.destroyed || sentBytes > 256 << 20) return void response.destroy();
      sentBytes += 1 << 20;
      response.write(Buffer.alloc(1 << 20, " "), () => setImmediate(more));
    };
    response.write("<Error><Code>AccessDenied</Code><Message>no</Message></Error>", more);
  });
  const source = newS3Source({ endpoint, region: "us-east-1", bucket: "source", bulk: newRawClient({ silenceMs: 20_000 }) }); // prettier-ignore
  t.after(() => source.close());
  await assert.rejects(source.read({ key: "m/a", sizeBytes: 10, etag: '"e"' }, 0, 10), { reason: "AccessDenied" });
  assert.ok(sentBytes < 64 << 20, `${String(sentBytes)} bytes were taken`);
});

describe("a source that sends a byte now and then", () => {
  const page = (size: number): string =>
    ["config.json", "tokenizer.json", "model.safetensors"]
      .map((path) => `<Contents><Key>m/${path}</Key><Size>${String(size)}</Size><ETag>&quot;e&quot;</ETag></Contents>`)
      .join("");
  const listing = `<?xml version="1.0"?><ListBucketResult><IsTruncated>false</IsTruncated>${page(500)}</ListBucketResult>`;
  const drip = (response: ServerResponse): void => {
    const more = setInterval(() => response.write(" "), 50);
    response.on("close", () => clearInterval(more));
  };
  test("is given up while it lists", async (t) => {
    const { reason, message, retryable } = await outcomeOf(
      t,
      (_request, response) => drip(response.writeHead(200)),
      200,
    );
    assert.deepEqual([reason, retryable], ["SourceUnreachable", true]);
    assert.match(message, /a page of the listing did not come in/);
  });

  test("is given up while it is inspected", async (t) => {
    const { reason, message, retryable } = await outcomeOf(
      t,
      (request, response) => {
        if (request.url?.includes("list-type")) return void response.end(listing);
        drip(response.writeHead(200, { etag: '"e"', "content-length": 500 }));
      },
      200,
    );
    assert.deepEqual([reason, retryable], ["SourceUnreachable", true]);
    assert.match(message, /the beginning of config\.json did not come in/);
  });
});
