import assert from "node:assert/strict";
import { before, test } from "node:test";
import { GetObjectCommand, PutObjectCommand } from "@aws-sdk/client-s3";
import type { Cluster } from "../cluster/cluster.ts";
import { ApiError, apiPath } from "../cluster/client.ts";
import type { ApiClient, KubeObject } from "../cluster/client.ts";
import { eventually } from "../cluster/eventually.ts";
import { startApiProxy, startFaultProxy } from "../cluster/faultproxy.ts";
import type { FaultProxy } from "../cluster/faultproxy.ts";
import { startS3 } from "../cluster/s3.ts";
import { requires, testCluster, testNamespace } from "../cluster/session.ts";
import { startTcpProxy } from "../cluster/tcpproxy.ts";

let cluster: Cluster;
before(async () => {
  cluster = await testCluster();
});

interface Ends {
  after: (fn: () => Promise<void>) => void;
}

async function proxied(t: Ends): Promise<{ proxy: FaultProxy; client: ApiClient }> {
  const proxy = await startApiProxy(cluster);
  const client = cluster.client(cluster.info.adminIdentity, proxy.url);
  t.after(async () => {
    await client.close();
    await proxy.close();
  });
  return { proxy, client };
}

const configMap = (name: string): object => ({ apiVersion: "v1", kind: "ConfigMap", metadata: { name } });
const isReset = (error: unknown): boolean =>
  /ECONNRESET|other side closed|terminated/.test(String(error) + String((error as Error).cause));

test("answers 503, 429 with Retry-After and 410 in the server's place, as often as asked", async (t) => {
  if (!(await requires(t, "server-restart"))) return;
  const { proxy, client } = await proxied(t);
  const rule = proxy.add({
    match: ({ path }) => path.endsWith("/nodes"),
    times: 2,
    fault: { kind: "status", code: 429, retryAfterSeconds: 7 },
  });
  proxy.add({ match: ({ method }) => method === "POST", times: 1, fault: { kind: "status", code: 503 } });
  for (let i = 0; i < 2; i += 1) {
    const { status, headers } = await client.raw({ path: "/api/v1/nodes" });
    assert.deepEqual([status, headers["retry-after"]], [429, "7"]);
  }
  assert.equal((await client.raw({ path: "/api/v1/nodes" })).status, 200);
  assert.equal(rule.hits, 2);
  const refused = client.create("/api/v1/namespaces", {});
  await assert.rejects(refused, (error) => error instanceof ApiError && error.reason === "ServiceUnavailable");
  proxy.add({ match: ({ isWatch }) => isWatch, fault: { kind: "status", code: 410 } });
  await assert.rejects(
    client.watch("/api/v1/nodes").next(),
    (error) => error instanceof ApiError && error.status === 410,
  );
  proxy.clear();
  proxy.add({ match: ({ isWatch }) => isWatch, fault: { kind: "gone-event" } });
  const first = await client.watch<KubeObject & { code: number }>("/api/v1/nodes").next();
  assert.deepEqual([first.value?.type, first.value?.object.code], ["ERROR", 410]);
  assert.equal(proxy.seen.filter(({ path }) => path === "/api/v1/nodes").length, 5);
});

test("a lost answer is a write that happened", async (t) => {
  if (!(await requires(t, "server-restart"))) return;
  const { proxy, client } = await proxied(t);
  const namespace = await testNamespace(t);
  const maps = apiPath("v1", "configmaps", { namespace });
  proxy.add({ times: 1, fault: { kind: "lose-answer" } });
  await assert.rejects(client.create(maps, configMap("lost")), isReset);
  assert.ok(await client.find(`${maps}/lost`));
  proxy.add({ times: 1, fault: { kind: "reset" } });
  await assert.rejects(client.create(maps, configMap("never")), isReset);
  assert.equal(await client.find(`${maps}/never`), undefined);
});

