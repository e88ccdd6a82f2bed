// One answer for a whole file: what it costs, how it breaks off, and when an import goes on with a request for each part.
import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { after, before, test } from "node:test";
import type { TestContext } from "node:test";
import { getCACertificates, setDefaultCACertificates } from "node:tls";
import type { ModelFile } from "../../operator/plan/model/listing.ts";
import type { ObjectReader, ObjectSource, SourceObject } from "../../operator/ports.ts";
import { systemClock } from "../../operator/runtime/clock.ts";
import { newAnswers } from "../../operator/transfer/answers.ts";
import { importModel } from "../../operator/transfer/import.ts";
import { newPartFiller } from "../../operator/transfer/partfiller.ts";
import { newPartPlaces } from "../../operator/transfer/places.ts";
import { eventually } from "../cluster/eventually.ts";
import { startFaultProxy } from "../cluster/faultproxy.ts";
import type { FaultProxy, SeenRequest } from "../cluster/faultproxy.ts";
import { startS3 } from "../cluster/s3.ts";
import type { S3Server } from "../cluster/s3.ts";
import { newAuthority, newServerCertificate } from "../cluster/x509.ts";
import { safetensors, tinyModel, uploadFiles } from "../models/tiny.ts";
import { jobFor, newSource, newStore } from "./bench.ts";

const MIB = 2 ** 20;
const PART = 5 * MIB;
const SILENCE_MS = 2_000;
const weightBytes = 4 * PART + 1_000;
const weights = safetensors({ w: { dtype: "U8", shape: [weightBytes], data_offsets: [0, weightBytes] } }, weightBytes);
randomBytes(weightBytes).copy(weights, weights.length - weightBytes);
const key = "m/model.safetensors";

let s3: S3Server;
let proxy: FaultProxy;
before(async () => {
  s3 = await startS3();
  proxy = await startFaultProxy({ target: s3.endpoint, dialect: "s3" });
  await s3.createBucket("source");
  const client = s3.client();
  await uploadFiles(client, "source", "m/", tinyModel({ "model.safetensors": weights }));
  client.destroy();
});
after(async () => {
  await proxy.close();
  await s3.stop();
});

const isOfWeights = ({ method, path, headers }: SeenRequest): boolean =>
  method === "GET" && path === `/source/${key}` && !/^bytes=0-65535$/.test(headers.range ?? "");

const openSource = (t: TestContext): ObjectSource => newSource(t, s3, "source", proxy.url, SILENCE_MS);

/** A reader of the weights, and what asks for its bytes since. */
async function openReader(t: TestContext) {
  const source = openSource(t);
  const object = (await source.list("m/")).objects.find((one) => one.key === key);
  assert.ok(object && source.reader);
  const reader = source.reader(object);
  t.after(() => reader.close());
  const from = proxy.seen.length;
  const ranges = (): (string | undefined)[] =>
    proxy.seen
      .slice(from)
      .filter(isOfWeights)
      .map(({ headers }) => headers.range);
  return { reader, ranges };
}

async function piece(reader: ObjectReader, offset: number, lengthBytes: number): Promise<void> {
  const into = new Uint8Array(lengthBytes);
  await reader.fill(offset, into);
  assert.ok(
    Buffer.from(into).equals(weights.subarray(offset, offset + lengthBytes)),
    `the bytes from ${String(offset)}`,
  );
}

test("a file comes in one answer, whatever the parts that it is stored in", async (t) => {
  const store = await newStore(t, s3, "file");
  const from = proxy.seen.length;
  const places = newPartPlaces({ clock: systemClock, bufferBytes: 4 * PART, partBytes: PART });
  const result = await importModel(jobFor({ source: openSource(t), store, prefix: "m", places }));
  assert.equal(result.kind, "imported");
  assert.equal(proxy.seen.slice(from).filter(isOfWeights).length, 1);
  const stored = await store.get("models/ns-uid/model-uid/1/model.safetensors", 64 * MIB);
  assert.equal(
    createHash("sha256")
      .update(stored ?? "")
      .digest("hex"),
    createHash("sha256").update(weights).digest("hex"),
  );
});

test("pieces of any length follow one another in one answer, and elsewhere another one begins", async (t) => {
  const { reader, ranges } = await openReader(t);
  let at = 0;
  for (const lengthBytes of [1, 70_000, 3 * MIB + 7, 200_001]) {
    await piece(reader, at, lengthBytes);
    at += lengthBytes;
  }
  const last = String(weights.length - 1);
  assert.deepEqual(ranges(), [`bytes=0-${last}`]);
  await piece(reader, 9 * MIB, 1_000);
  await piece(reader, 9 * MIB + 1_000, weights.length - 9 * MIB - 1_000);
  assert.deepEqual(ranges(), [`bytes=0-${last}`, `bytes=${String(9 * MIB)}-${last}`]);
});

