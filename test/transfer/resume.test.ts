// What a second attempt reads and writes again, for both kinds of store: never what the first one had brought.
import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { readdirSync } from "node:fs";
import { open } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import type { TestContext } from "node:test";
import { ListMultipartUploadsCommand, PutObjectCommand } from "@aws-sdk/client-s3";
import type { ImportResult } from "../../operator/plan/model/importing.ts";
import type { ObjectSource, ObjectStore } from "../../operator/ports.ts";
import { systemClock } from "../../operator/runtime/clock.ts";
import { RetryError } from "../../operator/runtime/errors.ts";
import { MOST_UNWRITTEN } from "../../operator/transfer/batches.ts";
import { importModel } from "../../operator/transfer/import.ts";
import { newPartPlaces } from "../../operator/transfer/places.ts";
import { emptyModel } from "../../operator/transfer/revisions.ts";
import { startS3 } from "../cluster/s3.ts";
import type { S3Server } from "../cluster/s3.ts";
import { safetensors, tinyModel, uploadFiles } from "../models/tiny.ts";
import { filesBelow } from "../models/upload.ts";
import { RECORD, hooked, jobFor, kinds, newObserver, newSource, newStore, withoutHash } from "./bench.ts";
import type { Seen, StoreKind } from "./bench.ts";

const PART = 5 << 20;
const PARTS = 6;
const weightBytes = PART * PARTS - 1_000;
const weights = safetensors({ w: { dtype: "U8", shape: [weightBytes], data_offsets: [0, weightBytes] } }, weightBytes);
randomBytes(weightBytes).copy(weights, weights.length - weightBytes);
const place = "models/ns-uid/model-uid/1/model.safetensors";
const sha256 = createHash("sha256").update(weights).digest("hex");

let s3: S3Server;
before(async () => {
  s3 = await startS3();
  await s3.createBucket("source");
  const client = s3.client();
  await uploadFiles(client, "source", "m/", tinyModel({ "model.safetensors": weights }));
  client.destroy();
});
after(() => s3.stop());

/** The source with the parts of the weights counted that are read from it. */
function counted(source: ObjectSource): { readonly source: ObjectSource; readonly parts: number[] } {
  const parts: number[] = [];
  const noting = hooked(source, (object, offset) => {
    if (object.key.endsWith(".safetensors")) parts.push(offset / PART);
  });
  return { source: noting, parts };
}

interface Try {
  readonly store: ObjectStore;
  readonly source: ObjectSource;
  readonly observer?: Seen;
  readonly signal?: AbortSignal;
  readonly prefix?: string;
}

function attempt({ prefix = "m", ...rest }: Try): Promise<ImportResult> {
  const places = newPartPlaces({ clock: systemClock, bufferBytes: 2 * PART, partBytes: PART });
  return importModel(jobFor({ ...rest, prefix, places }));
}

/** Stops after so many bytes of weights are in the store; resolves when the attempt has ended. */
async function stopAfter(bytes: number, job: Try): Promise<void> {
  const stop = new AbortController();
  const observer: Seen = newObserver({ bytes: () => observer.copiedBytes >= bytes && stop.abort() });
  await assert.rejects(attempt({ ...job, observer, signal: stop.signal }), { name: "AbortError" });
}

/** What lies in the store beside revisions: uploads that were not finished, folders of files on their way. */
async function leftIn(store: ObjectStore): Promise<string[]> {
  if (store.url.startsWith("file://")) {
    const root = store.url.slice("file://".length);
    const files = filesBelow(root).filter((path) => path.startsWith("."));
    return [...files, ...readdirSync(join(root, ".incoming")).map((name) => `.incoming/${name}`)];
  }
  const [, bucket] = /^s3:\/\/([^/]+)/.exec(store.url) ?? [];
  const client = s3.client();
  const { Uploads = [] } = await client.send(new ListMultipartUploadsCommand({ Bucket: bucket }));
  client.destroy();
  return Uploads.map(({ Key }) => `upload of ${Key ?? ""}`);
}

async function assertWhole(store: ObjectStore, result: ImportResult): Promise<void> {
  assert.equal(result.kind, "imported");
  const stored = await store.get(place, 1 << 30);
  assert.equal(
    createHash("sha256")
      .update(stored ?? "")
      .digest("hex"),
    sha256,
  );
}

