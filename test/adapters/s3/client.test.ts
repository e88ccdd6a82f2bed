// Where a client sends its requests where no endpoint is named: to AWS, whatever the process's environment says of other services.
import assert from "node:assert/strict";
import { test } from "node:test";
import { newS3Client } from "../../../operator/adapters/s3/client.ts";
import { addressOf } from "../../../operator/adapters/s3/presign.ts";
import { openStore } from "../../../operator/adapters/store/open.ts";

const credentials = { accessKeyId: "key-of-store", secretAccessKey: "secret-of-store" };

for (const name of ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"]) {
  test(`a store without an endpoint is AWS's, also where ${name} names the source's service`, async (t) => {
    process.env[name] = "http://127.0.0.1:9/";
    t.after(() => void Reflect.deleteProperty(process.env, name));
    const store = openStore({ url: "s3://models/berth", region: "eu-west-1", credentials });
    t.after(() => store.close());
    const signed = (await store.presign?.("a", 60)) ?? "";
    assert.equal(new URL(signed).hostname, "models.s3.eu-west-1.amazonaws.com");
    const client = newS3Client({ region: "eu-west-1", credentials });
    t.after(() => client.destroy());
    assert.equal((await addressOf(client, "ledger", "a")).hostname, "ledger.s3.eu-west-1.amazonaws.com");
  });
}
