// Signed addresses of objects, on the real S3 server: by the server's clock however wrong ours is, and asked for anew when they are over.
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import type { TestContext } from "node:test";
import { serve } from "../../operator/http/serve.ts";
import { createStoreApp } from "../../operator/http/store.ts";
import type { ObjectStore } from "../../operator/ports.ts";
import { newSender } from "../../operator/storesend.ts";
import { newStoreClient } from "../../operator/transfer/fetchclient.ts";
import { newRedirects } from "../../operator/transfer/fetchredirects.ts";
import { sha256Hex } from "../../operator/transfer/hash.ts";
import { eventually } from "../cluster/eventually.ts";
import { startS3 } from "../cluster/s3.ts";
import type { S3Server } from "../cluster/s3.ts";
import { newMemoryLog } from "../runtime/rig.ts";
import { newStore } from "./bench.ts";
import { newFolder } from "./storerig.ts";

let s3: S3Server;
before(async () => void (s3 = await startS3()));
after(() => s3.stop());

const weights = Buffer.from(Array.from({ length: 100_000 }, (_none, index) => (index * 31 + (index >> 9)) % 251));
const never = new AbortController().signal;

async function storeOfWeights(t: TestContext): Promise<ObjectStore> {
  const store = await newStore(t, s3, "s3");
  await store.put("weights", weights);
  return store;
}

function senderOf(t: TestContext, store: ObjectStore) {
  const { send, close } = newSender(store);
  t.after(close);
  return async (): Promise<Buffer> => {
    const pieces: Buffer[] = [];
    const write = (piece: Uint8Array): Promise<void> => (pieces.push(Buffer.from(piece)), Promise.resolve());
    await send({ key: "weights", offset: 7, lengthBytes: 1000 }, { begin: () => undefined, write }, never);
    return Buffer.concat(pieces);
  };
}

async function statusOf(address: string): Promise<number> {
  const answer = await fetch(address);
  await answer.arrayBuffer();
  return answer.status;
}

const signedAtMs = (address: string): number => {
  const text = new URL(address).searchParams.get("X-Amz-Date") ?? "";
  return Date.parse(text.replace(/^(....)(..)(..T..)(..)(..Z)$/, "$1-$2-$3:$4:$5"));
};

for (const minutes of [-40, 40]) {
  test(`a clock that is ${String(minutes)} minutes off signs addresses by the server's, good for no shorter and no longer`, async (t) => {
    const store = await storeOfWeights(t);
    const send = senderOf(t, store);
    const rightMs = Date.now();
    t.mock.timers.enable({ apis: ["Date"], now: rightMs + minutes * 60_000 });
    assert.equal(
      (await store.get("weights", weights.length))?.length,
      weights.length,
      "the SDK learns the server's time",
    );
    const address = await store.presign?.("weights", 300);
    assert.ok(address);
    assert.ok(Math.abs(signedAtMs(address) - rightMs) < 60_000, address);
    assert.equal(await statusOf(address), 200);
    assert.deepEqual(await send(), weights.subarray(7, 1007));
  });
}

test("a clock that is set back while the store role serves costs a question, not all further bytes", async (t) => {
  const store = await storeOfWeights(t);
  const send = senderOf(t, store);
  assert.deepEqual(await send(), weights.subarray(7, 1007));
  t.mock.timers.enable({ apis: ["Date"], now: Date.now() - 40 * 60_000 });
  assert.deepEqual(await send(), weights.subarray(7, 1007));
});

test("an address that is over in the middle of a fetch is asked for anew, and bytes go on coming from the bucket", async (t) => {
  const store = await storeOfWeights(t);
  const { presign } = store;
  assert.ok(presign);
  const log = newMemoryLog();
  const sha256 = sha256Hex(weights);
  const addresses: string[] = [];
  const app = createStoreApp({
    log,
    authorize: () => Promise.resolve({ grant: { folder: "", digest: "" }, podUID: "pod" }),
    revision: () =>
      Promise.resolve({
        manifest: new Uint8Array(),
        signature: () => Promise.resolve(undefined),
        sizeBytes: weights.length,
        file: () => ({ key: "weights", sizeBytes: weights.length }),
      }),
    send: () => Promise.reject(new Error("the role sends no byte itself here")),
    address: async (key) => {
      const address = await presign(key, 3);
      addresses.push(address);
      return address;
    },
    enter: () => Promise.resolve(() => undefined),
    onReport: () => undefined,
    onAnswer: () => undefined,
    onBytes: () => undefined,
    leaving: () => false,
  });
  const serving = await serve(app, 0, "127.0.0.1");
  t.after(() => serving.stop());
  const tokenFile = join(newFolder(t), "token");
  writeFileSync(tokenFile, "pod");
  const url = `http://127.0.0.1:${String(serving.port)}`;
  // To this clock no address ever comes to half of its life.
  const redirects = newRedirects({ origin: s3.endpoint, log, nowMs: () => 0 });
  const client = newStoreClient({ url, tokenFile, maxSockets: 2, redirects, silenceMs: 5_000 });
  t.after(() => client.close());
  const came = new Uint8Array(weights.length);
  const half = came.length / 2;
  const direct: boolean[] = [];
  const part = (offset: number): Promise<void> =>
    client.part({ sha256, offset, into: came.subarray(offset, offset + half) }, (_n, is) => direct.push(is), never);
  await part(0);
  const [first] = addresses;
  assert.ok(first);
  await eventually(async () => (await statusOf(first)) === 403, { what: "the address is over" });
  await part(half);
  assert.ok(Buffer.from(came).equals(weights));
  assert.deepEqual([addresses.length, direct.every(Boolean), redirects.wanted], [2, true, true]);
});
