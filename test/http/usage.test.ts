/** The usage API with real tokens, roles and reviews, over the real caches and a real ledger. */
import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { pathToFileURL } from "node:url";
import { Registry } from "prom-client";
import { z } from "zod";

import { openLedger } from "../../operator/adapters/ledger/open.ts";
import { openApiDocument } from "../../operator/api/openapi.ts";
import { groupedUsage, usageReport } from "../../operator/api/usage.ts";
import type { UsageReport } from "../../operator/api/usage.ts";
import { cachedObjects } from "../../operator/controllers/facts.ts";
import { newLedgerMetrics } from "../../operator/controllers/ledgermetrics.ts";
import { newSealer } from "../../operator/controllers/sealer.ts";
import { newUsageSource } from "../../operator/controllers/usage.ts";
import { newAccess } from "../../operator/http/access.ts";
import { createApp } from "../../operator/http/app.ts";
import { serve } from "../../operator/http/serve.ts";
import { focusCommand } from "../../operator/cli/focus.ts";
import { runUsage } from "../../operator/cli/usage.ts";
import { parseCsv } from "../../operator/plan/rating/csv.ts";
import { focusVersions } from "../../operator/api/pricelist.ts";
import { focusFindings } from "../../operator/plan/rating/focusrules.ts";
import { tally } from "../cluster/audit.ts";
import { requires, testCluster, testNamespace } from "../cluster/session.ts";
import { grant, serviceAccountIdentity } from "../cluster/users.ts";
import { makeClaim, makeDeployment, meteredWorld } from "../controllers/meteringcluster.ts";
import { CLUSTER, epochMs, instant } from "../controllers/meteringobjects.ts";
import { aPriceList } from "../plan/rating/samples.ts";
import { newManualClock } from "../runtime/manualclock.ts";
import { newRig } from "../runtime/rig.ts";

