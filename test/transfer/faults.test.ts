// Faults between importer, source and store, on the real S3 server through the fault proxy: what passes costs nothing but time, what
// stays is named, and in the end the same bytes are there under the same digest, with nothing left behind.
import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { rename } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import type { TestContext } from "node:test";
import { DeleteObjectCommand, ListMultipartUploadsCommand, ListObjectsV2Command, PutObjectCommand } from "@aws-sdk/client-s3"; // prettier-ignore
import type { S3Credentials } from "../../operator/adapters/s3/client.ts";
import { newS3Source } from "../../operator/adapters/s3/source.ts";
import { openStore } from "../../operator/adapters/store/open.ts";
import { problemOf } from "../../operator/controllers/modelimport.ts";
import type { AnswersFor } from "../../operator/plan/model/answers.ts";
import type { ImportResult } from "../../operator/plan/model/importing.ts";
import { manifestText } from "../../operator/plan/model/manifest.ts";
import type { ModelProblem } from "../../operator/plan/model/problem.ts";
import type { ObjectSource, ObjectStore } from "../../operator/ports.ts";
import { importModel } from "../../operator/transfer/import.ts";
import { newRawClient } from "../../operator/transfer/rawget.ts";
import { startFaultProxy } from "../cluster/faultproxy.ts";
import type { FaultProxy, HttpFault, SeenRequest } from "../cluster/faultproxy.ts";
import { startS3 } from "../cluster/s3.ts";
import type { S3Server } from "../cluster/s3.ts";
import { newAuthority, newClientCertificate } from "../cluster/x509.ts";
import { safetensors, tinyModel, uploadFiles } from "../models/tiny.ts";
import type { Files } from "../models/tiny.ts";
import { RECORD, hooked, jobFor, newObserver, withoutHash } from "./bench.ts";

const mib = 2 ** 20;
const weightBytes = 20 << 20;
const header = { w: { dtype: "U8", shape: [weightBytes], data_offsets: [0, weightBytes] } };
const weights = safetensors(header, weightBytes);
randomBytes(weightBytes).copy(weights, weights.length - weightBytes);
const files: Files = tinyModel({ "model.safetensors": weights });

/** Written down from its definition. */
const digest = ((): string => {
  const rows = Object.keys(files)
    .sort()
    .map((path) => {
      const bytes = Buffer.from(files[path] ?? "");
      return [path, bytes.length, createHash("sha256").update(bytes).digest("hex")];
    });
  return `sha256:${createHash("sha256").update(JSON.stringify(rows)).digest("hex")}`;
})();

let s3: S3Server;
let proxy: FaultProxy;
before(async () => {
  s3 = await startS3();
  proxy = await startFaultProxy({ target: s3.endpoint, dialect: "s3" });
});
after(async () => {
  await proxy.close();
  await s3.stop();
});

let made = 0;
interface Rig {
  readonly source: ObjectSource;
  readonly store: ObjectStore;
  readonly bucket: string;
  readonly storeBucket: string;
  /** How large files are asked for. */
  readonly asks?: AnswersFor;
}

const both: readonly AnswersFor[] = ["Files", "Parts"];

/** Source and store in buckets of their own, both behind the proxy; silence ends a request after 400 ms. */
async function newRig(t: TestContext, endpoint = proxy.url): Promise<Rig> {
  const n = String(made++);
  const [bucket, storeBucket] = [`source-${n}`, `store-${n}`];
  for (const name of [bucket, storeBucket]) await s3.createBucket(name);
  const client = s3.client();
  await uploadFiles(client, bucket, "m/", files);
  client.destroy();
  const { region, accessKeyId, secretAccessKey } = s3;
  const credentials = { accessKeyId, secretAccessKey };
  const bulk = newRawClient({ silenceMs: 400 });
  const source = newS3Source({ endpoint, region, bucket, credentials, idleTimeoutMs: 400, bulk });
  const store = openStore({ url: `s3://${storeBucket}/platform`, endpoint, region, credentials });
  t.after(() => {
    source.close();
    store.close();
  });
  return { source, store, bucket, storeBucket };
}

const ofWeights = (rig: Rig) => (request: SeenRequest) =>
  request.method === "GET" && request.path.startsWith(`/${rig.bucket}/`) && request.path.endsWith(".safetensors");
const isPart = (rig: Rig) => (request: SeenRequest) =>
  request.method === "PUT" && request.path.startsWith(`/${rig.storeBucket}/`) && request.query.has("partNumber");
