// How a Model's own fields lead to its bucket: who pays, and where the bucket's name stands. The ways themselves: test/transfer/network.test.ts.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { startFaultProxy } from "../cluster/faultproxy.ts";
import { tinyModel, uploadFiles } from "../models/tiny.ts";
import {
  importerHere,
  modelUntil,
  newBed,
  newTenant,
  putModel,
  putSecret,
  readyOf,
  untilReason,
} from "./importbench.ts";
import type { Bed } from "./importbench.ts";

const cleanups: (() => unknown)[] = [];
const scope = { after: (run: () => unknown) => void cleanups.unshift(run) };
let bed: Bed;
before(async () => {
  bed = await newBed(scope);
  await importerHere(scope, bed);
});
after(async () => {
  for (const cleanup of cleanups) await cleanup();
});

test("requesterPays reaches every request of the import", async (t) => {
  const proxy = await startFaultProxy({ target: bed.s3.endpoint, dialect: "s3" });
  t.after(() => proxy.close());
  const client = bed.s3.client();
  await uploadFiles(client, "source", "paid/", tinyModel());
  client.destroy();
  const namespace = await newTenant(bed);
  await putSecret(bed, namespace, { endpoints: proxy.url });
  const s3 = { endpoint: proxy.url, bucket: "source", prefix: "paid/", credentialsSecretRef: { name: "source" } };
  const path = await putModel(bed, namespace, { spec: { source: { s3: { ...s3, requesterPays: true } } } });
  await untilReason(bed, path, "Imported");
  assert.ok(proxy.seen.length > 4);
  for (const { method, url, headers } of proxy.seen)
    assert.equal(headers["x-amz-request-payer"], "requester", `${method} ${url}`);
});

test("with addressingStyle VirtualHost the bucket's host is asked, and named where it is not there", async () => {
  const namespace = await newTenant(bed);
  const endpoint = "http://storage.invalid:9000";
  const s3 = { endpoint, bucket: "source", prefix: "", addressingStyle: "VirtualHost" };
  const path = await putModel(bed, namespace, { spec: { source: { s3 } } });
  const model = await modelUntil(bed, path, "cannot be reached", ({ status }) => readyOf(status)?.reason === "SourceUnreachable"); // prettier-ignore
  assert.match(
    readyOf(model.status)?.message ?? "",
    /http:\/\/source\.storage\.invalid:9000 cannot be reached: its name does not resolve/,
  );
});
