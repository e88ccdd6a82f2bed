/** The whole operator with a FOCUS sink: a window of its ledger becomes a file of charges by the price list's file, once. */
import assert from "node:assert/strict";
import { mkdir, mkdtemp, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { pathToFileURL } from "node:url";

import { openLedger } from "../../operator/adapters/ledger/open.ts";
import { ledgerCommand } from "../../operator/cli/ledger.ts";
import { operatorConfig } from "../../operator/config.ts";
import { secondsOf } from "../../operator/plan/metering/windows.ts";
import { parseCsv } from "../../operator/plan/rating/csv.ts";
import { focusFindings } from "../../operator/plan/rating/focusrules.ts";
import { startOperator } from "../../operator/wire.ts";
import { eventually } from "../cluster/eventually.ts";
import { ownCluster } from "../cluster/session.ts";
import { aPriceList, aRecord } from "../plan/rating/samples.ts";
import { keepAsHead } from "./keptas.ts";
import { sealRecords } from "./sealrecords.ts";

const files = [10, 11].map((hour) => `period=2026-11/dt=2026-11-21/hr=${String(hour)}0000.csv`);

test("the operator writes a FOCUS file a window, goes on after a restart, and a replay changes no byte", async (t) => {
  const cluster = await ownCluster(t, { karpenter: false });
  const folder = await mkdtemp(join(tmpdir(), "berth-focusoperator-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const [ledgerUrl, out] = [pathToFileURL(join(folder, "ledger")).href, join(folder, "out")];
  await mkdir(out);
  const ledger = openLedger({ url: ledgerUrl });
  const [sinksFile, priceListFile] = [join(folder, "sinks.json"), join(folder, "prices.json")];
  const sink = { name: "focus", type: "focus", url: pathToFileURL(out).href, provider: "Example Cloud" };
  await writeFile(sinksFile, JSON.stringify([sink]));
  const tiers = [{ upTo: "3", unitPrice: "2" }, { unitPrice: "1" }];
  await writeFile(priceListFile, JSON.stringify(aPriceList({ unitPrice: undefined, tiers })));
  const flags = {
    kubeconfig: cluster.adminKubeconfigPath,
    leaderElect: "false",
    ledgerUrl,
    sinksFile,
    priceListFile,
    engineImages: '[{"version":"0.32.0","image":"vllm/vllm-openai:v0.32.0"}]',
    berthImage: "berth:test",
    storeService: "http://berth-store.berth-system.svc:8090",
    logLevel: "error",
    healthPort: "0",
    metricsPort: "0",
    usagePort: "0",
  };
  let previous: Awaited<ReturnType<typeof sealRecords>> | undefined;
  const costs: string[][] = [];
  for (const hour of [10, 11]) {
    const record = aRecord({ hour, billable: 7200 });
    const start = secondsOf(record.windowStart);
    const window = { start, end: start + 3600 };
    previous = await sealRecords(ledger, window, [record], previous);
    await keepAsHead(t, cluster, window, previous);
    const operator = await startOperator(operatorConfig(flags, {}), {});
    const what = `the window of ${String(hour)}:00 is acknowledged`;
    const acked = async (): Promise<boolean> => (await ledger.list("sinks/focus/acks/")).length === hour - 9;
    await eventually(acked, { what, deadlineMs: 60_000 }).finally(() => operator.stop());
    const text = await readFile(join(out, files[hour - 10] ?? ""), "utf8");
    assert.deepEqual(focusFindings("1.2", text), []);
    const { names, rows } = parseCsv(text);
    costs.push(rows.map((row) => row[names.indexOf("ListCost")] ?? ""));
  }
  assert.deepEqual(costs, [["4.0"], ["2.0", "1.0"]], "the second process counts the tier on from the ledger");

  const before = await Promise.all(files.map((name) => readFile(join(out, name))));
  await rm(join(out, files[0] ?? ""));
  const asked: number[] = [];
  const command = ledgerCommand({ env: {}, write: () => undefined }, (code) => void asked.push(code));
  const args = ["sinks", "replay", "--sink", "focus", "--from", "2026-11-21", "--ledger-url", ledgerUrl];
  await command.parseAsync(args, { from: "user" });
  const operator = await startOperator(operatorConfig(flags, {}), {});
  const replayed = async (): Promise<boolean> => (await ledger.list("sinks/focus/replayed/")).length === 1;
  await eventually(replayed, { what: "the replay is done", deadlineMs: 60_000 }).finally(() => operator.stop());
  assert.deepEqual(asked, [0]);
  assert.deepEqual(await Promise.all(files.map((name) => readFile(join(out, name)))), before);
  const all = (await readdir(out, { recursive: true })).filter((name) => name.endsWith(".csv"));
  assert.equal(all.length, 2);
});
