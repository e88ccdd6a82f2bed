// The alarms as helm renders them.
import assert from "node:assert/strict";
import { parseAllDocuments, stringify } from "yaml";
import { run } from "../cluster/cluster.ts";
import { chart, helmPath } from "./helmtemplate.ts";

export interface Rule {
  readonly alert: string;
  readonly expr: string;
  readonly for?: string;
  readonly labels: Record<string, string>;
  readonly annotations: { readonly summary: string; readonly description: string };
}

export interface PrometheusRule {
  readonly kind: string;
  readonly apiVersion: string;
  readonly metadata: { readonly namespace: string; readonly labels: Record<string, string> };
  readonly spec: { readonly groups: readonly { readonly name: string; readonly rules: readonly Rule[] }[] };
}

export async function renderedRules(
  metrics: object,
  name = "berth",
  namespace = "berth-system",
): Promise<PrometheusRule[]> {
  const args = ["template", name, chart, "-n", namespace, "-f", "-"];
  const { code, stdout, stderr } = await run(await helmPath(), args, { input: stringify({ metrics }) });
  assert.equal(code, 0, stderr);
  const all = parseAllDocuments(stdout).flatMap((document) => (document.toJS() as PrometheusRule | null) ?? []);
  return all.filter(({ kind }) => kind === "PrometheusRule");
}

export async function rulesOf(more: object = {}): Promise<readonly Rule[]> {
  const [rule] = await renderedRules({ prometheusRule: { enabled: true, ...more } });
  assert.ok(rule);
  return rule.spec.groups.flatMap(({ rules }) => rules);
}