test("pieces out of a body in chunks, many of which come in one read", async (t) => {
  const headers = { "content-length": undefined, "transfer-encoding": "chunked" };
  const chunked = proxy.add({ match: isOfWeights, fault: { kind: "rewrite", headers, chunkBytes: 8_191 } });
  t.after(() => chunked.remove());
  const { reader, ranges } = await openReader(t);
  let at = 0;
  for (const lengthBytes of [10, 100_003, 3 * MIB, 2 * MIB, weights.length - 5 * MIB - 100_013]) {
    await piece(reader, at, lengthBytes);
    at += lengthBytes;
  }
  assert.equal(ranges().length, 1);
});

test("over TLS, which hands over more than it was asked for, a file that is larger than the memory arrives whole", async (t) => {
  const authority = newAuthority();
  const server = await startS3({ tls: newServerCertificate(authority, ["127.0.0.1"]) });
  t.after(() => server.stop());
  const known = getCACertificates("default");
  setDefaultCACertificates([authority.certPem]);
  t.after(() => setDefaultCACertificates(known));
  await server.createBucket("source");
  const client = server.client();
  await uploadFiles(client, "source", "m/", tinyModel({ "model.safetensors": weights }));
  client.destroy();
  const source = newSource(t, server, "source");
  const store = await newStore(t, s3, "file");
  const places = newPartPlaces({ clock: systemClock, bufferBytes: PART, partBytes: PART });
  const result = await importModel(jobFor({ source, store, prefix: "m", places }));
  assert.equal(result.kind, "imported");
  const stored = await store.get("models/ns-uid/model-uid/1/model.safetensors", 64 * MIB);
  assert.ok(stored && Buffer.from(stored).equals(weights), "the weights are others than those of the source");
});

test("an answer that breaks off while nobody has memory for it is asked for again from there", async (t) => {
  const { reader, ranges } = await openReader(t);
  await piece(reader, 0, MIB);
  proxy.resetOpen();
  await eventually(
    async () => {
      await piece(reader, MIB, MIB).catch(() => undefined);
      return ranges().length === 2;
    },
    { what: "the reset is known" },
  );
  await piece(reader, 2 * MIB, weights.length - 2 * MIB);
  const begun = Number(/^bytes=(\d+)-/.exec(ranges()[1] ?? "")?.[1]);
  assert.equal(begun, MIB);
});

test("a server that waits until there is memory is not called silent, and one that is silent afterwards is", async (t) => {
  const { reader, ranges } = await openReader(t);
  await piece(reader, 0, MIB);
  const since = performance.now();
  await eventually(() => performance.now() - since > 3 * SILENCE_MS, {
    what: "longer than silence is allowed to last",
  });
  await piece(reader, MIB, MIB);
  assert.equal(ranges().length, 1);
  const stall = proxy.add({ match: isOfWeights, times: 1, fault: { kind: "stall-after", afterBytes: 2 * MIB } });
  t.after(() => stall.remove());
  await piece(reader, 10 * MIB, MIB);
  await assert.rejects(reader.fill(11 * MIB, new Uint8Array(4 * MIB)), /TimeoutError/);
  await piece(reader, 11 * MIB, 4 * MIB);
});

test("a server that answers no long range is asked for parts, and the import ends whole", async (t) => {
  const isLong = (request: SeenRequest): boolean => {
    const [, from, to] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? "") ?? [];
    return isOfWeights(request) && Number(to) - Number(from) >= PART;
  };
  const reset = proxy.add({ match: isLong, fault: { kind: "reset" } });
  t.after(() => reset.remove());
  const store = await newStore(t, s3, "file");
  const places = newPartPlaces({ clock: systemClock, bufferBytes: 4 * PART, partBytes: PART });
  const result = await importModel(jobFor({ source: openSource(t), store, prefix: "m", places }));
  assert.equal(result.kind, "imported");
  assert.ok(reset.hits > 0);
});