const isComplete = (rig: Rig) => (request: SeenRequest) =>
  request.method === "POST" && request.path.startsWith(`/${rig.storeBucket}/`) && request.query.has("uploadId");
/** Reads of data, not of headers. */
const ofParts = (rig: Rig) => (request: SeenRequest) =>
  ofWeights(rig)(request) && !/^bytes=0-65535$/.test(request.headers.range ?? "");

async function attempt(rig: Rig, observer = newObserver()): Promise<ImportResult | ModelProblem> {
  try {
    return await importModel(
      jobFor({ source: rig.source, store: rig.store, prefix: "m", observer, answersFor: rig.asks }),
    );
  } catch (error) {
    const problem = problemOf(error);
    if (!problem) throw error;
    return problem;
  }
}

/** Whole and under the right digest, with no file, record or upload besides. */
async function assertWhole(rig: Rig, result: ImportResult | ModelProblem): Promise<void> {
  assert.ok("kind" in result && result.kind === "imported", JSON.stringify(result));
  assert.equal(result.revisions.at(-1)?.digest, digest);
  const client = s3.client();
  try {
    const found = await client.send(new ListObjectsV2Command({ Bucket: rig.storeBucket, Prefix: "platform/models/" }));
    const keys = (found.Contents ?? []).map(({ Key = "" }) =>
      withoutHash(Key.replace("platform/models/ns-uid/model-uid/1/", "")),
    );
    assert.deepEqual(keys.sort(), [...Object.keys(files), RECORD, "MANIFEST.json"].sort());
    const open = await client.send(new ListMultipartUploadsCommand({ Bucket: rig.storeBucket }));
    assert.deepEqual(open.Uploads ?? [], []);
    const key = "models/ns-uid/model-uid/1/model.safetensors";
    assert.ok(Buffer.from((await rig.store.get(key, 1 << 26)) ?? []).equals(weights));
  } finally {
    client.destroy();
  }
}

type Where = (rig: Rig) => (request: SeenRequest) => boolean;
const passing: readonly (readonly [string, Where, HttpFault, number])[] = [
  ["a reset before a part", ofParts, { kind: "reset" }, 2],
  ["a reset in the middle of a part", ofParts, { kind: "cut", afterBytes: 1_000_000 }, 2],
  ["a part that falls silent", ofParts, { kind: "stall-after", afterBytes: 1_000_000 }, 1],
  ["a part that is never answered", ofParts, { kind: "stall" }, 1],
  ["slow parts", ofParts, { kind: "delay", delayMs: 200 }, 3],
  ["a storm of SlowDown", ofParts, { kind: "status", code: 503, message: "SlowDown" }, 4],
  ["Retry-After", ofParts, { kind: "status", code: 429, retryAfterSeconds: 1 }, 1],
  ["a truncated body with an honest length", ofParts, { kind: "rewrite", body: (body) => body.subarray(0, body.length - 1) }, 2],
  ["a body that is longer than asked for", ofParts, { kind: "rewrite", body: (body) => Buffer.concat([body, Buffer.alloc(9)]) }, 2],
  ["an error page with status 200", ofParts, { kind: "rewrite", status: 200, body: () => "<html>try later</html>", headers: { "content-range": "" } }, 2],
  ["a 500 for an uploaded part", isPart, { kind: "status", code: 500 }, 2],
  ["the lost answer of an uploaded part", isPart, { kind: "lose-answer" }, 2],
  ["a reset of an uploaded part", isPart, { kind: "reset" }, 2],
]; // prettier-ignore

describe("faults that pass", () => {
  const cases = both.flatMap((asks) => passing.map((one) => [asks, ...one] as const));
  for (const [asks, name, where, fault, most] of cases) {
    test(`${name}, answers for ${asks}: the import goes on and every byte is right`, async (t) => {
      const rig = { ...(await newRig(t)), asks };
      // Of one answer for the whole file there is but one to be slow.
      const times = fault.kind === "delay" && asks === "Files" ? 1 : most;
      const rule = proxy.add({ match: where(rig), times, fault });
      t.after(() => rule.remove());
      const observer = newObserver();
      await assertWhole(rig, await attempt(rig, observer));
      assert.equal(rule.hits, times);
      assert.equal(observer.retries, fault.kind === "delay" ? 0 : times, "each further try of a part is counted");
    });
  }
});

