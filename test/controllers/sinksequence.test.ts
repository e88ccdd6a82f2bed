/** The order that a receiver sees, from sealed segments in a real directory ledger to its own process, and again at a replay. */
import assert from "node:assert/strict";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { pathToFileURL } from "node:url";
import fc from "fast-check";

import { openLedger } from "../../operator/adapters/ledger/open.ts";
import { sealWindow } from "../../operator/controllers/segments.ts";
import { askForReplay } from "../../operator/controllers/sinkstate.ts";
import { shardOf } from "../../operator/plan/metering/identity.ts";
import type { ChainHead } from "../../operator/plan/metering/segment.ts";
import { secondsOf } from "../../operator/plan/metering/windows.ts";
import type { Ledger } from "../../operator/ports.ts";
import { arbitraryWindows } from "../plan/sinks/sealedwindows.ts";
import type { Windows } from "../plan/sinks/sealedwindows.ts";
import { runs } from "../propertyruns.ts";
import { receiver } from "./sinkbed.ts";
import { folderFor, sinkOn } from "./sinkrig.ts";

interface Sent {
  readonly id: string;
  readonly source: string;
  readonly sequence: string;
}

const ten = secondsOf("2026-11-21T10:00:00Z");

async function seal(ledger: Ledger, all: Windows, shards: number): Promise<void> {
  let previous: ChainHead | undefined;
  for (const [at, records] of all.entries()) {
    if (records.length === 0) continue;
    const window = { start: ten + at * 3600, end: ten + (at + 1) * 3600 };
    const cut = Array.from({ length: shards }, (_, shard) =>
      records.filter(({ deploymentUID }) => shardOf(deploymentUID, shards) === shard),
    );
    const meters = cut.map(() => []);
    const sealed = await sealWindow(ledger, { window, meters, adjustments: cut, clusterId: "c1", previous });
    previous = { end: window.end, sha256: sealed.manifestSha256, chains: sealed.manifest.chains };
  }
}

async function stage(t: TestContext) {
  const there = await receiver(t);
  const folder = await folderFor(t);
  const sentSince = async (from: number): Promise<Sent[]> =>
    (await there.seen()).requests.slice(from).flatMap(({ body }) => JSON.parse(body) as Sent[]);
  const count = async () => (await there.seen()).requests.length;
  return { there, folder, sentSince, count };
}

test("sequence strictly increases per source on the wire, and a replay in other batches says the same", async (t) => {
  const { there, folder, sentSince, count } = await stage(t);
  let draws = 0;
  const windows = arbitraryWindows(() => `r${String((draws += 1))}-`);
  const choices = {
    shards: fc.constantFrom(1, 3),
    batchSize: fc.integer({ min: 1, max: 5 }),
    again: fc.integer({ min: 1, max: 5 }),
  };
  await fc.assert(
    fc.asyncProperty(windows, fc.record(choices), async (all, { shards, batchSize, again }) => {
      const place = join(folder, `ledger-${String(draws)}`);
      const ledger = openLedger({ url: pathToFileURL(place).href });
      await seal(ledger, all, shards);
      const before = await count();
      await sinkOn(ledger, { type: "cloudevents", url: there.url, batchSize }).sink.pass();
      const first = await sentSince(before);
      assert.equal(first.length, all.flat().length);
      for (const events of Map.groupBy(first, ({ source }) => source).values()) {
        const sequences = events.map(({ sequence }) => sequence);
        assert.deepEqual(sequences, [...new Set(sequences)].sort());
      }
      const from = await count();
      await askForReplay(ledger, "billing", { name: "all", from: 0, to: ten + 86_400 });
      await sinkOn(ledger, { type: "cloudevents", url: there.url, batchSize: again }).sink.pass();
      assert.deepEqual(await sentSince(from), first);
      await rm(place, { recursive: true, force: true });
    }),
    { numRuns: runs(15) },
  );
});
