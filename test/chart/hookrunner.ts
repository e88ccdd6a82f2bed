// Under kwok no container runs, so this plays the kubelet for the Jobs of Helm hooks: it runs the container of a hook's pod
// as a process with the pod's own arguments and service account, and writes the exit code into the pod's status.
import { spawn } from "node:child_process";
import { apiPath } from "../cluster/client.ts";
import type { KubeObject } from "../cluster/client.ts";
import type { Cluster, CommandOptions, CommandResult } from "../cluster/cluster.ts";
import { podProcess } from "./podprocess.ts";
import type { PodSpec } from "./podprocess.ts";
import { berthProgram } from "./rendered.ts";

/** Values that keep kwok from playing the pod of the uninstall hook. Give them to `helm install`. */
export const hookValues = ["--set-string", "uninstall.podAnnotations.test\\.berth\\.dev/play=manual"] as const;

export interface HookRun {
  readonly job: string;
  readonly exitCode: number;
  /** What the container printed, both streams in order. */
  readonly output: string;
}

interface HookPod extends KubeObject {
  readonly spec: PodSpec & Record<string, unknown>;
}

/** Runs helm; hook Jobs that it creates in `namespace` meanwhile are played. */
export async function helmWithHooks(
  cluster: Cluster,
  namespace: string,
  args: readonly string[],
  options: CommandOptions = {},
): Promise<CommandResult & { readonly hooks: readonly HookRun[] }> {
  const stop = new AbortController();
  const hooks: HookRun[] = [];
  const playing = playHooks(cluster, namespace, hooks, stop.signal);
  try {
    const result = await cluster.helm(args, options);
    return { ...result, hooks };
  } finally {
    stop.abort();
    await playing;
  }
}

async function playHooks(cluster: Cluster, namespace: string, runs: HookRun[], signal: AbortSignal): Promise<void> {
  const path = apiPath("v1", "pods", { namespace });
  const played = new Set<string>();
  const selector = "labelSelector=app.kubernetes.io/component=uninstall,batch.kubernetes.io/job-name";
  while (!signal.aborted) {
    try {
      for await (const { type, object } of cluster.admin.watch<HookPod>(`${path}?${selector}`, signal)) {
        const uid = object.metadata.uid ?? "";
        const isOver = ["Succeeded", "Failed"].includes(String(object.status?.["phase"]));
        if (type !== "ADDED" || played.has(uid) || isOver || object.metadata.deletionTimestamp) continue;
        played.add(uid);
        runs.push(await playPod(cluster, namespace, object));
      }
    } catch (error) {
      if (!signal.aborted) throw error;
    }
  }
}

async function playPod(cluster: Cluster, namespace: string, pod: HookPod): Promise<HookRun> {
  const name = pod.metadata.name ?? "";
  const job = pod.metadata.labels?.["batch.kubernetes.io/job-name"] ?? "";
  const { exitCode, output } = await runContainer(cluster, namespace, pod);
  const now = new Date().toISOString();
  const terminated = {
    exitCode,
    reason: exitCode === 0 ? "Completed" : "Error",
    // terminationMessagePolicy FallbackToLogsOnError: the end of the log, at most 2,048 bytes.
    message: exitCode === 0 ? "" : output.slice(-2048),
    startedAt: now,
    finishedAt: now,
  };
  const container = {
    name: pod.spec.containers[0]?.name ?? "",
    image: "played",
    imageID: "",
    ready: false,
    restartCount: 0,
    state: { terminated },
  };
  await cluster.admin.patch(apiPath("v1", "pods", { namespace, name, subresource: "status" }), {
    status: { phase: exitCode === 0 ? "Succeeded" : "Failed", containerStatuses: [container] },
  });
  return { job, exitCode, output };
}

/** What cannot even start ends the pod too, with the reason for its output, so that helm need not wait for nothing. */
async function runContainer(cluster: Cluster, namespace: string, pod: HookPod) {
  try {
    const derived = await podProcess({ cluster, namespace, owner: pod.metadata.name ?? "" }, pod.spec);
    return await runToEnd([...berthProgram(), ...derived.args], derived.env);
  } catch (error) {
    return { exitCode: 128, output: String(error) };
  }
}

function runToEnd(
  args: readonly string[],
  env: Readonly<Record<string, string>>,
): Promise<{ exitCode: number; output: string }> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [...args], {
      stdio: ["ignore", "pipe", "pipe"],
      env: { PATH: process.env["PATH"], NODE_OPTIONS: "--disable-warning=ExperimentalWarning", ...env },
    });
    let output = "";
    const take = (chunk: Buffer): void => {
      output += chunk.toString();
    };
    child.stdout.on("data", take);
    child.stderr.on("data", take);
    child.once("error", reject);
    child.once("close", (code) => resolve({ exitCode: code ?? 1, output }));
  });
}