const error = '<?xml version="1.0"?><Error><Code>InternalError</Code><Message>we failed</Message></Error>';
const completions: readonly (readonly [string, HttpFault])[] = [
  ["a 500 with nothing behind it", { kind: "status", code: 500 }],
  ["a 500 with success behind it", { kind: "rewrite", status: 500, body: () => error }],
  ["a lost answer with success behind it", { kind: "lose-answer" }],
  ["a 200 whose body is an error, with nothing behind it", { kind: "status", code: 200 }],
  ["a 200 whose body is an error, with success behind it", { kind: "rewrite", body: () => error }],
];
describe("faults at CompleteMultipartUpload", () => {
  const cases = both.flatMap((asks) => completions.map((one) => [asks, ...one] as const));
  for (const [asks, name, fault] of cases) {
    test(`${name}, answers for ${asks}: the import ends whole, and reads nothing again`, async (t) => {
      const rig = { ...(await newRig(t)), asks };
      const rule = proxy.add({ match: isComplete(rig), times: 1, fault });
      t.after(() => rule.remove());
      const before_ = proxy.seen.length;
      await assertWhole(rig, await attempt(rig));
      assert.equal(rule.hits, 1);
      assert.equal(proxy.seen.slice(before_).filter(ofParts(rig)).length, asks === "Files" ? 1 : 3);
    });
  }

  test("a store that says it completed other bytes is not believed, nor is what stands there kept", async (t) => {
    const rig = await newRig(t);
    const other = "<ChecksumCRC32>AAAAAA==</ChecksumCRC32><ChecksumType>FULL_OBJECT</ChecksumType>";
    const body = (said: Buffer): string =>
      said.toString().replace(/<Checksum\w+>[^<]*<\/Checksum\w+>/g, "").replace("</CompleteMultipartUploadResult>", `${other}$&`); // prettier-ignore
    const lie = proxy.add({ match: isComplete(rig), times: 1, fault: { kind: "rewrite", body } });
    const isRemoval = ({ method, path }: SeenRequest): boolean =>
      method === "DELETE" && path.startsWith(`/${rig.storeBucket}/`) && path.endsWith("model.safetensors");
    const refused = proxy.add({ match: isRemoval, times: 3, fault: { kind: "status", code: 503 } });
    t.after(() => [lie, refused].forEach((rule) => rule.remove()));
    const problem = await attempt(rig);
    assert.ok("reason" in problem, JSON.stringify(problem));
    assert.match(problem.message, /another checksum/);
    assert.deepEqual([lie.hits, refused.hits], [1, 3]);
    assert.equal(await rig.store.head("models/ns-uid/model-uid/1/model.safetensors"), undefined);
    await assertWhole(rig, await attempt(rig));
  });

  test("a store that is away for a while when a file is completed gets it when it is back", async (t) => {
    const rig = await newRig(t);
    const rule = proxy.add({ match: isComplete(rig), times: 5, fault: { kind: "status", code: 503 } });
    t.after(() => rule.remove());
    await assertWhole(rig, await attempt(rig));
    assert.equal(rule.hits, 5);
  });
});

interface Lasting {
  readonly name: string;
  readonly reason: string;
  readonly words: RegExp;
  /** Done when the first part is asked for. */
  readonly then: (rig: Rig) => Promise<unknown>;
  /** Undone before the second attempt. */
  readonly mend: (rig: Rig) => Promise<unknown>;
}

async function withClient<T>(work: (client: ReturnType<S3Server["client"]>) => Promise<T>): Promise<T> {
  const client = s3.client();
  return work(client).finally(() => client.destroy());
}
const key = "m/model.safetensors";
const put = (rig: Rig, body: Uint8Array) =>
  withClient((client) => client.send(new PutObjectCommand({ Bucket: rig.bucket, Key: key, Body: body })));

/** Weights of the same length with one other byte: only the ETag tells. */
const swapped = Uint8Array.from(weights, (byte, at) => (at === weights.length - 1 ? byte ^ 1 : byte));
const lasting: readonly Lasting[] = [
  { name: "an object that is swapped at part k", reason: "SourceChanged", words: /changed|412|Precondition/, then: (rig) => put(rig, swapped), mend: (rig) => put(rig, weights) },
  {
    name: "an object that is deleted at part k",
    reason: "SourceChanged",
    words: /vanished|NoSuchKey/,
    then: (rig) => withClient((client) => client.send(new DeleteObjectCommand({ Bucket: rig.bucket, Key: key }))),
    mend: (rig) => put(rig, weights),
  },
  {
    name: "a bucket that is deleted",
    reason: "BucketNotFound",
    words: /source-\d+/,
    // At once: objects that go one by one before it are a source that has changed.
    then: (rig) => rename(join(s3.dir, rig.bucket), `${s3.dir}-${rig.bucket}`),
    mend: async (rig) => {
      await s3.createBucket(rig.bucket);
      await withClient((client) => uploadFiles(client, rig.bucket, "m/", files));
    },
  },
]; // prettier-ignore

