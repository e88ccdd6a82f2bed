// The raw client against real sockets: bytes arrive whole however they are cut, connections are used again, and an answer
// that is not HTTP as it should be is an error and nothing else.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer as createTlsServer } from "node:https";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { AddressInfo, Socket } from "node:net";
import { getCACertificates, setDefaultCACertificates } from "node:tls";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { newEgressGuard } from "../../operator/adapters/egress/guard.ts";
import { TerminalError } from "../../operator/runtime/errors.ts";
import { newBodyReader } from "../../operator/transfer/rawbody.ts";
import { newRawClient } from "../../operator/transfer/rawget.ts";
import type { RawClient } from "../../operator/transfer/rawget.ts";
import { newHeadReader } from "../../operator/transfer/rawhead.ts";

/** Answers each request with the pieces that `answer` gives; resolves with its URL and the number of connections. */
async function startPeer(t: TestContext, answer: (request: string, socket: Socket) => void) {
  const seen = { connections: 0 };
  const server = createServer((socket) => {
    seen.connections++;
    socket.on("error", () => undefined);
    socket.on("data", (bytes) => answer(String(bytes), socket));
    t.after(() => socket.destroy());
  });
  await new Promise<void>((resolve) => void server.listen(0, "127.0.0.1", resolve));
  t.after(() => server.close());
  return { seen, url: new URL(`http://127.0.0.1:${String((server.address() as AddressInfo).port)}/x?y=1`) };
}

function newGet(t: TestContext, url: URL, silenceMs = 5_000) {
  const client = newRawClient({ silenceMs });
  t.after(() => client.close());
  return async (signal = new AbortController().signal) => {
    const pieces: Buffer[] = [];
    let status = 0;
    const onHead = (head: { readonly status: number }): void => void (status = head.status);
    const onBytes = (piece: Uint8Array): void => void pieces.push(Buffer.from(piece));
    await client.get({ url, headers: { range: "bytes=0-4" }, onHead, onBytes }, signal);
    return { status, body: Buffer.concat(pieces).toString() };
  };
}

test("an answer cut at every byte arrives whole, and its head is read once", () => {
  const whole = Buffer.from("HTTP/1.1 206 Partial\r\nContent-Length: 5\r\nContent-Range: bytes 0-4/9\r\n\r\nhello");
  for (let cut = 0; cut <= whole.length; cut++) {
    const read = newHeadReader();
    const parts = [whole.subarray(0, cut), whole.subarray(cut)];
    let body = "";
    let heads = 0;
    for (const part of parts) {
      const found = heads > 0 ? undefined : read(part);
      if (found) {
        heads++;
        assert.equal(found.head.status, 206);
        assert.equal(found.head.headers.get("content-range"), "bytes 0-4/9");
        body = Buffer.from(found.body).toString();
      } else if (heads > 0) body += part.toString();
    }
    assert.deepEqual([heads, body], [1, "hello"], String(cut));
  }
});

test("blanks around a value are none of it, and a head of nothing but blanks is read in no time", () => {
  const head = (lines: string) =>
    newHeadReader()(Buffer.from(`HTTP/1.1 200 x\r\ncontent-length: 5\r\n${lines}\r\n\r\n`))?.head;
  assert.deepEqual(
    [...(head("A: \t b  c \t\r\nB:\r\nC:  \t")?.headers ?? [])],
    [
      ["content-length", "5"],
      ["a", "b  c"],
      ["b", ""],
      ["c", ""],
    ],
  );
  const startedMs = performance.now();
  assert.throws(() => head(`A:${" ".repeat(4_000)}\nb`), /no header/);
  assert.equal(head(`A: b${" ".repeat(15_000)}c`)?.headers.get("a")?.length, 15_002);
  assert.ok(performance.now() - startedMs < 1_000);
});

test("a connection is used again, unless the answer says that it ends", async (t) => {
  let closing = false;
  const { seen, url } = await startPeer(t, (request, socket) => {
    assert.match(request, /^GET \/x\?y=1 HTTP\/1\.1\r\nhost: 127\.0\.0\.1:\d+\r\nrange: bytes=0-4\r\n/);
    socket.write(`HTTP/1.1 206 x\r\nContent-Length: 5\r\n${closing ? "Connection: close\r\n" : ""}\r\nhello`);
  });
  const get = newGet(t, url);
  for (let n = 0; n < 5; n++) assert.deepEqual(await get(), { status: 206, body: "hello" });
  assert.equal(seen.connections, 1);
  closing = true;
  await get();
  await get();
  assert.equal(seen.connections, 2);
});

test("a body in chunks arrives whole wherever it is cut, and its connection is used again", async (t) => {
  const chunked = "HTTP/1.1 206 x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;a=b\r\nllo\r\n0\r\nx: y\r\n\r\n";
  for (let cut = 0; cut <= chunked.length; cut++) {
    const read = newHeadReader();
    let body = "";
    let isWhole = false;
    let take: ((piece: Uint8Array) => boolean) | undefined;
    for (const part of [chunked.slice(0, cut), chunked.slice(cut)].map((text) => Buffer.from(text))) {
      const found = take ? undefined : read(part);
      if (found) take = newBodyReader(found.head.lengthBytes, (piece) => void (body += Buffer.from(piece).toString()));
      isWhole = take?.(found?.body ?? part) ?? false;
    }
    assert.deepEqual([body, isWhole], ["hello", true], String(cut));
  }
  const { seen, url } = await startPeer(t, (_request, socket) => socket.write(chunked));
  const get = newGet(t, url);
  for (let n = 0; n < 3; n++) assert.deepEqual(await get(), { status: 206, body: "hello" });
  assert.equal(seen.connections, 1);
});

