import assert from "node:assert/strict";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { Gauge, Registry } from "prom-client";

import { createApp } from "../../operator/http/app.ts";
import type { AppDeps } from "../../operator/http/app.ts";
import { serve } from "../../operator/http/serve.ts";
import { runUsage } from "../../operator/cli/usage.ts";
import { newMemoryLog } from "../runtime/rig.ts";

async function started(t: TestContext, deps: Omit<AppDeps, "log">) {
  const server = await serve(createApp({ log: newMemoryLog(), ...deps }), 0, "127.0.0.1");
  t.after(() => server.stop());
  const get = async (path: string) => {
    const response = await fetch(`http://127.0.0.1:${server.port}${path}`);
    return { status: response.status, type: response.headers.get("content-type") ?? "", text: await response.text() };
  };
  return { get, port: server.port };
}

test("probes: alive always, ready when nothing is wrong, and the reasons where something is", async (t) => {
  const problems = ["pools: first list pending"];
  const { get } = await started(t, { health: { problems: () => problems } });
  assert.equal((await get("/healthz")).status, 200);
  assert.deepEqual([(await get("/readyz")).status, (await get("/readyz")).text], [503, "pools: first list pending\n"]);
  problems.length = 0;
  assert.equal((await get("/readyz")).status, 200);
  assert.equal((await get("/metrics")).status, 404);
  assert.equal((await get("/v1/usage")).status, 404);
});

test("metrics are refreshed before they are read", async (t) => {
  const registry = new Registry();
  const gauge = new Gauge({ name: "age_seconds", help: "age", registers: [registry] });
  const { get } = await started(t, { metrics: { registry, beforeScrape: [() => gauge.set(7)] } });
  const { status, type, text } = await get("/metrics");
  assert.equal(status, 200);
  assert.match(type, /^text\/plain; version=0\.0\.4/);
  assert.match(text, /^age_seconds 7$/m);
});

test("a port that is taken is named", async (t) => {
  const { port } = await started(t, {});
  await assert.rejects(
    () => serve(createApp({ log: newMemoryLog() }), port, "127.0.0.1"),
    new RegExp(`port ${port} cannot be served`),
  );
});

test("usage command: each thing that is missing is said with its remedy", async (t) => {
  const { port } = await started(t, {});
  const run = async (args: string[], env: Record<string, string> = {}) => {
    const said: string[] = [];
    const code = await runUsage(args, { env, write: (text) => said.push(text), complain: (text) => said.push(text) });
    return `${code} ${said.join("")}`;
  };
  const here = `http://127.0.0.1:${port}`;
  assert.match(await run([]), /^1 berth usage: no server: run `kubectl .*port-forward/);
  assert.match(await run(["--server", "berth"]), /^2 .*no http or https URL/);
  assert.match(await run(["--server", "http://berth-usage.example:8082"]), /^1 .*has no TLS/);
  assert.match(await run(["--server", here]), /^1 .*no token: give --token-file or BERTH_TOKEN/);
  assert.match(await run(["--server", here, "--token-file", "/nowhere"]), /^1 .*\/nowhere cannot be read/);
  assert.match(await run(["--server", here], { BERTH_TOKEN: "x" }), /^1 .*nothing at this path \(404\)/);
  assert.match(
    await run(["--server", "http://127.0.0.1:1"], { BERTH_TOKEN: "x" }),
    /^1 .*does not answer.*port-forward/,
  );
  assert.match(await run(["--server", here, "--kubeconfig", "/nowhere"]), /^1 .*kubeconfig \/nowhere cannot be used/);
  assert.match(await run(["-o", "xml"]), /^2 /);
  assert.match(await run(["--help"]), /^0 .*--all-namespaces/s);
});
