// One suite for both kinds of store, of two S3 servers that share no code: what an ObjectStore promises, whatever it stands on.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { after, before, test } from "node:test";
import type { TestContext } from "node:test";
import { crc32 } from "node:zlib";
import { openStore } from "../../../operator/adapters/store/open.ts";
import type { ObjectStore, ObjectUpload } from "../../../operator/ports.ts";
import { RetryError, TerminalError } from "../../../operator/runtime/errors.ts";
import { eventually } from "../../cluster/eventually.ts";
import { startMoto } from "../../cluster/moto.ts";
import { startS3 } from "../../cluster/s3.ts";
import type { S3Server } from "../../cluster/s3.ts";
import { kinds, newStore } from "../../transfer/bench.ts";

let s3: S3Server;
let moto: Awaited<ReturnType<typeof startMoto>>;
before(async () => {
  [s3, moto] = await Promise.all([startS3(), startMoto()]);
});
after(async () => {
  await s3.stop();
  if (!("missing" in moto)) await moto.stop();
});

/** `moto` is `s3` on the second server, which keeps every condition but checks neither signatures nor checksums, and states none of parts. */
const places = [...kinds, "moto"] as const;

/** Undefined where the second server cannot be had here, which is said. */
async function open(t: TestContext, kind: (typeof places)[number]): Promise<ObjectStore | undefined> {
  if (kind !== "moto") return newStore(t, s3, kind);
  if (!("missing" in moto)) return newStore(t, moto, "s3");
  t.skip(`${moto.missing}: not tried`);
  return undefined;
}

const encode = (text: string): Uint8Array => new TextEncoder().encode(text);
const partBytes = 5 << 20;
const planOf = (sizeBytes: number, content = "one") => ({ sizeBytes, partBytes, content });

async function textOf(store: ObjectStore, key: string): Promise<string | undefined> {
  const bytes = await store.get(key, 1 << 20);
  return bytes && new TextDecoder().decode(bytes);
}

async function listed(store: ObjectStore, prefix: string): Promise<Record<string, number>> {
  const found: Record<string, number> = {};
  for await (const { key, sizeBytes } of store.list(prefix)) found[key] = sizeBytes;
  return found;
}

/** Zeroes. */
const send = (upload: ObjectUpload, number: number, lengthBytes: number): Promise<void> =>
  upload.part(number, new Uint8Array(lengthBytes), crc32(new Uint8Array(lengthBytes)));

