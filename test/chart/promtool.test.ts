// The alarms in Prometheus' own hands: promtool checks the rules and raises them over series that are made up, in make soak only.
import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { stringify } from "yaml";
import { MissingPrerequisite, ensureModuleTools } from "../cluster/build.ts";
import { run } from "../cluster/cluster.ts";
import { rulesOf } from "./prometheusrules.ts";
import type { Rule } from "./prometheusrules.ts";

/** Without service discovery, which is most of it. */
const promtool = {
  name: "promtool",
  package: "github.com/prometheus/prometheus/cmd/promtool",
  usual: "3 min",
  tags: "remove_all_sd",
} as const;

async function promtoolPath(t: TestContext): Promise<string | undefined> {
  if (process.env["BERTH_SOAK"] !== "1") return void t.skip("promtool is built and run in make soak only");
  const moduleDir = join(import.meta.dirname, "promtool");
  try {
    return join(await ensureModuleTools(moduleDir, [promtool], (line) => t.diagnostic(line)), promtool.name);
  } catch (error) {
    if (!(error instanceof MissingPrerequisite)) throw error;
    return void t.skip(`promtool was not run: ${error.message}`);
  }
}

const of = 'namespace="berth-system",job="berth-operator",pod="berth-operator-0"';
/** Somebody else's, which must neither raise an alarm nor hold one back. */
const others = 'namespace="other",job="berth-operator",pod="berth-operator-0"';
const lag = `berth_ledger_seal_lag_seconds{${of}}`;

interface Case {
  readonly alert: string;
  /** Values a minute (promtool's notation), by series. */
  readonly series: Readonly<Record<string, string>>;
  /** Times at which it is raised, as often as there are labels, and those at which it is not. */
  readonly raised: readonly string[];
  readonly quiet: readonly string[];
  readonly labels?: readonly Readonly<Record<string, string>>[];
  /** What Prometheus puts in the place of `{{ $value … }}`. */
  readonly value?: string;
}

const cases: readonly Case[] = [
  {
    alert: "BerthNotScraped",
    series: { [lag]: "0x10", [`berth_ledger_seal_lag_seconds{${others}}`]: "0x100" },
    raised: ["40m"],
    quiet: ["0m", "10m", "24m"],
    labels: [{ namespace: "berth-system" }],
  },
  { alert: "BerthSealLag", series: { [lag]: "7200x20" }, raised: ["5m", "20m"], quiet: ["4m"], value: "2h 0m 0s" },
  {
    alert: "BerthSealLag",
    series: { [lag]: "7199x20", [`berth_ledger_seal_lag_seconds{${others}}`]: "9000x20" },
    raised: [],
    quiet: ["5m", "20m"],
  },
  {
    alert: "BerthSinkLag",
    series: {
      [`berth_sink_oldest_unacked_seconds{${of},sink="erp"}`]: "7260x20",
      [`berth_sink_oldest_unacked_seconds{${of},sink="market"}`]: "0x20",
    },
    raised: ["5m"],
    quiet: ["4m"],
    labels: [{ sink: "erp" }],
    value: "2h 1m 0s",
  },
  {
    alert: "BerthSinkQuarantine",
    series: {
      [`berth_sink_records_total{${of},sink="erp",result="quarantined"}`]: "0x10 1x200",
      [`berth_sink_records_total{${of},sink="erp",result="delivered"}`]: "0+25x210",
      [`berth_sink_records_total{${of},sink="market",result="quarantined"}`]: "0x210",
      [`berth_sink_records_total{${of},sink="market",result="delivered"}`]: "0+25x210",
    },
    raised: ["12m", "60m"],
    quiet: ["10m", "80m"],
    labels: [{ sink: "erp" }],
  },
  {
    // The first one since the process began, before its first scrape.
    alert: "BerthSinkQuarantine",
    series: { [`berth_sink_records_total{${of},sink="erp",result="quarantined"}`]: "_x10 2x200" },
    raised: ["10m", "60m"],
    quiet: ["9m", "80m", "200m"],
    labels: [{ sink: "erp" }],
  },
  {
    alert: "BerthLedgerUnconditionalWrites",
    series: { [`berth_ledger_unconditional_writes{${of}}`]: "0x4 1x20" },
    raised: ["10m"],
    quiet: ["4m", "9m"],
  },
  {
    alert: "BerthLedgerHeadMismatch",
    series: { [`berth_ledger_head_mismatch{${of}}`]: "0x4 1x4 0x4" },
    raised: ["5m"],
    quiet: ["4m", "11m"],
  },
  {
    // A day long, over the process that takes its place and counts from 0.
    alert: "BerthLedgerConflicts",
    series: { [`berth_ledger_conflicts_total{${of}}`]: "0x10 1x20 0x3000" },
    raised: ["11m", "40m", "24h"],
    quiet: ["10m", "25h", "49h"],
  },
  {
    // Counted at the start, before the first scrape; another pod takes its place.
    alert: "BerthLedgerConflicts",
    series: {
      [`berth_ledger_conflicts_total{${of}}`]: "_x10 3x20",
      [`berth_ledger_conflicts_total{${of.replace("-0", "-1")}}`]: "_x40 0x3000",
    },
    raised: ["10m", "40m", "20h"],
    quiet: ["9m", "26h", "49h"],
  },
  {
    alert: "BerthCapacityUnproven",
    series: {
      [`berth_capacity_unproven_total{${of},cause="claim"}`]: "0x10 2x3000",
      [`berth_capacity_unproven_total{${of},cause="pool"}`]: "0x3000",
      [`berth_capacity_unproven_total{${of},cause="sizes"}`]: "1x3000",
    },
    raised: ["12m", "23h"],
    quiet: ["26h"],
    labels: [{ cause: "claim" }, { cause: "sizes" }],
  },
  {
    alert: "BerthClockSkew",
    series: {
      [`berth_clock_skew_seconds{${of}}`]: "0x10 -31x20",
      [`berth_clock_skew_seconds{${of.replace("-0", "-1")}}`]: "30x30",
    },
    raised: ["16m"],
    quiet: ["10m", "15m"],
    labels: [{ pod: "berth-operator-0" }],
    value: "31",
  },
];

