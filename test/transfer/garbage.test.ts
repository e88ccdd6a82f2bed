// `berth models` on both kinds of store: list, verify, gc, as a person runs them, killed between any two requests.
import assert from "node:assert/strict";
import { appendFile, readFile, rm, truncate, utimes, writeFile } from "node:fs/promises";
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import type { TestContext } from "node:test";
import { CreateMultipartUploadCommand, ListMultipartUploadsCommand, PutObjectCommand } from "@aws-sdk/client-s3";
import { signerOf } from "../../operator/adapters/ledger/signing.ts";
import { modelsCommand } from "../../operator/cli/models.ts";
import { MANIFEST, manifestText, parseManifest, removedText } from "../../operator/plan/model/manifest.ts";
import { nothingKnown } from "../../operator/plan/store/inuse.ts";
import type { ManifestSigner, ObjectStore } from "../../operator/ports.ts";
import { collectGarbage } from "../../operator/transfer/garbage.ts";
import { importModel } from "../../operator/transfer/import.ts";
import { startS3 } from "../cluster/s3.ts";
import type { S3Server } from "../cluster/s3.ts";
import { tinyModel, uploadFiles } from "../models/tiny.ts";
import { jobFor, kinds, newSource, newStore, withoutHash } from "./bench.ts";

let s3: S3Server;
before(async () => {
  s3 = await startS3();
  await s3.createBucket("source");
});
after(() => s3.stop());

const ns = "11111111-1111-4111-8111-111111111111";
const uid = "22222222-2222-4222-8222-222222222222";
const model = `models/${ns}/${uid}/`;
const owner = { namespaceUID: ns, modelUID: uid };

/** Three revisions that differ in LICENSE; the first holds the weights. */
async function threeRevisions(
  t: TestContext,
  kind: (typeof kinds)[number],
  signer?: ManifestSigner,
): Promise<ObjectStore> {
  const prefix = `${kind}-${String(Math.random()).slice(2)}`;
  const client = s3.client();
  t.after(() => client.destroy());
  await uploadFiles(client, "source", `${prefix}/`, tinyModel());
  const store = await newStore(t, s3, kind);
  const source = newSource(t, s3, "source");
  for (const text of ["one", "two", "three"]) {
    await client.send(new PutObjectCommand({ Bucket: "source", Key: `${prefix}/LICENSE`, Body: text }));
    const result = await importModel(jobFor({ source, store, owner, prefix, ...(signer ? { signer } : {}) }));
    assert.equal(result.kind, "imported");
  }
  return store;
}

async function berth(store: ObjectStore, args: readonly string[], stdin = "") {
  let [code, out, err] = [-1, "", ""];
  const env = { AWS_ACCESS_KEY_ID: s3.accessKeyId, AWS_SECRET_ACCESS_KEY: s3.secretAccessKey };
  const io = {
    env,
    write: (text: string) => void (out += text),
    complain: (text: string) => void (err += text),
    read: () => Promise.resolve(stdin),
  };
  const place = ["--store", store.url, ...(store.url.startsWith("s3:") ? ["--endpoint", s3.endpoint] : [])];
  const command = modelsCommand(io, (ended) => (code = ended));
  await command.parseAsync([...args, ...place], { from: "user" });
  assert.ok(![out, err].some((text) => text.includes(s3.secretAccessKey)));
  return { code, out, err };
}

async function keysOf(store: ObjectStore): Promise<string[]> {
  const keys: string[] = [];
  for await (const { key } of store.list("")) keys.push(withoutHash(key.replace(model, "")));
  return keys.sort();
}

const inUse = (...numbers: number[]): string => {
  const revisions = numbers.map((number) => ({ number }));
  const meta = (name: string, own: string, namespace?: string) => ({
    name,
    uid: own,
    ...(namespace ? { namespace } : {}),
  });
  const items = [
    { apiVersion: "v1", kind: "Namespace", metadata: meta("team", ns) },
    { apiVersion: "coordination.k8s.io/v1", kind: "Lease", metadata: meta("x", "l", "kube-system") },
    { apiVersion: "apps/v1", kind: "ControllerRevision", metadata: meta("plugin", "r", "kube-system") },
    { apiVersion: "berth.dev/v1alpha1", kind: "Model", metadata: meta("m", uid, "team"), status: { revisions } },
    { apiVersion: "berth.dev/v1alpha1", kind: "ModelDeployment", metadata: meta("serve", "d", "team") },
  ]; // prettier-ignore
  return JSON.stringify({ kind: "List", items });
};
const all = ["gc", "--older-than", "0m", "--in-use", "-"];

