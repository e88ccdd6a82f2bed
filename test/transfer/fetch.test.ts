// `berth store` and `berth fetch`, started as the chart says, on the real control plane and both kinds of store: the right
// pod gets its model, everybody else gets a clear no, and neither death nor damage leaves a wrong byte under a file's name.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { chmodSync, existsSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import type { AddressInfo, Socket } from "node:net";
import { join } from "node:path";
import { before, describe, test } from "node:test";
import type { TestContext } from "node:test";
import { apiPath } from "../cluster/client.ts";
import type { KubeObject } from "../cluster/client.ts";
import { eventually } from "../cluster/eventually.ts";
import { startFaultProxy } from "../cluster/faultproxy.ts";
import type { FaultProxy } from "../cluster/faultproxy.ts";
import { playAnnotation } from "../cluster/stages.ts";

import type { Replica } from "../chart/rendered.ts";
import { cacheFolderOf } from "../../operator/transfer/fetchcache.ts";
import { filesBelow } from "../models/upload.ts";
import { kinds } from "./bench.ts";
import {
  first,
  largeModel,
  namespace,
  newFolder,
  podToken,
  release,
  second,
  startFetch,
  startStoreRig,
} from "./storerig.ts";
import type { FetchProcess, Pod, StoreRig } from "./storerig.ts";

const sha256 = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

interface Listed {
  readonly digest: string;
  readonly files: readonly { readonly path: string; readonly size: number; readonly sha256: string }[];
}

interface Deployed extends KubeObject {
  readonly status: { readonly conditions: readonly { readonly type: string; readonly message: string }[] };
}

interface Board extends KubeObject {
  readonly data?: Readonly<Record<string, string>>;
}

interface Refusal {
  readonly reason: string;
  readonly error: string;
}

function get(url: string, token?: string, headers: Record<string, string> = {}): Promise<Response> {
  const authorization = token === undefined ? {} : { authorization: `Bearer ${token}` };
  return fetch(url, { headers: { ...authorization, ...headers } });
}

async function listed(url: string, token: string): Promise<Listed> {
  const response = await get(`${url}/v1/manifest`, token);
  assert.equal(response.status, 200, await response.clone().text());
  return (await response.json()) as Listed;
}

/** Every served file is there, equal to its source, and nothing else. */
function assertWhole(into: string): void {
  assert.deepEqual(filesBelow(into), filesBelow(largeModel));
  for (const path of filesBelow(into))
    assert.equal(sha256(readFileSync(join(into, path))), sha256(readFileSync(join(largeModel, path))), path);
}

/** Nothing stands under the name of a file, but what is whole. */
function assertNothingWrong(into: string): void {
  for (const path of filesBelow(into).filter((name) => !name.startsWith(".berth-fetch/")))
    assert.equal(sha256(readFileSync(join(into, path))), sha256(readFileSync(join(largeModel, path))), path);
}

async function succeeds(run: FetchProcess): Promise<string> {
  const { code, message } = await run.done;
  assert.equal(code, 0, `${message}\n${JSON.stringify(run.lines(), undefined, 1)}`);
  return message;
}

/** Bytes that came over the network in a run that ended well. */
function receivedBytes(run: FetchProcess): number {
  return Number(run.lines().find(({ msg }) => msg === "fetched and verified")?.["receivedBytes"]);
}

/** A proxy that lets the parts of files come late, so that a fetch lasts long enough to be disturbed. */
async function slowly(t: TestContext, target: string, delayMs: number): Promise<FaultProxy> {
  const proxy = await startFaultProxy({ target });
  t.after(() => proxy.close());
  proxy.add({ match: ({ path }) => path.startsWith("/v1/blobs/"), fault: { kind: "delay", delayMs } });
  return proxy;
}

interface Balancer {
  readonly url: string;
  close(): void;
}

