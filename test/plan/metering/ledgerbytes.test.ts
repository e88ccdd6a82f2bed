/** Bytes that must never change: record, manifest and closing object of a known history, and the rules of canonical JSON. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";

import { closing as closingSchema, manifest as manifestSchema } from "../../../operator/api/ledger.ts";
import { parseLine } from "../../../operator/controllers/ledgerreads.ts";
import { canonicalJson } from "../../../operator/plan/metering/canonical.ts";
import { closingBody, closingKey, closingOf } from "../../../operator/plan/metering/closing.ts";
import { historiesOf } from "../../../operator/plan/metering/history.ts";
import { sha256Hex, spreadOffset, uuidV5 } from "../../../operator/plan/metering/identity.ts";
import { metersOf } from "../../../operator/plan/metering/records.ts";
import {
  lineChunks,
  manifestBytes,
  manifestOf,
  newTally,
  usageLines,
} from "../../../operator/plan/metering/segment.ts";
import { isConsumed } from "../../../operator/plan/metering/settle.ts";
import {
  dueThrough,
  nextDueAt,
  secondsOf,
  segmentKey,
  startOfManifestKey,
  windowAt,
} from "../../../operator/plan/metering/windows.ts";
import { claim, deployment, instant, pool } from "../../controllers/meteringobjects.ts";
import { CLUSTER, hour } from "./histories.ts";

const text = (bytes: Uint8Array) => Buffer.from(bytes).toString();

const facts = {
  deployments: [deployment("chat", "10:40:00")],
  pools: [pool({ deployment: "chat", sizes: [["10:12:00", 1]], deleted: "10:40:01" })],
  claims: [claim({ id: "n1", deployment: "chat", claimed: "10:14:20", released: "10:43:30" })],
};
const closingInput = {
  deployment: facts.deployments[0],
  pool: facts.pools[0] ?? pool({ deployment: "chat", sizes: [] }),
  claims: facts.claims,
  clusterId: CLUSTER,
};

const segment = (all: Parameters<typeof historiesOf>[0]) => {
  const tally = newTally();
  const lines = usageLines(metersOf(historiesOf(all)), hour(10), CLUSTER);
  const bytes = Buffer.concat([...lineChunks(lines, tally.add)]);
  return { text: bytes.toString(), tally: tally.result(), sha256: sha256Hex(bytes) };
};

test("golden: the same history gives these bytes on every machine", () => {
  const { text: lines, tally, sha256 } = segment({ ...facts, closings: [] });
  assert.equal(
    lines,
    [
      `{"claims":[{"claimedAt":{"from":"Node/metadata.managedFields[berth-claim].time","time":"2026-11-21T10:14:20Z"},"id":"n1","object":"Node/n1/node-n1","readyAt":{"from":"Node/metadata.managedFields[berth-claim].time","time":"2026-11-21T10:14:20Z"},"releasedAt":{"from":"Node/metadata.managedFields[berth-claim].time","time":"2026-11-21T10:43:30Z"}}],"deploymentName":"chat","deploymentUID":"uid-chat","endedAt":"2026-11-21T10:40:00Z","gpus":1,"namespace":"team-a","poolUID":"pool-chat","rev":0,"schema":"berth.dev/evidence.v1","sku":"dedicated.l4.1","steps":[{"account":"team-a","since":"2026-11-21T10:12:00Z","size":1,"tags":{}}],"stepsFrom":"GPUNodePool/pool-chat metadata.managedFields[berth-size].time","windowEnd":"2026-11-21T11:00:00Z","windowStart":"2026-11-21T10:00:00Z"}`,
      `{"account":"team-a","billableNodeSeconds":1540,"claimedNodeSeconds":1750,"claims":[{"claimedAt":"2026-11-21T10:14:20Z","id":"n1","releasedAt":"2026-11-21T10:43:30Z"}],"cluster":"6f2e1b9c-0000-4000-8000-00000000c1d0","deploymentName":"chat","deploymentUID":"uid-chat","desiredNodeSeconds":1680,"estimatedNodeSeconds":0,"from":"2026-11-21T10:12:00Z","gpuSeconds":1540,"gpus":1,"id":"f166844d-5d1e-5e42-83ee-9d6b39583329","kind":"usage","namespace":"team-a","part":0,"readyNodeSeconds":1540,"rev":0,"schema":"berth.dev/capacity.v1","shortfallNodeSeconds":140,"sku":"dedicated.l4.1","surgeNodeSeconds":210,"tags":{},"to":"2026-11-21T10:43:30Z","windowEnd":"2026-11-21T11:00:00Z","windowSeconds":3600,"windowStart":"2026-11-21T10:00:00Z"}`,
      "",
    ].join("\n"),
  );
  for (const line of lines.trimEnd().split("\n")) assert.equal(canonicalJson(parseLine(line)), line);
  assert.equal(tally.sha256, sha256);
  const at = { clusterId: CLUSTER, shards: 1, previous: undefined };
  const manifest = manifestOf(hour(10), [{ shard: 0, tally }], at);
  assert.deepEqual(manifestSchema.parse(JSON.parse(text(manifestBytes(manifest)))), manifest);
  assert.equal(
    text(manifestBytes(manifest)),
    `{"chains":["c126a921f8371453ec233f79d9a81e9b1a41b4608ab68d73f7e0efb90f883ef8"],"cluster":"6f2e1b9c-0000-4000-8000-00000000c1d0","records":1,"schema":"berth.dev/manifest.v2","segments":[{"key":"v1/dt=2026-11-21/hr=10/segment-r0.ndjson.gz","lines":2,"records":1,"sha256":"b9a096678521d4b76ef6daeb0f8abf13349fa7a2da2002e35d611b883321b79a","shard":0,"totals":{"billableNodeSeconds":1540,"claimedNodeSeconds":1750,"desiredNodeSeconds":1680,"estimatedNodeSeconds":0,"gpuSeconds":1540,"readyNodeSeconds":1540,"shortfallNodeSeconds":140,"surgeNodeSeconds":210}}],"shards":1,"totals":{"billableNodeSeconds":1540,"claimedNodeSeconds":1750,"desiredNodeSeconds":1680,"estimatedNodeSeconds":0,"gpuSeconds":1540,"readyNodeSeconds":1540,"shortfallNodeSeconds":140,"surgeNodeSeconds":210},"windowEnd":"2026-11-21T11:00:00Z","windowSeconds":3600,"windowStart":"2026-11-21T10:00:00Z"}\n`,
  );
});

test("a closing object carries the same seconds as the objects that it outlives", () => {
  const closing = closingSchema.parse(JSON.parse(text(closingBody(closingInput))));
  assert.equal(closingKey("uid-chat", "pool-chat"), "closing/uid-chat/pool-chat.json");
  const none = { deployments: [], pools: [], claims: [] };
  const bytes = (all: Parameters<typeof historiesOf>[0]) => segment(all).text;
  const before = bytes({ ...facts, closings: [] });
  assert.equal(bytes({ ...none, closings: [closing] }), before);
  // While objects go one by one beside it, nothing changes: the closing object outranks them.
  assert.equal(bytes({ ...facts, closings: [closing] }), before);
  assert.equal(bytes({ ...facts, claims: [], closings: [closing] }), before);
  assert.equal(
    text(closingBody(closingInput)),
    text(closingBody({ ...closingInput, claims: closingInput.claims.toReversed() })),
  );
});

test("a closing object is consumed when its last second is sealed, and at once where it has none", () => {
  const closing = closingOf(closingInput);
  assert.equal(isConsumed(closing, undefined), false);
  assert.equal(isConsumed(closing, secondsOf(instant("10:43:29"))), false);
  assert.equal(isConsumed(closing, secondsOf(instant("11:00:00"))), true);
  const never = closingOf({ ...closingInput, pool: pool({ deployment: "chat", sizes: [] }), claims: [] });
  assert.equal(isConsumed(never, undefined), true);
});

test("canonical JSON: one form for equal values, whatever the order of keys; floats are refused", () => {
  assert.equal(
    canonicalJson({ b: [1, { d: null, c: "é\n" }], a: undefined, A: true }),
    '{"A":true,"b":[1,{"c":"é\\n","d":null}]}',
  );
  assert.throws(() => canonicalJson(0.5), /not an exact integer/);
  assert.throws(() => canonicalJson(2 ** 53), /not an exact integer/);
  const integers = fc.maxSafeInteger();
  fc.assert(
    fc.property(fc.dictionary(fc.string(), fc.oneof(integers, fc.string(), fc.array(integers))), (value) => {
      const shuffled = Object.fromEntries(Object.entries(value).reverse());
      assert.equal(canonicalJson(shuffled), canonicalJson(value));
      assert.deepEqual(JSON.parse(canonicalJson(value)), JSON.parse(JSON.stringify(value)));
    }),
  );
});

test("UUIDs are of version 5 and as RFC 9562 computes them", () => {
  assert.match(uuidV5("x"), /^[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  assert.equal(uuidV5("www.example.com"), "5f99eacc-0835-5152-99d2-bab503c66719");
});

test("windows: aligned to the epoch in UTC, named so that their order is time's", () => {
  const at = secondsOf(instant("10:59:59"));
  assert.deepEqual(windowAt(at, 3600), hour(10));
  assert.equal(segmentKey(hour(10)), "v1/dt=2026-11-21/hr=10/segment-r0.ndjson.gz");
  assert.equal(segmentKey(windowAt(at, 10)), "v1/dt=2026-11-21/hr=105950/segment-r0.ndjson.gz");
  assert.equal(startOfManifestKey("v1/dt=2026-11-21/hr=105950/manifest.json"), secondsOf(instant("10:59:50")));
  assert.equal(startOfManifestKey("v1/dt=2026-11-21/hr=10/segment-r0.ndjson.gz"), undefined);
  assert.throws(() => secondsOf("yesterday"), RangeError);
});

test("a window is due after its end, the grace and this cluster's place in the spread", () => {
  const times = { windowSeconds: 3600, graceSeconds: 300, offsetSeconds: 120 };
  const end = secondsOf(instant("11:00:00"));
  assert.equal(dueThrough(end + 419, times), end - 3600);
  assert.equal(dueThrough(end + 420, times), end);
  fc.assert(
    fc.property(fc.integer({ min: 1e9, max: 2e9 }), (now) => {
      const next = nextDueAt(now, times);
      assert.ok(next > now && dueThrough(next, times) === dueThrough(now, times) + 3600);
      assert.equal(dueThrough(next - 1, times), dueThrough(now, times));
    }),
  );
  const offset = spreadOffset(CLUSTER, 300);
  assert.ok(offset >= 0 && offset <= 300 && spreadOffset(CLUSTER, 300) === offset && spreadOffset(CLUSTER, 0) === 0);
});