/** 10:12 one node wanted, held from 10:15 on; sealed through 12:00; now 12:30. */
async function served(t: TestContext) {
  const cluster = await testCluster();
  const namespace = await testNamespace(t);
  const rig = newRig(t, cluster, { userAgent: "usage-test" });
  const world = meteredWorld(rig, namespace);
  const folder = await mkdtemp(join(tmpdir(), "berth-usage-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const ledger = openLedger({ url: pathToFileURL(folder).href });
  const made = await makeDeployment(cluster, namespace, "chat");
  await makeClaim(cluster, namespace, "chat", made, { claimed: "10:15:00" });
  const common = { ledger, clusterId: CLUSTER, windowSeconds: 3600 };
  await newSealer({
    ...common,
    kube: rig.kube,
    clock: newManualClock(epochMs("12:06:00")),
    log: rig.log,
    metrics: newLedgerMetrics(new Registry()),
    sealGraceSeconds: 300,
    sealSpreadSeconds: 0,
    freshObjects: world.fresh,
    caughtUp: () => true,
  }).pass();
  const clock = newManualClock(epochMs("12:30:00"));
  const source = newUsageSource({ ...common, clock, objects: () => world.only(cachedObjects(world.caches)) });
  // These pools are as older builds made them, without the UID of their namespace; usagenamespace.test.ts has the others.
  const access = newAccess({ kube: rig.kube, clock, namespaceUID: () => undefined });
  const server = await serve(createApp({ log: rig.log, usage: { source, access, clock } }), 0, "127.0.0.1");
  t.after(() => server.stop());
  const url = `http://127.0.0.1:${server.port}`;
  const ask = async (query: string, token?: string) => {
    const headers = token === undefined ? {} : { authorization: `Bearer ${token}` };
    const response = await fetch(`${url}/v1/usage${query}`, { headers });
    return { status: response.status, body: (await response.json()) as { error?: string } & UsageReport };
  };
  const reader = await serviceAccountIdentity(cluster, namespace, "reader");
  await grant(
    cluster,
    { kind: "ServiceAccount", name: "reader", namespace },
    {
      name: "read-mdep",
      namespace,
      rules: [{ apiGroups: ["berth.dev"], resources: ["modeldeployments"], verbs: ["get"] }],
    },
  );
  const stranger = await serviceAccountIdentity(cluster, namespace, "stranger");
  return { cluster, namespace, url, ask, reader: reader.token, stranger: stranger.token, clock };
}

interface Parameter {
  readonly name: string;
  readonly example?: unknown;
  readonly schema: { readonly pattern?: string };
}

/** The document as it is served, read by zod: schemas are closed, so a field that is not described fails. */
async function describedApi(url: string) {
  const response = await fetch(`${url}/v1/openapi.json`);
  const document = (await response.json()) as typeof openApiDocument;
  assert.deepEqual(document, openApiDocument);
  const { parameters, responses } = document.paths["/v1/usage"].get;
  const schemas: Readonly<Record<string, object>> = document.components.schemas;
  return {
    parameters: (parameters as readonly Parameter[]).map(({ name, example, schema: { pattern } }) => ({
      name,
      example,
      pattern,
    })),
    statuses: Object.keys(responses),
    schema: (name: string) => z.fromJSONSchema(schemas[name] as Parameters<typeof z.fromJSONSchema>[0]),
  };
}

test("sealed hours and the open one, to those who may get the deployments, and to nobody else", async (t) => {
  const { cluster, namespace, ask, reader, stranger, url } = await served(t);

  await t.test("a reader sees both, the open hour marked and cut at the server's now", async () => {
    const { status, body } = await ask("?from=2026-11-21&to=2026-11-22", reader);
    assert.equal(status, 200);
    const report = usageReport.parse(body);
    assert.deepEqual([report.asOf, report.sealedThrough], [instant("12:30:00"), instant("12:00:00")]);
    assert.deepEqual(
      report.records.map((line) => [line.windowStart, line.open, line.billableNodeSeconds, line.desiredNodeSeconds]),
      [
        [instant("10:00:00"), false, 45 * 60, 48 * 60],
        [instant("11:00:00"), false, 3600, 3600],
        [instant("12:00:00"), true, 1800, 1800],
      ],
    );
  });

  await t.test("windows that begin in [from, to) and no others", async () => {
    const { body } = await ask(`?from=${instant("11:00:00")}&to=${instant("12:00:00")}&namespace=${namespace}`, reader);
    assert.deepEqual(
      body.records.map((line) => line.windowStart),
      [instant("11:00:00")],
    );
    assert.deepEqual((await ask("?deployment=other", reader)).body.records, []);
  });

  await t.test("a stranger sees nothing, and is told why where a namespace is named", async () => {
    const all = await ask("", stranger);
    assert.deepEqual([all.status, all.body.records], [200, []]);
    const named = await ask(`?namespace=${namespace}`, stranger);
    assert.equal(named.status, 403);
    assert.match(
      named.body.error ?? "",
      /stranger may not get modeldeployments\.berth\.dev in namespace .*: bind a role/,
    );
  });

  await t.test("no token and a wrong one are 401", async () => {
    for (const token of [undefined, "nonsense"]) {
      const { status, body } = await ask("", token);
      assert.equal(status, 401);
      assert.match(body.error ?? "", /Authorization: Bearer/);
    }
  });

  await t.test("a bad question names the parameter, the value and the remedy", async () => {
    const bad: readonly [string, string, RegExp][] = [
      ["?from=yesterday", "from", /write a UTC day like/],
      ["?from=2026-11-21&to=2026-11-21", "to", /later than from/],
      ["?from=2026-01-01&to=2026-11-21", "from", /at most 31/],
      ["?since=2026-01-01", "since", /use from, to, namespace, deployment/],
      ["?from=2026-11-21&from=2026-11-20", "from", /twice/],
      ["?namespace=Team_A", "namespace", /lower-case/],
      ["?granularity=week", "granularity", /hour, day, month/],
      ["?from=2026-01-01&to=2026-11-21&granularity=day", "from", /at most 93/],
      ["?groupBy=colour", "groupBy", /namespace, deployment, account, sku/],
      ["?limit=10001", "limit", /1 to 10000/],
      ["?cursor=!", "cursor", /next of the page before/],
      ["?account=-", "account", /at most 63/],
      ["?from=2026-13-41", "from", /not a time/],
    ];
    for (const [query, parameter, message] of bad) {
      const { status, body } = await ask(query, reader);
      assert.equal(status, 400, query);
      assert.equal((body as unknown as { parameter: string }).parameter, parameter);
      assert.match(body.error ?? "", message);
    }
  });

  await t.test("sums by day and month, by what is asked for, and of one account", async () => {
    const day = "?from=2026-11-21&to=2026-11-22";
    const sums = async (query: string) => groupedUsage.parse((await ask(`${day}${query}`, reader)).body).groups;
    const [whole, ...none] = await sums("&granularity=day&groupBy=account");
    assert.deepEqual(none, []);
    assert.deepEqual(
      [whole?.start, whole?.end, whole?.by, whole?.records, whole?.open, whole?.billableNodeSeconds],
      [instant("00:00:00"), "2026-11-22T00:00:00Z", { account: "team-a" }, 3, true, 45 * 60 + 3600 + 1800],
    );
    assert.equal((await sums("&granularity=month&groupBy=none"))[0]?.end, "2026-12-01T00:00:00Z");
    assert.deepEqual(
      (await sums("&groupBy=deployment,sku")).map(({ by, open }) => [by.namespace, by.deploymentName, by.sku, open]),
      [false, false, true].map((open) => [namespace, "chat", "dedicated.l4.1", open]),
    );
    assert.equal((await sums("&granularity=day&account=team-a")).length, 1);
    assert.deepEqual(await sums("&granularity=day&account=other"), []);
    assert.deepEqual((await ask(`${day}&granularity=day`, stranger)).body, {
      ...((await ask(`${day}&granularity=day`, reader)).body as object),
      groups: [],
    });
  });

  await t.test("pages of one record, each once and in order, also over the end of what is sealed", async () => {
    const whole = (await ask("?from=2026-11-21&to=2026-11-22", reader)).body.records;
    const paged: UsageReport["records"] = [];
    let cursor = "";
    for (let pages = 1; pages <= 3; pages++) {
      const { body } = await ask(`?from=2026-11-21&to=2026-11-22&limit=1${cursor}`, reader);
      paged.push(...body.records);
      assert.equal(body.next === undefined, pages === 3);
      cursor = `&cursor=${body.next ?? ""}`;
    }
    assert.deepEqual(paged, whole);
    const { status, body } = await ask("?cursor=bm9uc2Vuc2U", reader);
    assert.deepEqual([status, /pass next of the page before/.test(body.error ?? "")], [400, true]);
  });

  await t.test("what is answered is what the served OpenAPI document says", async () => {
    const described = await describedApi(url);
    const day = "from=2026-11-21&to=2026-11-22";
    const asked: readonly [string, string | undefined, number, string][] = [
      [`?${day}`, reader, 200, "UsageReport"],
      [`?${day}&limit=1`, reader, 200, "UsageReport"],
      [`?${day}&granularity=day`, reader, 200, "GroupedUsage"],
      ["?limit=0", reader, 400, "Refusal"],
      ["", undefined, 401, "Refusal"],
      [`?namespace=${namespace}`, stranger, 403, "Refusal"],
    ];
    for (const [query, token, status, schema] of asked) {
      const answer = await ask(query, token);
      assert.equal(answer.status, status, query);
      assert.ok(described.statuses.includes(String(status)));
      described.schema(schema).parse(answer.body);
    }
    for (const { name, example } of described.parameters) {
      if (example === undefined || name === "namespace") continue;
      const { status, body } = await ask(`?${name}=${String(example)}`, reader);
      assert.equal(status, 200, `${name}: ${body.error ?? ""}`);
    }
    for (const { name, pattern } of described.parameters) {
      if (pattern !== undefined) assert.equal((await ask(`?${name}=!`, reader)).status, 400, name);
    }
  });

  await t.test("an answer of Kubernetes is kept for a minute", async (t) => {
    if (!(await requires(t, "audit"))) return;
    const mark = await cluster.audit.mark();
    for (let i = 0; i < 5; i++) await ask(`?namespace=${namespace}`, reader);
    assert.deepEqual(tally(await cluster.audit.since(mark, { userAgent: "usage-test", verbs: ["create"] })), {});
  });

  await t.test("the command prints the same with totals and the open hour marked", async () => {
    const run = async (...args: string[]) => {
      const out: string[] = [];
      const code = await runUsage(args, { env: { BERTH_TOKEN: reader }, write: (text) => out.push(text) });
      return { code, text: out.join("") };
    };
    const day = ["--from", "2026-11-21", "--to", "2026-11-22", "--server", url, "-n", namespace];
    const table = await run(...day);
    assert.equal(table.code, 0);
    const lines = table.text.split("\n");
    assert.match(lines[0] ?? "", /^HOUR \(UTC\)\s+DEPLOYMENT\s+SKU\s+CLAIMED\s+READY\s+BILLABLE\s+STATE$/);
    assert.match(lines[1] ?? "", /^2026-11-21 10:00\s+chat\s+dedicated\.l4\.1\s+2700\s+2700\s+2700\s+sealed$/);
    assert.ok(
      lines.every((line) => line.length <= 80),
      table.text,
    );
    const wide = (await run(...day, "-o", "wide")).text.split("\n");
    assert.match(wide[0] ?? "", /\sACCOUNT\s+DESIRED\s+CLAIMED\s+READY\s+BILLABLE\s+GPU-SECONDS\s+STATE$/);
    assert.match(wide[1] ?? "", /\steam-a\s+2880\s+2700\s+2700\s+2700\s+2700\s+sealed$/);
    assert.match(table.text, /^2026-11-21 12:00\s.*\sopen$/m);
    assert.match(table.text, /^TOTAL\s.*\s8100\s/m);
    const csv = await run(...day, "-o", "csv");
    assert.match(csv.text.split("\n")[1] ?? "", /^2026-11-21T10:00:00Z,/);
    assert.equal(csv.text.trim().split("\n").length, 4);
    assert.deepEqual(usageReport.parse(JSON.parse((await run(...day, "-o", "json")).text)).records.length, 3);
  });

  await t.test("the command prints sums as a table, CSV, JSON and a chart", async () => {
    const run = async (...args: string[]) => {
      const [out, said]: string[][] = [[], []];
      const io = { write: (text: string) => out?.push(text), complain: (text: string) => said?.push(text) };
      const code = await runUsage(["--server", url, ...args], { env: { BERTH_TOKEN: reader }, ...io });
      return { code, text: out?.join("") ?? "", said: said?.join("") ?? "" };
    };
    const day = ["--from", "2026-11-21", "--to", "2026-11-22", "--granularity", "day", "--group-by", "account"];
    const { code, text } = await run(...day);
    assert.equal(code, 0);
    assert.match(text, /^DAY \(UTC\)\s+ACCOUNT\s+CLAIMED\s+READY\s+BILLABLE\s+STATE$/m);
    assert.match(text, /^2026-11-21\s+team-a\s+8100\s+8100\s+8100\s+open$/m);
    assert.match((await run(...day, "-o", "csv")).text, /^2026-11-21T00:00:00Z,2026-11-22T00:00:00Z,true,,,,team-a,,/m);
    assert.equal(groupedUsage.parse(JSON.parse((await run(...day, "-o", "json")).text)).groups.length, 1);
    assert.match((await run(...day, "-o", "chart")).text, /^2026-11-21 {2}team-a\s+2\.25 █+ open$/m);
    assert.match((await run("--from", "2026-11-21", "--group-by", "none")).text, /^HOUR \(UTC\)\s+CLAIMED/m);
    const wrong = await run(...day, "--group-by", "colour");
    assert.deepEqual([wrong.code, /namespace, deployment, account, sku/.test(wrong.said)], [1, true]);
    assert.match((await run(...day, "-a", "nobody")).text, /^no capacity between/);
  });

  await t.test("the command writes the month's sealed charges as a FOCUS file that keeps its rules", async (t) => {
    const folder = await mkdtemp(join(tmpdir(), "berth-focus-"));
    t.after(() => rm(folder, { recursive: true, force: true }));
    const prices = join(folder, "prices.json");
    await writeFile(prices, JSON.stringify(aPriceList({ sku: "dedicated.l4.1" })));
    const month = ["--from", "2026-11-01", "--server", url, "-n", namespace, "-o", "focus", "--price-list", prices];
    const run = async (...args: string[]) => {
      const [out, said]: string[][] = [[], []];
      const io = { write: (text: string) => out?.push(text), complain: (text: string) => said?.push(text) };
      const code = await runUsage(args, { env: { BERTH_TOKEN: reader }, ...io });
      return { code, text: out?.join("") ?? "", said: said?.join("") ?? "" };
    };
    for (const version of focusVersions) {
      const { code, text, said } = await run(...month, "--provider", "Example", "--focus-version", version);
      assert.equal(code, 0, said);
      assert.match(said, /1 records are not sealed yet/);
      assert.deepEqual(focusFindings(version, text), []);
      const { names, rows } = parseCsv(text);
      assert.deepEqual(
        rows.map((row) => row[names.indexOf("BilledCost")]),
        ["2.0625", "2.75"],
      );
      const file = join(folder, `${version}.csv`);
      await writeFile(file, text);
      assert.equal(await checked(file, version), 0);
      await writeFile(file, text.replaceAll("2.0625", "2.0626"));
      assert.equal(await checked(file, version), 3);
    }
    assert.match((await run(...month)).said, /--provider/);
    assert.match((await run(...month, "--provider", "x", "--from", "2026-11-02")).said, /begins with a month/);
  });
});

async function checked(file: string, version: string): Promise<number> {
  let code = -1;
  const command = focusCommand({ write: () => undefined }, (ended) => (code = ended));
  await command.parseAsync([file, "--focus-version", version], { from: "user" });
  return code;
}
