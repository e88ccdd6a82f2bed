// Bytes without the store role between: pods are sent to the object storage by signed addresses, which open one object for
// five minutes. Whatever goes wrong there ends in the store role's own bytes; the pod's token never goes there.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, beforeEach, test } from "node:test";
import { apiPath } from "../cluster/client.ts";
import type { KubeObject } from "../cluster/client.ts";
import type { FaultProxy, FaultRule, SeenRequest } from "../cluster/faultproxy.ts";
import type { Replica } from "../chart/rendered.ts";
import { sha256Hex } from "../../operator/transfer/hash.ts";
import { filesBelow } from "../models/upload.ts";
import { first, largeModel, newFolder, podToken, startFetch, startStoreRig } from "./storerig.ts";
import type { FetchProcess, Pod, StoreRig } from "./storerig.ts";

let rig: StoreRig;
let storage: FaultProxy;
let store: Replica;
let pod: Pod;
let token: string;
let url: string;
const ending: (() => unknown)[] = [];
before(
  async () => {
    const t = { after: (work: unknown) => void ending.unshift(work as () => unknown) };
    rig = await startStoreRig(t as never, "s3", largeModel, { redirects: "through a proxy" });
    assert.ok(rig.storage);
    ({ storage } = rig);
    store = await rig.startStore();
    pod = await rig.servingPod(first);
    token = await podToken(rig.cluster, pod);
    url = store.urls["store"] ?? "";
  },
  { timeout: 240_000 },
);
after(async () => {
  for (const work of ending) await work();
});
let mark = 0;
beforeEach(() => {
  storage.clear();
  mark = storage.seen.length;
});

const totalBytes = filesBelow(largeModel).reduce((sum, path) => sum + readFileSync(join(largeModel, path)).length, 0);

/** A pod's own read: the store role reads by signed addresses too, and names itself. */
const isSigned = ({ method, query, headers }: SeenRequest): boolean =>
  method === "GET" && query.has("X-Amz-Signature") && headers["user-agent"] !== "berth-store";
/** Requests with a signed address since the test began. */
const signed = (): readonly SeenRequest[] => storage.seen.slice(mark).filter(isSigned);
const isWeights = (request: SeenRequest): boolean => isSigned(request) && request.path.endsWith(".safetensors");

async function sentByStore(): Promise<number> {
  const metrics = await (await fetch(`${store.urls["metrics"] ?? ""}/metrics`)).text();
  return Number(/^berth_store_bytes_total (\d+)$/m.exec(metrics)?.[1] ?? 0);
}

type Line = Readonly<Record<string, unknown>>;
interface Ended {
  readonly fetched: Line;
  /** Why redirects stopped. */
  readonly stopped: readonly Line[];
}

/** Runs a fetch to its end: the model is whole, whatever happened on the way; nothing that opens an object is in its log. */
async function fetched(run: FetchProcess): Promise<Ended> {
  const { code, message } = await run.done;
  const lines = run.lines();
  assert.equal(code, 0, `${message}\n${JSON.stringify(lines, undefined, 1)}`);
  assert.deepEqual(filesBelow(run.into), filesBelow(largeModel));
  for (const path of filesBelow(run.into))
    assert.equal(sha256Hex(readFileSync(join(run.into, path))), sha256Hex(readFileSync(join(largeModel, path))), path);
  assert.ok(!/X-Amz|Signature/i.test(JSON.stringify(lines) + message));
  const end = lines.find(({ msg }) => msg === "fetched and verified");
  assert.ok(end);
  return { fetched: end, stopped: lines.filter(({ msg }) => msg === "files come through the store role from here on") };
}

const origin = (): readonly string[] => ["--redirect-origin", storage.url];

async function withFault(t: Parameters<typeof newFolder>[0], ...rules: readonly FaultRule[]): Promise<Ended> {
  for (const rule of rules) storage.add(rule);
  return fetched(startFetch(newFolder(t), { url, token, args: [...origin(), "--parts-at-once", "2"] }));
}

test("the deployment's pods are told where they may be sent, and may reach no more than that", async () => {
  const [step] = pod.spec["initContainers"] as { args: string[] }[];
  assert.ok(step?.args.join(" ").includes(`--redirect-origin ${storage.url} `), step?.args.join(" "));
  const { items } = await rig.cluster.admin.list<
    KubeObject & { spec: { egress: { to?: object[]; ports: object[] }[] } }
  >(apiPath("networking.k8s.io/v1", "networkpolicies", { namespace: first }));
  const ways = items[0]?.spec.egress.filter(({ to }) => JSON.stringify(to).includes("ipBlock"));
  assert.deepEqual(ways, [
    { to: [{ ipBlock: { cidr: "127.0.0.1/32" } }], ports: [{ protocol: "TCP", port: storage.port }] },
  ]);
});

