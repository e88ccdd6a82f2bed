// Alarms as the chart writes them: off by default, of series that Berth registers and documents.
import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { parser } from "@prometheus-io/lezer-promql";
import { stringify } from "yaml";
import { run } from "../cluster/cluster.ts";
import { repoDir } from "../cluster/paths.ts";
import { helmPath } from "./helmtemplate.ts";
import { renderedRules, rulesOf } from "./prometheusrules.ts";
import type { Rule } from "./prometheusrules.ts";

/** Names as the program's source registers them. */
function registered(): ReadonlySet<string> {
  const operator = join(repoDir, "operator");
  const files = readdirSync(operator, { recursive: true, encoding: "utf8" }).filter((file) => file.endsWith(".ts"));
  const names = files.flatMap((file) => {
    const text = readFileSync(join(operator, file), "utf8");
    return [...text.matchAll(/\bname: "(berth_[a-z_]+)"/g)].map(([, name = ""]) => name);
  });
  return new Set(names);
}

/** Series of a PromQL expression, each with its selector; throws where Prometheus' own grammar does not take it. */
function seriesOf(expr: string): { readonly name: string; readonly selector: string }[] {
  const series: { name: string; selector: string }[] = [];
  parser.parse(expr).iterate({
    enter({ node, type, from, to }) {
      assert.ok(!type.isError, `no PromQL at ${String(from)}: ${expr}`);
      if (type.name !== "VectorSelector") return;
      const name = node.getChild("Identifier");
      const at = name?.to ?? from;
      series.push({ name: expr.slice(name?.from, at), selector: expr.slice(at, to) });
    },
  });
  return series;
}

test("Prometheus' grammar tells PromQL from what is none", () => {
  assert.deepEqual(
    seriesOf('sum by (a) (increase(x{b="c"}[1d]) > 0 or y)').map(({ name }) => name),
    ["x", "y"],
  );
  for (const wrong of ["", "sum(x", "max by a (x)", "nosuch(x)", "x{a=b}", "x[1d", "x >> 3", "rate(x[5m]) or"])
    assert.throws(() => seriesOf(wrong), /no PromQL at \d+/, wrong);
});

test("no rule unless it is asked for: its kind exists only where the Prometheus operator is", async () => {
  assert.deepEqual(await renderedRules({}), []);
});

test("every alarm is PromQL of series that the program registers and docs/metrics.md names, with the release's labels", async () => {
  const documented = readFileSync(join(repoDir, "docs", "metrics.md"), "utf8");
  const names = registered();
  assert.ok(names.size > 10);
  for (const { alert, expr } of await rulesOf()) {
    const series = seriesOf(expr);
    assert.ok(series.length > 0, alert);
    for (const { name, selector } of series) {
      assert.ok(names.has(name), `${alert}: nothing registers ${name}`);
      assert.match(documented, new RegExp(`\`${name}[{\`]`), `${alert}: ${name} is not documented`);
      assert.match(selector, /^\{namespace="berth-system", job=~"berth-\(operator\|importer\|store\)"/, alert);
    }
  }
});

test("alarms for what costs money: sealing, delivery, the store's conditions, unproven capacity and clocks, each with a remedy", async () => {
  const rules = await rulesOf();
  const wanted = [
    "BerthSealLag",
    "BerthSinkLag",
    "BerthLedgerUnconditionalWrites",
    "BerthCapacityUnproven",
    "BerthClockSkew",
  ];
  const alerts = rules.map(({ alert }) => alert);
  assert.deepEqual(
    wanted.filter((alert) => !alerts.includes(alert)),
    [],
  );
  assert.equal(new Set(alerts).size, alerts.length);
  for (const { alert, labels, annotations } of rules) {
    assert.match(labels["severity"] ?? "", /^(warning|critical)$/, alert);
    assert.ok(annotations.summary.length > 20 && annotations.description.length > 20, alert);
    // Prometheus' own placeholders reach it as they are.
    assert.doesNotMatch(JSON.stringify(annotations), /\{\{`|`\}\}/, alert);
  }
  const lag = (all: readonly Rule[], alert: string) => all.find((rule) => rule.alert === alert)?.expr ?? "";
  assert.match(lag(rules, "BerthSealLag"), /^max\(berth_ledger_seal_lag_seconds\{.*\}\) >= 7200$/);
  const later = await rulesOf({ sealLagSeconds: 10_800, sinkLagSeconds: 14_400 });
  assert.match(lag(later, "BerthSealLag"), />= 10800$/);
  assert.match(lag(later, "BerthSinkLag"), />= 14400$/);
});

test("what was counted once is told for a day (of sinks: an hour): across restarts, though a process counted before its first scrape, and not for ever", async () => {
  const rules = await rulesOf();
  const grew = (series: string, within = "1d") =>
    `increase(${series}[${within}]) > 0 or max_over_time(${series}[${within}]) unless last_over_time(${series}[1h] offset ${within})`;
  const labels = 'namespace="berth-system", job=~"berth-(operator|importer|store)"';
  const of = `{${labels}}`;
  const exprOf = (alert: string) => rules.find((rule) => rule.alert === alert)?.expr;
  assert.equal(exprOf("BerthLedgerConflicts"), `sum(${grew(`berth_ledger_conflicts_total${of}`)}) > 0`);
  assert.equal(exprOf("BerthCapacityUnproven"), `sum by (cause) (${grew(`berth_capacity_unproven_total${of}`)}) > 0`);
  const refused = `berth_sink_records_total{${labels}, result="quarantined"}`;
  assert.equal(exprOf("BerthSinkQuarantine"), `sum by (sink) (${grew(refused, "1h")}) > 0`);
});

test("the rule has labels of its own, by which a Prometheus may choose it, and another release's series are not its", async () => {
  const [rule] = await renderedRules({ prometheusRule: { enabled: true, labels: { release: "kps" } } }, "two", "other");
  assert.deepEqual([rule?.apiVersion, rule?.metadata.namespace], ["monitoring.coreos.com/v1", "other"]);
  assert.equal(rule?.metadata.labels["release"], "kps");
  assert.match(rule?.spec.groups[0]?.rules[0]?.expr ?? "", /namespace="other", job=~"two-\(operator/);
});

test("a threshold that marketplaces would not wait for is refused", async () => {
  const args = ["template", "berth", join(repoDir, "charts", "berth"), "-f", "-"];
  const input = stringify({ metrics: { prometheusRule: { sealLagSeconds: 30 } } });
  const { code, stderr } = await run(await helmPath(), args, { input });
  assert.deepEqual([code === 0, /sealLagSeconds/.test(stderr)], [false, true]);
});
