import assert from "node:assert/strict";
import { test } from "node:test";
import { serviceOf } from "../../../operator/adapters/s3/service.ts";
import { afterRefusal, chooseWay } from "../../../operator/plan/model/way.ts";

const service = "https://s3.example.org";
const usual = { isAllowed: true, isLarge: true };
const cases = [
  { storeService: undefined, sourceService: service, way: "Directory" },
  { storeService: service, sourceService: service, way: "ServerSideCopy" },
  { storeService: service, sourceService: service, isAllowed: false, way: "StreamedUpload" },
  { storeService: service, sourceService: "https://s3.example.com", way: "StreamedUpload" },
  { storeService: service, sourceService: service, isLarge: false, way: "StreamedUpload" },
  { storeService: service, sourceService: undefined, way: "StreamedUpload" },
] as const;
for (const { way, ...question } of cases) {
  test(`${JSON.stringify(question)} goes as ${way}`, () => {
    const choice = chooseWay({ ...usual, ...question });
    assert.equal(choice.way, way);
    assert.ok(choice.because.length > 10);
  });
}

test("after a refusal the rest is sent, and the words of it are kept", () => {
  assert.deepEqual(afterRefusal("the store says no"), {
    way: "StreamedUpload",
    because: "the server-side copy was given up: the store says no",
  });
});

test("one service has one name, however it is written", () => {
  const names = (region: string, ...endpoints: (string | undefined)[]): string[] =>
    endpoints.map((endpoint) => serviceOf({ region, ...(endpoint === undefined ? {} : { endpoint }) }));
  assert.deepEqual(new Set(names("x", "https://S3.example.org:443/", "https://s3.example.org")).size, 1);
  assert.deepEqual(new Set(names("x", "http://s3.example.org", "https://s3.example.org:8443", service)).size, 3);
  const inFrankfurt = ["https://s3.eu-central-1.amazonaws.com", "https://s3-eu-central-1.amazonaws.com"];
  assert.deepEqual(new Set(names("eu-central-1", undefined, "https://s3.amazonaws.com", ...inFrankfurt)).size, 1);
  assert.notEqual(serviceOf({ region: "eu-central-1" }), serviceOf({ region: "us-east-1" }));
  assert.equal(
    serviceOf({ region: "x", endpoint: "https://s3.amazonaws.com.example.org" }),
    "https://s3.amazonaws.com.example.org",
  );
});
