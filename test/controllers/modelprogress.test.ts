// What a Model's status, its events and the metrics tell of an import, and how often, counted on the real API server.
import assert from "node:assert/strict";
import { before, test } from "node:test";
import { DeleteObjectCommand, PutObjectCommand } from "@aws-sdk/client-s3";
import { apiPath } from "../cluster/client.ts";
import { eventually } from "../cluster/eventually.ts";
import { startFaultProxy } from "../cluster/faultproxy.ts";
import type { FaultProxy, HttpFault, SeenRequest } from "../cluster/faultproxy.ts";
import {
  fileScope,
  importerHere,
  isHeader,
  isWeight,
  modelUntil,
  newBed,
  newTenant,
  operatorNamespace,
  putModel,
  putSecret,
  sourceProxy,
  tenantBehind,
  untilReason,
  uploadLlama,
} from "./importbench.ts";
import type { Bed } from "./importbench.ts";

const scope = fileScope();
let bed: Bed;
let proxy: FaultProxy;
before(async () => {
  bed = await newBed(scope);
  await uploadLlama(bed);
  proxy = await sourceProxy(scope, bed);
});

const user = `system:serviceaccount:${operatorNamespace}:berth-importer`;
const isConfig = ({ method, path }: SeenRequest): boolean => method === "GET" && path.endsWith("/config.json");

/** Adds a fault for as long as the test runs. */
function fault(
  t: { after(run: () => unknown): void },
  match: (request: SeenRequest) => boolean,
  what: HttpFault,
  times?: number,
) {
  const rule = proxy.add({ match, fault: what, ...(times === undefined ? {} : { times }) });
  t.after(() => rule.remove());
  return rule;
}

/** When the importer wrote a status in this namespace, by the API server's clock. */
async function statusWrites(mark: Awaited<ReturnType<Bed["cluster"]["audit"]["mark"]>>, namespace: string) {
  const entries = await bed.cluster.audit.since(mark, {
    user,
    namespace,
    verbs: ["patch"],
    resources: ["models/status"],
  });
  return entries.map(({ receivedAt }) => Date.parse(receivedAt));
}

test("progress is written at most once in its time, whatever the import is about; beginning and end at once", async (t) => {
  const progressMs = 700;
  await importerHere(t, bed, { progressMs });
  const namespace = await tenantBehind(bed, proxy);
  // The first write falls into the inspection; the copy begins soon after, and takes some writes more.
  fault(t, isConfig, { kind: "delay", delayMs: progressMs + 200 }, 1);
  fault(t, (request) => isWeight(request) && !isHeader(request), { kind: "delay", delayMs: 2 * progressMs });
  const mark = await bed.cluster.audit.mark();
  const path = await putModel(bed, namespace, { endpoint: proxy.url });
  await untilReason(bed, path, "Imported", 60_000);
  const writes = await statusWrites(mark, namespace);
  const told = writes.slice(1, -1);
  assert.ok(told.length >= 2, `${String(told.length)} writes between the first and the last`);
  const gapsMs = told.slice(1).map((at, index) => at - (told[index] ?? 0));
  assert.ok(Math.min(...gapsMs) >= progressMs, `gaps of ${gapsMs.join(", ")} ms`);
});

test("a source that will not say what it states is told of, once", async (t) => {
  await importerHere(t, bed);
  const namespace = await tenantBehind(bed, proxy);
  // Of smaller files a read says it by the way.
  await uploadLlama(bed, { prefix: "large/", weightBytes: 72e6, shards: 2 });
  const refused = fault(t, ({ method }) => method === "HEAD", { kind: "status", code: 400 });
  const path = await putModel(bed, namespace, { endpoint: proxy.url, prefix: "large/" });
  await untilReason(bed, path, "Imported", 60_000);
  assert.ok(refused.hits > 0);
  const events = apiPath("events.k8s.io/v1", "events", { namespace });
  const told = async () =>
    (await bed.cluster.admin.list<{ reason: string; note: string }>(events)).items.filter(
      ({ reason }) => reason === "ChecksumsUnknown",
    );
  await eventually(async () => (await told()).length === 1, { what: "an event tells of it" });
  assert.match(
    (await told())[0]?.note ?? "",
    /\.safetensors is compared with no checksum of the source's own: bucket /,
  );
});

