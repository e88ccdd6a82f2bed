/** The list of sinks as the operator reads it at its start. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { parseSinks } from "../../operator/sinks.ts";

test("a list of sinks is refused as a whole, with every problem named", () => {
  const https = "https://meter.example.com";
  const { problems } = parseSinks([
    { name: "a", type: "cloudevents", url: "http://meter" },
    { name: "a", type: "webhook", url: https, secretFile: "/s" },
  ]);
  assert.deepEqual(problems.length, 2);
  assert.match(problems.join("\n"), /no TLS[\s\S]*there twice/);
  assert.match(parseSinks([{ name: "a", type: "webhook", url: https }]).problems.join(), /secretFile/);
  assert.match(parseSinks([{ name: "../a", type: "cloudevents", url: https }]).problems.join(), /lower-case/);
  const files = { name: "a", type: "focus", url: "s3://bucket/prefix", provider: "Example" };
  assert.match(parseSinks([files], { hasPrices: false }).problems.join(), /needs keys.*needs prices/);
  assert.match(parseSinks([{ ...files, provider: "" }]).problems.join(), /provider/);
});
