// What a test file asks for: the cluster that the whole run shares, a namespace of its own, and which tests must be
// left out on a cluster that cannot do what they need.
import { randomBytes } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { KubeConfig } from "@kubernetes/client-node";
import { newCluster } from "./cluster.ts";
import type { Capability, Cluster, ClusterInfo } from "./cluster.ts";
import { apiPath } from "./client.ts";
import { startControlPlane } from "./controlplane.ts";
import type { ControlPlane, ControlPlaneOptions } from "./controlplane.ts";
import { applyCrds } from "./karpenter.ts";
import { repoDir } from "./paths.ts";
import { ensureClients } from "./prebuilt.ts";
import { newRunDir } from "./rundir.ts";
import type { PodPlay } from "./stages.ts";

let shared: Promise<Cluster> | undefined;

/** Folder of Berth's own CRDs, which the shared cluster serves from its start (once they exist). */
export const berthCrdDir = join(repoDir, "crds");

/**
 * The cluster of this test run: the one of BERTH_TEST_KUBECONFIG, else the one that the runner started
 * (BERTH_TEST_CLUSTER), else one of this process, which ends with it. Berth's CRDs are installed in it.
 */
export function testCluster(): Promise<Cluster> {
  return (shared ??= openShared());
}

async function openShared(): Promise<Cluster> {
  const foreign = process.env["BERTH_TEST_KUBECONFIG"];
  if (foreign) return foreignCluster(foreign, berthCrdDir);
  const infoPath = process.env["BERTH_TEST_CLUSTER"];
  if (infoPath) return newCluster(JSON.parse(readFileSync(infoPath, "utf8")) as ClusterInfo);
  return startControlPlane({ crdFolders: [berthCrdDir] });
}

/**
 * A control plane for this test (or suite) alone, whose parts may be killed; it is stopped when the test ends. Ask
 * `requires(t, "server-restart")` first: on a foreign cluster there is none.
 */
export async function ownCluster(
  t: Pick<TestContext, "after">,
  options: ControlPlaneOptions = {},
): Promise<ControlPlane> {
  const cluster = await startControlPlane({ crdFolders: [berthCrdDir], ...options });
  t.after(() => cluster.stop());
  return cluster;
}

/** True where the cluster can do it; else the test is marked as skipped with the reason, and should return. */
export async function requires(t: TestContext, ...wanted: Capability[]): Promise<boolean> {
  const capabilities: readonly Capability[] = (await testCluster()).info.capabilities;
  const missing = wanted.filter((capability) => !capabilities.includes(capability));
  if (missing.length > 0) t.skip(`the cluster of BERTH_TEST_KUBECONFIG offers no ${missing.join(", ")}`);
  return missing.length === 0;
}

export interface NamespaceOptions {
  /** Readable part of the name; `t` when missing. */
  readonly prefix?: string;
  /** How kwok plays every pod of the namespace (see stages.ts), e.g. `crash-loop`, or `slow-20s`. */
  readonly play?: PodPlay | `slow-${number}s` | `slow-${number}ms`;
  /** How long deleted pods take to go, e.g. `3s`. */
  readonly drain?: `${number}s` | `${number}ms`;
  readonly labels?: Readonly<Record<string, string>>;
  readonly cluster?: Cluster;
}

/** A namespace of this test's own, deleted (without waiting) when the test ends. Resolves with its name. */
export async function testNamespace(t: Pick<TestContext, "after">, options: NamespaceOptions = {}): Promise<string> {
  const { prefix = "t", play, drain, labels } = options;
  const cluster = options.cluster ?? (await testCluster());
  const suffix = `${drain ? `-drain-${drain}` : ""}${play ? `-play-${play}` : ""}`;
  const name = `${prefix}-${randomBytes(3).toString("hex")}${suffix}`;
  await cluster.admin.create("/api/v1/namespaces", {
    apiVersion: "v1",
    kind: "Namespace",
    metadata: { name, labels: { "test.berth.dev/run": "true", ...labels } },
  });
  t.after(() => cluster.admin.remove(apiPath("v1", "namespaces", { name })).catch(() => undefined));
  return name;
}

/** A prefix for cluster-scoped objects, so that tests beside each other and foreign objects do not meet. */
export function uniqueName(prefix: string): string {
  return `${prefix}-${randomBytes(3).toString("hex")}`;
}

/** Somebody's own cluster by its kubeconfig; `crdFolder` is applied to it where it exists. */
export async function foreignCluster(path: string, crdFolder?: string): Promise<Cluster> {
  const config = new KubeConfig();
  config.loadFromFile(path);
  const server = config.getCurrentCluster();
  if (!server) throw new Error(`BERTH_TEST_KUBECONFIG=${path} names no current cluster`);
  const credentials: {
    headers?: Record<string, string>;
    cert?: Buffer | string;
    key?: Buffer | string;
    ca?: Buffer | string;
  } = {};
  await config.applyToHTTPSOptions(credentials);
  const tools = await ensureClients((line) => console.log(line));
  const runDir = newRunDir();
  process.once("exit", () => runDir.remove());
  const caPath = join(runDir.path, "ca.crt");
  mkdirSync(runDir.logs, { recursive: true });
  writeFileSync(caPath, credentials.ca ?? "");
  const token = credentials.headers?.["Authorization"]?.replace(/^Bearer /, "");
  const { cert, key } = credentials;
  const cluster = newCluster({
    url: server.server,
    caPath,
    adminIdentity: {
      token,
      ...(cert && key && { certificate: { certPem: cert.toString(), keyPem: key.toString() } }),
    },
    adminKubeconfigPath: path,
    runDir: runDir.path,
    logDir: runDir.logs,
    kubectlPath: tools.kubectl,
    helmPath: tools.helm,
    capabilities: [],
  });
  if (crdFolder && existsSync(crdFolder)) await applyCrds(cluster.admin, crdFolder);
  return cluster;
}
