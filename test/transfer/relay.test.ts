// Bytes of a bucket passed on over plain sockets: whole and in order however slowly they are taken, and never more than one
// buffer of them held; what the bucket does wrong is an error without the signed address in it.
import assert from "node:assert/strict";
import { createServer } from "node:http";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { RetryError } from "../../operator/runtime/errors.ts";
import { newRelay } from "../../operator/transfer/relay.ts";

const object = Buffer.from(Array.from({ length: 3 << 20 }, (_none, index) => (index * 31 + (index >> 12)) % 251));
const never = new AbortController().signal;

type Answer = (request: IncomingMessage, response: ServerResponse) => void;

const rightly: Answer = (request, response) => {
  const [, first = "", last = ""] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? "") ?? [];
  const body = object.subarray(Number(first), Number(last) + 1);
  response.writeHead(206, {
    "content-range": `bytes ${first}-${last}/${String(object.length)}`,
    "content-length": body.length,
  });
  response.end(body);
};

async function startBucket(t: TestContext, answer: Answer) {
  const seen = { connections: 0, urls: [] as string[] };
  const server = createServer((request, response) => {
    seen.urls.push(request.url ?? "");
    answer(request, response);
  });
  server.on("connection", () => seen.connections++);
  await new Promise<void>((resolve) => void server.listen(0, "127.0.0.1", resolve));
  t.after(() => (server.closeAllConnections(), server.close()));
  const origin = `http://127.0.0.1:${String((server.address() as AddressInfo).port)}`;
  const address = (key: string): Promise<string> => Promise.resolve(`${origin}/bucket/${key}?X-Amz-Signature=secret`);
  const relay = newRelay({ address, silenceMs: 2_000 });
  t.after(() => relay.close());
  return { seen, relay };
}

/** Takes each piece only after a while, and looks at its memory no sooner. */
function slowSink() {
  const pieces: Buffer[] = [];
  const state = { begun: 0, pending: 0, most: 0 };
  return {
    state,
    bytes: () => Buffer.concat(pieces),
    begin: () => void state.begun++,
    write(piece: Uint8Array): Promise<void> {
      state.pending += piece.length;
      state.most = Math.max(state.most, state.pending);
      return new Promise((resolve) =>
        setImmediate(() =>
          setImmediate(() => {
            pieces.push(Buffer.from(piece));
            state.pending -= piece.length;
            resolve();
          }),
        ),
      );
    },
  };
}

test("slow takers get every byte in its place, one buffer at a time, and connections are used again", async (t) => {
  const { seen, relay } = await startBucket(t, rightly);
  for (const [offset, lengthBytes] of [
    [0, object.length],
    [1_234_567, 1_000_001],
    [object.length - 1, 1],
  ] as const) {
    const sink = slowSink();
    await relay.send({ key: "weights", offset, lengthBytes }, sink, never);
    assert.ok(sink.bytes().equals(object.subarray(offset, offset + lengthBytes)), String(offset));
    assert.deepEqual([sink.state.begun, sink.state.pending], [1, 0]);
    assert.ok(sink.state.most <= 256 << 10, String(sink.state.most));
  }
  assert.equal(seen.connections, 1);
  const all = Array.from({ length: 8 }, async (_none, index) => {
    const sink = slowSink();
    await relay.send({ key: "weights", offset: index * 1000, lengthBytes: 1 << 20 }, sink, never);
    assert.ok(sink.bytes().equals(object.subarray(index * 1000, index * 1000 + (1 << 20))));
  });
  await Promise.all(all);
});

const wrong: readonly [title: string, answer: Answer, words: RegExp, begun: number][] = [
  ["refuses", (_request, response) => void response.writeHead(403).end("no"), /the bucket answers 403/, 0],
  [
    "redirects",
    (_request, response) => void response.writeHead(307, { location: "http://127.0.0.1:9/" }).end(),
    /the bucket answers 307/,
    0,
  ],
  [
    "ignores ranges",
    (_request, response) => void response.writeHead(200, { "content-length": object.length }).end(object),
    /the bucket answers 200/,
    0,
  ],
  [
    "sends another range",
    (_request, response) => void response.writeHead(206, { "content-range": "bytes 0-9/10" }).end("0123456789"),
    /ignores ranges/,
    0,
  ],
  [
    "holds a shorter object",
    (_request, response) => void response.writeHead(206, { "content-range": "bytes 5-9/10" }).end("01234"),
    /ends 995 bytes early/,
    1,
  ],
  [
    "holds a longer object",
    (_request, response) =>
      void response.writeHead(206, { "content-range": "bytes 5-2000/2001" }).end(object.subarray(0, 1996)),
    /longer than its manifest says/,
    1,
  ],
  [
    "breaks off",
    (_request, response) => {
      response.writeHead(206, { "content-range": "bytes 5-1004/2000", "content-length": 1000 });
      response.write("some", () => response.socket?.destroy());
    },
    /broke off/,
    1,
  ],
];
for (const [title, answer, words, begun] of wrong) {
  test(`a bucket that ${title} is an error that says so`, async (t) => {
    const { relay } = await startBucket(t, answer);
    const sink = slowSink();
    await assert.rejects(
      relay.send({ key: "weights", offset: 5, lengthBytes: 1000 }, sink, never),
      (error: unknown) => {
        assert.ok(error instanceof RetryError);
        assert.match(error.message, words);
        assert.doesNotMatch(error.message, /Signature|secret/);
        return true;
      },
    );
    assert.equal(sink.state.begun, begun);
  });
}

test("a taker that goes away ends the read, and the bucket is asked for nothing more", async (t) => {
  const { relay, seen } = await startBucket(t, rightly);
  const ending = new AbortController();
  const sink = slowSink();
  const write = (piece: Uint8Array): Promise<void> => (ending.abort(), sink.write(piece));
  await assert.rejects(
    relay.send({ key: "weights", offset: 0, lengthBytes: object.length }, { ...sink, write }, ending.signal),
    {
      name: "AbortError",
    },
  );
  const failing = (): Promise<void> => Promise.reject(new Error("the client is gone"));
  await assert.rejects(
    relay.send({ key: "weights", offset: 0, lengthBytes: 10 }, { ...sink, write: failing }, never),
    /the client is gone/,
  );
  assert.equal(seen.urls.length, 2);
});