test("every byte comes from the object storage, which never sees the token", async (t) => {
  const before = await sentByStore();
  const { fetched: end, stopped } = await withFault(t);
  assert.deepEqual([end["receivedBytes"], end["directBytes"], stopped.length], [totalBytes, totalBytes, 0]);
  assert.equal(await sentByStore(), before);
  const asked = signed();
  assert.ok(asked.length >= 12, String(asked.length));
  for (const { headers, query, path } of asked) {
    assert.equal(headers.authorization, undefined);
    assert.ok(Number(query.get("X-Amz-Expires")) <= 300);
    assert.match(path, /^\/store\/berth\/models\//);
  }
  assert.ok(!JSON.stringify(storage.seen.map(({ url: at, headers }) => [at, headers])).includes(token));
  const addresses = new Set(asked.map(({ url: at }) => at));
  assert.ok(addresses.size < asked.length, "an address is used for more than one part");
});

test("who knows of no redirects, and who asks for the manifest, is answered with bytes", async (t) => {
  const { fetched: end } = await fetched(startFetch(newFolder(t), { url, token }));
  assert.deepEqual([end["receivedBytes"], end["directBytes"]], [totalBytes, 0]);
  assert.deepEqual(signed(), []);
});

test("a place that the pod was not made for is not followed", async (t) => {
  const args = ["--redirect-origin", "http://127.0.0.1:9"];
  const { fetched: end, stopped } = await fetched(startFetch(newFolder(t), { url, token, args }));
  assert.equal(end["directBytes"], 0);
  assert.match(String(stopped[0]?.["why"]), /redirects to a place that this pod may not follow/);
  assert.deepEqual(signed(), []);
});

test("an address that is over is asked for again", async (t) => {
  let uses = 0;
  // Each address opens its object twice.
  const { fetched: end, stopped } = await withFault(t, {
    match: (request) => isWeights(request) && ++uses % 3 === 0,
    fault: { kind: "status", code: 403, message: "Request has expired" },
  });
  assert.deepEqual([end["directBytes"], stopped.length], [totalBytes, 0]);
  assert.ok(uses > 12, String(uses));
});

test("a storage that cannot be reached, that refuses or that sends other parts costs a detour, not the fetch", async (t) => {
  const faults: readonly FaultRule["fault"][] = [
    { kind: "reset" },
    { kind: "status", code: 403, message: "SignatureDoesNotMatch" },
    { kind: "status", code: 503 },
    { kind: "rewrite", headers: { "content-range": "bytes 7-8/9" } },
    { kind: "rewrite", status: 302, headers: { location: "http://127.0.0.1:9/" } },
  ];
  for (const fault of faults) {
    storage.clear();
    const { fetched: end, stopped } = await withFault(t, { match: isSigned, fault });
    assert.equal(end["directBytes"], 0, JSON.stringify(fault));
    assert.equal(stopped.length, 1, JSON.stringify(fault));
    assert.match(String(stopped[0]?.["why"]), /^the object storage fails: /);
  }
});

test("faults that pass are passed over, and bytes that came are not asked for again", async (t) => {
  const { fetched: end, stopped } = await withFault(
    t,
    { match: isWeights, times: 1, fault: { kind: "status", code: 503 } },
    { match: isWeights, times: 1, fault: { kind: "reset" } },
    { match: isWeights, times: 2, fault: { kind: "cut", afterBytes: 3 << 20 } },
  );
  assert.equal(stopped.length, 0, JSON.stringify(stopped));
  assert.deepEqual([end["receivedBytes"], end["directBytes"]], [totalBytes, totalBytes]);
});

test("a wrong byte from the storage stands under no name, and the file is fetched once more from the store role", async (t) => {
  const spoil = (body: Buffer): Buffer => {
    body.writeUInt8(body.readUInt8(100) ^ 1, 100);
    return body;
  };
  const { fetched: end, stopped } = await withFault(t, {
    match: (request) => isWeights(request) && /-00002-/.test(request.path),
    times: 1,
    fault: { kind: "rewrite", body: spoil },
  });
  assert.match(String(stopped[0]?.["why"]), /model-00002.* came with a wrong byte/);
  assert.ok(Number(end["receivedBytes"]) > totalBytes && Number(end["directBytes"]) < Number(end["receivedBytes"]));
});