const broken: Readonly<Record<string, readonly [string, RegExp]>> = {
  "no HTTP": ["SSH-2.0-x\r\n\r\n", /no HTTP/],
  "no length": ["HTTP/1.1 200 x\r\n\r\nhello", /how long/],
  "a length and chunks": ["HTTP/1.1 200 x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", /how long/],
  "another coding": ["HTTP/1.1 200 x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", /how long/],
  "two codings": ["HTTP/1.1 200 x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n", /two lengths/],
  "a chunk without a size": ["HTTP/1.1 200 x\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n", /without a size/],
  "a chunk longer than its size": [
    "HTTP/1.1 200 x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhello\r\n",
    /longer than its size/,
  ],
  "a bare line feed": ["HTTP/1.1 200 x\r\nTransfer-Encoding: chunked\r\n\r\n5\nhello", /broken line/],
  "an endless size": [`HTTP/1.1 200 x\r\nTransfer-Encoding: chunked\r\n\r\n${"0".repeat(2_000)}`, /too long/],
  "endless trailers": [
    `HTTP/1.1 200 x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n${"a: b\r\n".repeat(100)}`,
    /trailers/,
  ],
  "two lengths": ["HTTP/1.1 200 x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello", /two lengths/],
  "a folded header": ["HTTP/1.1 200 x\r\nA: b\r\n c\r\nContent-Length: 5\r\n\r\nhello", /no header/],
  "more than announced": ["HTTP/1.1 200 x\r\nContent-Length: 3\r\n\r\nhello", /more came/],
  "an endless head": [`HTTP/1.1 200 x\r\nA: ${"a".repeat(20_000)}`, /too long/],
  "an early hint": ["HTTP/1.1 103 x\r\nContent-Length: 0\r\n\r\n", /preceded/],
};

for (const [what, [text, expected]] of Object.entries(broken)) {
  test(`refuses ${what}`, async (t) => {
    const { url } = await startPeer(t, (_request, socket) => socket.write(text));
    await assert.rejects(newGet(t, url)(), expected);
  });
}

test("a body that breaks off, silence and an abort each end the request", async (t) => {
  const short = await startPeer(t, (_request, socket) =>
    socket.end("HTTP/1.1 206 x\r\nContent-Length: 9\r\n\r\nhello"),
  );
  await assert.rejects(newGet(t, short.url)(), /broke off/);
  const silent = await startPeer(t, (_request, socket) => socket.write("HTTP/1.1 206 x\r\nContent-Length: 9\r\n\r\n"));
  await assert.rejects(newGet(t, silent.url, 100)(), /no byte for 0.1 s/);
  const ending = new AbortController();
  const waiting = newGet(t, silent.url)(ending.signal);
  ending.abort();
  await assert.rejects(waiting, { name: "AbortError" });
  await assert.rejects(newGet(t, silent.url)(ending.signal), { name: "AbortError" });
});

/** Gets `size` bytes into shared memory; resolves with it and with how many bytes had to be copied there. */
async function getInto(client: RawClient, url: URL, size: number) {
  const memory = new Uint8Array(new SharedArrayBuffer(size));
  let at = 0;
  let copiedBytes = 0;
  const onBytes = (piece: Uint8Array): void => {
    if (piece.buffer !== memory.buffer) {
      memory.set(piece, at);
      copiedBytes += piece.length;
    } else assert.equal(piece.byteOffset, at, "pieces follow each other");
    at += piece.length;
  };
  const request = { url, headers: {}, onHead: () => undefined, onBytes, into: () => memory.subarray(at) };
  await client.get(request, new AbortController().signal);
  return { memory, copiedBytes };
}

const LARGE = randomBytes(3 << 20);
const answerOf = (body: Buffer): Buffer =>
  Buffer.concat([Buffer.from(`HTTP/1.1 206 x\r\nContent-Length: ${String(body.length)}\r\n\r\n`), body]);

test("bytes are read where they belong, and nothing that comes after the answer ever goes there", async (t) => {
  const sockets: Socket[] = [];
  const { seen, url } = await startPeer(t, (_request, socket) => {
    sockets.push(socket);
    socket.write(answerOf(LARGE));
  });
  const client = newRawClient({ silenceMs: 5_000 });
  t.after(() => client.close());
  const kept: Uint8Array[] = [];
  for (let n = 0; n < 3; n++) {
    const { memory, copiedBytes } = await getInto(client, url, LARGE.length);
    assert.ok(copiedBytes <= 256 << 10, `${String(copiedBytes)} bytes were copied: more than came with the head`);
    kept.push(memory);
  }
  assert.equal(seen.connections, 1);
  const ended = new Promise((resolve) => sockets[0]?.once("close", resolve));
  sockets[0]?.write(Buffer.alloc(1 << 20, 0xff));
  await ended;
  for (const memory of kept) assert.ok(LARGE.equals(memory));
});

