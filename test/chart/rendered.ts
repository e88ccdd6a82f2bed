// Starts Berth exactly as the chart says: the program with the arguments, environment, volumes, service account and
// rights of a Deployment that `helm install` put into the cluster.
import { existsSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { request } from "undici";
import { apiPath } from "../cluster/client.ts";
import type { Cluster } from "../cluster/cluster.ts";
import { eventually } from "../cluster/eventually.ts";
import { repoDir } from "../cluster/paths.ts";
import { newPart } from "../cluster/process.ts";
import type { Part } from "../cluster/process.ts";
import { podProcess } from "./podprocess.ts";
import type { PodProcess, PodSpec } from "./podprocess.ts";

export interface Overrides {
  /** Arguments that replace those of the same flag, or are added: `["--log-level=debug"]`. */
  readonly args?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** URL of the API server as this process shall see it: a fault proxy's. */
  readonly url?: string;
  /** Program and its first arguments in place of the bundle: `["other.mjs"]`. */
  readonly program?: readonly string[];
}

export interface FromManifest {
  readonly cluster: Cluster;
  readonly release: string;
  readonly namespace: string;
  readonly component: "operator" | "importer" | "store";
  readonly overrides?: Overrides;
}

/** A replica that runs. It is a Part: kill(), start() again, restart(), stop(), pid(), logPath. */
export interface Replica extends Part {
  readonly process: PodProcess;
  /** Base URLs of the container's ports by name: metrics, health, usage. */
  readonly urls: Readonly<Record<string, string>>;
  /** Waits until the readiness probe says yes. */
  ready(deadlineMs?: number): Promise<void>;
}

function newestMs(folder: string): number {
  const times = readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => statSync(join(entry.parentPath, entry.name)).mtimeMs);
  return Math.max(0, ...times);
}

/** The bundle, or the sources where it is missing or older than they are. */
export function berthProgram(): readonly string[] {
  const bundle = join(repoDir, "dist", "berth.mjs");
  const sources = join(repoDir, "operator");
  const isFresh = existsSync(bundle) && statSync(bundle).mtimeMs >= newestMs(sources);
  return [isFresh ? bundle : join(sources, "main.ts")];
}

/** Whether an HTTP probe would pass. */
async function answers(url: string | undefined): Promise<boolean> {
  if (!url) return true;
  const response = await request(url, { headersTimeout: 2000, bodyTimeout: 2000 });
  await response.body.dump();
  return response.statusCode < 400;
}

/** Replaces arguments of the same flag (`--a=b`), keeps the others, adds the rest. */
export function withArgs(args: readonly string[], more: readonly string[] = []): readonly string[] {
  const flag = (arg: string): string => arg.split("=", 1)[0] ?? arg;
  const replaced = new Set(more.map(flag));
  return [...args.filter((arg) => !replaced.has(flag(arg))), ...more];
}

async function deploymentPod({ cluster, release, namespace, component }: FromManifest): Promise<PodSpec> {
  const path = apiPath("apps/v1", "deployments", { namespace, name: `${release}-${component}` });
  const deployment = await cluster.admin.get<{ spec: { template: { spec: PodSpec } } }>(path);
  return deployment.spec.template.spec;
}

/** What the rendered Deployment would run, without starting it. */
export async function processFromManifest(from: FromManifest): Promise<PodProcess> {
  const { cluster, release, namespace, component, overrides = {} } = from;
  const spec = await deploymentPod(from);
  const derived = await podProcess({ cluster, namespace, owner: `${release}-${component}`, url: overrides.url }, spec);
  return { ...derived, args: withArgs(derived.args, overrides.args), env: { ...derived.env, ...overrides.env } };
}

/**
 * Starts one replica of a component of a release that is installed; resolves when its liveness probe passes. Call it
 * again for a second replica. The caller stops it (`t.after(() => replica.stop())`).
 */
export async function startFromManifest(from: FromManifest): Promise<Replica> {
  const derived = await processFromManifest(from);
  const part = newPart({
    name: derived.podName,
    command: process.execPath,
    args: [...(from.overrides?.program ?? berthProgram()), ...derived.args],
    env: { NODE_OPTIONS: "--disable-warning=ExperimentalWarning", ...derived.env },
    logPath: join(from.cluster.logDir, `${derived.podName}.log`),
    ready: () => answers(derived.probes.live),
  });
  try {
    await part.start();
  } catch (error) {
    await part.kill();
    throw error;
  }
  const urls = Object.entries(derived.ports).map(([name, port]) => [name, `http://127.0.0.1:${String(port)}`] as const);
  return {
    ...part,
    process: derived,
    urls: Object.fromEntries(urls),
    ready: async (deadlineMs = 30_000) => {
      await eventually(() => answers(derived.probes.ready), {
        what: `readiness of ${derived.podName}`,
        deadlineMs,
        logDir: from.cluster.logDir,
      });
    },
  };
}
