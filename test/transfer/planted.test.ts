// What somebody who may write to the store, but has no signing key, leaves there for an import that signs: it counts as not there. And what
// the importer itself has left counts for as long as it has that key.
import assert from "node:assert/strict";
import { appendFile, open, readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { crc32 } from "node:zlib";
import { PutObjectCommand } from "@aws-sdk/client-s3";
import { partLine, partsOf } from "../../operator/adapters/store/journal.ts";
import { recordKey, recordText, secondPlace } from "../../operator/plan/model/manifest.ts";
import type { ObjectStore } from "../../operator/ports.ts";
import { newHashThreads } from "../../operator/transfer/hashthreads.ts";
import { commitRevision, findRevisions } from "../../operator/transfer/revisions.ts";
import { newSeals } from "../../operator/transfer/seals.ts";
import { uploadFiles } from "../models/tiny.ts";
import { filesBelow } from "../models/upload.ts";
import { kinds, newSource, newStore } from "./bench.ts";
import type { StoreKind } from "./bench.ts";
import {
  PART,
  weights,
  files,
  bytesOf,
  sha256,
  owner,
  folder,
  server,
  newKeys,
  ours,
  attempt,
  complete,
  counted,
  assertOurs,
  etagOf,
  tampered,
  recordOf,
  dieAtTheEnd,
  dieInTheMiddle,
} from "./plantrig.ts";

async function plantRecords(store: ObjectStore): Promise<void> {
  for (const path of ["model.safetensors", "notes.txt", "small.txt"]) {
    const evil = tampered(bytesOf(path));
    await store.put(folder + path, evil);
    const text = Buffer.from(recordText(await recordOf(path, evil)));
    if (path === "small.txt")
      await store.put(`${folder}.berth/batches/planted`, Buffer.concat([text, Buffer.from("\n")]));
    else await store.put(folder + recordKey(path), text);
  }
}

/** An upload of other bytes, with whatever checksums and seals can be counted without a key. */
async function plantUpload(store: ObjectStore): Promise<void> {
  const evil = tampered(weights);
  const plan = {
    sizeBytes: evil.length,
    partBytes: PART,
    content: `${await etagOf("model.safetensors")} m/model.safetensors`,
  };
  const upload = await store.upload(`${folder}model.safetensors`, plan);
  const hashes = newHashThreads(1);
  for (let number = 0; number * PART < evil.length; number++) {
    const part = evil.subarray(number * PART, (number + 1) * PART);
    const shared = new Uint8Array(new SharedArrayBuffer(part.length));
    shared.set(part);
    await upload.part(number, shared, store.readsBack ? await hashes.gmac32(shared) : crc32(part));
  }
  await hashes.close();
  await upload.leave();
}

async function plantRevision(store: ObjectStore): Promise<void> {
  const [first] = (await findRevisions(store, owner)).found;
  assert.ok(first?.record);
  const evil = tampered(weights);
  await store.put("models/ns-uid/model-uid/2/model.safetensors", evil);
  const named = first.manifest.files.map((file) =>
    file.path === "model.safetensors"
      ? { ...file, sha256: sha256(evil), key: `2/${file.path}` }
      : { ...file, key: file.key ?? `1/${file.path}` },
  );
  const { digest: _digest, ...record } = first.record;
  await commitRevision(store, "models/ns-uid/model-uid/2/", named, record);
}

async function changeLicence(prefix: string, text: string): Promise<void> {
  const client = server().client();
  await client.send(new PutObjectCommand({ Bucket: "source", Key: `${prefix}/LICENSE`, Body: text }));
  client.destroy();
}

async function ownPrefix(kind: StoreKind): Promise<string> {
  const prefix = `${kind}-${String(Math.random()).slice(2)}`;
  const client = server().client();
  await uploadFiles(client, "source", `${prefix}/`, files);
  client.destroy();
  return prefix;
}

for (const kind of kinds) {
  test(`${kind}: records of somebody else are not signed: their files are read from the source`, async (t) => {
    const store = await newStore(t, server(), kind);
    await plantRecords(store);
    const { source, read } = counted(t);
    assert.equal((await complete({ store, source, keys: ours })).kind, "imported");
    for (const path of ["model.safetensors", "notes.txt", "small.txt"])
      assert.equal(read.get(path), bytesOf(path).length);
    await assertOurs(store, ours.trust);
  });

  test(`${kind}: nor are those at places that only this key can name`, async (t) => {
    const store = await newStore(t, server(), kind);
    await plantRecords(store);
    for (const path of ["model.safetensors", "notes.txt"]) {
      const record = await recordOf(path, tampered(bytesOf(path)));
      const state = newSeals(ours.signer, folder).nameOf([record.etag, record.sizeBytes]).slice(0, 16);
      const at = secondPlace(path, state);
      await store.put(folder + recordKey(at), Buffer.from(recordText({ ...record, key: `1/${at}` })));
    }
    const { source, read } = counted(t);
    await dieAtTheEnd({ store, source, keys: ours });
    assert.equal(read.get("model.safetensors"), weights.length);
    read.clear();
    assert.equal((await complete({ store, source, keys: ours })).kind, "imported");
    // The seals that took their place are good; what is small and not in its first place is always read.
    assert.deepEqual([...read.keys()], ["small.txt"]);
    await assertOurs(store, ours.trust);
  });

  test(`${kind}: records larger than any do not stop an import that signs`, async (t) => {
    const store = await newStore(t, server(), kind);
    await store.put(folder + recordKey("model.safetensors"), Buffer.alloc(1 << 20, "{"));
    await store.put(`${folder}.berth/batches/planted`, Buffer.alloc(5 << 20, "{"));
    assert.equal((await complete({ store, source: newSource(t, server(), "source"), keys: ours })).kind, "imported");
    await assertOurs(store, ours.trust);
  });

  test(`${kind}: parts of somebody else are not signed: they are read from the source`, async (t) => {
    const store = await newStore(t, server(), kind);
    await plantUpload(store);
    const { source, read } = counted(t);
    assert.equal((await complete({ store, source, keys: ours })).kind, "imported");
    assert.equal(read.get("model.safetensors"), weights.length);
    await assertOurs(store, ours.trust);
  });

  test(`${kind}: a revision that nobody signed gives nothing to the next one, a signed one does`, async (t) => {
    const store = await newStore(t, server(), kind);
    const prefix = await ownPrefix(kind);
    const { source, read } = counted(t);
    await complete({ store, source, keys: ours, prefix });
    await plantRevision(store);
    await changeLicence(prefix, "another state");
    read.clear();
    assert.equal((await complete({ store, source, keys: ours, prefix })).kind, "imported");
    await assertOurs(store, ours.trust, 3);
    assert.deepEqual([...read.keys()], ["LICENSE"]);
  });

  test(`${kind}: what the same key vouches for is not brought again`, async (t) => {
    const store = await newStore(t, server(), kind);
    await dieInTheMiddle({ store, source: newSource(t, server(), "source"), keys: ours });
    const second = counted(t);
    await dieAtTheEnd({ store, source: second.source, keys: ours });
    // A bucket shows nothing of an unfinished upload.
    if (store.readsBack) assert.ok((second.read.get("model.safetensors") ?? 0) <= weights.length - 2 * PART);
    const third = counted(t);
    assert.equal((await attempt({ store, source: third.source, keys: ours })).kind, "imported");
    assert.deepEqual([...third.read], []);
    await assertOurs(store, ours.trust);
  });

  for (const [what, before, now] of [
    ["another key", newKeys(), ours],
    ["no key", undefined, ours],
    ["a key, and now with none,", ours, undefined],
  ] as const) {
    for (const [where, die] of [
      ["in the middle", dieInTheMiddle],
      ["at its end", dieAtTheEnd],
    ] as const) {
      // prettier-ignore
      test(`${kind}: an import that was begun with ${what} and died ${where} is completed`, async (t) => {
        const store = await newStore(t, server(), kind);
        await die({ store, source: newSource(t, server(), "source"), keys: before });
        const { source, read } = counted(t);
        assert.equal((await complete({ store, source, keys: now })).kind, "imported");
        if (now) assert.equal(read.get("model.safetensors"), weights.length);
        else if (die === dieAtTheEnd) assert.deepEqual([...read], []);
        await assertOurs(store, now?.trust);
      });
    }
  }
}

test("file: our own seals do for no other bytes and no other part", async (t) => {
  const store = await newStore(t, server(), "file");
  await dieInTheMiddle({ store, source: newSource(t, server(), "source"), keys: ours });
  const root = store.url.slice("file://".length);
  const data = join(root, filesBelow(root).find((path) => path.endsWith("/data")) ?? "");
  const journal = join(dirname(data), "journal");
  const plan = JSON.parse((await readFile(journal, "utf8")).split("\n")[0]?.replace(/ [0-9a-f]+$/, "") ?? "");
  const parts = partsOf(await readFile(journal, "utf8"), plan);
  assert.ok(parts && parts.size >= 2);
  const file = await open(data, "r+");
  const others = new Uint8Array(new SharedArrayBuffer(PART)).fill(0x66);
  const hashes = newHashThreads(1);
  for (const [number, { seal }] of parts) {
    if (number === 0) continue;
    const evil = others.subarray(0, weights.length - number * PART);
    await file.write(evil, 0, evil.length, number * PART);
    await appendFile(journal, partLine(number, await hashes.gmac32(evil), seal));
  }
  // The first part's bytes and seal, given out for the third's.
  const { checksum = 0, seal } = parts.get(0) ?? {};
  await file.write(weights, 0, PART, 2 * PART);
  await appendFile(journal, partLine(2, checksum, seal));
  await Promise.all([file.close(), hashes.close()]);
  const { source, read } = counted(t);
  assert.equal((await attempt({ store, source, keys: ours })).kind, "imported");
  assert.equal(read.get("model.safetensors"), weights.length - (parts.has(0) ? PART : 0));
  await assertOurs(store, ours.trust);
});
