// Retention as the chart's CronJob runs it: its own arguments, volumes and account, in a namespace that takes restricted pods only.
import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { join } from "node:path";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { pathToFileURL } from "node:url";
import { stringify } from "yaml";
import { openLedger } from "../../operator/adapters/ledger/open.ts";
import { signerOf, trustedKeysOf } from "../../operator/adapters/ledger/signing.ts";
import { verifyLedger } from "../../operator/controllers/verify.ts";
import { ackKey } from "../../operator/plan/sinks/keys.ts";
import { apiPath } from "../cluster/client.ts";
import type { KubeObject } from "../cluster/client.ts";
import { run } from "../cluster/cluster.ts";
import type { Cluster } from "../cluster/cluster.ts";
import { repoDir } from "../cluster/paths.ts";
import { ownCluster, requires } from "../cluster/session.ts";
import { claim, pool } from "../controllers/meteringobjects.ts";
import { sealerAt } from "../controllers/sealerrig.ts";
import { claimFolder, podProcess } from "./podprocess.ts";
import type { PodSpec } from "./podprocess.ts";
import { berthProgram } from "./rendered.ts";

const namespace = "berth-system";
const { privateKey, publicKey } = generateKeyPairSync("ed25519");
const pem = privateKey.export({ type: "pkcs8", format: "pem" }).toString();

interface CronJob extends KubeObject {
  readonly spec: {
    readonly jobTemplate: { readonly spec: { readonly template: object & { readonly spec: PodSpec } } };
  };
}

async function installed(t: TestContext): Promise<Cluster> {
  const cluster = await ownCluster(t, { crdFolders: [], karpenter: false });
  const labels = { "pod-security.kubernetes.io/enforce": "restricted" };
  const metadata = { name: namespace, labels };
  await cluster.admin.create("/api/v1/namespaces", { apiVersion: "v1", kind: "Namespace", metadata });
  const secret = { apiVersion: "v1", kind: "Secret", metadata: { name: "ledger-key" }, stringData: { "key.pem": pem } };
  await cluster.admin.create(apiPath("v1", "secrets", { namespace }), secret);
  return cluster;
}

const meter = { name: "meter", type: "cloudevents", url: "https://meter.example.com" };

async function release(cluster: Cluster, keepDays: number, more: object = {}): Promise<void> {
  const retention = { enabled: true, keepDays, ...more };
  const values = { metering: { signing: { existingSecret: "ledger-key" }, sinks: [meter], retention } };
  const args = ["upgrade", "--install", "berth", join(repoDir, "charts", "berth"), "-n", namespace, "-f", "-"];
  const { code, stderr } = await cluster.helm(args, { input: stringify(values) });
  assert.equal(code, 0, stderr);
}

/** What the job's pod would do; resolves with its exit code and words. */
async function ran(cluster: Cluster) {
  const name = "berth-retention";
  const cron = await cluster.admin.get<CronJob>(apiPath("batch/v1", "cronjobs", { namespace, name }));
  const { template } = cron.spec.jobTemplate.spec;
  const process_ = await podProcess({ cluster, namespace, owner: name }, template.spec);
  const env = { NODE_OPTIONS: "--disable-warning=ExperimentalWarning", ...process_.env };
  return { template, ...(await run(process.execPath, [...berthProgram(), ...process_.args], { env })) };
}

test("the job removes what is old and delivered, refuses what is not, and is a restricted pod without any right", async (t) => {
  if (!(await requires(t, "server-restart"))) return;
  const cluster = await installed(t);
  const days = Math.floor((Date.now() - Date.parse("2026-11-22T00:00:00Z")) / 86_400_000);
  await release(cluster, days);
  const folder = await claimFolder({ cluster, namespace }, "berth-ledger");
  const ledger = openLedger({ url: pathToFileURL(folder).href });
  const objects = {
    deployments: [],
    pools: [pool({ deployment: "chat", sizes: [["22:10:00", 1]] })],
    claims: [claim({ id: "c1", deployment: "chat", claimed: "22:20:00" })],
  };
  const signer = signerOf(pem, "key.pem");
  await sealerAt({ ledger, at: "2026-11-23T01:06:00Z", objects, signer }).sealer.pass();

  const owed = await ran(cluster);
  assert.equal(owed.code, 4, owed.stdout + owed.stderr);
  assert.match(owed.stderr, /sink meter has not taken 2 windows/);
  for (const key of await ledger.list("v1/dt=2026-11-21/"))
    if (key.endsWith("/manifest.json")) await ledger.putOnce(ackKey("meter", key), Buffer.from("{}\n"));
  const done = await ran(cluster);
  assert.equal(done.code, 0, done.stdout + done.stderr);
  assert.match(done.stdout, /^removed 1 days, 2 windows/);
  assert.deepEqual(await ledger.list("v1/dt=2026-11-21/"), []);
  const trust = trustedKeysOf(publicKey.export({ type: "spki", format: "pem" }).toString(), "operator.pub");
  const { findings, removedThrough } = await verifyLedger(ledger, { trust });
  assert.deepEqual([findings, removedThrough], [[], "2026-11-22T00:00:00Z"]);
  assert.equal((await ran(cluster)).code, 0, "nothing is left to do");

  const dryRun = `${apiPath("v1", "pods", { namespace })}?dryRun=All`;
  const metadata = { name: "retention" };
  await cluster.admin.create(dryRun, { apiVersion: "v1", kind: "Pod", metadata, spec: done.template.spec });
  const user = `system:serviceaccount:${namespace}:berth-retention`;
  const { stdout } = await cluster.kubectl(["auth", "can-i", "--list", `--as=${user}`, "-n", namespace]);
  // Everybody who is authenticated may ask what they may do, and read the catalogue.
  const everybodys = /^(Resources|self|clustermodels\.berth|nodetypes\.berth)/;
  const resources = stdout.split("\n").filter((line) => /^\w/.test(line) && !everybodys.test(line));
  assert.deepEqual(resources, [], "a right of its own");
});