describe("what stays is named, and mended it is imported", () => {
  const cases = both.flatMap((asks) => lasting.map((one) => ({ asks, ...one })));
  for (const { asks, name, reason, words, then, mend } of cases) {
    test(`${name}, answers for ${asks}`, async (t) => {
      const rig = { ...(await newRig(t)), asks };
      // What an open answer brings is what was there when it began: it breaks off in the part that waits for the change.
      if (asks === "Files") {
        const whole = (request: SeenRequest): boolean => ofParts(rig)(request) && /^bytes=0-/.test(request.headers.range ?? ""); // prettier-ignore
        const cut = proxy.add({ match: whole, fault: { kind: "cut", afterBytes: 10 * mib } });
        t.after(() => cut.remove());
      }
      let done: Promise<unknown> | undefined;
      // The read that meets the change is the first of data: it waits until the change is made.
      // Without HEADs for checksums: their answers have no body, and so cannot tell a bucket that is gone from an object that is.
      const { stated: _, ...reads } = rig.source;
      const source = hooked(reads, async (object, offset) => {
        if (object.key === key && offset > 0) await (done ??= then(rig));
      });
      const problem = await attempt({ ...rig, source });
      assert.ok("reason" in problem, JSON.stringify(problem));
      assert.equal(problem.reason, reason, problem.message);
      assert.match(problem.message, words);
      assert.equal(await rig.store.head("models/ns-uid/model-uid/1/MANIFEST.json"), undefined);
      await mend(rig);
      await assertWhole(rig, await attempt(rig));
    });
  }

  const answers: readonly (readonly [string, HttpFault, string, RegExp])[] = [
    ["403 in the middle", { kind: "status", code: 403, message: "expired" }, "AccessDenied", /expired/],
    ["a clock that is wrong", { kind: "rewrite", status: 403, body: () => error.replace("InternalError", "RequestTimeTooSkewed") }, "AccessDenied", /RequestTimeTooSkewed/],
    ["SlowDown for ever", { kind: "status", code: 503 }, "SourceError", /SlowDown/],
    ["silence for ever", { kind: "stall" }, "SourceUnreachable", /cannot be reached/],
  ]; // prettier-ignore
  for (const [name, fault, reason, words] of answers) {
    test(name, async (t) => {
      const rig = await newRig(t);
      const rule = proxy.add({ match: ofParts(rig), fault });
      t.after(() => rule.remove());
      const problem = await attempt(rig);
      assert.ok("reason" in problem, JSON.stringify(problem));
      assert.equal(problem.reason, reason, problem.message);
      assert.match(problem.message, words);
      assert.ok(!problem.message.includes(s3.secretAccessKey));
      rule.remove();
      await assertWhole(rig, await attempt(rig));
    });
  }
});

test("403 in the middle of a file: what had come before stays, and is not sent again", async (t) => {
  const rig = await newRig(t);
  const brought = Promise.withResolvers<void>();
  const late = (request: SeenRequest): boolean => ofParts(rig)(request) && /^bytes=16777216-/.test(request.headers.range ?? ""); // prettier-ignore
  const rule = proxy.add({ match: late, fault: { kind: "status", code: 403, message: "expired" } });
  t.after(() => rule.remove());
  const upload: ObjectStore["upload"] = async (at, plan) => {
    const begun = await rig.store.upload(at, plan);
    let sent = 0;
    const part: typeof begun.part = async (...one) => {
      await begun.part(...one);
      if (++sent === 2) brought.resolve();
    };
    return { ...begun, part };
  };
  // The last part is asked for once the two before it are in the store.
  const fill: ObjectSource["fill"] = async (object, offset, ...rest) => {
    assert.ok(rig.source.fill);
    if (object.key === key && offset === 16 * mib) await brought.promise;
    return rig.source.fill(object, offset, ...rest);
  };
  const halting = { ...rig, store: { ...rig.store, upload }, source: { ...rig.source, fill }, asks: "Parts" as const };
  const problem = await attempt(halting);
  assert.ok("reason" in problem, JSON.stringify(problem));
  assert.equal(problem.reason, "AccessDenied", problem.message);
  assert.ok(rule.hits > 0);
  rule.remove();
  const before = proxy.seen.length;
  await assertWhole(rig, await attempt(rig));
  const sent = proxy.seen.slice(before).filter(isPart(rig));
  assert.deepEqual(sent.map(({ query }) => query.get("partNumber")), ["3"]); // prettier-ignore
});

