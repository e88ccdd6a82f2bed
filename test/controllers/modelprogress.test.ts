// What a Model's status, its events and the metrics tell of an import, and how often, counted on the real API server.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { startFaultProxy } from "../cluster/faultproxy.ts";
import type { FaultProxy, HttpFault, SeenRequest } from "../cluster/faultproxy.ts";
import { llamaFolder } from "../models/llama.ts";
import { uploadFolder } from "../models/upload.ts";
import {
  importerHere,
  modelUntil,
  newBed,
  newTenant,
  operatorNamespace,
  putModel,
  putSecret,
  untilReason,
} from "./importbench.ts";
import type { Bed } from "./importbench.ts";

const cleanups: (() => unknown)[] = [];
let bed: Bed;
let proxy: FaultProxy;
before(async () => {
  bed = await newBed({ after: (run: () => unknown) => void cleanups.unshift(run) });
  const client = bed.s3.client();
  await uploadFolder(client, "source", "llama/", llamaFolder());
  client.destroy();
  proxy = await startFaultProxy({ target: bed.s3.endpoint, dialect: "s3" });
  cleanups.unshift(() => proxy.close());
});
after(async () => {
  for (const cleanup of cleanups) await cleanup();
});

const user = `system:serviceaccount:${operatorNamespace}:berth-importer`;
const isWeight = ({ method, path }: SeenRequest): boolean => method === "GET" && path.endsWith(".safetensors");
const isConfig = ({ method, path }: SeenRequest): boolean => method === "GET" && path.endsWith("/config.json");
const isHeader = ({ headers }: SeenRequest): boolean => headers.range === "bytes=0-65535";

async function newTenantBehind(proxied: FaultProxy): Promise<string> {
  const namespace = await newTenant(bed);
  await putSecret(bed, namespace, { endpoints: proxied.url });
  return namespace;
}

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
  const namespace = await newTenantBehind(proxy);
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

test("an import that stands still writes nothing", async (t) => {
  await importerHere(t, bed, { progressMs: 50 });
  const namespace = await newTenantBehind(proxy);
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
