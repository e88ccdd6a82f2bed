// `berth models gc` beside a large file that is still on its way into a bucket: what counts is when its newest part came, not when
// it was begun, which the proxy puts into the past.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import type { TestContext } from "node:test";
import { crc32 } from "node:zlib";
import { ListMultipartUploadsCommand } from "@aws-sdk/client-s3";
import { modelsCommand } from "../../operator/cli/models.ts";
import { MANIFEST, removedText } from "../../operator/plan/model/manifest.ts";
import type { ObjectStore, ObjectUpload } from "../../operator/ports.ts";
import { importModel } from "../../operator/transfer/import.ts";
import { startFaultProxy } from "../cluster/faultproxy.ts";
import type { FaultProxy, SeenRequest } from "../cluster/faultproxy.ts";
import { startS3 } from "../cluster/s3.ts";
import type { S3Server } from "../cluster/s3.ts";
import { tinyModel, uploadFiles } from "../models/tiny.ts";
import { jobFor, newSource, newStore } from "./bench.ts";

const partBytes = 5 << 20;
const part = Buffer.alloc(partBytes, "berth");
const key = "models/local/large/1/model.safetensors";
const twoDaysAgo = new Date(Date.now() - 48 * 3_600_000).toISOString();

let s3: S3Server;
let proxy: FaultProxy;
before(async () => {
  s3 = await startS3();
  proxy = await startFaultProxy({ target: s3.endpoint, dialect: "s3" });
  await s3.createBucket("source");
  const client = s3.client();
  await uploadFiles(client, "source", "m/", tinyModel());
  client.destroy();
});
after(async () => {
  await proxy.close();
  await s3.stop();
});

/** Uploads, and the notes of whose they are. */
const listsUploads = ({ method, query }: SeenRequest): boolean =>
  method === "GET" && (query.has("uploads") || query.get("prefix")?.includes(".incoming/") === true);
const listsParts = ({ method, query }: SeenRequest): boolean => method === "GET" && query.has("uploadId");
const old = (xml: string): string => xml.replace(/(<(Initiated|LastModified)>)[^<]*/g, `$1${twoDaysAgo}`);

/** A store with one part of two of a file that was begun two days ago. */
async function newBegun(t: TestContext): Promise<{ store: ObjectStore; upload: ObjectUpload }> {
  const store = await newStore(t, s3, "s3");
  const upload = await store.upload(key, { sizeBytes: 2 * partBytes, partBytes, content: "large" });
  await upload.part(0, part, crc32(part));
  proxy.add({ match: listsUploads, fault: { kind: "rewrite", body: (body) => old(body.toString()) } });
  t.after(() => proxy.clear());
  return { store, upload };
}

async function collect(store: ObjectStore): Promise<string> {
  let [code, out, err] = [-1, "", ""];
  const io = {
    env: { AWS_ACCESS_KEY_ID: s3.accessKeyId, AWS_SECRET_ACCESS_KEY: s3.secretAccessKey },
    write: (text: string) => void (out += text),
    complain: (text: string) => void (err += text),
    read: () => Promise.resolve(""),
  };
  const command = modelsCommand(io, (ended) => (code = ended));
  const args = ["gc", "--yes", "--store", store.url, "--endpoint", proxy.url];
  await command.parseAsync(args, { from: "user" });
  assert.equal(code, 0, err);
  return out;
}

async function uploadsIn(store: ObjectStore): Promise<number> {
  const client = s3.client();
  const bucket = store.url.split("/")[2] ?? "";
  const { Uploads = [] } = await client.send(new ListMultipartUploadsCommand({ Bucket: bucket }));
  client.destroy();
  return Uploads.length;
}

test("a file that was begun two days ago, and whose parts still come, is left alone and becomes whole", async (t) => {
  const { store, upload } = await newBegun(t);
  const out = await collect(store);
  assert.match(out, /\nnothing to remove\n$/);
  await upload.part(1, part, crc32(part));
  assert.equal(await upload.commit(crc32(part, crc32(part))), "written");
  assert.equal((await store.head(key))?.sizeBytes, 2 * partBytes);
});

test("the newest part may stand on any page of their list", async (t) => {
  const { store } = await newBegun(t);
  const isFirst = (request: SeenRequest): boolean => listsParts(request) && !request.query.has("part-number-marker");
  const goesOn = (xml: string): string =>
    old(xml)
      .replace(/<IsTruncated>[^<]*/, "<IsTruncated>true")
      .replace(/<NextPartNumberMarker>[^<]*<\/NextPartNumberMarker>/, "")
      .replace("</ListPartsResult>", "<NextPartNumberMarker>7</NextPartNumberMarker></ListPartsResult>");
  const now = `<Part><PartNumber>8</PartNumber><LastModified>${new Date().toISOString()}</LastModified></Part>`;
  const later = (xml: string): string => xml.replace("</ListPartsResult>", `${now}</ListPartsResult>`);
  proxy.add({ match: isFirst, fault: { kind: "rewrite", body: (body) => goesOn(body.toString()) } });
  proxy.add({ match: listsParts, fault: { kind: "rewrite", body: (body) => later(body.toString()) } });
  assert.match(await collect(store), /\nnothing to remove\n$/);
  assert.equal(await uploadsIn(store), 1);
});

test("one whose last part came two days ago goes", async (t) => {
  const { store } = await newBegun(t);
  const parts = proxy.add({ match: listsParts, fault: { kind: "rewrite", body: (body) => old(body.toString()) } });
  assert.match(await collect(store), /was given up: it was never finished/);
  assert.equal(await uploadsIn(store), 0);
  assert.ok(parts.hits > 0);
});

test("an import whose folder was given up meanwhile says so", async (t) => {
  const store = await newStore(t, s3, "s3");
  const source = newSource(t, s3, "source");
  const folder = "models/ns-uid/model-uid/1/";
  const raced: ObjectStore = {
    ...store,
    // Between the last look of the import and its manifest.
    put: async (at, bytes, options) => {
      if (at === folder + MANIFEST) await store.put(at, new TextEncoder().encode(removedText()));
      return store.put(at, bytes, options);
    },
  };
  await assert.rejects(
    importModel(jobFor({ source, store: raced, prefix: "m" })),
    /models\/ns-uid\/model-uid\/1\/ was given up as garbage while it was imported/,
  );
});
