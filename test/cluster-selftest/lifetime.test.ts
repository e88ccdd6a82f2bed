import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { ApiError, apiPath } from "../cluster/client.ts";
import { startControlPlane } from "../cluster/controlplane.ts";
import { eventually } from "../cluster/eventually.ts";
import { clusterDir } from "../cluster/paths.ts";
import { newPart } from "../cluster/process.ts";
import { commandLineOf, newRunDir, startTimeOf } from "../cluster/rundir.ts";
import { ownCluster, requires } from "../cluster/session.ts";

/** A harness in a process of its own, which says where it runs and then only waits. */
const harness = `
import { startControlPlane } from ${JSON.stringify(join(clusterDir, "controlplane.ts"))};
const { runDir } = await startControlPlane({ controllers: false });
console.log(runDir);
setInterval(() => undefined, 60_000);
`;

const lines = async function* (stream: AsyncIterable<unknown>): AsyncGenerator<string> {
  let text = "";
  for await (const chunk of stream) {
    text += String(chunk);
    while (text.includes("\n")) {
      yield text.slice(0, text.indexOf("\n"));
      text = text.slice(text.indexOf("\n") + 1);
    }
  }
};

test("a killed harness leaves no process, and the next start clears its folder", async (t) => {
  if (!(await requires(t, "server-restart"))) return;
  const child = spawn(process.execPath, ["--input-type=module", "-e", harness], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  t.after(() => child.kill("SIGKILL"));
  const { value: runDir } = await lines(child.stdout).next();
  assert.ok(runDir && existsSync(runDir), `the harness runs in ${String(runDir)}`);
  const { parts } = JSON.parse(readFileSync(join(runDir, "owner.json"), "utf8")) as { parts: Record<string, number> };
  assert.deepEqual(Object.keys(parts).sort(), ["etcd", "kube-apiserver"]);
  child.kill("SIGKILL");
  await eventually(() => startTimeOf(child.pid ?? 0) === undefined, { what: "the harness is dead" });

  const next = newRunDir();
  next.remove();
  const gone = (): boolean => Object.values(parts).every((pid) => startTimeOf(pid) === undefined);
  await eventually(gone, { what: "no part of the killed harness lives" });
  assert.deepEqual(readdirSync(runDir), ["logs"]);
});

test("what a dead harness left is ended, and a foreign process under a recorded id is left alone", async (t) => {
  const runDir = newRunDir();
  const ours = spawn("tail", ["-f", join(runDir.path, "owner.json")], { stdio: "ignore" });
  const foreign = spawn("sleep", ["60"], { stdio: "ignore" });
  t.after(() => [ours, foreign].map((child) => child.kill("SIGKILL")));
  await eventually(() => commandLineOf(ours.pid ?? 0).includes("tail"), { what: "the part runs" });
  runDir.recordPid("part", ours.pid);
  runDir.recordPid("recycled", foreign.pid);
  const owner = join(runDir.path, "owner.json");
  writeFileSync(owner, readFileSync(owner, "utf8").replace(/"startedAt":"[^"]*"/, '"startedAt":"long ago"'));
  newRunDir().remove();
  assert.equal(existsSync(owner), false);
  await eventually(() => startTimeOf(ours.pid ?? 0) === undefined, { what: "the part is dead" });
  assert.notEqual(startTimeOf(foreign.pid ?? 0), undefined);
});

test("two control planes run side by side, restart on their data and end without a trace", async (t) => {
  if (!(await requires(t, "server-restart"))) return;
  const options = { controllers: false, crdFolders: [] };
  const [one, two] = await Promise.all([ownCluster(t, options), startControlPlane(options)]);
  const path = apiPath("v1", "configmaps", { namespace: "default" });
  await one.admin.create(path, { apiVersion: "v1", kind: "ConfigMap", metadata: { name: "mine" } });
  assert.equal(await two.admin.find(`${path}/mine`), undefined);
  const pids = [two.etcd.pid(), two.apiserver.pid()];
  await two.stop();
  assert.ok(pids.every((pid) => pid !== undefined && startTimeOf(pid) === undefined));
  assert.equal(existsSync(two.runDir), false);

  const before = await one.admin.list(path);
  for (const name of ["a", "b"]) {
    await one.admin.create(path, { apiVersion: "v1", kind: "ConfigMap", metadata: { name } });
  }
  await one.compactEtcd();
  await one.apiserver.kill();
  await assert.rejects(one.admin.get(path), /ECONNREFUSED|other side closed/);
  await one.apiserver.start();
  assert.ok(await one.admin.find(`${path}/mine`));
  const old = one.admin.list(`${path}?resourceVersion=${before.metadata.resourceVersion}&resourceVersionMatch=Exact`);
  await assert.rejects(old, (error) => error instanceof ApiError && error.status === 410);
});

test("a part that cannot start names its log and shows its end", async () => {
  const runDir = newRunDir();
  const logPath = join(runDir.logs, "part.log");
  const part = newPart({
    name: "part",
    command: "ls",
    args: ["/no/such/file"],
    logPath,
    ready: () => Promise.resolve(false),
  });
  await assert.rejects(part.start(), (error: Error) => {
    assert.match(error.message, /part ended with code 2; its log is .*part\.log and ends with:\n.*no such file/i);
    return true;
  });
  runDir.remove();
});