test("an import that stands still writes nothing", async (t) => {
  await importerHere(t, bed, { progressMs: 50 });
  const namespace = await tenantBehind(bed, proxy);
  const stall = fault(t, (request) => isWeight(request) && !isHeader(request), { kind: "stall" });
  const path = await putModel(bed, namespace, { endpoint: proxy.url });
  await modelUntil(bed, path, "stands still", ({ status }) => status?.progress?.bytesPerSecond === 0);
  const mark = await bed.cluster.audit.mark();
  // A whole import of another model is many times as long as the time between two writes.
  const other = await newTenant(bed);
  await putSecret(bed, other);
  await untilReason(bed, await putModel(bed, other), "Imported");
  assert.deepEqual(await statusWrites(mark, namespace), []);
  stall.remove();
  proxy.resetOpen();
  await untilReason(bed, path, "Imported", 60_000);
});

type Running = Awaited<ReturnType<typeof importerHere>>;

/** One series of the importer's own metrics; its name with the labels, as it is scraped. */
async function metric({ base }: Running, series: string): Promise<number> {
  const lines = (await base.metrics.registry.metrics()).split("\n");
  const line = lines.find((one) => one.startsWith(`${series} `));
  return Number(line?.slice(series.length + 1) ?? Number.NaN);
}
async function bytesOf(running: Running) {
  const of = (outcome: string): Promise<number> => metric(running, `berth_import_bytes_total{outcome="${outcome}"}`);
  return { copied: await of("copied"), resumed: await of("resumed"), reused: await of("reused") };
}
const active = (running: Running): Promise<number> => metric(running, "berth_import_active");

