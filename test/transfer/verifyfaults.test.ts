// `berth models verify` against a store on a bad network: what passes is no damage, and what cannot be read is said to be unread.
import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { chmod, chown, readdir } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import type { TestContext } from "node:test";
import { fileURLToPath } from "node:url";
import { modelsCommand } from "../../operator/cli/models.ts";
import type { ObjectStore } from "../../operator/ports.ts";
import { importModel } from "../../operator/transfer/import.ts";
import { startFaultProxy } from "../cluster/faultproxy.ts";
import type { FaultProxy, SeenRequest } from "../cluster/faultproxy.ts";
import { startS3 } from "../cluster/s3.ts";
import type { S3Server } from "../cluster/s3.ts";
import { safetensors, tinyModel, uploadFiles } from "../models/tiny.ts";
import { jobFor, newSource, newStore } from "./bench.ts";
import type { StoreKind } from "./bench.ts";

const weightBytes = 6 << 20;
const weights = safetensors({ w: { dtype: "U8", shape: [weightBytes], data_offsets: [0, weightBytes] } }, weightBytes);
const many = Object.fromEntries(
  Array.from({ length: 40 }, (_, at) => [`notes/${String(at)}.txt`, `note ${String(at)}`]),
);

let s3: S3Server;
let proxy: FaultProxy;
before(async () => {
  s3 = await startS3();
  proxy = await startFaultProxy({ target: s3.endpoint, dialect: "s3" });
  await s3.createBucket("source");
  const client = s3.client();
  await uploadFiles(client, "source", "m/", tinyModel({ "model.safetensors": weights }));
  await uploadFiles(client, "source", "many/", tinyModel({ "model.safetensors": weights, ...many }));
  client.destroy();
});
after(async () => {
  await proxy.close();
  await s3.stop();
});

async function newStored(t: TestContext, prefix = "m", kind: StoreKind = "s3"): Promise<ObjectStore> {
  const store = await newStore(t, s3, kind);
  const result = await importModel(jobFor({ source: newSource(t, s3, "source"), store, prefix }));
  assert.equal(result.kind, "imported");
  t.after(() => proxy.clear());
  return store;
}

