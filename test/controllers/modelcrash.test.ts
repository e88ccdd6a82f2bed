// Imports that are killed, raced, cut off from the API server or from the store: in the end the same bytes and one manifest.
import assert from "node:assert/strict";
import { once } from "node:events";
import { test, before } from "node:test";
import { apiPath } from "../cluster/client.ts";
import { eventually } from "../cluster/eventually.ts";
import type { FaultProxy, SeenRequest } from "../cluster/faultproxy.ts";
import { llamaFolder } from "../models/llama.ts";
import { filesBelow } from "../models/upload.ts";
import { RECORD, digestOf, withoutHash } from "../transfer/bench.ts";
import {
  fileScope,
  importerHere,
  importerProcess,
  isWeight,
  modelUntil,
  newBed,
  newTenant,
  operatorNamespace,
  putModel,
  putSecret,
  readyOf,
  sourceProxy,
  tenantBehind,
  untilReason,
  uploadLlama,
} from "./importbench.ts";
import type { Bed } from "./importbench.ts";

const scope = fileScope();
let bed: Bed;
/** The source behind a proxy that makes each read of weights take a while. */
let slow: FaultProxy;
before(async () => {
  bed = await newBed(scope);
  await uploadLlama(bed);
  slow = await sourceProxy(scope, bed);
  slow.add({ match: isWeight, fault: { kind: "delay", delayMs: 150 } });
});

const wanted = (): string => digestOf(llamaFolder(), filesBelow(llamaFolder()));

async function folderOf(path: string): Promise<string> {
  const { metadata } = await bed.cluster.admin.get<{ metadata: { uid: string; namespace: string } }>(path);
  const owner = await bed.cluster.admin.get<{ metadata: { uid: string } }>(`/api/v1/namespaces/${metadata.namespace}`);
  return `models/${owner.metadata.uid}/${metadata.uid}/`;
}

async function keysBelow(folder: string): Promise<string[]> {
  const keys: string[] = [];
  for await (const object of bed.store.list(folder)) keys.push(withoutHash(object.key.slice(folder.length)));
  return keys.sort();
}

/** Reproducible choices: the seed is printed with the test. */
function chooser(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state % below;
  };
}

test("an importer that is killed again and again finishes in the end, with nothing left over", async (t) => {
  const seed = Number(process.env["BERTH_TEST_SEED"] ?? Date.now() % 1_000_000);
  t.diagnostic(`seed ${String(seed)} (BERTH_TEST_SEED repeats it)`);
  const choose = chooser(seed);
  const namespace = await tenantBehind(bed, slow);
  const path = await putModel(bed, namespace, { endpoint: slow.url });
  const folder = await folderOf(path);
  for (let round = 0; round < 4; round++) {
    const child = importerProcess(t, bed);
    // Each round is let get a little further: some number of objects more than the last one left.
    const before_ = (await keysBelow(folder)).length;
    const target = before_ + 1 + choose(5);
    await eventually(
      async () =>
        (await keysBelow(folder)).length >= target ||
        readyOf((await bed.cluster.admin.get<{ status?: never }>(path)).status)?.status === "True",
      {
        what: `the store holds ${String(target)} objects`,
        recheckMs: 10,
      },
    );
    const gone = once(child, "exit");
    child.kill("SIGKILL");
    await gone;
  }
  importerProcess(t, bed);
  const model = await untilReason(bed, path, "Imported", 60_000);
  assert.equal(model.status?.digest, wanted());
  const reasons = async () =>
    (await bed.cluster.admin.list<{ reason: string }>(apiPath("events.k8s.io/v1", "events", { namespace }))).items.map(
      ({ reason }) => reason,
    );
  await eventually(async () => (await reasons()).includes("Resumed"), { what: "an event tells that it went on" });
  assert.equal(model.status?.revisions?.length, 1);
  const kept = [...filesBelow(llamaFolder()), "MANIFEST.json", RECORD].map((file) => `1/${file}`);
  assert.deepEqual(await keysBelow(folder), kept.sort());
});

