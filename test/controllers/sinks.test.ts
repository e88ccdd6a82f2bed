/** Delivery to a real receiver process that forgets, falls silent, refuses one of 25 for ever; over a real directory ledger. */
import assert from "node:assert/strict";
import { readFile, readdir, writeFile } from "node:fs/promises";
import { createHmac } from "node:crypto";
import { join } from "node:path";
import { test } from "node:test";
import { pathToFileURL } from "node:url";

import { canonicalBytes } from "../../operator/plan/metering/canonical.ts";
import { quarantinePrefix, replayPrefix } from "../../operator/plan/sinks/keys.ts";
import { receiver } from "./sinkbed.ts";
import { idOf, names, sealHour, sealed, sinkOn } from "./sinkrig.ts";

test("every record once, in order of time, as CloudEvents in OpenMeter's exact content type", async (t) => {
  const there = await receiver(t);
  const { ledger } = await sealed(t, 11);
  const { sink } = sinkOn(ledger, { type: "cloudevents", url: there.url });
  assert.equal(await sink.pass(), 2);
  const { kept, requests } = await there.seen();
  assert.deepEqual([kept.length, new Set(kept.map(([, times]) => times)).size], [50, 1]);
  assert.equal(requests[0]?.headers["content-type"], "application/cloudevents-batch+json");
  const [event] = JSON.parse(requests[0]?.body ?? "[]") as Record<string, unknown>[];
  assert.deepEqual(
    [event?.["specversion"], event?.["type"], event?.["subject"], event?.["time"], event?.["source"]],
    [
      "1.0",
      "dev.berth.capacity.usage.v1",
      "team",
      "2026-11-21T10:00:00Z",
      "//berth.dev/clusters/c1/modeldeployments/uid-d00",
    ],
  );
  assert.equal(await sink.pass(), 0, "nothing is owed twice");
});

test("a new process goes on where the acknowledgements in the ledger end", async (t) => {
  const there = await receiver(t);
  const { ledger } = await sealed(t);
  await sinkOn(ledger, { type: "cloudevents", url: there.url }).sink.pass();
  await sealHour(ledger, 11);
  assert.equal(await sinkOn(ledger, { type: "cloudevents", url: there.url }).sink.pass(), 1);
  assert.deepEqual(
    (await there.seen()).kept.filter(([, times]) => times !== 1),
    [],
  );
});

test("a receiver that takes the batch and never answers gets it again, under the same ids", async (t) => {
  const there = await receiver(t);
  const { ledger } = await sealed(t);
  const { sink } = sinkOn(ledger, { type: "cloudevents", url: there.url });
  await there.behave({ silent: true });
  await assert.rejects(sink.pass(), /sink billing did not answer/);
  await there.behave({});
  assert.equal(await sink.pass(), 1);
  const { kept, requests } = await there.seen();
  assert.equal(kept.length, 25, "its effect is one record an id");
  assert.deepEqual(requests[0]?.body, requests[1]?.body, "the second delivery has the same bytes");
});

test("a receiver that acknowledges and forgets is made whole by a replay, and another replay doubles nothing", async (t) => {
  const there = await receiver(t);
  const { ledger } = await sealed(t, 12);
  const { sink } = sinkOn(ledger, { type: "cloudevents", url: there.url });
  await there.behave({ forget: true });
  await sink.pass();
  assert.deepEqual((await there.seen()).kept, []);
  await there.behave({});
  const request = { schema: "berth.dev/sink-replay.v1", from: "2026-11-21T11:00:00Z", to: "2026-11-21T13:00:00Z" };
  await ledger.putOnce(`${replayPrefix("billing")}one.json`, canonicalBytes(request));
  assert.equal(await sink.pass(), 2);
  assert.equal(await sink.pass(), 0, "a replay runs once");
  await ledger.putOnce(`${replayPrefix("billing")}two.json`, canonicalBytes(request));
  await sink.pass();
  assert.deepEqual(new Set((await there.seen()).kept.map(([id]) => id)).size, 50);
});

test("what a sink took and refused is told from its start, as 0: of a series that begins with 1 Prometheus sees no growth", async (t) => {
  const { sink, registry } = sinkOn((await sealed(t, 11)).ledger, {
    type: "cloudevents",
    url: (await receiver(t)).url,
  });
  sink.start();
  const told = await registry.metrics();
  await sink.stop();
  for (const result of ["delivered", "quarantined"])
    assert.match(told, new RegExp(`berth_sink_records_total\\{sink="billing",result="${result}"\\} 0`));
});