for (const minutes of [-20, 20]) {
  test(`a clock that is ${String(minutes)} minutes off is learned from the server, and the import ends whole`, async (t) => {
    const rig = await newRig(t);
    t.mock.timers.enable({ apis: ["Date"], now: Date.now() + minutes * 60_000 });
    const before = proxy.seen.length;
    await assertWhole(rig, await attempt(rig));
    const named = proxy.seen.slice(before).map(({ headers }) => String(headers["x-amz-date"]));
    const there = new Date().toISOString().replace(/[-:]|\.\d+/g, "");
    assert.ok(named.includes(there), "the first request was signed by the wrong clock");
  });
}

/** One other byte, the same length. */
const flipped = (body: Buffer): Buffer => {
  const spoilt = Buffer.from(body);
  spoilt[spoilt.length - 1] = (spoilt.at(-1) ?? 0) ^ 1;
  return spoilt;
};
const ofText = (rig: Rig) => (request: SeenRequest) =>
  request.method === "GET" && request.path === `/${rig.bucket}/m/notes.txt`;

describe("wrong bytes with the right length are noticed by what the source states", () => {
  const cases: readonly (readonly [string, Where, "CRC-32" | "CRC-64/NVME" | "SHA-256"])[] = [
    ["a part of a large file, by the CRC-32 of the object", ofParts, "CRC-32"],
    ["a small file, by the CRC-32 of the answer", ofText, "CRC-32"],
    ["a part of a large file, by the CRC-64/NVME of the object", ofParts, "CRC-64/NVME"],
    ["a small file, by the CRC-64/NVME of the answer", ofText, "CRC-64/NVME"],
    ["a part of a large file, by SHA256SUMS", ofParts, "SHA-256"],
    ["a part of a large file, by another Berth's MANIFEST.json", ofParts, "SHA-256"],
  ];
  for (const [name, where, kind] of cases) {
    test(name, async (t) => {
      const rig = await newRig(t);
      const sha256 = createHash("sha256").update(weights).digest("hex");
      await withClient(async (client) => {
        const stored = { path: "model.safetensors", sizeBytes: weights.length, sha256 };
        const sums = name.endsWith("MANIFEST.json")
          ? { Bucket: rig.bucket, Key: "m/MANIFEST.json", Body: manifestText({ digest: "", files: [stored] }) }
          : { Bucket: rig.bucket, Key: "m/SHA256SUMS", Body: `${sha256} *model.safetensors\n` };
        const text = { Bucket: rig.bucket, Key: "m/notes.txt", Body: "notes" };
        if (kind === "SHA-256") await client.send(new PutObjectCommand(sums));
        const stating = kind === "CRC-64/NVME" ? { ChecksumAlgorithm: "CRC64NVME" as const } : {};
        const large = { Bucket: rig.bucket, Key: key, Body: weights };
        if (where === ofText) await client.send(new PutObjectCommand({ ...text, ...stating }));
        else if (kind === "CRC-64/NVME") await client.send(new PutObjectCommand({ ...large, ...stating }));
      });
      const rule = proxy.add({ match: where(rig), fault: { kind: "rewrite", body: flipped } });
      t.after(() => rule.remove());
      const problem = await attempt(rig);
      rule.remove();
      assert.ok("reason" in problem, JSON.stringify(problem));
      assert.deepEqual([problem.reason, problem.retryable], ["ChecksumMismatch", true]);
      assert.match(problem.message, new RegExp(`has ${kind} [0-9a-f]+, but the source states [0-9a-f]+`));
      assert.equal(await rig.store.head("models/ns-uid/model-uid/1/MANIFEST.json"), undefined);
      const mended = await attempt(rig);
      if (where === ofText) assert.ok("kind" in mended && mended.kind === "imported", JSON.stringify(mended));
      else await assertWhole(rig, mended);
    });
  }

  test("a part that is spoilt on its way into the store is refused by it, and sent again", async (t) => {
    const rig = await newRig(t);
    const rule = proxy.add({ match: isPart(rig), times: 1, fault: { kind: "spoil-request" } });
    t.after(() => rule.remove());
    const observer = newObserver();
    await assertWhole(rig, await attempt(rig, observer));
    assert.equal(rule.hits, 1);
    assert.ok(observer.retries > 0);
  });
});