async function verify(store: ObjectStore, ...flags: string[]) {
  let [code, out, err] = [-1, "", ""];
  const io = {
    env: { AWS_ACCESS_KEY_ID: s3.accessKeyId, AWS_SECRET_ACCESS_KEY: s3.secretAccessKey },
    write: (text: string) => void (out += text),
    complain: (text: string) => void (err += text),
    read: () => Promise.resolve(""),
    retryBaseMs: 1,
  };
  const command = modelsCommand(io, (ended) => (code = ended));
  await command.parseAsync(["verify", "--store", store.url, "--endpoint", proxy.url, ...flags], { from: "user" });
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

const INVALID = "The operation is not valid for the object's storage class";
for (const [how, code, message, advice] of [
  ["archived", 403, INVALID, /the store refuses some: let these keys/],
  ["gone since the listing", 404, "no such key", /the store refuses some/],
  ["encrypted with a key that is disabled", 400, "KMS.DisabledException", /the store refuses some/],
  ["answered with a fault of the server's own", 500, "internal", /run it again when the store answers; what it cannot/],
] as const) {
  test(`one object that is ${how} ends nothing: the rest is read, and what is wrong there is found`, async (t) => {
    const store = await newStored(t);
    const rule = proxy.add({ match: ofWeights, fault: { kind: "status", code, message } });
    const { code: first, out } = await verify(store);
    assert.equal(first, 1, out);
    assert.match(out, new RegExp(`/model\\.safetensors was not read: .*${message}`));
    assert.match(out, /\n1 of \d+ objects were not read\n/);
    assert.match(out, advice);
    assert.doesNotMatch(out, code === 500 ? /refuses/ : /run it again when the store answers/);
    // Asked again in vain, each of thousands would hold up the rest by a minute.
    if (code !== 500) assert.equal(rule.hits, 1);
    await store.put("models/ns-uid/model-uid/1/tokenizer.json", Buffer.from("other"));
    const { code: second, out: found } = await verify(store);
    assert.equal(second, 3, found);
    assert.match(found, /tokenizer\.json has/);
  });
}

test("one manifest that the store will not give ends nothing either, and no signature", async (t) => {
  const store = await newStored(t);
  const other = { namespaceUID: "ns-uid", modelUID: "other-uid" };
  await importModel(jobFor({ source: newSource(t, s3, "source"), store, prefix: "m", owner: other }));
  const match = ({ method, path }: SeenRequest): boolean =>
    method === "GET" && path.endsWith("/model-uid/1/MANIFEST.json");
  proxy.add({ match, fault: { kind: "status", code: 403, message: INVALID } });
  const { code, out, err } = await verify(store);
  assert.equal(code, 1, out + err);
  assert.match(out, /\/model-uid\/1\/MANIFEST\.json was not read: .*storage class/);
  assert.match(out, /\n1 revisions, \d+ objects, 6\.\d MB in/);
  assert.match(out, /\n1 of \d+ objects were not read\n/);
  const folder = mkdtempSync(join(tmpdir(), "berth-keys-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const key = join(folder, "key.pub");
  writeFileSync(key, generateKeyPairSync("ed25519").publicKey.export({ type: "spki", format: "pem" }));
  proxy.clear();
  const signatures = ({ method, path }: SeenRequest): boolean => method === "GET" && path.includes("/signatures/");
  proxy.add({ match: signatures, fault: { kind: "status", code: 403, message: INVALID } });
  const { code: unsigned, out: said } = await verify(store, "--trust", key);
  assert.equal(unsigned, 1, said);
  assert.match(said, /\n2 revisions, .*\n2 of \d+ objects were not read\n/);
});

const ofFiles = ({ method, path }: SeenRequest): boolean => method === "GET" && /\/1\/(?!MANIFEST|\.berth)/.test(path);
const ofNotes = ({ method, path }: SeenRequest): boolean => method === "GET" && path.includes("/notes/");

test("a store that goes away is given up after some faults in a row; one that refuses many objects is not", async (t) => {
  const store = await newStored(t, "many");
  const away = proxy.add({ match: ofFiles, fault: { kind: "reset" } });
  const { code, out } = await verify(store);
  assert.equal(code, 1, out);
  const asked = out.match(/was not read: /g)?.length ?? 0;
  // Those that were in flight then end too.
  assert.ok(asked >= 16 && asked < 24, out);
  assert.match(
    out,
    /\n(\d+) of \1 objects were not read; the store gave nothing any more, so the last were not asked for\n/,
  );
  away.remove();
  proxy.add({ match: ofNotes, fault: { kind: "status", code: 403, message: INVALID } });
  const { out: refused } = await verify(store);
  assert.equal(refused.match(/was not read: /g)?.length, 40, refused);
  assert.match(refused, /\n40 of \d+ objects were not read\n/);
});

/** As somebody who is not root: root reads everything. */
async function asNobody<T>(folder: string, work: () => Promise<T>): Promise<T> {
  const paths = await readdir(folder, { recursive: true });
  if (process.getuid?.() !== 0) return work();
  for (const path of ["", ...paths]) await chown(join(folder, path), 65_534, 65_534);
  process.seteuid?.(65_534);
  try {
    return await work();
  } finally {
    process.seteuid?.(0);
  }
}

test("one file that may not be read ends nothing, and is no damage", async (t) => {
  const store = await newStored(t, "m", "file");
  const folder = fileURLToPath(store.url);
  await chmod(join(folder, "models/ns-uid/model-uid/1/model.safetensors"), 0);
  const { code, out } = await asNobody(folder, () => verify(store));
  assert.equal(code, 1, out);
  assert.match(out, /\/model\.safetensors was not read: EACCES\n/);
  assert.match(
    out,
    /\n1 of \d+ objects were not read\n.*the store refuses some: let these keys, or this user, read them/,
  );
});