test("one of 25 that is refused for ever is set aside with the reason, the others go on; a replay takes it up again", async (t) => {
  const there = await receiver(t);
  const { ledger } = await sealed(t, 11);
  const { sink, registry } = sinkOn(ledger, { type: "cloudevents", url: there.url });
  const bad = idOf("d13");
  await there.behave({ refuse: [bad] });
  assert.equal(await sink.pass(), 2);
  const { kept } = await there.seen();
  assert.equal(kept.length, 49);
  assert.deepEqual(
    kept.filter(([, times]) => times !== 1),
    [],
  );
  const [key = ""] = await ledger.list(quarantinePrefix("billing"));
  const stored = JSON.parse(Buffer.from((await ledger.get(key)) ?? []).toString()) as Record<string, string>;
  assert.deepEqual([stored["recordId"], stored["reason"]], [bad, "400 unknown meter for this event"]);
  assert.match(await registry.metrics(), /berth_sink_records_total\{sink="billing",result="quarantined"\} 1/);
  await there.behave({});
  const request = { schema: "berth.dev/sink-replay.v1", from: "2026-11-21T10:00:00Z", to: "2026-11-21T11:00:00Z" };
  await ledger.putOnce(`${replayPrefix("billing")}again.json`, canonicalBytes(request));
  await sink.pass();
  assert.equal((await there.seen()).kept.length, 50);
  assert.deepEqual(await ledger.list(quarantinePrefix("billing")), []);
});

test("a sink that refuses everything, or is not itself, drops nothing and sets nothing aside", async (t) => {
  const there = await receiver(t);
  const { ledger } = await sealed(t);
  const { sink } = sinkOn(ledger, { type: "cloudevents", url: there.url });
  for (const status of [400, 401, 404, 429, 500, 503]) {
    await there.behave({ status });
    await assert.rejects(sink.pass(), status === 400 ? /refuses every record/ : new RegExp(String(status)));
  }
  assert.deepEqual(await ledger.list("sinks/"), []);
  await there.behave({});
  assert.equal(await sink.pass(), 1);
});

test("a webhook's signature is that of Standard Webhooks, by each secret of the file; the secret is nowhere else", async (t) => {
  const there = await receiver(t);
  const { ledger, folder } = await sealed(t);
  const secretFile = join(folder, "secret");
  const secrets = [`whsec_${Buffer.from("new").toString("base64")}`, "old"];
  await writeFile(secretFile, secrets.join("\n"));
  await sinkOn(ledger, { type: "webhook", url: there.url, secretFile }).sink.pass();
  const [request] = (await there.seen()).requests;
  const { "webhook-id": id, "webhook-timestamp": at, "webhook-signature": signature } = request?.headers ?? {};
  const sign = (key: string) =>
    `v1,${createHmac("sha256", key).update(`${id}.${at}.${request?.body}`).digest("base64")}`;
  assert.equal(signature, `${sign("new")} ${sign("old")}`);
  assert.equal(at, String(Date.parse("2026-11-21T13:00:00Z") / 1000));
  assert.doesNotMatch(request?.body ?? "", /whsec_|old/);
});

test("a file of JSON lines is written once, also when it is delivered again by another batchSize", async (t) => {
  const { ledger, folder } = await sealed(t, 11);
  const out = join(folder, "out");
  const given = {
    name: "files",
    type: "jsonl",
    batchSize: 25,
    url: pathToFileURL(out).href,
  };
  const { sink } = sinkOn(ledger, given);
  await sink.pass();
  const request = { schema: "berth.dev/sink-replay.v1", from: "2026-11-21T10:00:00Z", to: "2026-11-21T12:00:00Z" };
  await ledger.putOnce(`${replayPrefix("files")}one.json`, canonicalBytes(request));
  await sink.pass();
  await ledger.putOnce(`${replayPrefix("files")}two.json`, canonicalBytes(request));
  await sinkOn(ledger, { ...given, batchSize: 10 }).sink.pass();
  const files = await readdir(join(out, "dt=2026-11-21"));
  assert.equal(files.length, 2);
  const lines = (await readFile(join(out, "dt=2026-11-21", files[0] ?? ""), "utf8")).trimEnd().split("\n");
  assert.deepEqual(
    lines.map((line) => (JSON.parse(line) as { id: string }).id),
    names.map((name) => idOf(name)),
  );
});
