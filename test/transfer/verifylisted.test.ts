// `berth models verify` with a cluster's word: a signature says whose manifest it is, only a Model's status says which.
import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import type { TestContext } from "node:test";
import { signerOf } from "../../operator/adapters/ledger/signing.ts";
import { modelsCommand } from "../../operator/cli/models.ts";
import type { ObjectStore } from "../../operator/ports.ts";
import { importModel } from "../../operator/transfer/import.ts";
import { startS3 } from "../cluster/s3.ts";
import type { S3Server } from "../cluster/s3.ts";
import { tinyModel, uploadFiles } from "../models/tiny.ts";
import { jobFor, kinds, newSource, newStore } from "./bench.ts";

let s3: S3Server;
before(async () => {
  s3 = await startS3();
  await s3.createBucket("source");
  const client = s3.client();
  for (const name of ["chat", "other"])
    await uploadFiles(client, "source", `${name}/`, tinyModel({ LICENSE: `the licence of ${name}` }));
  client.destroy();
});
after(() => s3.stop());

const pem = { type: "pkcs8", format: "pem" } as const;

function newKey(t: TestContext) {
  const { privateKey, publicKey } = generateKeyPairSync("ed25519");
  const folder = mkdtempSync(join(tmpdir(), "berth-keys-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const path = join(folder, "key.pub");
  writeFileSync(path, publicKey.export({ type: "spki", format: "pem" }));
  return { signer: signerOf(String(privateKey.export(pem)), "key.pem"), path };
}

async function verify(store: ObjectStore, flags: readonly string[], stdin = "") {
  let [code, said] = [-1, ""];
  const write = (text: string): void => void (said += text);
  const env = { AWS_ACCESS_KEY_ID: s3.accessKeyId, AWS_SECRET_ACCESS_KEY: s3.secretAccessKey };
  const io = { env, write, complain: write, read: () => Promise.resolve(stdin) };
  const place = ["--store", store.url, ...(store.url.startsWith("s3:") ? ["--endpoint", s3.endpoint] : [])];
  await modelsCommand(io, (ended) => (code = ended)).parseAsync(["verify", ...flags, ...place], { from: "user" });
  return { code, said };
}

/** What kubectl lists of a cluster with these models, each with the digest of its first revision. */
function listOf(digests: Readonly<Record<string, string>>): string {
  const meta = (name: string, uid: string, namespace = "team") => ({ name, uid, namespace });
  const models = Object.entries(digests).map(([name, digest]) => ({
    apiVersion: "berth.dev/v1alpha1",
    kind: "Model",
    metadata: meta(name, `${name}-uid`),
    status: { revisions: [{ number: 1, digest }] },
  }));
  const items = [
    { apiVersion: "v1", kind: "Namespace", metadata: { name: "team", uid: "ns-uid" } },
    { apiVersion: "coordination.k8s.io/v1", kind: "Lease", metadata: meta("leader", "l") },
    { apiVersion: "apps/v1", kind: "ControllerRevision", metadata: meta("plugin", "r") },
    ...models,
  ];
  return JSON.stringify({ kind: "List", items });
}

async function keysBelow(store: ObjectStore, folder: string): Promise<string[]> {
  const keys: string[] = [];
  for await (const { key } of store.list(folder)) keys.push(key);
  return keys;
}

for (const kind of kinds) {
  test(`${kind}: another model's revision in a model's place is good by its signature, and found by the cluster's word`, async (t) => {
    const store = await newStore(t, s3, kind);
    const { signer, path } = newKey(t);
    const digests: Record<string, string> = {};
    for (const name of ["chat", "other"]) {
      const owner = { namespaceUID: "ns-uid", modelUID: `${name}-uid` };
      const done = await importModel(
        jobFor({ source: newSource(t, s3, "source"), store, owner, prefix: name, signer }),
      );
      assert.ok(done.kind === "imported");
      digests[name] = done.revisions[0]?.digest ?? assert.fail();
    }
    const asked = ["--trust", path, "--in-use", "-"];
    assert.deepEqual([(await verify(store, asked, listOf(digests))).code], [0]);
    for (const key of await keysBelow(store, "models/ns-uid/chat-uid/")) await store.remove(key);
    for (const key of await keysBelow(store, "models/ns-uid/other-uid/"))
      await store.put(key.replace("other-uid", "chat-uid"), (await store.get(key, 1 << 20)) ?? assert.fail());

    assert.equal((await verify(store, ["--trust", path])).code, 0);
    const { code, said } = await verify(store, asked, listOf(digests));
    assert.equal(code, 3, said);
    const chat = `${digests["other"] ?? ""}, but the Model's status lists ${digests["chat"] ?? ""}`;
    assert.ok(said.startsWith(`models/ns-uid/chat-uid/1/MANIFEST.json is of ${chat}\n`), said);
    assert.equal(said.match(/but the Model's status lists/g)?.length, 1);
    assert.equal((await verify(store, asked, listOf({ other: digests["other"] ?? "" }))).code, 0, "nobody lists it");
    const refused = await verify(store, asked, "{}");
    assert.deepEqual([refused.code, /holds no Namespace/.test(refused.said)], [1, true]);
  });
}