async function copiedBytes(metrics: { metrics(): Promise<string> }): Promise<number> {
  return Number(/^berth_import_bytes_total\{outcome="copied"\} (\d+)/m.exec(await metrics.metrics())?.[1] ?? 0);
}

test("two importers share the work: each model is copied once", async (t) => {
  const one = await importerHere(t, bed);
  const two = await importerHere(t, bed);
  const namespace = await tenantBehind(bed, slow);
  const names = ["a", "b", "c", "d"];
  const paths = await Promise.all(names.map((name) => putModel(bed, namespace, { name, endpoint: slow.url })));
  for (const path of paths) {
    const { status } = await untilReason(bed, path, "Imported", 60_000);
    assert.deepEqual(
      status?.revisions?.map(({ digest }) => digest),
      [wanted()],
    );
  }
  const copied = (await copiedBytes(one.base.metrics.registry)) + (await copiedBytes(two.base.metrics.registry));
  const size = (await bed.cluster.admin.get<{ status: { sizeBytes: number } }>(paths[0] ?? "")).status.sizeBytes;
  assert.equal(copied, size * names.length);
  await one.stop();
  await two.stop();
  const leases = await bed.cluster.admin.list(
    apiPath("coordination.k8s.io/v1", "leases", { namespace: operatorNamespace }),
  );
  assert.deepEqual(leases.items, [], "no Lease is left behind");
});

test("kubectl get mdl -w is a progress display", async (t) => {
  await importerHere(t, bed);
  const namespace = await tenantBehind(bed, slow);
  const watching = bed.cluster.kubectl(["get", "mdl", "-w", "-n", namespace, "--request-timeout=8s"]);
  const path = await putModel(bed, namespace, { endpoint: slow.url });
  const copying = await modelUntil(bed, path, "is being copied", ({ status }) => (status?.progress?.bytes ?? 0) > 0);
  const { progress, copied } = copying.status ?? {};
  assert.match(copied ?? "", /^\d\d?%$/);
  assert.match(progress?.files ?? "", /^\d+\/\d+$/);
  assert.ok(Date.parse(progress?.startedAt ?? "") > 0);
  await untilReason(bed, path, "Imported", 60_000);
  const lines = (await watching).stdout.trim().split("\n");
  // kubectl widens a column only for rows that come later, so positions in the lines mean nothing.
  const shares = lines.slice(1).map((line) => Number(/ (\d+)% /.exec(line)?.[1] ?? -1));
  const told = shares.filter((share) => share >= 0);
  assert.deepEqual(
    told,
    told.toSorted((a, b) => a - b),
    lines.join("\n"),
  );
  assert.ok(new Set(told).size >= 3, lines.join("\n"));
  assert.equal(told.at(-1), 100);
});

test("progress is told while it copies, and an importer that lost its Lease stops at once, with no manifest", async (t) => {
  const running = await importerHere(t, bed);
  const namespace = await tenantBehind(bed, slow);
  // The read of the last shard is not answered before the Lease is lost: only an importer that stops gives it up.
  const isLast = ({ method, path, headers }: SeenRequest): boolean =>
    method === "GET" && /model-00003-of-\d+\.safetensors$/.test(path) && headers.range !== "bytes=0-65535";
  const held = slow.addFirst({ match: isLast, fault: { kind: "stall" } });
  t.after(() => held.remove());
  const path = await putModel(bed, namespace, { endpoint: slow.url });
  const copying = await modelUntil(bed, path, "tells its progress", ({ status }) => (status?.progress?.bytes ?? 0) > 0);
  assert.equal(copying.status?.phase, "Downloading");
  assert.equal(readyOf(copying.status)?.reason, "Copying");
  assert.ok((copying.status?.progress?.bytes ?? 0) <= (copying.status?.progress?.totalBytes ?? 0));
  await eventually(() => held.hits > 0, { what: "the last shard is asked for", recheckMs: 10 });
  const lease = apiPath("coordination.k8s.io/v1", "leases", {
    namespace: operatorNamespace,
    name: `berth-import-${copying.metadata.uid ?? ""}`,
  });
  const isStopped = async (): Promise<boolean> =>
    /berth_import_seconds_count\{outcome="stopped"\} 1/.test(await running.base.metrics.registry.metrics());
  await bed.cluster.admin.patch(lease, { spec: { holderIdentity: "somebody-else" } });
  await eventually(isStopped, { what: "the import is stopped while its read is still unanswered", deadlineMs: 15_000 });
  const folder = await folderOf(path);
  assert.ok(!(await keysBelow(folder)).some((key) => key.endsWith("MANIFEST.json")));
  held.remove();
  const { status } = await untilReason(bed, path, "Imported", 60_000);
  assert.equal(status?.digest, wanted());
});