test("a store that knows no checksums of parts gets none, and is trusted with nothing that it cannot prove", async (t) => {
  const rig = await newRig(t);
  const asksFor = (request: SeenRequest): boolean => request.headers["x-amz-checksum-algorithm"] !== undefined;
  const rule = proxy.add({ match: asksFor, fault: { kind: "status", code: 501 } });
  t.after(() => rule.remove());
  const cut = proxy.add({ match: isComplete(rig), fault: { kind: "status", code: 500 } });
  t.after(() => cut.remove());
  const failed = await attempt(rig);
  assert.ok("reason" in failed && failed.retryable, JSON.stringify(failed));
  cut.remove();
  const before = proxy.seen.length;
  await assertWhole(rig, await attempt(rig));
  const parts = proxy.seen.slice(before).filter(isPart(rig));
  assert.equal(parts.length, Math.ceil(weights.length / (8 * mib)), "parts without a checksum are sent again");
  assert.ok(parts.every(({ headers }) => headers["x-amz-checksum-crc32"] === undefined));
  assert.ok(parts.every(({ headers }) => /^[0-9a-f]{64}$/.test(String(headers["x-amz-content-sha256"]))));
  assert.ok(rule.hits > 0);
});

test("a version that was read is asked for by its name; where that is refused, the ETag pins alone", async (t) => {
  const rig = await newRig(t);
  const byVersion = (request: SeenRequest): boolean => request.query.has("versionId");
  const refused = proxy.add({ match: byVersion, fault: { kind: "status", code: 403 } });
  const named = proxy.add({ match: ofWeights(rig), fault: { kind: "rewrite", headers: { "x-amz-version-id": "v1" } } });
  t.after(() => [refused, named].forEach((rule) => rule.remove()));
  const before = proxy.seen.length;
  const unstated: string[] = [];
  const observer = newObserver({ unstated: (path, because) => void unstated.push(`${path}: ${because}`) });
  await assertWhole(rig, await attempt(rig, observer));
  const asked = proxy.seen.slice(before).filter(byVersion);
  assert.ok(asked.length > 0 && asked.every(({ query }) => query.get("versionId") === "v1"));
  assert.ok(asked.some(({ method }) => method === "HEAD"));
  assert.deepEqual(unstated, [], "what the source states of the file counts all the same");
});

test("credentials that are refused are read anew, once for all requests; the same again help nobody", async (t) => {
  const rig = await newRig(t);
  const { region, accessKeyId, secretAccessKey } = s3;
  let asked = 0;
  let now: S3Credentials = { accessKeyId, secretAccessKey: "of-yesterday" };
  const renew = (): Promise<S3Credentials> => {
    asked++;
    return Promise.resolve(now);
  };
  const bulk = newRawClient({ silenceMs: 400 });
  const source = newS3Source({ endpoint: proxy.url, region, bucket: rig.bucket, credentials: now, bulk, renew });
  t.after(() => source.close());
  const refused = await attempt({ ...rig, source });
  assert.ok("reason" in refused);
  assert.equal(refused.reason, "AccessDenied", refused.message);
  assert.ok(asked > 0);
  asked = 0;
  now = { accessKeyId, secretAccessKey };
  await assertWhole(rig, await attempt({ ...rig, source }));
  assert.equal(asked, 1);
});

test("a certificate of another name is no source, and is named", async (t) => {
  const { certPem, keyPem } = newClientCertificate(newAuthority(), "elsewhere.example.org");
  const tls = await startFaultProxy({ target: s3.endpoint, dialect: "s3", tls: { certPem, keyPem } });
  t.after(() => tls.close());
  const rig = await newRig(t);
  const { region, accessKeyId, secretAccessKey } = s3;
  const credentials = { accessKeyId, secretAccessKey };
  const source = newS3Source({ endpoint: tls.url, region, bucket: rig.bucket, credentials, idleTimeoutMs: 400 });
  t.after(() => source.close());
  const problem = await attempt({ ...rig, source });
  assert.ok("reason" in problem);
  assert.equal(problem.reason, "SourceUnreachable");
  assert.match(problem.message, /no connection \((UNABLE_TO|CERT|SELF_SIGNED|DEPTH_ZERO|ERR_TLS)/);
  assert.equal(tls.seen.length, 0, "no request, and so no signature, was sent");
});
