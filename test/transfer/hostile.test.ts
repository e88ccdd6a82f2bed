// `berth fetch` against servers and folders that mean no good: nothing is written outside the folder, each refusal is one
// clear line for the kubelet. The servers here are hostile ones on purpose; the real store is in fetch.test.ts.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { describe, test } from "node:test";
import type { TestContext } from "node:test";
import { digestText, manifestText } from "../../operator/plan/model/manifest.ts";
import type { StoredFile } from "../../operator/plan/model/manifest.ts";
import { filesBelow } from "../models/upload.ts";
import { newFolder, startFetch } from "./storerig.ts";

const sha256 = (bytes: Uint8Array | string): string => createHash("sha256").update(bytes).digest("hex");
const content = Buffer.from("some bytes of a model");
const fileAt = (path: string, bytes: Uint8Array = content): StoredFile => ({
  path,
  sizeBytes: bytes.length,
  sha256: sha256(bytes),
});

/** A manifest whose digest is right, whatever its files are. */
function manifestOf(files: readonly StoredFile[]): string {
  return manifestText({ digest: `sha256:${sha256(digestText(files))}`, files });
}

type Answer = (request: IncomingMessage, response: ServerResponse) => void;

async function serve(t: TestContext, answer: Answer): Promise<string> {
  const server = createServer(answer);
  await new Promise<void>((resolve) => void server.listen(0, "127.0.0.1", resolve));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${String((server.address() as AddressInfo).port)}`;
}

/** Answers like the store, with this manifest, and these bytes for every file. */
function likeTheStore(manifest: string, bytes: Uint8Array = content): Answer {
  return (request, response) => {
    if (request.url === "/v1/manifest") return void response.end(manifest);
    const [, first = "0", last = "0"] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? "") ?? [];
    response.writeHead(206, { "content-range": `bytes ${first}-${last}/${String(bytes.length)}` });
    response.end(bytes.subarray(Number(first), Number(last) + 1));
  };
}

interface Ended {
  readonly folder: string;
  readonly code: number | null;
  readonly message: string;
}

async function run(t: TestContext, answer: Answer, folder = newFolder(t)): Promise<Ended> {
  const url = await serve(t, answer);
  const { code, message } = await startFetch(folder, { url, token: "token", args: ["--patience-seconds", "1"] }).done;
  return { folder, code, message };
}

const hostilePaths = ["../outside", "/tmp/outside", "a/../../outside", ".berth-fetch/x", "a\0b", "a\\..\\b", "a/./b"];
for (const path of hostilePaths) {
  test(`a manifest that names ${JSON.stringify(path)} writes nothing anywhere`, async (t) => {
    const { folder, code, message } = await run(t, likeTheStore(manifestOf([fileAt("config.json"), fileAt(path)])));
    assert.equal(code, 4);
    assert.match(message, /^ManifestDamaged: the manifest from the store cannot be used: its path .* is none/);
    assert.deepEqual(readdirSync(folder).sort(), ["model", "termination-log", "token"]);
    assert.deepEqual(readdirSync(join(folder, "model")), []);
    assert.ok(!existsSync("/tmp/outside"));
  });
}

test("a manifest with another digest than its files, or none at all, is refused", async (t) => {
  const good = manifestOf([fileAt("config.json")]);
  for (const manifest of [
    good.replace(/sha256:../, "sha256:zz"),
    "{}",
    "<html>",
    '{"format":"berth.dev/manifest/v1"}',
  ]) {
    const { code, message } = await run(t, likeTheStore(manifest));
    assert.deepEqual([code, message.split(":")[0]], [4, "ManifestDamaged"]);
  }
});

test("a manifest without an end is not read to its end", async (t) => {
  const { code, message } = await run(t, (_request, response) => {
    const more = (): void =>
      void (!response.destroyed && response.write(Buffer.alloc(1 << 20, 32), () => setImmediate(more)));
    more();
  });
  assert.equal(code, 1);
  assert.match(message, /^ManifestDamaged: the store sends more than \d+ bytes where a model's manifest/);
});

test("bytes that differ from their digest never get the file's name", async (t) => {
  const files = [fileAt("good.json"), fileAt("bad.json", Buffer.from("other bytes of a file"))];
  const { folder, code, message } = await run(t, likeTheStore(manifestOf(files)));
  assert.equal(code, 4);
  assert.match(message, /^DigestMismatch: bad\.json in the store has SHA-256 [0-9a-f]{64}, but was imported with /);
  assert.ok(!existsSync(join(folder, "model", "bad.json")));
});

const manifest = manifestOf([fileAt("config.json")]);
const unwilling: Record<string, { answer: Answer; words: RegExp }> = {
  "more bytes than were asked for": {
    answer: (request, response) => {
      if (request.url === "/v1/manifest") return void response.end(manifest);
      response.writeHead(206, { "content-range": "bytes 0-20/21" });
      response.end(Buffer.alloc(1 << 20));
    },
    words: /^StoreRefused: the store sends more than was asked for/,
  },
  "the whole in place of a range": {
    answer: (request, response) => void response.end(request.url === "/v1/manifest" ? manifest : content),
    words: /^StoreRefused: something on the way to the store ignores ranges/,
  },
  "another range": {
    answer: (request, response) => {
      if (request.url === "/v1/manifest") return void response.end(manifest);
      response.writeHead(206, { "content-range": "bytes 5-20/21" });
      response.end(content);
    },
    words: /^StoreRefused: something on the way to the store ignores ranges/,
  },
  "a redirect": {
    answer: (_request, response) => void response.writeHead(302, { location: "http://169.254.169.254/" }).end(),
    words: /^StoreRefused: the store answers 302: without a word/,
  },
  "a page of a proxy": {
    answer: (_request, response) => void response.writeHead(502).end("<h1>Bad\nGateway</h1>\u001b[31m".repeat(1000)),
    words: /^StoreRefused: the store answers 502: <h1>Bad Gateway<\/h1> \[31m/,
  },
  "a connection that breaks off": {
    answer: (request, response) => {
      if (request.url === "/v1/manifest") return void response.end(manifest);
      response.writeHead(206, { "content-range": "bytes 0-20/21", "content-length": 21 });
      response.flushHeaders();
      setImmediate(() => response.destroy());
    },
    words: /^StoreUnreachable: the store role at http:\/\/127\.0\.0\.1:\d+ fails: /,
  },
};
describe("a server that is no store", { concurrency: 4 }, () => {
  for (const [what, { answer, words }] of Object.entries(unwilling)) {
    test(`and answers with ${what} is asked again, and then told of`, async (t) => {
      const { folder, code, message } = await run(t, answer);
      assert.equal(code, 1, message);
      assert.match(message, words);
      assert.ok(message.length <= 4_096 && !/\p{Cc}/u.test(message));
      assert.ok(!existsSync(join(folder, "model", "config.json")));
    });
  }
});

test("a server that breaks off after every few bytes is asked for the next ones", async (t) => {
  const { folder, code, message } = await run(t, (request, response) => {
    if (request.url === "/v1/manifest") return void response.end(manifest);
    const first = Number(/^bytes=(\d+)-20$/.exec(request.headers.range ?? "")?.[1]);
    response.writeHead(206, { "content-range": `bytes ${String(first)}-20/21`, "content-length": 21 - first });
    response.write(content.subarray(first, first + 8), () => response.destroy());
  });
  assert.equal(code, 0, message);
  assert.deepEqual(readFileSync(join(folder, "model", "config.json")), content);
});

test("nobody at home, and no token, are told in words that say where to look", async (t) => {
  const folder = newFolder(t);
  const args = ["--patience-seconds", "1"];
  const nobody = await startFetch(folder, { url: "http://127.0.0.1:9", token: "token", args }).done;
  assert.deepEqual(
    [nobody.code, /^StoreUnreachable: .*refused: is the store role running/.test(nobody.message)],
    [1, true],
  );
  const missing = [...args, "--token-file", join(folder, "none")];
  const noToken = await startFetch(folder, { url: "http://127.0.0.1:9", token: "token", args: missing }).done;
  assert.match(noToken.message, /^TokenMissing: the token of the store cannot be read/);
});

test("a model that does not fit on the disk is refused before its first byte", async (t) => {
  let asked = 0;
  const { code, message } = await run(t, (request, response) => {
    const huge = manifestOf([{ path: "model.safetensors", sizeBytes: 2 ** 52, sha256: "0".repeat(64) }]);
    if (request.url !== "/v1/manifest") asked++;
    response.end(huge);
  });
  assert.equal(code, 4);
  assert.match(
    message,
    /^NoSpace: the model needs 4194304\.\d\d GiB more in .*, where \d+\.\d\d GiB are free: give the node/,
  );
  assert.equal(asked, 0);
});

test("a folder that holds something else is left alone, also when that is a link to somewhere", async (t) => {
  for (const make of [
    (into: string) => writeFileSync(join(into, "notes.txt"), "mine"),
    (into: string) => symlinkSync("/etc/hostname", join(into, "config.json")),
    (into: string) => symlinkSync("/etc", join(into, "sub")),
    (into: string) => mkdirSync(join(into, "empty")),
  ]) {
    const folder = newFolder(t);
    const into = join(folder, "model");
    mkdirSync(into);
    make(into);
    const before = readdirSync(into);
    const files = [fileAt("config.json"), fileAt("sub/hostname")];
    const { code, message } = await run(t, likeTheStore(manifestOf(files)), folder);
    assert.equal(code, 4);
    assert.match(message, /^FolderNotEmpty: .* which the model does not: give an empty folder/);
    assert.deepEqual(readdirSync(into), before);
  }
});

test("what an earlier run noted wrongly is found out and fetched again", async (t) => {
  const folder = newFolder(t);
  const bytes = Buffer.alloc(20 << 20, "abcdefgh");
  const files = [fileAt("model.bin", bytes), fileAt("empty", Buffer.alloc(0))];
  const work = join(folder, "model", ".berth-fetch");
  mkdirSync(work, { recursive: true });
  writeFileSync(join(work, "digest"), `sha256:${sha256(digestText(files))}`);
  // Manifests list files in the order of their paths, so the large one is the second.
  writeFileSync(join(work, "1.part"), Buffer.alloc(bytes.length));
  writeFileSync(join(work, "1.bytes"), String(16 << 20));
  const { code, message } = await run(t, likeTheStore(manifestOf(files), bytes), folder);
  assert.equal(code, 0, message);
  assert.deepEqual(filesBelow(join(folder, "model")), ["empty", "model.bin"]);
  assert.equal(sha256(readFileSync(join(folder, "model", "model.bin"))), sha256(bytes));
});

test("told to stop, it stops at once and does not say that it is done", async (t) => {
  const folder = newFolder(t);
  const { promise, resolve } = Promise.withResolvers<void>();
  const url = await serve(t, (request, response) => {
    if (request.url === "/v1/manifest") response.end(manifest);
    else resolve();
  });
  const fetching = startFetch(folder, { url, token: "token" });
  await promise;
  fetching.kill("SIGTERM");
  const { code, message } = await fetching.done;
  assert.equal(code, 1);
  assert.match(message, /^Stopped: told to stop/);
});