test("long listings and inspections are told as such", async (t) => {
  await importerHere(t, bed);
  const namespace = await tenantBehind(bed, slow);
  const listing = slow.add({
    match: ({ query }) => query.has("list-type"),
    times: 1,
    fault: { kind: "delay", delayMs: 400 },
  });
  const config = { match: ({ path }: { path: string }) => path.endsWith("/config.json"), times: 1 };
  const reading = slow.add({ ...config, fault: { kind: "delay", delayMs: 400 } });
  t.after(() => [listing.remove(), reading.remove()]);
  const path = await putModel(bed, namespace, { endpoint: slow.url });
  await untilReason(bed, path, "Listing");
  const { status } = await untilReason(bed, path, "Inspecting");
  assert.equal(status?.phase, "Preparing");
  await untilReason(bed, path, "Imported");
});

test("a source that fails for a while is tried again until it works", async (t) => {
  await importerHere(t, bed);
  const namespace = await tenantBehind(bed, slow);
  const failing = slow.add({ fault: { kind: "status", code: 503, message: "SlowDown" } });
  t.after(() => failing.remove());
  const path = await putModel(bed, namespace, { endpoint: slow.url });
  const { status } = await untilReason(bed, path, "SourceError");
  assert.match(readyOf(status)?.message ?? "", /503.*keeps retrying/);
  failing.remove();
  await untilReason(bed, path, "Imported");
});

test("an import survives an API server that goes away in its middle", async (t) => {
  await importerHere(t, bed);
  const namespace = await tenantBehind(bed, slow);
  const path = await putModel(bed, namespace, { endpoint: slow.url });
  await modelUntil(bed, path, "tells its progress", ({ status }) => (status?.progress?.bytes ?? 0) > 0);
  await bed.cluster.apiserver.restart();
  const { status } = await untilReason(bed, path, "Imported", 60_000);
  assert.equal(status?.digest, wanted());
});

test("a deletion waits for a store that is away, and says so", async (t) => {
  await importerHere(t, bed);
  const namespace = await newTenant(bed);
  await putSecret(bed, namespace);
  const path = await putModel(bed, namespace);
  await untilReason(bed, path, "Imported");
  const folder = await folderOf(path);
  await bed.s3.part.kill();
  await bed.cluster.admin.remove(path);
  const waiting = await untilReason(bed, path, "Deleting");
  assert.match(readyOf(waiting.status)?.message ?? "", /waiting for the store.*s3:\/\/store\/platform/);
  await bed.s3.part.start();
  await eventually(async () => (await bed.cluster.admin.find(path)) === undefined, { what: "the model is gone" });
  assert.deepEqual(await keysBelow(folder), []);
});

test("deleting a model that is being copied stops the copy and leaves nothing", async (t) => {
  await importerHere(t, bed);
  const namespace = await tenantBehind(bed, slow);
  const path = await putModel(bed, namespace, { endpoint: slow.url });
  await modelUntil(bed, path, "tells its progress", ({ status }) => (status?.progress?.bytes ?? 0) > 0);
  const folder = await folderOf(path);
  await bed.cluster.admin.remove(path);
  await eventually(async () => (await bed.cluster.admin.find(path)) === undefined, { what: "the model is gone" });
  assert.deepEqual(await keysBelow(folder), []);
});