test("an abort ends the answer, and nothing is written to the memory afterwards", async (t) => {
  const { reader } = await openReader(t);
  const stall = proxy.add({ match: isOfWeights, times: 1, fault: { kind: "stall-after", afterBytes: MIB } });
  t.after(() => stall.remove());
  const stopping = new AbortController();
  const into = new Uint8Array(4 * MIB);
  const filling = reader.fill(0, into, stopping.signal);
  await eventually(() => into.some((byte, at) => at > MIB / 2 && byte !== 0), { what: "half a MiB has come" });
  stopping.abort();
  await assert.rejects(filling);
  into.fill(0);
  await piece(reader, 0, 4 * MIB);
  assert.ok(into.every((byte) => byte === 0));
});

/** A source whose one answer brings a part when it is told to; `asked` has where parts were asked for, by which way. */
function newSlowSource() {
  const asked: [string, number][] = [];
  const held: (() => void)[] = [];
  const reader: ObjectReader = {
    async fill(offset) {
      asked.push(["reader", offset]);
      await new Promise<void>((resolve) => held.push(resolve));
      return { stated: {} };
    },
    close: () => void asked.push(["closed", -1]),
  };
  const source: ObjectSource = {
    list: () => Promise.resolve({ objects: [] }),
    read: () => Promise.reject(new Error("nothing is read so")),
    fill: (_object: SourceObject, offset) => {
      asked.push(["range", offset]);
      return Promise.resolve({ stated: {} });
    },
    reader: () => reader,
    close: () => undefined,
  };
  return { source, asked, held };
}

/** A filler of a file of that source, by a clock that the test moves. */
function newClocked(source: ObjectSource) {
  let nowMs = 0;
  const clock = { ...systemClock, monotonicMs: () => nowMs };
  const places = newPartPlaces({ clock, bufferBytes: MIB });
  const file: ModelFile = { path: "w", key: "m/w", sizeBytes: 100, etag: '"e"' };
  const retry = { clock, tries: 1, baseMs: 1 };
  const filler = newPartFiller({ source, retry, places, answers: newAnswers(clock) }, file);
  const fill = (offset: number): Promise<void> => filler.fill(offset, new Uint8Array(1));
  return { fill, pass: (ms: number) => void (nowMs += ms) };
}

test("an import that waits for its connection goes on with a request for each part, after what it waits for", async () => {
  const { source, asked, held } = newSlowSource();
  const { fill, pass } = newClocked(source);
  const waiting = Array.from({ length: 12 }, (_, offset) => fill(offset));
  const by = (wanted: string): number[] => asked.filter(([way]) => way === wanted).map(([, offset]) => offset);
  const release = async (n: number): Promise<void> => {
    await eventually(() => held.length > n, { what: `part ${String(n)} is asked for`, recheckMs: 2 });
    pass(200);
    held[n]?.();
    await waiting[n];
  };
  for (let n = 0; n < 9; n++) await release(n);
  await fill(12);
  await fill(13);
  assert.deepEqual(by("range"), [12, 13]);
  for (let n = 9; n < waiting.length; n++) await release(n);
  assert.deepEqual(by("reader"), [...waiting.keys()]);
  assert.deepEqual(asked.at(-1), ["closed", -1], "nobody needs its answer any more");
});

test("an import whose connection waits for memory keeps its one answer", async () => {
  const { source, asked, held } = newSlowSource();
  const { fill, pass } = newClocked(source);
  for (let n = 0; n < 40; n++) {
    const filled = fill(n);
    await eventually(() => held.length > n, { what: `part ${String(n)} is asked for`, recheckMs: 2 });
    pass(100);
    held[n]?.();
    await filled;
    pass(100);
  }
  assert.deepEqual(new Set(asked.map(([way]) => way)), new Set(["reader"]));
});

test("parts behind one that cannot be had are not asked for", async () => {
  const { source, asked } = newSlowSource();
  const failing = { ...source, reader: () => ({ fill: () => (asked.push(["reader", 0]), Promise.reject(new Error("gone"))), close: () => undefined }) }; // prettier-ignore
  const retry = { clock: systemClock, tries: 1, baseMs: 1 };
  const places = newPartPlaces({ clock: systemClock, bufferBytes: MIB });
  const file: ModelFile = { path: "w", key: "m/w", sizeBytes: 2, etag: '"e"' };
  const filler = newPartFiller({ source: failing, retry, places, answers: newAnswers(systemClock) }, file);
  const ends = [0, 1].map((offset) => filler.fill(offset, new Uint8Array(1)));
  assert.deepEqual((await Promise.allSettled(ends)).map(({ status }) => status), ["rejected", "rejected"]); // prettier-ignore
  assert.equal(asked.length, 1);
});