/** In `attempt`: an eighth of a part each. */
const NOTES_IN_FLIGHT = 16;

/** A model with many small files. */
async function newNotes(t: TestContext, kind: StoreKind, prefix: string) {
  const client = s3.client();
  t.after(() => client.destroy());
  const names = Array.from({ length: 150 }, (_, n) => `notes/${String(n)}.txt`);
  const notes = Object.fromEntries(names.map((name) => [name, Buffer.from(`of ${name}`)]));
  await uploadFiles(client, "source", `${prefix}/`, tinyModel(notes));
  const store = await newStore(t, s3, kind);
  const folder = "models/ns-uid/model-uid/1/";
  const keysOf = async (start: string): Promise<string[]> => {
    const keys: string[] = [];
    for await (const { key } of store.list(folder)) keys.push(withoutHash(key.slice(folder.length)));
    return keys.filter((key) => key.startsWith(start));
  };
  return {
    names,
    standing: () => keysOf("notes/"),
    kept: () => keysOf(".berth/"),
    /** Dies before its manifest at the latest. `taking` is called with records before they are written together. */
    async die(taking: (records: Uint8Array) => void): Promise<void> {
      const put: ObjectStore["put"] = async (key, bytes, ...rest) => {
        if (key.includes("/.berth/batches/")) taking(bytes);
        if (key.endsWith("MANIFEST.json")) throw new RetryError(new Error("killed"));
        return store.put(key, bytes, ...rest);
      };
      await assert.rejects(attempt({ store: { ...store, put }, source: newSource(t, s3, "source"), prefix }), /killed/);
    },
    /** Resolves with the notes that were read. */
    async finish(): Promise<string[]> {
      const source = newSource(t, s3, "source");
      const read: string[] = [];
      const fill: ObjectSource["fill"] = (object, ...rest) => {
        assert.ok(source.fill);
        if (object.key.includes("/notes/")) read.push(object.key.slice(prefix.length + 1));
        return source.fill(object, ...rest);
      };
      assert.equal((await attempt({ store, source: { ...source, fill }, prefix })).kind, "imported");
      return read;
    },
  };
}

/** How many parts of the weights the first attempt had surely brought. */
const BROUGHT = 3;