test("sizes of chunks never go where the bytes belong", async (t) => {
  const chunk = Buffer.concat([Buffer.from(`${LARGE.length.toString(16)}\r\n`), LARGE, Buffer.from("\r\n0\r\n\r\n")]);
  const head = "HTTP/1.1 206 x\r\nTransfer-Encoding: chunked\r\n\r\n";
  const chunked = await startPeer(t, (_request, socket) => socket.write(Buffer.concat([Buffer.from(head), chunk])));
  const client = newRawClient({ silenceMs: 5_000 });
  t.after(() => client.close());
  const { memory, copiedBytes } = await getInto(client, chunked.url, LARGE.length);
  assert.ok(LARGE.equals(memory));
  assert.equal(copiedBytes, LARGE.length);
});

/** A TLS server with a certificate of its own for 127.0.0.1, which answers each request with the large body. */
async function startTlsPeer(t: TestContext) {
  const folder = mkdtempSync(join(tmpdir(), "berth-tls-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const [key, cert] = [join(folder, "key"), join(folder, "cert")];
  const made = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1"];
  const names = ["-subj", "/CN=store", "-addext", "subjectAltName=IP:127.0.0.1"];
  execFileSync("openssl", [...made, ...names, "-keyout", key, "-out", cert], { stdio: "ignore" });
  const seen = { asked: 0 };
  const server = createTlsServer({ key: readFileSync(key), cert: readFileSync(cert) }, (_request, response) => {
    seen.asked++;
    response.setHeader("content-length", LARGE.length);
    response.end(LARGE);
  });
  await new Promise<void>((resolve) => void server.listen(0, "127.0.0.1", resolve));
  t.after(() => server.close());
  const url = new URL(`https://127.0.0.1:${String((server.address() as AddressInfo).port)}/x`);
  return { url, seen, cert: readFileSync(cert, "utf8") };
}

test("over TLS a certificate that nobody vouches for is refused; behind one that is known bytes are read where they belong", async (t) => {
  const { url, seen, cert } = await startTlsPeer(t);
  await assert.rejects(newGet(t, url)(), /self.signed certificate/);
  assert.equal(seen.asked, 0);
  const known = getCACertificates("default");
  setDefaultCACertificates([cert]);
  t.after(() => setDefaultCACertificates(known));
  const client = newRawClient({ silenceMs: 5_000 });
  t.after(() => client.close());
  for (let n = 1; n <= 2; n++) {
    const { memory, copiedBytes } = await getInto(client, url, LARGE.length);
    assert.ok(LARGE.equals(memory));
    assert.ok(copiedBytes <= 256 << 10, String(copiedBytes));
    assert.equal(seen.asked, n);
  }
});

test("a guard judges literal addresses, and every address that a name has, before anything is sent", async (t) => {
  const { seen, url } = await startPeer(t, (_request, socket) => socket.end());
  const guard = newEgressGuard({ allowedCidrs: [], resolve: () => Promise.resolve([{ address: "127.0.0.1", family: 4 }]) }); // prettier-ignore
  const client = newRawClient({ silenceMs: 5_000, guard });
  t.after(() => client.close());
  const nothing = { headers: {}, onHead: () => undefined, onBytes: () => undefined };
  for (const host of ["127.0.0.1", "public.example.org"]) {
    const place = new URL(url);
    place.hostname = host;
    await assert.rejects(client.get({ url: place, ...nothing }, new AbortController().signal), (error: unknown) => {
      assert.ok(error instanceof TerminalError);
      assert.equal(error.reason, "EndpointNotAllowed");
      return true;
    });
  }
  assert.equal(seen.connections, 0);
});

test("silence is a TimeoutError, which is told from a connection that broke", async (t) => {
  const { url } = await startPeer(t, () => undefined);
  await assert.rejects(newGet(t, url, 50)(), { name: "TimeoutError" });
});

test("over TLS a piece stays as it is until it is taken, whatever has been decrypted behind it", async (t) => {
  const { url, cert } = await startTlsPeer(t);
  const known = getCACertificates("default");
  setDefaultCACertificates([cert]);
  t.after(() => setDefaultCACertificates(known));
  const client = newRawClient({ silenceMs: 5_000 });
  t.after(() => client.close());
  const came: Buffer[] = [];
  let last: Uint8Array | undefined;
  // Taken two turns of the loop later, as by a socket that is slow.
  const drained = async (): Promise<void> => {
    await new Promise((resolve) => setImmediate(() => setImmediate(resolve)));
    if (last) came.push(Buffer.from(last));
    last = undefined;
  };
  const onBytes = (piece: Uint8Array): void => void (last = piece);
  await client.get({ url, headers: {}, onHead: () => undefined, onBytes, drained }, new AbortController().signal);
  assert.ok(Buffer.concat(came).equals(LARGE), "bytes were written over while somebody had them");
});
