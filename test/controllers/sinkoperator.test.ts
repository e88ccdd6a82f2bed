/** The whole operator with a sinks file: what lies sealed in its ledger arrives at a receiver's process. */
import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { pathToFileURL } from "node:url";

import { openLedger } from "../../operator/adapters/ledger/open.ts";
import { operatorConfig } from "../../operator/config.ts";
import { secondsOf } from "../../operator/plan/metering/windows.ts";
import { startOperator } from "../../operator/wire.ts";
import { eventually } from "../cluster/eventually.ts";
import { ownCluster } from "../cluster/session.ts";
import { aRecord } from "../plan/rating/samples.ts";
import { keepAsHead } from "./keptas.ts";
import { receiver } from "./sinkbed.ts";
import { sealRecords } from "./sealrecords.ts";

test("the operator delivers what its ledger holds, and remembers it over a restart", async (t) => {
  const cluster = await ownCluster(t, { karpenter: false });
  const there = await receiver(t);
  const folder = await mkdtemp(join(tmpdir(), "berth-sinkoperator-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const ledgerUrl = pathToFileURL(join(folder, "ledger")).href;
  const ledger = openLedger({ url: ledgerUrl });
  const sinksFile = join(folder, "sinks.json");
  await writeFile(sinksFile, JSON.stringify([{ name: "meter", type: "cloudevents", url: there.url, plainHttp: true }]));
  const flags = {
    kubeconfig: cluster.adminKubeconfigPath,
    leaderElect: "false",
    ledgerUrl,
    sinksFile,
    engineImages: '[{"version":"0.32.0","image":"vllm/vllm-openai:v0.32.0"}]',
    berthImage: "berth:test",
    storeService: "http://berth-store.berth-system.svc:8090",
    logLevel: "error",
    healthPort: "0",
    metricsPort: "0",
    usagePort: "0",
  };
  let previous: Awaited<ReturnType<typeof sealRecords>> | undefined;
  for (const hour of [10, 11]) {
    const start = secondsOf(aRecord({ hour }).windowStart);
    const window = { start, end: start + 3600 };
    previous = await sealRecords(ledger, window, [aRecord({ hour })], previous);
    await keepAsHead(t, cluster, window, previous);
    const operator = await startOperator(operatorConfig(flags, {}), {});
    const what = `the window of ${String(hour)}:00 is acknowledged`;
    await eventually(async () => (await ledger.list("sinks/meter/acks/")).length === hour - 9, {
      what,
      deadlineMs: 30_000,
    });
    await operator.stop();
  }
  const expected = [10, 11].map((hour) => [aRecord({ hour }).id, 1]);
  assert.deepEqual((await there.seen()).kept, expected);
});