for (const kind of places) {
  test(`${kind}: what is put can be read, whole and in parts`, async (t) => {
    const store = await open(t, kind);
    if (!store) return;
    assert.equal(await store.head("a/b"), undefined);
    assert.equal(await store.get("a/b", 10), undefined);
    assert.equal(await store.put("a/b", encode("hello")), "written");
    assert.deepEqual(await store.head("a/b"), { key: "a/b", sizeBytes: 5 });
    assert.equal(await textOf(store, "a/b"), "hello");
    assert.deepEqual(Buffer.from(await store.read("a/b", 1, 3)).toString(), "ell");
    assert.deepEqual(Buffer.from(await store.read("a/b", 3, 100)).toString(), "lo");
    assert.equal((await store.read("a/b", 100, 10)).length, 0);
    await assert.rejects(store.get("a/b", 4), RetryError);
    assert.equal(await store.put("a/b", encode("again")), "written");
    assert.equal(await textOf(store, "a/b"), "again");
    assert.equal(await store.put("empty", new Uint8Array(0)), "written");
    assert.deepEqual(await store.head("empty"), { key: "empty", sizeBytes: 0 });
  });

  test(`${kind}: a part can be read as it comes, left early, and is refused where there is none`, async (t) => {
    const store = await open(t, kind);
    if (!store) return;
    const bytes = randomBytes(3 << 20);
    await store.put("deep/big", bytes);
    const read = async (offset: number, lengthBytes: number): Promise<Buffer> => {
      const chunks: Uint8Array[] = [];
      for await (const chunk of await store.stream("deep/big", offset, lengthBytes)) chunks.push(chunk);
      return Buffer.concat(chunks);
    };
    for (const [offset, length] of [
      [0, bytes.length],
      [0, 1],
      [1_234_567, 1_000_000],
      [bytes.length - 1, 1],
      [bytes.length - 5, 100],
    ] as const) {
      assert.ok((await read(offset, length)).equals(bytes.subarray(offset, offset + length)), `${String(offset)}`);
    }
    await assert.rejects(read(bytes.length, 1), RetryError);
    await assert.rejects(store.stream("deep/none", 0, 1), RetryError);
    const leaving = new AbortController();
    let seen = 0;
    const left = async (): Promise<void> => {
      for await (const chunk of await store.stream("deep/big", 0, bytes.length, leaving.signal)) {
        seen += chunk.length;
        leaving.abort();
      }
    };
    await assert.rejects(left());
    assert.ok(seen < bytes.length);
    for await (const chunk of await store.stream("deep/big", 0, bytes.length)) {
      assert.ok(chunk.length > 0);
      break;
    }
  });

  test(`${kind}: of many that put if absent, one is first and stays`, async (t) => {
    const store = await open(t, kind);
    if (!store) return;
    const racers = Array.from({ length: 8 }, (_, n) => `racer ${String(n)}`);
    const outcomes = await Promise.all(racers.map((text) => store.put("one", encode(text), { ifAbsent: true })));
    assert.equal(outcomes.filter((outcome) => outcome === "written").length, 1);
    assert.equal(await textOf(store, "one"), racers[outcomes.indexOf("written")]);
  });

  test(`${kind}: an upload in parts, in any order, appears only when committed`, async (t) => {
    const store = await open(t, kind);
    if (!store) return;
    const bytes = randomBytes(partBytes * 2 + 17);
    const upload = await store.upload("deep/er/file", planOf(bytes.length));
    const bytesOf = (n: number) => bytes.subarray(n * partBytes, (n + 1) * partBytes);
    const part = (n: number) => upload.part(n, bytesOf(n), crc32(bytesOf(n)));
    await Promise.all([part(2), part(0), part(1)]);
    assert.equal(await store.head("deep/er/file"), undefined);
    assert.deepEqual(await listed(store, ""), {});
    assert.equal(await upload.commit(crc32(bytes)), "written");
    assert.ok(Buffer.from((await store.get("deep/er/file", 1 << 30)) ?? []).equals(bytes));
  });

  test(`${kind}: an upload never replaces what was there first`, async (t) => {
    const store = await open(t, kind);
    if (!store) return;
    for (const size of [3, partBytes + 3]) {
      const key = `size-${String(size)}`;
      const upload = await store.upload(key, planOf(size));
      for (let n = 0; n * partBytes < size; n++) {
        await send(upload, n, Math.min(partBytes, size - n * partBytes));
      }
      await store.put(key, encode("first"));
      assert.equal(await upload.commit(crc32(new Uint8Array(size))), "exists");
      assert.equal(await textOf(store, key), "first");
    }
  });

  test(`${kind}: unfinished uploads are forgotten, and then cannot be finished`, async (t) => {
    const store = await open(t, kind);
    if (!store) return;
    const upload = await store.upload("x/one", planOf(partBytes + 1));
    await send(upload, 0, partBytes);
    const other = await store.upload("y/two", planOf(partBytes + 1));
    await store.abortUploads("x/");
    await assert.rejects(upload.commit(0), RetryError);
    assert.equal(await store.head("x/one"), undefined);
    await send(other, 0, partBytes);
    await send(other, 1, 1);
    assert.equal(await other.commit(crc32(new Uint8Array(partBytes + 1))), "written");
    const gone = await store.upload("z/three", planOf(3));
    await send(gone, 0, 3);
    await gone.abort();
    assert.deepEqual(Object.keys(await listed(store, "")), ["y/two"]);
  });

  test(`${kind}: an upload that was left goes on for the same content, and begins anew for another`, async (t) => {
    const store = await open(t, kind);
    if (!store) return;
    const bytes = randomBytes(partBytes * 3);
    const part = (n: number): Uint8Array => bytes.subarray(n * partBytes, (n + 1) * partBytes);
    const first = await store.upload("deep/file", planOf(bytes.length));
    const seal = "5ea1".repeat(16);
    await first.part(1, part(1), crc32(part(1)), seal);
    await first.touch();
    await first.part(0, part(0), crc32(part(0)));
    await first.leave();
    assert.deepEqual(await listed(store, ""), {});

    const again = await store.upload("deep/file", planOf(bytes.length));
    // A server that states no checksums of parts vouches for none of them: they are brought again.
    const vouched = kind === "moto" ? [] : [0, 1];
    assert.deepEqual(new Map([...again.found].sort()), new Map(vouched.map((n) => [n, crc32(part(n))])));
    assert.equal(again.readBack !== undefined, store.readsBack);
    assert.deepEqual(again.seals && [...again.seals], store.readsBack ? [[1, seal]] : undefined);
    const into = new Uint8Array(partBytes);
    await again.readBack?.(1, into);
    if (store.readsBack) assert.ok(Buffer.from(into).equals(part(1)));
    for (const n of [0, 1, 2]) if (!vouched.includes(n)) await again.part(n, part(n), crc32(part(n)));
    assert.equal(await again.commit(crc32(bytes)), "written");
    assert.ok(Buffer.from((await store.get("deep/file", 1 << 30)) ?? []).equals(bytes));

    const old = await store.upload("deep/other", planOf(bytes.length));
    await old.part(0, part(0), crc32(part(0)));
    await old.leave();
    const changed = await store.upload("deep/other", planOf(bytes.length, "two"));
    assert.equal(changed.found.size, 0);
    await changed.abort();
    await store.abortUploads("deep/");
    const none = await store.upload("deep/other", planOf(bytes.length));
    assert.equal(none.found.size, 0, "what was forgotten does not come back");
    await none.abort();
    await none.touch().catch(() => undefined);
    for await (const { key } of store.listUploads("")) assert.fail(`${key} came back`);
    assert.deepEqual(Object.keys(await listed(store, "")), ["deep/file"]);
  });

  test(`${kind}: of several that bring one object together, none spoils it`, async (t) => {
    const store = await open(t, kind);
    if (!store) return;
    const bytes = randomBytes(partBytes + 1000);
    const part = (n: number): Uint8Array => bytes.subarray(n * partBytes, (n + 1) * partBytes);
    const bring = async (): Promise<string> => {
      for (;;) {
        try {
          const upload = await store.upload("one", planOf(bytes.length));
          for (const n of [0, 1]) if (!upload.found.has(n)) await upload.part(n, part(n), crc32(part(n)));
          return await upload.commit(crc32(bytes));
        } catch (error) {
          assert.ok(error instanceof RetryError, String(error));
          if (await store.head("one")) return "exists";
        }
      }
    };
    const outcomes = await Promise.all([bring(), bring(), bring()]);
    // Who completes the same upload again is told by S3 what the first one was told.
    assert.ok(outcomes.includes("written"), outcomes.join(" "));
    assert.ok(Buffer.from((await store.get("one", 1 << 30)) ?? []).equals(bytes));
  });

  test(`${kind}: a listing is of a folder, removal is final and may be repeated`, async (t) => {
    const store = await open(t, kind);
    if (!store) return;
    for (const key of ["m/1/a", "m/1/b/c", "m/10/a", "n"]) await store.put(key, encode(key));
    assert.deepEqual(await listed(store, "m/1/"), { "m/1/a": 5, "m/1/b/c": 7 });
    assert.deepEqual(await listed(store, "nothing/"), {});
    await store.remove("m/1/b/c");
    await store.remove("m/1/b/c");
    assert.deepEqual(Object.keys(await listed(store, "")).sort(), ["m/1/a", "m/10/a", "n"]);
  });

  test(`${kind}: names with spaces, percent signs and other scripts are kept`, async (t) => {
    const store = await open(t, kind);
    if (!store) return;
    const keys = ["a b/c%20d", "ü/模型.json", "plus+and&more", "q?x=#1"];
    for (const key of keys) await store.put(key, encode(key));
    assert.deepEqual(Object.keys(await listed(store, "")).sort(), [...keys].sort());
    for (const key of keys) assert.equal(await textOf(store, key), key);
  });
}