test("watches pass, break after so many bytes, fall silent, and can be reset while they run", async (t) => {
  if (!(await requires(t, "server-restart"))) return;
  const { proxy, client } = await proxied(t);
  const namespace = await testNamespace(t);
  const maps = apiPath("v1", "configmaps", { namespace });
  await client.create(maps, configMap("one"));
  const seen = async (watch: AsyncGenerator<{ object: KubeObject }>, name: string): Promise<void> => {
    for await (const { object } of watch) if (object.metadata.name === name) return;
    throw new Error("the watch ended");
  };
  const watch = client.watch(maps);
  const arrived = seen(watch, "two");
  await client.create(maps, configMap("two"));
  await arrived;

  const running = client.watch(maps);
  await running.next();
  const broken = seen(running, "never");
  proxy.resetOpen();
  await assert.rejects(broken);

  proxy.add({ match: ({ isWatch }) => isWatch, times: 1, fault: { kind: "cut", afterBytes: 40 } });
  await assert.rejects(client.watch(maps).next());

  proxy.add({ match: ({ isWatch }) => isWatch, times: 1, fault: { kind: "stall-after", afterBytes: 40 } });
  const silent = client.watch(maps, AbortSignal.timeout(300)).next();
  await assert.rejects(silent, { name: "TimeoutError" });
});

test("the TCP proxy refuses, resets, stalls and cuts, and recovers", async (t) => {
  if (!(await requires(t, "server-restart"))) return;
  const proxy = await startTcpProxy({ port: Number(new URL(cluster.url).port) });
  const client = cluster.client(cluster.info.adminIdentity, `https://127.0.0.1:${String(proxy.port)}`);
  t.after(async () => {
    await client.close();
    await proxy.close();
  });
  const version = async (signal?: AbortSignal): Promise<number> =>
    (await client.raw({ path: "/version", signal })).status;
  assert.equal(await version(), 200);
  await proxy.set({ kind: "stall" });
  // Who gives up first, the caller or the connection, is chance on a busy machine.
  await assert.rejects(version(AbortSignal.timeout(200)), { name: /^(Connect)?TimeoutError$/ });
  await proxy.set({ kind: "reset" });
  await assert.rejects(version(), isReset);
  await proxy.set({ kind: "refuse" });
  await assert.rejects(version(), /ECONNREFUSED/);
  await proxy.set({ kind: "none" });
  assert.equal(await version(), 200);
  await proxy.set({ kind: "cut", afterBytes: 500 });
  await assert.rejects(client.raw({ path: "/openapi/v2" }));
  await proxy.set({ kind: "none" });
  assert.equal(await eventually(version), 200);
  assert.ok(proxy.accepted >= 3, `accepted ${String(proxy.accepted)}`);
});

test("S3 requests keep their signature through the proxy, and fail as told", async (t) => {
  const s3 = await startS3();
  const proxy = await startFaultProxy({ target: s3.endpoint, dialect: "s3" });
  const client = s3.client(proxy.url);
  t.after(async () => {
    client.destroy();
    await proxy.close();
    await s3.stop();
  });
  const Bucket = await s3.createBucket("models");
  await client.send(new PutObjectCommand({ Bucket, Key: "a/b", Body: Buffer.alloc(100_000, 7), IfNoneMatch: "*" }));
  const again = client.send(new PutObjectCommand({ Bucket, Key: "a/b", Body: "x", IfNoneMatch: "*" }));
  await assert.rejects(again, { name: "PreconditionFailed" });
  proxy.add({ match: ({ method }) => method === "GET", times: 1, fault: { kind: "cut", afterBytes: 1000 } });
  const read = async (): Promise<number> => {
    const { Body } = await client.send(new GetObjectCommand({ Bucket, Key: "a/b" }));
    return (await Body?.transformToByteArray())?.length ?? 0;
  };
  await assert.rejects(read());
  proxy.add({ times: 1, fault: { kind: "status", code: 503 } });
  assert.equal(await read(), 100_000);
});
