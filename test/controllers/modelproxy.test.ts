// A Model behind the platform's forward proxy, by a running importer: the source is reached through it and the store is not.
import assert from "node:assert/strict";
import { before, test } from "node:test";
import { startConnectProxy } from "../cluster/connectproxy.ts";
import type { ConnectProxy } from "../cluster/connectproxy.ts";
import { startS3 } from "../cluster/s3.ts";
import type { S3Server } from "../cluster/s3.ts";
import { tinyModel, uploadFiles } from "../models/tiny.ts";
import {
  fileScope,
  importerHere,
  newBed,
  newTenant,
  putModel,
  putSecret,
  readyOf,
  untilReason,
} from "./importbench.ts";
import type { Bed } from "./importbench.ts";

const scope = fileScope();
let bed: Bed;
let proxy: ConnectProxy;
let elsewhere: S3Server;
before(async () => {
  bed = await newBed(scope);
  elsewhere = await startS3();
  scope.after(() => elsewhere.stop());
  await elsewhere.createBucket("source");
  const client = elsewhere.client();
  await uploadFiles(client, "source", "llama/", tinyModel());
  client.destroy();
  proxy = await startConnectProxy();
  scope.after(() => proxy.close());
  await importerHere(scope, bed, { proxy: { https: proxy.url, http: proxy.url, connectBy: "address" } });
});

async function put(tenant: string, name: string): Promise<string> {
  return putModel(bed, tenant, { name, endpoint: elsewhere.endpoint });
}

test("a Model is imported through the proxy, which hears of the source alone; without the proxy it waits", async () => {
  const tenant = await newTenant(bed);
  const { endpoint, accessKeyId, secretAccessKey } = elsewhere;
  await putSecret(bed, tenant, { endpoints: endpoint, data: { accessKeyId, secretAccessKey } });
  const { status, metadata } = await untilReason(bed, await put(tenant, "first"), "Imported");
  assert.equal(status?.phase, "Ready");
  assert.ok(proxy.asked.length > 0, "the proxy saw no connection");
  assert.deepEqual([...new Set(proxy.asked)], [new URL(endpoint).host]);
  const stored: string[] = [];
  for await (const { key } of bed.store.list("")) if (key.includes(`${metadata.uid ?? "?"}/1/`)) stored.push(key);
  assert.ok(stored.some((key) => key.endsWith("/MANIFEST.json")) && stored.length > Object.keys(tinyModel()).length);

  await proxy.close();
  const waiting = await untilReason(bed, await put(tenant, "second"), "SourceUnreachable");
  const message = readyOf(waiting.status)?.message ?? "";
  assert.match(message, /proxy/);
  assert.ok(!message.includes(String(proxy.port)), message);
});