test("exactly the parts that are tried again are counted, read or stored, and nothing else that is", async (t) => {
  const toStore = await startFaultProxy({ target: bed.s3.endpoint, dialect: "s3" });
  t.after(() => toStore.close());
  const { accessKeyId, secretAccessKey, region } = bed.s3;
  const credentials = { accessKeyId, secretAccessKey };
  const store = { url: "s3://store/counted", endpoint: toStore.url, region, credentials };
  const running = await importerHere(t, bed, { store });
  const namespace = await tenantBehind(bed, proxy);
  const failing = { kind: "status", code: 503 } as const;
  const isPut = (name: RegExp) => (request: SeenRequest) => request.method === "PUT" && name.test(request.path);
  // Three parts: two from the source and one into the store.
  fault(t, (request) => isWeight(request) && !isHeader(request), failing, 2);
  const stored = toStore.add({ match: isPut(/\/1\/.*\.safetensors$/), times: 1, fault: failing });
  // No parts: a page of the listing, headers, the journal of the store.
  const listed = fault(t, ({ query }) => query.has("list-type"), failing, 2);
  const inspected = fault(t, (request) => isWeight(request) && isHeader(request), failing, 2);
  const noted = toStore.add({ match: isPut(/\/\.berth\//), times: 1, fault: failing });
  const path = await putModel(bed, namespace, { endpoint: proxy.url });
  await untilReason(bed, path, "Imported", 60_000);
  assert.deepEqual([stored.hits, listed.hits, inspected.hits, noted.hits], [1, 2, 2, 1]);
  assert.equal(await metric(running, "berth_import_parts_retried_total"), 3);
});

test("imports at work are counted for as long as they are, however they end", async (t) => {
  const running = await importerHere(t, bed);
  const namespace = await tenantBehind(bed, proxy);
  assert.equal(await active(running), 0);
  const idle = (what: string) =>
    eventually(async () => (await active(running)) === 0, { what: `nothing is active after ${what}`, recheckMs: 20 });
  const stall = fault(t, isConfig, { kind: "stall" });
  const path = await putModel(bed, namespace, { endpoint: proxy.url });
  await eventually(() => stall.hits > 0, { what: "the configuration is asked for", recheckMs: 10 });
  assert.equal(await active(running), 1);
  stall.remove();
  const gone = fault(t, isConfig, { kind: "status", code: 412, message: "PreconditionFailed" });
  proxy.resetOpen();
  const failures = 'berth_import_seconds_count{outcome="failed"}';
  await eventually(async () => (await metric(running, failures)) > 0, { what: "it has failed", recheckMs: 20 });
  await idle("a failure");
  gone.remove();
  await untilReason(bed, path, "Imported", 60_000);
  await idle("an import");
  assert.equal(await metric(running, 'berth_import_seconds_count{outcome="imported"}'), 1);
});

async function eventsOf(namespace: string): Promise<{ reason: string; note: string }[]> {
  const path = apiPath("events.k8s.io/v1", "events", { namespace });
  return (await bed.cluster.admin.list<{ reason: string; note: string }>(path)).items;
}

test("what an earlier attempt brought and what an earlier revision holds is counted apart, and said when it begins", async (t) => {
  const client = bed.s3.client();
  t.after(() => client.destroy());
  await uploadLlama(bed, { prefix: "counted/" });
  const namespace = await tenantBehind(bed, proxy);
  const isLast = (request: SeenRequest): boolean =>
    /model-00003-of-\d+\.safetensors$/.test(request.path) && isWeight(request) && !isHeader(request);
  const first = await importerHere(t, bed);
  const stall = fault(t, isLast, { kind: "stall" });
  const path = await putModel(bed, namespace, { endpoint: proxy.url, prefix: "counted" });
  await eventually(() => stall.hits > 0, { what: "the last shard is asked for", recheckMs: 10 });
  await modelUntil(bed, path, "has brought the rest", ({ status }) => {
    const [done, all] = (status?.progress?.files ?? "0/0").split("/").map(Number);
    return all !== 0 && done === (all ?? 0) - 1;
  });
  await first.stop();
  stall.remove();
  const brought = await bytesOf(first);
  assert.deepEqual([brought.resumed, brought.reused], [0, 0]);

  const second = await importerHere(t, bed);
  const { status } = await untilReason(bed, path, "Imported", 60_000);
  const size = status?.sizeBytes ?? 0;
  const resumed = await bytesOf(second);
  assert.deepEqual([resumed.copied + resumed.resumed, resumed.reused], [size, 0]);
  assert.ok(resumed.resumed > 0 && resumed.resumed <= brought.copied);

  // A file fewer: all that is left lies in the first revision.
  await client.send(new DeleteObjectCommand({ Bucket: "source", Key: "counted/LICENSE" }));
  await bed.cluster.admin.patch(path, { metadata: { annotations: { "berth.dev/refresh": "1" } } });
  const later = await modelUntil(bed, path, "has two revisions", (model) => model.status?.revisions?.length === 2);
  const reused = later.status?.revisions?.[1]?.sizeBytes ?? 0;
  assert.ok(reused > 0 && reused < size);
  assert.deepEqual(await bytesOf(second), { ...resumed, reused });
  const told = await eventually(
    async () => (await eventsOf(namespace)).find(({ note }) => note.startsWith("nothing is copied")),
    { what: "an event tells that it begins" },
  );
  assert.equal(told.reason, "Copying");
  assert.match(
    told.note,
    new RegExp(`^nothing is copied: an earlier revision holds all \\d+ files with ${String(reused)} bytes$`),
  );

  await client.send(new PutObjectCommand({ Bucket: "source", Key: "counted/LICENSE", Body: "another" }));
  await bed.cluster.admin.patch(path, { metadata: { annotations: { "berth.dev/refresh": "2" } } });
  await modelUntil(bed, path, "has three revisions", (model) => model.status?.revisions?.length === 3);
  await eventually(
    async () =>
      (await eventsOf(namespace)).some(({ note }) =>
        new RegExp(
          `^copying \\d+ files with ${String(reused + 7)} bytes, but for \\d+ files with ${String(reused)} bytes that an earlier revision holds$`,
        ).test(note),
      ),
    { what: "an event tells how much is copied" },
  );
  assert.deepEqual(await bytesOf(second), { copied: resumed.copied + 7, resumed: resumed.resumed, reused: 2 * reused });
});
