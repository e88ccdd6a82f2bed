// How a Model's own fields lead to its bucket: who pays, and where the bucket's name stands. The ways themselves: test/transfer/network.test.ts.
import assert from "node:assert/strict";
import { before, test } from "node:test";
import { tinyModel, uploadFiles } from "../models/tiny.ts";
import {
  fileScope,
  importerHere,
  modelUntil,
  newBed,
  newTenant,
  putModel,
  readyOf,
  sourceProxy,
  tenantBehind,
  untilReason,
} from "./importbench.ts";
import type { Bed } from "./importbench.ts";

const scope = fileScope();
let bed: Bed;
before(async () => {
  bed = await newBed(scope);
  await importerHere(scope, bed);
});

test("requesterPays reaches every request of the import", async (t) => {
  const proxy = await sourceProxy(t, bed);
  const client = bed.s3.client();
  await uploadFiles(client, "source", "paid/", tinyModel());
  client.destroy();
  const namespace = await tenantBehind(bed, proxy);
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