/** What a Service does: each connection goes to the next backend that takes it. */
async function startBalancer(urls: readonly string[]): Promise<Balancer> {
  let next = 0;
  const open = new Set<Socket>();
  const forward = (client: Socket, tries: number): void => {
    const backend = new URL(urls[next++ % urls.length] ?? "");
    const upstream = connect(Number(backend.port), backend.hostname);
    let connected = false;
    upstream.on("connect", () => {
      connected = true;
      client.pipe(upstream).pipe(client);
    });
    upstream.on("error", () => (connected || tries <= 1 ? client.destroy() : forward(client, tries - 1)));
    upstream.on("close", () => connected && client.destroy());
    client.on("error", () => upstream.destroy()).on("close", () => upstream.destroy());
  };
  const server = createServer((client) => {
    open.add(client);
    client.once("close", () => open.delete(client));
    forward(client, urls.length);
  });
  await new Promise<void>((resolve) => void server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${String((server.address() as AddressInfo).port)}`,
    close: () => {
      for (const socket of open) socket.destroy();
      server.close();
    },
  };
}

const blobs = (proxy: FaultProxy): number => proxy.seen.filter(({ path }) => path.startsWith("/v1/blobs/")).length;

const totalBytes = filesBelow(largeModel).reduce((sum, path) => sum + readFileSync(join(largeModel, path)).length, 0);

for (const kind of kinds) {
  describe(`store on ${kind}`, () => {
    let rig: StoreRig;
    let store: Replica;
    let pod: Pod;
    let token: string;
    let url: string;
    const ending: (() => unknown)[] = [];
    before(
      async () => {
        rig = await startStoreRig({ after: (work) => void ending.unshift(work as () => unknown) }, kind);
        store = await rig.startStore();
        pod = await rig.servingPod(first);
        token = await podToken(rig.cluster, pod);
        url = store.urls["store"] ?? "";
      },
      { timeout: 240_000 },
    );
    test.after(async () => {
      for (const work of ending) await work();
    });

    test("a serving pod gets the model of its deployment, on both providers", async (t) => {
      const run = startFetch(newFolder(t), { url, token });
      assert.match(await succeeds(run), /^fetched \d+ files, 0\.\d+ GB/);
      assertWhole(run.into);
      assert.deepEqual(
        readdirSync(run.into).filter((name) => name.startsWith(".")),
        [],
      );
      const other = await rig.servingPod(second);
      const small = startFetch(newFolder(t), { url, token: await podToken(rig.cluster, other) });
      await succeeds(small);
      assert.deepEqual(filesBelow(small.into), [
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
      ]);
      const metrics = await (await fetch(`${store.urls["metrics"] ?? ""}/metrics`)).text();
      const sent = Number(/^berth_store_bytes_total (\d+)$/m.exec(metrics)?.[1]);
      assert.ok(sent >= totalBytes, `${String(sent)} bytes counted`);
      assert.match(metrics, /^berth_store_requests_total\{path="blob",code="206"\} [1-9]/m);
    });

    test("only files of the manifest are served, whole or in one range", async () => {
      const { files, digest } = await listed(url, token);
      assert.match(digest, /^sha256:[0-9a-f]{64}$/);
      const config = files.find(({ path }) => path === "config.json");
      assert.ok(config);
      const at = `${url}/v1/blobs/${config.sha256}`;
      const source = readFileSync(join(largeModel, "config.json"));
      const whole = await get(at, token);
      assert.deepEqual([whole.status, Buffer.from(await whole.arrayBuffer()).equals(source)], [200, true]);
      for (const [range, expected] of [
        ["bytes=3-9", source.subarray(3, 10)],
        ["bytes=5-", source.subarray(5)],
        ["bytes=-4", source.subarray(-4)],
        [`bytes=1-${String(source.length + 100)}`, source.subarray(1)],
      ] as const) {
        const part = await get(at, token, { range });
        assert.equal(part.status, 206, range);
        assert.ok(Buffer.from(await part.arrayBuffer()).equals(expected), range);
      }
      for (const range of [`bytes=${String(source.length)}-`, "bytes=9-3", "bytes=0-1,3-4", "lines=1-2", "bytes=-0"]) {
        const refused = await get(at, token, { range });
        assert.equal(refused.status, 416, range);
        assert.equal(((await refused.json()) as Refusal).reason, "RangeNotSatisfiable");
      }
      const other = (await listed(url, await podToken(rig.cluster, await rig.servingPod(second)))).files[0];
      const strange = [
        `blobs/${"0".repeat(64)}`,
        `blobs/${other?.sha256 ?? ""}`,
        "blobs/config.json",
        "blobs/..%2f..%2f..%2f..%2fetc%2fpasswd",
        "blobs/MANIFEST.json",
        "blobs/%00",
        "blobs/",
        "secrets",
        "../store",
      ];
      for (const path of strange) {
        const refused = await get(`${url}/v1/${path}`, token);
        assert.equal(refused.status, 404, path);
        assert.match(((await refused.json()) as Refusal).reason, /^(NotInManifest|NoSuchPath)$/);
      }
      assert.equal((await fetch(at, { method: "DELETE", headers: { authorization: `Bearer ${token}` } })).status, 404);
    });

    test("a store that ends and starts again in the middle of a fetch costs a retry", async (t) => {
      const proxy = await slowly(t, url, 150);
      const run = startFetch(newFolder(t), { url: proxy.url, token, args: ["--parts-at-once", "2"] });
      await eventually(() => blobs(proxy) >= 3, { what: "three parts were asked for", deadlineMs: 20_000 });
      await store.kill();
      await eventually(() => run.lines().some(({ msg }) => msg === "trying again"), { what: "the fetch noticed" });
      await store.start();
      await succeeds(run);
      assertWhole(run.into);
      assert.ok(receivedBytes(run) < totalBytes + 4 * (8 << 20), "parts that had come were not asked for again");
    });

    test("two replicas share the work, and one of them goes on when the other is gone", async (t) => {
      const sibling = await rig.startStore();
      const balancer = await startBalancer([url, sibling.urls["store"] ?? ""]);
      t.after(() => balancer.close());
      const proxy = await slowly(t, balancer.url, 100);
      const run = startFetch(newFolder(t), { url: proxy.url, token, args: ["--parts-at-once", "4"] });
      await eventually(() => blobs(proxy) >= 4, { what: "four parts were asked for", deadlineMs: 20_000 });
      const sent = async (replica: Replica): Promise<number> => {
        const metrics = await (await fetch(`${replica.urls["metrics"] ?? ""}/metrics`)).text();
        return Number(/^berth_store_bytes_total (\d+)$/m.exec(metrics)?.[1]);
      };
      await sibling.kill();
      await succeeds(run);
      assertWhole(run.into);
      assert.ok((await sent(store)) > 0);
    });

    test("a replica that is told to end lets its answers out first", async (t) => {
      const leaving = await rig.startStore();
      const { files } = await listed(url, token);
      const shard = files.find(({ path }) => path.startsWith("model-00002"));
      const answer = await get(`${leaving.urls["store"] ?? ""}/v1/blobs/${shard?.sha256 ?? ""}`, token);
      const stopped = leaving.stop();
      await eventually(
        async () =>
          (await get(`${leaving.urls["store"] ?? ""}/v1/manifest`, token).catch(() => undefined)) === undefined,
        { what: "no new connection is taken" },
      );
      assert.equal(sha256(Buffer.from(await answer.arrayBuffer())), shard?.sha256);
      await stopped;
      assert.ok(t.name);
    });

    test("a fetch that was killed goes on where it was", async (t) => {
      const proxy = await startFaultProxy({ target: url });
      t.after(() => proxy.close());
      // The second shard does not come further than its first 16 MiB.
      const second = (await listed(url, token)).files.find(({ path }) => path.startsWith("model-00002"));
      proxy.add({
        match: ({ path, headers }) =>
          path.endsWith(second?.sha256 ?? "none") && Number(/^bytes=(\d+)/.exec(headers.range ?? "")?.[1]) >= 16 << 20,
        fault: { kind: "stall" },
      });
      const folder = newFolder(t);
      const killed = startFetch(folder, { url: proxy.url, token });
      const [done, under] = ["model-00001-of-00002.safetensors", ".berth-fetch"].map((name) => join(killed.into, name));
      await eventually(() => existsSync(done ?? "") && existsSync(under ?? ""), {
        what: "one shard is finished, the other is under way",
        deadlineMs: 60_000,
      });
      killed.kill();
      await killed.done;
      assertNothingWrong(killed.into);
      const run = startFetch(folder, { url, token });
      await succeeds(run);
      assertWhole(run.into);
      assert.ok(
        receivedBytes(run) < totalBytes * 0.6,
        `${String(receivedBytes(run))} of ${String(totalBytes)} bytes again`,
      );
      // All of it stands there: a third run asks for the manifest alone, and mends what was damaged meanwhile.
      const config = join(run.into, "config.json");
      writeFileSync(config, readFileSync(config, "utf8").replace("{", " "));
      const again = startFetch(folder, { url, token });
      await succeeds(again);
      assertWhole(again.into);
      assert.equal(receivedBytes(again), readFileSync(config).length);
    });

    test("a cache of the node gives the next pod its model for a read; what was damaged there is fetched again", async (t) => {
      const root = newFolder(t);
      const { digest } = await listed(url, token);
      const into = cacheFolderOf(root, digest);
      const args = ["--cache", root, "--cache-bytes", String(2 ** 30), "--node-name", "node-1"];
      await succeeds(startFetch(newFolder(t), { url, token, args, into }));
      assertWhole(into);
      const second = startFetch(newFolder(t), { url, token, args, into });
      await succeeds(second);
      assert.equal(receivedBytes(second), 0);
      const shard = join(into, "model-00002-of-00002.safetensors");
      const bytes = readFileSync(shard);
      bytes.writeUInt8(bytes.readUInt8(bytes.length - 1) ^ 1, bytes.length - 1);
      writeFileSync(shard, bytes);
      const third = startFetch(newFolder(t), { url, token, args, into });
      await succeeds(third);
      assertWhole(into);
      assert.equal(receivedBytes(third), bytes.length);
      const elsewhere = startFetch(newFolder(t), { url, token, args, into: cacheFolderOf(root, "0".repeat(64)) });
      const { code, message } = await elsewhere.done;
      assert.equal(code, 4);
      assert.match(message, /ManifestDamaged: the store serves sha256:.* is the folder of another model/);
    });

    test("a ModelDeployment shows how far its replica is, and nothing is left of it afterwards", async (t) => {
      const { admin } = rig.cluster;
      const at = apiPath("v1", "pods", { namespace: first, name: pod.metadata.name });
      const board = apiPath("v1", "configmaps", { namespace, name: `${release}-fetches` });
      // What a replica left that died in the middle of a fetch.
      const leftover = { doneBytes: 1, totalBytes: 2, bytesPerSecond: 1, at: Math.floor(Date.now() / 1000) - 3600 };
      await admin.patch(board, { data: { "dead-pod": JSON.stringify(leftover) } });
      // kwok plays no init step: the test says that it runs.
      await admin.patch(at, { metadata: { annotations: { [playAnnotation]: "manual" } } });
      const state = (container: string, now: object): object => ({
        name: container,
        image: "x",
        imageID: "",
        ready: false,
        restartCount: 0,
        state: now,
      });
      const unready = { type: "Ready", status: "False", lastTransitionTime: new Date().toISOString() };
      await admin.patch(`${at}/status`, {
        status: {
          conditions: [unready],
          initContainerStatuses: [state("fetch", { running: {} })],
          containerStatuses: [state("vllm", { waiting: {} })],
        },
      });
      t.after(() => admin.patch(at, { metadata: { annotations: { [playAnnotation]: "ready" } } }));
      const fresh = await rig.startStore();
      const proxy = await slowly(t, fresh.urls["store"] ?? "", 1_500);
      // Longer than a part takes, so that every report has a rate.
      const args = ["--parts-at-once", "1", "--progress-seconds", "4"];
      const run = startFetch(newFolder(t), { url: proxy.url, token, args });
      const message = await eventually(
        async () => {
          const found = await admin.get<Deployed>(
            apiPath("berth.dev/v1alpha1", "modeldeployments", { namespace: first, name: "chat" }),
          );
          const ready = found.status.conditions.find(({ type }) => type === "Ready");
          return ready?.message.includes(" %, ") && ready.message;
        },
        { what: "the condition shows the progress", deadlineMs: 40_000 },
      );
      assert.match(message, new RegExp(`; ${pod.metadata.name} fetches the model: \\d+ %, [\\d.]+ [MG]B/s, .+ left$`));
      proxy.clear();
      await succeeds(run);
      await eventually(async () => Object.keys((await admin.get<Board>(board)).data ?? {}).length === 0, {
        what: "neither this pod nor the dead one is on the board",
        deadlineMs: 20_000,
      });
      const token2 = { authorization: `Bearer ${token}`, "content-type": "application/json" };
      for (const body of [
        "{",
        "[]",
        '{"doneBytes":-1,"bytesPerSecond":1}',
        '{"doneBytes":1e300,"bytesPerSecond":1}',
        `"${"x".repeat(2000)}"`,
      ]) {
        const refused = await fetch(`${url}/v1/progress`, { method: "PUT", headers: token2, body });
        assert.deepEqual([refused.status, ((await refused.json()) as Refusal).reason], [400, "ReportInvalid"], body);
      }
    });

    test("a wrong byte in the store is refused and never stands under a file's name", async (t) => {
      const { files } = await listed(url, token);
      const shard = files.find(({ path }) => path.startsWith("model-00002"));
      assert.ok(shard);
      const stored = filesBelow(rig.storeDir).find((path) => path.endsWith(`/${shard.path}`));
      const at = join(rig.storeDir, stored ?? "");
      const good = readFileSync(at);
      const bad = Buffer.from(good);
      bad.writeUInt8(good.readUInt8(good.length - 1) ^ 1, good.length - 1);
      chmodSync(at, 0o644);
      writeFileSync(at, bad);
      t.after(() => writeFileSync(at, good));
      const folder = newFolder(t);
      const run = startFetch(folder, { url, token });
      const { code, message } = await run.done;
      assert.equal(code, 4);
      assert.match(
        message,
        new RegExp(`^DigestMismatch: ${shard.path} in the store has SHA-256 [0-9a-f]{64}, but was`),
      );
      assert.ok(
        message.includes(sha256(bad)) && message.includes(sha256(good)) && message.includes("import the model again"),
      );
      assert.ok(!existsSync(join(run.into, shard.path)));
      assertNothingWrong(run.into);
      // A file that is shorter or longer than its manifest says is no answer at all.
      for (const damaged of [good.subarray(0, good.length - 100), Buffer.concat([good, Buffer.alloc(100)])]) {
        writeFileSync(at, damaged);
        const range = { range: `bytes=${String(good.length - 200)}-` };
        const answer: Promise<ArrayBuffer> = get(`${url}/v1/blobs/${shard.sha256}`, token, range).then((response) =>
          response.arrayBuffer(),
        );
        if (damaged.length < good.length) await assert.rejects(answer);
        else assert.equal((await answer).byteLength, 200);
      }
      writeFileSync(at, good);
      const mended = startFetch(folder, { url, token });
      await succeeds(mended);
      assertWhole(mended.into);
    });
  });
}