/** The text of an annotation as Prometheus renders it. */
function renderedText(text: string, labels: Readonly<Record<string, string>>, value = ""): string {
  return text
    .replaceAll(/\{\{ \$value[^}]*\}\}/g, value)
    .replaceAll(/\{\{ \$labels\.(\w+) \}\}/g, (_, name: string) => labels[name] ?? "");
}

function unitTest(rules: readonly Rule[], { alert, series, raised, quiet, labels = [{}], value }: Case): object {
  const rule = rules.find((one) => one.alert === alert);
  assert.ok(rule, alert);
  const expected = labels.map((own) => ({
    exp_labels: { ...rule.labels, ...own },
    exp_annotations: Object.fromEntries(
      Object.entries(rule.annotations).map(([name, text]) => [name, renderedText(text, own, value)]),
    ),
  }));
  return {
    name: alert,
    interval: "1m",
    input_series: Object.entries(series).map(([name, values]) => ({ series: name, values })),
    alert_rule_test: [
      ...raised.map((eval_time) => ({ eval_time, alertname: alert, exp_alerts: expected })),
      ...quiet.map((eval_time) => ({ eval_time, alertname: alert, exp_alerts: [] })),
    ],
  };
}

test("promtool takes the rules, and each alarm is raised when it should be, with its words", async (t) => {
  const program = await promtoolPath(t);
  if (program === undefined) return;
  const folder = await mkdtemp(join(tmpdir(), "berth-promtool-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const rules = await rulesOf();
  assert.deepEqual(new Set(cases.map(({ alert }) => alert)), new Set(rules.map(({ alert }) => alert)));
  await writeFile(join(folder, "rules.yaml"), stringify({ groups: [{ name: "berth", rules }] }));
  const tests = { rule_files: ["rules.yaml"], tests: cases.map((one) => unitTest(rules, one)) };
  await writeFile(join(folder, "tests.yaml"), stringify(tests));
  for (const args of [
    ["check", "rules", "--lint=all", "--lint-fatal", join(folder, "rules.yaml")],
    ["test", "rules", join(folder, "tests.yaml")],
  ]) {
    const { code, stdout, stderr } = await run(program, args);
    assert.equal(code, 0, `${stdout}${stderr}`);
  }
});
