/** A kubeconfig's namespace narrows every form of `berth usage`, so every form says so: on standard error, beside the output. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import { runUsage } from "../../operator/cli/usage.ts";
import { aPriceList, aRecord } from "../plan/rating/samples.ts";

test("files and programs are told, too, that one namespace is no whole account", async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "berth-usage-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const asked: string[] = [];
  const server = createServer((request, response) => {
    asked.push(new URL(request.url ?? "", "http://x").searchParams.get("namespace") ?? "every");
    const records = [{ ...aRecord({ day: "2026-11-02" }), open: false }];
    const [from, to] = ["2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z"];
    const answer = { from, to, asOf: to, records };
    response.setHeader("content-type", "application/json").end(JSON.stringify(answer));
  }).listen(0, "127.0.0.1");
  t.after(() => server.close());
  await once(server, "listening");
  const url = `http://127.0.0.1:${String((server.address() as AddressInfo).port)}`;
  const config = join(folder, "config");
  const named = (rest: object): object => ({ name: "me", ...rest });
  const kubeconfig = {
    apiVersion: "v1",
    kind: "Config",
    "current-context": "me",
    clusters: [named({ cluster: { server: "https://127.0.0.1:1" } })],
    users: [named({ user: { token: "t" } })],
    contexts: [named({ context: { cluster: "me", user: "me", namespace: "team-a" } })],
  };
  await writeFile(config, JSON.stringify(kubeconfig));
  const prices = join(folder, "prices.json");
  await writeFile(prices, JSON.stringify(aPriceList()));
  const run = async (...args: string[]) => {
    let [out, said] = ["", ""];
    const io = { write: (text: string) => void (out += text), complain: (text: string) => void (said += text) };
    const always = ["--server", url, "--kubeconfig", config, "--from", "2026-11-01", "--to", "2026-12-01"];
    return { code: await runUsage([...always, ...args], { env: {}, ...io }), out, said };
  };
  const focus = ["-o", "focus", "--price-list", prices, "--provider", "Example"];
  for (const form of [[], ["-o", "csv"], ["-o", "json"], focus]) {
    const { code, out, said } = await run(...form);
    assert.equal(code, 0, said);
    assert.match(said, /^only namespace team-a of your kubeconfig is shown/);
    assert.equal(said.includes("tiers count"), form === focus);
    assert.ok(!out.includes("kubeconfig"));
    assert.equal((await run(...form, "-A")).said, "");
    assert.equal((await run(...form, "-n", "team-b")).said, "");
  }
  assert.deepEqual(new Set(asked), new Set(["team-a", "team-b", "every"]));
});
