// How long a hub may take, and what it says when it is asked too often.
import assert from "node:assert/strict";
import { createServer } from "node:http";
import type { RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { openHub } from "../../../operator/adapters/hub/source.ts";
import { RetryError } from "../../../operator/runtime/errors.ts";

const COMMIT = "a".repeat(40);
const FILE = { key: "model.safetensors", sizeBytes: 1000, etag: "e" };

async function hubOf(t: TestContext, file: RequestListener, timeoutMs?: number) {
  const server = createServer((request, response) => {
    if (request.url?.includes("/api/")) response.end(JSON.stringify({ sha: COMMIT }));
    else file(request, response);
  });
  await new Promise<void>((resolve) => void server.listen(0, "127.0.0.1", resolve));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  const endpoint = `http://127.0.0.1:${String((server.address() as AddressInfo).port)}`;
  return openHub({ endpoint, repo: "org/name", ...(timeoutMs === undefined ? {} : { timeoutMs }) });
}

const head = { "content-range": "bytes 0-99/1000", "content-length": 100 };

test("a part that comes steadily may take longer than a silence", async (t) => {
  const timeoutMs = 1_500;
  const hub = await hubOf(
    t,
    (_request, response) => {
      response.writeHead(206, head);
      let sent = 0;
      const more = setInterval(() => {
        response.write(Buffer.alloc(5));
        if ((sent += 5) < 100) return;
        clearInterval(more);
        response.end();
      }, 100);
    },
    timeoutMs,
  );
  const beganMs = performance.now();
  assert.equal((await hub.read(FILE, 0, 100)).length, 100);
  assert.ok(performance.now() - beganMs > timeoutMs);
});

test("a part that falls silent fails", async (t) => {
  const hub = await hubOf(t, (_request, response) => void response.writeHead(206, head).write("x"), 200);
  await assert.rejects(hub.read(FILE, 0, 100), /does not answer in time/);
});

test("by itself a hub may be silent for 20 s, as a bucket may", async (t) => {
  const asked = Promise.withResolvers<void>();
  const hub = await hubOf(t, () => asked.resolve());
  t.mock.timers.enable({ apis: ["setTimeout"] });
  let failed: unknown;
  void hub.read(FILE, 0, 100).catch((error: unknown) => (failed = error));
  await asked.promise;
  t.mock.timers.tick(19_999);
  await new Promise(setImmediate);
  assert.equal(failed, undefined);
  t.mock.timers.tick(1);
  for (let turn = 0; turn < 1_000 && failed === undefined; turn++) await new Promise(setImmediate);
  assert.match(String(failed), /does not answer in time/);
});

for (const status of [429, 503]) {
  test(`${String(status)} asks for fewer requests, and not for more patience than a minute`, async (t) => {
    const answer: RequestListener = (_request, response) =>
      void response.writeHead(status, { "retry-after": "900" }).end();
    const hub = await hubOf(t, answer, 20_000);
    const error = await hub.read(FILE, 0, 100).catch((thrown: unknown) => thrown);
    assert.ok(error instanceof RetryError);
    assert.deepEqual([error.isThrottled, error.afterMs], [true, 60_000]);
  });
}
