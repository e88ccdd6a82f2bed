// `berth models verify` against a store on a bad network: what passes is no damage, and what cannot be read is said to be unread.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import type { TestContext } from "node:test";
import { modelsCommand } from "../../operator/cli/models.ts";
import type { ObjectStore } from "../../operator/ports.ts";
import { importModel } from "../../operator/transfer/import.ts";
import { startFaultProxy } from "../cluster/faultproxy.ts";
import type { FaultProxy, SeenRequest } from "../cluster/faultproxy.ts";
import { startS3 } from "../cluster/s3.ts";
import type { S3Server } from "../cluster/s3.ts";
import { safetensors, tinyModel, uploadFiles } from "../models/tiny.ts";
import { jobFor, newSource, newStore } from "./bench.ts";

const weightBytes = 6 << 20;
const weights = safetensors({ w: { dtype: "U8", shape: [weightBytes], data_offsets: [0, weightBytes] } }, weightBytes);

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

async function newStored(t: TestContext): Promise<ObjectStore> {
  const store = await newStore(t, s3, "s3");
  const result = await importModel(jobFor({ source: newSource(t, s3, "source"), store, prefix: "m" }));
  assert.equal(result.kind, "imported");
  t.after(() => proxy.clear());
  return store;
}

async function verify(store: ObjectStore) {
  let [code, out, err] = [-1, "", ""];
  const io = {
    env: { AWS_ACCESS_KEY_ID: s3.accessKeyId, AWS_SECRET_ACCESS_KEY: s3.secretAccessKey },
    write: (text: string) => void (out += text),
    complain: (text: string) => void (err += text),
    read: () => Promise.resolve(""),
    retryBaseMs: 1,
  };
  const command = modelsCommand(io, (ended) => (code = ended));
  await command.parseAsync(["verify", "--store", store.url, "--endpoint", proxy.url], { from: "user" });
  return { code, out, err };
}

const ofWeights = ({ method, path }: SeenRequest): boolean => method === "GET" && path.endsWith("/model.safetensors");

test("bodies that break off, and a server that is busy, are read on where they ended", async (t) => {
  const store = await newStored(t);
  const [many, few] = [
    { kind: "cut", afterBytes: 300_000 },
    { kind: "status", code: 503 },
  ] as const;
  // More breaks than there are tries of one request: each brought something.
  const cut = proxy.add({ match: ofWeights, times: 12, fault: many });
  const busy = proxy.add({ match: ofWeights, times: 2, fault: few });
  const since = proxy.seen.length;
  const { code, out } = await verify(store);
  assert.equal(code, 0, out);
  assert.match(out, /\nintact\n$/);
  assert.deepEqual([cut.hits, busy.hits], [12, 2]);
  const offsets = proxy.seen
    .slice(since)
    .filter(ofWeights)
    .map(({ headers }) => Number(/^bytes=(\d+)-/.exec(headers.range ?? "")?.[1]));
  assert.ok((offsets.at(-1) ?? 0) > 1_000_000, `read on from ${offsets.join(", ")}`);
});

test("a break behind the last byte is no end of an object that is longer than its manifest says", async (t) => {
  const store = await newStored(t);
  const key = "models/ns-uid/model-uid/1/model.safetensors";
  const end = proxy.add({ match: ofWeights, times: 1, fault: { kind: "cut", afterBytes: weights.length } });
  assert.equal((await verify(store)).code, 0);
  assert.equal(end.hits, 1);
  await store.put(key, Buffer.concat([weights, Buffer.from("x")]));
  proxy.add({ match: ofWeights, times: 1, fault: { kind: "cut", afterBytes: weights.length } });
  const { code, out } = await verify(store);
  assert.equal(code, 3);
  assert.match(out, new RegExp(`/model\\.safetensors has ${String(weights.length + 1)} bytes, the manifest says`));
});

test("an object that cannot be read is not called damaged: it is named, and the code is that of what was not read", async (t) => {
  const store = await newStored(t);
  proxy.add({ match: ofWeights, fault: { kind: "reset" } });
  const { code, out, err } = await verify(store);
  assert.equal(code, 1, out);
  assert.doesNotMatch(out, /DAMAGED|intact/);
  assert.match(out + err, /\/model\.safetensors was not read: .*ECONNRESET/);
  assert.match(out, /1 of \d+ objects were not read/);
});

test("damage that was found before is told all the same, with its own code", async (t) => {
  const store = await newStored(t);
  await store.remove("models/ns-uid/model-uid/1/tokenizer.json");
  proxy.add({ match: ofWeights, fault: { kind: "reset" } });
  const { code, out } = await verify(store);
  assert.equal(code, 3);
  assert.match(out, /tokenizer\.json is missing\n/);
  assert.match(out, /model\.safetensors was not read/);
  assert.match(out, /DAMAGED/);
});