test("a signed address opens one object for a short while, and nothing else", async (t) => {
  const store = await newStore(t, s3, "s3");
  await store.put("m/a b/ü'()*~.json", encode("hello"));
  await store.put("m/other", encode("other"));
  const address = (await store.presign?.("m/a b/ü'()*~.json", 300)) ?? "";
  const get = (url: string, init?: RequestInit): Promise<Response> => fetch(url, init);
  assert.equal(await (await get(address)).text(), "hello");
  const part = await get(address, { headers: { range: "bytes=1-2" } });
  assert.deepEqual([part.status, await part.text()], [206, "el"]);
  const refused = [
    [address.replace(/m\/[^?]+/, "m/other"), {}],
    [address.replace("X-Amz-Expires=300", "X-Amz-Expires=3000"), {}],
    [address, { method: "PUT", body: "spoilt" }],
    [address, { method: "DELETE" }],
  ] as const;
  for (const [url, init] of refused) assert.equal((await get(url, init)).status, 403, JSON.stringify(init));
  const brief = (await store.presign?.("m/other", 1)) ?? "";
  await eventually(async () => (await get(brief)).status === 403, {
    what: "the brief address is over",
    deadlineMs: 10_000,
  });
  assert.equal(await textOf(store, "m/a b/ü'()*~.json"), "hello");
  assert.ok(!address.includes(s3.secretAccessKey));
  assert.equal((await newStore(t, s3, "file")).presign, undefined);
});

test("a key cannot leave the folder of a file store", async (t) => {
  const store = await newStore(t, s3, "file");
  for (const key of ["../x", "/etc/x", "a/../../x", "a\0b"])
    await assert.rejects(store.put(key, encode("x")), RetryError);
});

test("faults of the store are StoreError and carry no credentials", async (t) => {
  const { endpoint, region, accessKeyId } = s3;
  const credentials = { accessKeyId, secretAccessKey: "not-the-secret" };
  const places = [
    openStore({
      url: "s3://no-such-bucket-here",
      endpoint,
      region,
      credentials: { accessKeyId, secretAccessKey: s3.secretAccessKey },
    }),
    openStore({ url: "s3://store", endpoint, region, credentials }),
    openStore({ url: "file:///dev/null/nowhere", region }),
  ];
  for (const store of places) {
    t.after(() => store.close());
    await assert.rejects(store.put("x", encode("x")), (error: unknown) => {
      assert.ok(error instanceof RetryError && error.cause instanceof TerminalError);
      assert.equal(error.cause.reason, "StoreError");
      assert.ok(!error.message.includes(s3.secretAccessKey) && !error.message.includes("not-the-secret"));
      return true;
    });
  }
  assert.throws(() => openStore({ url: "ftp://x/y", region }), /write s3:\/\/bucket\/prefix or file:\/\/\/path/);
});
