/** One set of promises for both ledgers: the directory and a real S3 server. */
import assert from "node:assert/strict";
import { mkdir, mkdtemp, readFile, readdir, rm, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { pathToFileURL } from "node:url";
import { gunzipSync } from "node:zlib";
import { GetObjectCommand, PutObjectCommand } from "@aws-sdk/client-s3";

import { withVerifyMode } from "../../../operator/adapters/ledger/careful.ts";
import type { PlainLedger } from "../../../operator/adapters/ledger/compression.ts";
import { newDirectoryLedger } from "../../../operator/adapters/ledger/directory.ts";
import { openLedger } from "../../../operator/adapters/ledger/open.ts";
import { probeLedger } from "../../../operator/adapters/ledger/probe.ts";
import type { Ledger } from "../../../operator/ports.ts";
import { RetryError, TerminalError } from "../../../operator/runtime/errors.ts";
import { startS3 } from "../../cluster/s3.ts";
import type { S3Server } from "../../cluster/s3.ts";

let s3: S3Server;
let directory = "";
before(async () => {
  s3 = await startS3();
  await s3.createBucket("ledger");
  directory = await mkdtemp(join(tmpdir(), "berth-ledger-"));
});
after(async () => {
  await s3.stop();
  await rm(directory, { recursive: true, force: true });
});

const bytes = (text: string) => Buffer.from(text);
const text = (body: Uint8Array | undefined) => (body === undefined ? undefined : Buffer.from(body).toString());

function s3Ledger(prefix: string, bucket = "ledger"): Ledger {
  const { endpoint, region, accessKeyId, secretAccessKey } = s3;
  return openLedger({
    url: `s3://${bucket}/${prefix}`,
    endpoint,
    region,
    credentials: { accessKeyId, secretAccessKey },
  });
}

const makers: readonly [string, (place: string) => Ledger][] = [
  ["s3", s3Ledger],
  ["directory", (place) => openLedger({ url: pathToFileURL(join(directory, place)).href })],
];

for (const [kind, open] of makers) {
  test(`${kind}: the first write stays, whatever comes after it`, async () => {
    const ledger = open("once");
    assert.equal(await ledger.get("v1/dt=2026-11-21/hr=10/segment-r0.ndjson.gz"), undefined);
    assert.equal(await ledger.putOnce("v1/dt=2026-11-21/hr=10/segment-r0.ndjson.gz", bytes("one")), "created");
    assert.equal(await ledger.putOnce("v1/dt=2026-11-21/hr=10/segment-r0.ndjson.gz", bytes("two")), "exists");
    assert.equal(text(await ledger.get("v1/dt=2026-11-21/hr=10/segment-r0.ndjson.gz")), "one");
  });

  test(`${kind}: of many writers at once exactly one wins, and everybody reads its bytes`, async () => {
    const ledger = open("race");
    const outcomes = await Promise.all(
      Array.from({ length: 16 }, (_, i) => ledger.putOnce("v1/one", bytes(`${i}`.repeat(1000)))),
    );
    const winner = outcomes.indexOf("created");
    assert.deepEqual(outcomes.filter((outcome) => outcome === "created").length, 1);
    assert.equal(text(await ledger.get("v1/one")), `${winner}`.repeat(1000));
  });

  test(`${kind}: lists in the order of bytes, after a key, below a prefix`, async () => {
    const ledger = open("list");
    const keys = [
      "v1/dt=2026-11-21/hr=10/manifest.json",
      "v1/dt=2026-11-21/hr=100010/manifest.json",
      "v1/dt=2026-11-21/hr=11/manifest.json",
    ];
    for (const key of keys.toReversed()) await ledger.putOnce(key, bytes(key));
    await ledger.putOnce("closing/d/p.json", bytes("{}"));
    assert.deepEqual(await ledger.list("v1/"), keys);
    assert.deepEqual(await ledger.list("v1/", { startAfter: "v1/dt=2026-11-21/hr=10/manifest.json" }), keys.slice(1));
    assert.deepEqual(await ledger.list("v1/", { startAfter: "v1/dt=2026-11-21/hr=10~" }), keys.slice(2));
    assert.deepEqual(await ledger.list("closing/"), ["closing/d/p.json"]);
    assert.deepEqual(await ledger.list("nothing/"), []);
  });

  test(`${kind}: removing twice is fine, and the name is free again`, async () => {
    const ledger = open("remove");
    await ledger.putOnce("closing/d/p.json", bytes("1"));
    await ledger.remove("closing/d/p.json");
    await ledger.remove("closing/d/p.json");
    assert.equal(await ledger.get("closing/d/p.json"), undefined);
    assert.equal(await ledger.putOnce("closing/d/p.json", bytes("2")), "created");
  });

  test(`${kind}: honours the condition, and the probe leaves nothing behind`, async () => {
    const ledger = open("probe");
    await ledger.probe();
    assert.deepEqual(await ledger.list("probe/"), []);
  });

  test(`${kind}: a key cannot climb out`, async () => {
    const ledger = open("keys");
    for (const key of ["../x", "a/../b", "/a", "a//b", "a/.hidden", ""]) {
      await assert.rejects(() => ledger.putOnce(key, bytes("x")), { reason: "LedgerKeyInvalid" });
    }
  });
}

test("the probe refuses a store that overwrites", async () => {
  const ledger = s3Ledger("overwriting");
  // The same server, asked as a store would behave that takes the condition and ignores it.
  const careless = {
    ...ledger,
    putOnce: async (key: string, body: Uint8Array) => {
      await ledger.remove(key);
      return ledger.putOnce(key, body);
    },
  };
  await assert.rejects(() => probeLedger(careless), { reason: "LedgerOverwrites" });
});

test("until the probe has told what store it is, what is there is looked for first", async () => {
  const ledger = s3Ledger("unproven");
  const careless: PlainLedger = {
    ...ledger,
    putOnce: async (key, body) => {
      await ledger.remove(key);
      return ledger.putOnce(key, body);
    },
    probe: async () => undefined,
  };
  const careful = withVerifyMode(careless);
  assert.equal(await careful.putOnce("closing/d/p.json", bytes("full")), "created");
  assert.equal(await careful.putOnce("closing/d/p.json", bytes("less")), "exists");
  assert.equal(text(await ledger.get("closing/d/p.json")), "full");
});

test("directory: who finds an object there has its folders flushed too: its writer may have died before it did", async () => {
  const place = join(directory, "flushed");
  const flushed: string[] = [];
  const ledger = newDirectoryLedger(place, async (folder) => void flushed.push(folder));
  const folders = ["v1/dt=2026-11-21/hr=10", "v1/dt=2026-11-21", "v1", ""].map((folder) => join(place, folder));
  assert.equal(await ledger.putOnce("v1/dt=2026-11-21/hr=10/manifest.json", bytes("{}")), "created");
  assert.deepEqual(flushed, [...folders, directory]);
  flushed.length = 0;
  assert.equal(await ledger.putOnce("v1/dt=2026-11-21/hr=10/manifest.json", bytes("{}")), "exists");
  assert.deepEqual(flushed, folders);
});

test("directory: a URL that ends in a slash is the same place", async () => {
  const ledger = openLedger({ url: `${pathToFileURL(join(directory, "slash")).href}/` });
  await ledger.probe();
  assert.equal(await ledger.putOnce("v1/a", bytes("1")), "created");
  assert.deepEqual(await ledger.list("v1/"), ["v1/a"]);
});

test("s3: a segment is stored as gzip and read as it was written; what is no gzip is named", async () => {
  const ledger = s3Ledger("packed");
  await ledger.putOnce("v1/a.ndjson.gz", bytes("line\n"));
  const client = s3.client();
  const place = { Bucket: "ledger", Key: "packed/v1/a.ndjson.gz" };
  const stored = await (await client.send(new GetObjectCommand(place))).Body?.transformToByteArray();
  assert.equal(gunzipSync(stored ?? bytes("")).toString(), "line\n");
  assert.equal(text(await ledger.get("v1/a.ndjson.gz")), "line\n");
  await client.send(new PutObjectCommand({ ...place, Body: "damaged" }));
  client.destroy();
  await assert.rejects(() => ledger.get("v1/a.ndjson.gz"), { reason: "LedgerObjectDamaged" });
});

test("a segment that may come whole comes as one piece, and by pieces where it is longer or lies about its length", async () => {
  const place = join(directory, "whole");
  const ledger = openLedger({ url: pathToFileURL(place).href });
  const key = "v1/a.ndjson.gz";
  const content = Buffer.from("0123456789abcde\n".repeat(50_000));
  await ledger.putOnce(key, content);
  const pieces = async (wholeUpToBytes: number): Promise<Buffer[]> => {
    const found: Buffer[] = [];
    for await (const piece of (await ledger.read(key, { wholeUpToBytes })) ?? []) found.push(Buffer.from(piece));
    return found;
  };
  const path = join(place, key);
  const packed = await readFile(path);
  const [whole] = await pieces(content.length);
  assert.ok(whole?.equals(content));
  const many = await pieces(content.length - 1);
  assert.ok(many.length > 1 && Buffer.concat(many).equals(content));
  const lying = Buffer.from(packed);
  lying.writeUInt32LE(10, lying.length - 4);
  for (const damaged of [lying, packed.subarray(0, -9), packed.subarray(0, 3), Buffer.from("no gzip")]) {
    await writeFile(path, damaged);
    await assert.rejects(pieces(1 << 20), { reason: "LedgerObjectDamaged" });
  }
  assert.equal(await ledger.read("v1/b.ndjson.gz", { wholeUpToBytes: 1 }), undefined);
});

test("directory: what a crash left half written is never seen", async () => {
  const ledger = openLedger({ url: pathToFileURL(join(directory, "crash")).href });
  await ledger.putOnce("v1/a", bytes("a"));
  await writeFile(join(directory, "crash", "v1", ".writing-1234"), "half");
  assert.deepEqual(await ledger.list("v1/"), ["v1/a"]);
  assert.deepEqual((await readdir(join(directory, "crash", "v1"))).length, 2);
});

test("s3: wrong bucket, wrong credentials and a server that is away say which it is", async () => {
  await assert.rejects(
    () => s3Ledger("x", "no-such-bucket").putOnce("a", bytes("x")),
    (error: unknown) => {
      assert.ok(error instanceof TerminalError);
      assert.equal(error.reason, "LedgerBucketMissing");
      assert.match(error.message, /no-such-bucket does not exist: create it/);
      return true;
    },
  );
  const { endpoint, region, accessKeyId } = s3;
  const stranger = openLedger({
    url: "s3://ledger",
    endpoint,
    region,
    credentials: { accessKeyId, secretAccessKey: "wrong" },
  });
  await assert.rejects(() => stranger.get("a"), { reason: "LedgerAccessDenied" });
  const away = openLedger({
    url: "s3://ledger",
    endpoint: "http://127.0.0.1:1",
    credentials: { accessKeyId, secretAccessKey: "x" },
  });
  await assert.rejects(() => away.get("a"), RetryError);
});

test("a ledger URL of another form is refused with the form that is wanted", () => {
  for (const url of ["ledger", "gs://bucket/x", "file://host/path", "s3:///x"]) {
    assert.throws(() => openLedger({ url }), /write s3:\/\/bucket\/prefix or file:\/\/\/path/);
  }
  assert.throws(() => openLedger({ url: "s3://bucket" }), /BERTH_LEDGER_ACCESS_KEY_ID/);
});

test("directory: what a killed writer left an hour ago is removed, what may still be written is not", async () => {
  const folder = join(directory, "abandoned", "v1");
  await mkdir(folder, { recursive: true });
  for (const name of [".writing-old", ".writing-new"]) await writeFile(join(folder, name), "half");
  const anHourAgo = Date.now() / 1000 - 3601;
  await utimes(join(folder, ".writing-old"), anHourAgo, anHourAgo);
  await openLedger({ url: pathToFileURL(join(directory, "abandoned")).href }).probe();
  assert.deepEqual(await readdir(folder), [".writing-new"]);
});