for (const kind of kinds) {
  test(`${kind}: parts that were brought are not brought again`, async (t) => {
    const store = await newStore(t, s3, kind);
    await stopAfter(BROUGHT * PART, { store, source: newSource(t, s3, "source") });
    const { source, parts } = counted(newSource(t, s3, "source"));
    let sent = 0;
    const counting: ObjectStore = {
      ...store,
      upload: async (key, plan) => {
        const upload = await store.upload(key, plan);
        return { ...upload, part: (...part) => (sent++, upload.part(...part)) };
      },
    };
    await assertWhole(store, await attempt({ store: counting, source }));
    assert.ok(sent <= PARTS - BROUGHT, `${String(sent)} parts were sent`);
    // A bucket shows nothing of an unfinished upload: its SHA-256 needs the bytes once more, from the source.
    assert.ok(parts.length <= (store.readsBack ? PARTS - BROUGHT : PARTS), parts.join(" "));
  });

  test(`${kind}: a file whose name was given, but whose importer died before it could say so, is read from the store alone`, async (t) => {
    const store = await newStore(t, s3, kind);
    const dying: ObjectStore = {
      ...store,
      upload: async (key, plan) => {
        const upload = await store.upload(key, plan);
        const commit = async (crc: number): Promise<never> => {
          await upload.commit(crc);
          throw new RetryError(new Error("killed"));
        };
        return { ...upload, commit };
      },
    };
    await assert.rejects(attempt({ store: dying, source: newSource(t, s3, "source") }), /killed/);
    const { source, parts } = counted(newSource(t, s3, "source"));
    await assertWhole(store, await attempt({ store, source }));
    assert.deepEqual(parts, []);
  });

  test(`${kind}: small files that stand are not read again, but for those that nobody could take down`, async (t) => {
    const notes = await newNotes(t, kind, `small-${kind}`);
    // Killed: once one batch of notes is there, nothing that is noted reaches the store any more.
    let isDead = false;
    await notes.die((records) => {
      if (isDead) throw new Error("killed");
      isDead = Buffer.from(records).includes("notes/");
    });
    const there = await notes.standing();
    const read = await notes.finish();
    const again = read.filter((name) => there.includes(name));
    assert.ok(again.length < there.length, "one batch had been taken down");
    assert.ok(again.length <= MOST_UNWRITTEN + NOTES_IN_FLIGHT, `${String(again.length)} were read again`);
    assert.deepEqual((await notes.standing()).sort(), [...notes.names].sort());
    assert.deepEqual(await notes.kept(), [RECORD]);
  });

  test(`${kind}: records of small files that the store refuses some times are taken down all the same`, async (t) => {
    const notes = await newNotes(t, kind, `refused-${kind}`);
    let tries = 0;
    await notes.die(() => {
      if (++tries <= 3) throw new RetryError(new Error("slow down"));
    });
    assert.deepEqual(await notes.finish(), []);
  });

  test(`${kind}: a small file of another state of the source stays where it is, and this one goes beside it`, async (t) => {
    const store = await newStore(t, s3, kind);
    const folder = "models/ns-uid/model-uid/1/";
    for (const other of ["other words", "x".repeat(700)]) {
      await store.put(`${folder}tokenizer_config.json`, Buffer.from(other));
      const result = await attempt({ store, source: newSource(t, s3, "source") });
      assert.equal(result.kind, "imported");
      const manifest = JSON.parse(Buffer.from((await store.get(`${folder}MANIFEST.json`, 1 << 20)) ?? []).toString());
      const { key, sha256: wanted } = manifest.files.find(
        (file: { path: string }) => file.path === "tokenizer_config.json",
      );
      assert.match(key, /^1\/\.berth\/objects\/[0-9a-f]{16}\/tokenizer_config\.json$/);
      const stored = await store.get(`models/ns-uid/model-uid/${String(key)}`, 1 << 20);
      assert.equal(createHash("sha256").update(stored ?? "").digest("hex"), wanted); // prettier-ignore
      await emptyModel(store, { namespaceUID: "ns-uid", modelUID: "model-uid" });
    }
  });

  test(`${kind}: parts of a source that has changed since are not mixed with others`, async (t) => {
    const client = s3.client();
    t.after(() => client.destroy());
    const prefix = `changing-${kind}`;
    await uploadFiles(client, "source", `${prefix}/`, tinyModel({ "model.safetensors": weights }));
    const store = await newStore(t, s3, kind);
    await stopAfter(BROUGHT * PART, { store, source: newSource(t, s3, "source"), prefix });
    const other = Uint8Array.from(weights, (byte, at) => (at > 1000 ? byte ^ 255 : byte));
    await client.send(new PutObjectCommand({ Bucket: "source", Key: `${prefix}/model.safetensors`, Body: other }));
    const { source, parts } = counted(newSource(t, s3, "source"));
    const result = await attempt({ store, source, prefix });
    assert.equal(result.kind, "imported");
    assert.equal(parts.length, PARTS);
    assert.ok(Buffer.from((await store.get(place, 1 << 30)) ?? []).equals(other));
    assert.deepEqual(await leftIn(store), []);
  });

  test(`${kind}: two importers at once leave one whole file`, async (t) => {
    const store = await newStore(t, s3, kind);
    const run = async (): Promise<ImportResult> => {
      for (let tries = 0; ; tries++) {
        try {
          return await attempt({ store, source: newSource(t, s3, "source") });
        } catch (error) {
          if (!(error instanceof RetryError) || tries > 8) throw error;
        }
      }
    };
    const [one, other] = await Promise.all([run(), run()]);
    await assertWhole(store, one);
    await assertWhole(store, other);
    assert.deepEqual(await leftIn(store), []);
  });
}

test("a part that was spoilt on the disk after it was written is read from the source again", async (t) => {
  const store = await newStore(t, s3, "file");
  await stopAfter(BROUGHT * PART, { store, source: newSource(t, s3, "source") });
  const root = store.url.slice("file://".length);
  const data = filesBelow(root).find((path) => path.endsWith("/data")) ?? "";
  const file = await open(join(root, data), "r+");
  await file.write(Buffer.from("spoilt"), 0, 6, PART + 7);
  await file.close();
  const { source, parts } = counted(newSource(t, s3, "source"));
  await assertWhole(store, await attempt({ store, source }));
  assert.ok(parts.includes(1), parts.join(" "));
});