for (const kind of kinds) {
  test(`${kind}: revisions are listed with sizes and states, in words and as JSON`, async (t) => {
    const store = await threeRevisions(t, kind);
    await store.put(`${model}9/part`, new TextEncoder().encode("x"));
    await store.put("elsewhere", new Uint8Array(1));
    const { code, out } = await berth(store, ["list"]);
    assert.equal(code, 0);
    const lines = out.split("\n").map((line) => line.replace(/ {2,}/g, "|").replace(model, ""));
    assert.match(lines[0] ?? "", /^REVISION\|STATE\|DIGEST\|FILES\|SIZE\|OWN\|IMPORTED\|SOURCE$/);
    assert.match(
      lines[1] ?? "",
      /^1\/\|complete\|sha256:[0-9a-f]{12}\|\d+\|[\d.]+ \w+\|[\d.]+ \w+\|20\d\d-.*\|source\//,
    );
    assert.match(lines[4] ?? "", /^9\/\|unfinished\|/);
    const json = JSON.parse((await berth(store, ["list", "-o", "json", "--only", `${model}2`])).out) as {
      revisions: { folder: string; sizeBytes: number; ownBytes: number; version: string }[];
    };
    const [second] = json.revisions;
    assert.deepEqual([json.revisions.length, second?.folder, second?.version], [1, `${model}2/`, "0.0.0-test"]);
    assert.ok((second?.ownBytes ?? Infinity) < (second?.sizeBytes ?? 0), "the weights lie in the first revision");
  });

  test(`${kind}: gc tells first; with --yes what nothing names goes, what a kept revision points at stays`, async (t) => {
    const store = await threeRevisions(t, kind);
    const before = await keysOf(store);
    const told = await berth(store, all, inUse(2, 3));
    assert.match(told.out, /\/1\/ would be given up: neither its model's status nor a deployment names it/);
    assert.match(told.out, /can go: --yes removes it\n$/);
    assert.deepEqual(await keysOf(store), before, "a dry run changes nothing");
    const done = await berth(store, [...all, "--yes"], inUse(2, 3));
    assert.equal(done.code, 0, done.err);
    const weights = parseManifest(String(Buffer.from((await store.get(`${model}2/${MANIFEST}`, 1 << 20)) ?? [])));
    const kept = new Set(weights?.files.map(({ key }) => key));
    const gone = before.filter((key) => key.startsWith("1/") && !kept.has(key) && key !== `1/${MANIFEST}`);
    assert.deepEqual(
      await keysOf(store),
      before.filter((key) => !gone.includes(key)),
    );
    assert.ok(gone.includes("1/LICENSE") && !gone.includes("1/model.safetensors"));
    assert.equal((await berth(store, ["verify"])).code, 0);
    assert.match((await berth(store, [...all, "--yes"], inUse(2, 3))).out, /^nothing to remove\n$/);
    // The number is not used again, and what is left serves the next import.
    assert.match((await berth(store, ["list"])).out, /\/1\/ +removed/);
  });

  test(`${kind}: gc names the models that a list leaves in doubt, and removes nothing of them`, async (t) => {
    const store = await threeRevisions(t, kind);
    const shared = "models/cluster/33333333-3333-4333-8333-333333333333/";
    for (const number of [1, 2]) {
      const manifest = await store.get(`${model}${String(number)}/${MANIFEST}`, 1 << 20);
      await store.put(`${shared}${String(number)}/${MANIFEST}`, manifest ?? assert.fail());
    }
    const { out } = await berth(store, [...all, "--yes"], inUse(1, 2, 3));
    assert.equal(out, `${shared} was not judged: no ClusterModel is in the list, or in one of them; ask the cluster with --cluster\nnothing to remove\n`); // prettier-ignore
    const told = JSON.parse((await berth(store, [...all, "-o", "json"], inUse(1, 2, 3))).out) as object;
    assert.deepEqual(told, {
      removed: false,
      fences: [],
      removals: [],
      unjudged: [{ folder: shared, lacks: "ClusterModel" }],
    });
  });

  test(`${kind}: unfinished revisions and uploads go when they are old, without a word of the cluster`, async (t) => {
    const store = await threeRevisions(t, kind);
    const before = await keysOf(store);
    await store.put(`${model}4/config.json`, new Uint8Array(3));
    if (kind === "s3") {
      const [, , Bucket = "", prefix = ""] = store.url.split("/");
      const client = s3.client();
      t.after(() => client.destroy());
      await client.send(new CreateMultipartUploadCommand({ Bucket, Key: `${prefix}/${model}4/weights` }));
      await berth(store, ["gc", "--yes", "--older-than", "0m"]);
      assert.deepEqual((await client.send(new ListMultipartUploadsCommand({ Bucket }))).Uploads ?? [], []);
    } else {
      const upload = await store.upload(`${model}4/weights`, { sizeBytes: 9, partBytes: 9, content: "x" });
      t.after(() => upload.abort());
      await berth(store, ["gc", "--yes", "--older-than", "0m"]);
      for await (const { key } of store.listUploads("")) assert.fail(`${key} was left`);
    }
    assert.deepEqual(await keysOf(store), [...before, `4/${MANIFEST}`].sort());
    const young = `${model}5/config.json`;
    await store.put(young, new Uint8Array(3));
    assert.match((await berth(store, ["gc", "--yes"])).out, /nothing to remove/);
    assert.ok(await store.head(young), "somebody may be at work on it");
  });

  test(`${kind}: a collection that is killed between any two requests leaves whole revisions, and ends the same when run again`, async (t) => {
    let expected: string[] | undefined;
    for (let deaths = 0; ; deaths++) {
      const store = await threeRevisions(t, kind);
      let left = deaths;
      const mortal: ObjectStore = {
        ...store,
        put: (...args) => (left-- > 0 ? store.put(...args) : Promise.reject(new Error("killed"))),
        remove: (...args) => (left-- > 0 ? store.remove(...args) : Promise.reject(new Error("killed"))),
      };
      const known = { ...nothingKnown, models: new Set([model]), revisions: new Set([`${model}3/`]) };
      const options = { inUse: known, now: Date.now() + 1000, olderThanMs: 0, act: true };
      const died = await collectGarbage(mortal, options).then(() => false, () => true); // prettier-ignore
      assert.equal((await berth(store, ["verify"])).code, 0);
      await collectGarbage(store, options);
      const end = await keysOf(store);
      assert.deepEqual(end, (expected ??= end));
      assert.ok(deaths > 0 || died);
      if (!died) return assert.ok(deaths >= 4, "it was killed before and after each request");
    }
  });

  test(`${kind}: verify names each damaged file; a script sees it by the code`, async (t) => {
    const store = await threeRevisions(t, kind);
    assert.match(
      (await berth(store, ["verify"])).out,
      /^3 revisions, \d+ objects, .*\nsignatures were not checked: .*\nintact\n$/,
    );
    const put = (path: string, text: string) => store.put(model + path, new TextEncoder().encode(text));
    const licence = (await store.get(`${model}2/LICENSE`, 100)) ?? new Uint8Array(0);
    await put("2/LICENSE", "w".repeat(licence.length));
    await put("3/LICENSE", "longer than it was");
    await store.remove(`${model}1/config.json`);
    const { code, out } = await berth(store, ["verify"]);
    assert.equal(code, 3);
    assert.match(out, /\/2\/LICENSE has SHA-256 [0-9a-f]{64}, the manifest says [0-9a-f]{64}\n/);
    assert.match(out, /\/3\/LICENSE has 18 bytes, the manifest says 5\n/);
    assert.equal(out.match(/\/1\/config\.json is missing\n/g)?.length, 3, "for each revision that names it");
    assert.match(out, /DAMAGED: annotate the Model/);
    const json = JSON.parse((await berth(store, ["verify", "-o", "json", "--only", `${model}3`])).out) as {
      findings: { path: string; folder: string }[];
    };
    assert.deepEqual(json.findings.map(({ path }) => path).sort(), ["LICENSE", "config.json"]);
    await put("1/MANIFEST.json", manifestText({ digest: "sha256:none", files: [] }));
    assert.match((await berth(store, ["verify"])).out, /\/1\/MANIFEST\.json is no manifest, or its digest is not that/);
    await put("1/MANIFEST.json", removedText());
    assert.doesNotMatch((await berth(store, ["verify"])).out, /1\/MANIFEST/);
  });
}

test("one bit, a byte too few or too many in a directory is found; a file that cannot be read is said", async (t) => {
  const store = await threeRevisions(t, "file");
  const path = join(new URL(store.url).pathname, model, "1/model.safetensors");
  const bytes = await readFile(path);
  const spoil = [
    () => writeFile(path, Buffer.from(bytes.map((byte, at) => (at === bytes.length - 1 ? byte ^ 1 : byte)))),
    () => truncate(path, bytes.length - 1),
    () => appendFile(path, "x"),
    () => rm(path),
  ];
  for (const work of spoil) {
    await writeFile(path, bytes);
    assert.equal((await berth(store, ["verify"])).code, 0);
    await work();
    const { code, out } = await berth(store, ["verify"]);
    assert.equal(code, 3);
    assert.match(out, /1\/model\.safetensors /);
  }
  await utimes(join(path, ".."), 0, 0);
});

test("a signed manifest is held to pinned keys: another key, other bytes and none are found; OpenSSL agrees", async (t) => {
  const keys = mkdtempSync(join(tmpdir(), "berth-keys-"));
  t.after(() => rmSync(keys, { recursive: true }));
  const openssl = (...args: string[]) => execFileSync("openssl", args, { stdio: ["ignore", "pipe", "pipe"] });
  for (const name of ["key", "other"]) {
    openssl("genpkey", "-algorithm", "ed25519", "-out", join(keys, `${name}.pem`));
    openssl("pkey", "-in", join(keys, `${name}.pem`), "-pubout", "-out", join(keys, `${name}.pub`));
  }
  const store = await threeRevisions(t, "file", signerOf(await readFile(join(keys, "key.pem"), "utf8"), "key.pem"));
  const verify = (...names: string[]) =>
    berth(store, ["verify", "--trust", ...names.map((name) => join(keys, `${name}.pub`))]);
  assert.match((await verify("other", "key")).out, /intact\n$/);
  assert.match((await berth(store, ["verify"])).out, /signatures were not checked/);
  const strange = await verify("other");
  assert.equal(strange.code, 3);
  assert.equal(
    strange.out.match(/MANIFEST\.json is signed with a key that is not trusted \([0-9a-f]{64}\)/g)?.length,
    3,
  );
  assert.match((await berth(store, ["gc", "--yes", "--older-than", "0m"])).out, /nothing to remove/);

  const signature = (await keysOf(store)).find((key) => key.startsWith("2/.berth/signatures/")) ?? "";
  const path = join(new URL(store.url).pathname, model, signature);
  const envelope = JSON.parse(await readFile(path, "utf8")) as { payload: string; signatures: { sig: string }[] };
  const type = "application/vnd.berth.model-manifest.v1+json";
  const manifest = Buffer.from(envelope.payload, "base64");
  await writeFile(join(keys, "signed"), Buffer.concat([Buffer.from(`DSSEv1 ${type.length} ${type} ${manifest.length} `), manifest])); // prettier-ignore
  await writeFile(join(keys, "sig"), Buffer.from(envelope.signatures[0]?.sig ?? "", "base64"));
  openssl("pkeyutl", "-verify", "-pubin", "-inkey", join(keys, "key.pub"), "-rawin", "-in", join(keys, "signed"), "-sigfile", join(keys, "sig")); // prettier-ignore

  const spoilt: readonly (readonly [object | undefined, RegExp])[] = [
    [{ ...envelope, signatures: [{ ...envelope.signatures[0], sig: Buffer.alloc(64).toString("base64") }] }, /holds a signature that is not its key's/],
    [{ ...envelope, payload: Buffer.from("other").toString("base64") }, /has a signature of other bytes/],
    [{ ...envelope, payloadType: "text/plain" }, /no DSSE envelope/],
    [undefined, /is not signed/],
  ]; // prettier-ignore
  for (const [content, words] of spoilt) {
    if (content) await writeFile(path, JSON.stringify(content));
    else await rm(path);
    const { code, out } = await verify("key");
    assert.equal(code, 3);
    assert.match(out, words);
  }
});

test("flags and places that are wrong are told, and nothing is done", async (t) => {
  const store = await threeRevisions(t, "file");
  const before = await keysOf(store);
  const refused = await berth(store, [...all, "--yes"], "{}");
  assert.deepEqual(
    [refused.code, /holds no Namespace, no Lease, no ControllerRevision: make it with kubectl get/.test(refused.err)],
    [1, true],
  );
  assert.match((await berth(store, [...all, "--yes"], inUse())).out, /complete|given up/);
  const empty = await berth({ ...store, url: `${store.url}/none` }, ["verify"]);
  assert.deepEqual([empty.code, /there is no complete revision/.test(empty.err)], [1, true]);
  await assert.rejects(berth({ ...store, url: "ftp://x" }, ["list"]), /write s3:\/\/bucket\/prefix or file/);
  await assert.rejects(berth(store, ["gc", "--older-than", "soon"]), /Write a number with m, h or d/);
  await assert.rejects(berth(store, ["list", "--only", "../x"]), /Write models/);
  assert.ok((await keysOf(store)).length <= before.length);
});
