import assert from "node:assert/strict";
import { test } from "node:test";
import { askedForLess } from "../../../operator/adapters/s3/fallbacks.ts";
import type { Extras, Terms } from "../../../operator/adapters/s3/fallbacks.ts";

const refusal = (name: string, httpStatusCode: number): Error =>
  Object.assign(new Error(name), { name, $metadata: { httpStatusCode } });
const newTerms = (): Terms => ({ versions: new Map([["k", "v1"]]), pinsVersions: true, asksStated: true });
const request: Extras = { versionId: "v1", asksStated: true };

test("credentials that have expired say nothing of what a server takes", async () => {
  for (const name of [
    "ExpiredToken",
    "InvalidToken",
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "RequestTimeTooSkewed",
  ]) {
    const terms = newTerms();
    let asked = 0;
    // Renewed by another request meanwhile: whatever is asked next is answered.
    const ask = () =>
      asked++ === 0 ? Promise.reject(refusal(name, name === "ExpiredToken" ? 400 : 403)) : Promise.resolve("answer");
    await assert.rejects(askedForLess(terms, request, ask), new RegExp(name));
    assert.deepEqual([terms.asksStated, terms.pinsVersions, terms.versions.size, asked], [true, true, 1, 1]);
  }
});

test("what a server refuses is left out from then on", async () => {
  const terms = newTerms();
  const ask = ({ asksStated }: Extras) =>
    asksStated ? Promise.reject(refusal("InvalidArgument", 400)) : Promise.resolve("answer");
  assert.equal(await askedForLess(terms, request, ask), "answer");
  assert.deepEqual([terms.asksStated, terms.pinsVersions], [false, true]);
});
