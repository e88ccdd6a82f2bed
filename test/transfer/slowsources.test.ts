// Sources that never fall silent and never end: what they send is not waited for where all imports of a process share a place.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { problemOf } from "../../operator/controllers/modelimport.ts";
import { importModel } from "../../operator/transfer/import.ts";
import { newSlots } from "../../operator/transfer/slots.ts";
import { startFaultProxy } from "../cluster/faultproxy.ts";
import type { FaultProxy } from "../cluster/faultproxy.ts";
import { startS3 } from "../cluster/s3.ts";
import type { S3Server } from "../cluster/s3.ts";
import { tinyModel, uploadFiles } from "../models/tiny.ts";
import { jobFor, newSource, newStore } from "./bench.ts";

/** More than is inspected of several models at once. */
const large = `{}${" ".repeat(5 << 20)}`;

let s3: S3Server;
let proxy: FaultProxy;
before(async () => {
  s3 = await startS3();
  proxy = await startFaultProxy({ target: s3.endpoint, dialect: "s3" });
  await s3.createBucket("source");
  const client = s3.client();
  await uploadFiles(client, "source", "sums/", { ...tinyModel(), SHA256SUMS: "x".repeat(1 << 20) });
  await uploadFiles(client, "source", "slow/", tinyModel({ "tokenizer_config.json": large }));
  await uploadFiles(client, "source", "good/", tinyModel({ "tokenizer_config.json": large }));
  client.destroy();
});
after(async () => {
  await proxy.close();
  await s3.stop();
});

const isPassing = (error: unknown): boolean => {
  const problem = problemOf(error);
  assert.deepEqual([problem?.reason, problem?.retryable], ["SourceUnreachable", true], String(error));
  return true;
};

test("a list of checksums that only trickles is given up, and holds no place of those who copy", async (t) => {
  const copies = newSlots(1);
  const free = new Set<number>();
  const onByte = (): void => void free.add(copies.free);
  const match = ({ path }: { path: string }): boolean => path.endsWith("/SHA256SUMS");
  const rule = proxy.add({ match, fault: { kind: "trickle", everyMs: 20, onByte } });
  t.after(() => rule.remove());
  const source = newSource(t, s3, "source", proxy.url);
  const store = await newStore(t, s3, "file");
  // Of a mebibyte: 16 s in production, whatever the least is.
  const clock = { ...jobFor({ source, store, prefix: "" }).clock };
  const after: typeof clock.after = (ms, call) => clock.after(ms >= 16_000 ? 300 : ms, call);
  const job = jobFor({ source, store, prefix: "sums", copies, clock: { ...clock, after }, leastDeadlineMs: 300 });
  await assert.rejects(importModel(job), isPassing);
  assert.deepEqual([...free], [1]);
});

test("a model with much to inspect that only trickles leaves its place to the next one, long before it is given up", async (t) => {
  const inspections = newSlots(1);
  const match = ({ path }: { path: string }): boolean => path.endsWith("/slow/tokenizer_config.json");
  let begun: () => void = () => undefined;
  const beginning = new Promise<void>((resolve) => (begun = resolve));
  const rule = proxy.add({ match, fault: { kind: "trickle", everyMs: 20, onByte: () => begun() } });
  t.after(() => rule.remove());
  const source = newSource(t, s3, "source", proxy.url);
  const store = await newStore(t, s3, "file");
  const slow = importModel(jobFor({ source, store, prefix: "slow", inspections, leastDeadlineMs: 100 }));
  const refused = assert.rejects(slow, isPassing);
  // Fails at once where the slow one ends before its first byte.
  await Promise.race([beginning, refused.then(() => assert.fail("the slow one ended before a byte of it came"))]);
  const good = await importModel(jobFor({ source, store, prefix: "good", inspections }));
  assert.equal(good.kind, "imported");
  await refused;
});
