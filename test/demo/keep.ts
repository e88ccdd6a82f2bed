// KEEP=1: says how to use what runs, and waits for Ctrl-C, since every part ends with this process.
import { join } from "node:path";
import { deploymentName, team } from "./chapter.ts";
import type { Demo } from "./chapter.ts";
import { account, viewerToken } from "./usage.ts";

export function instructions({ cluster, s3, operator }: Demo): string {
  const { kubectlPath, helmPath } = cluster.info;
  const folders = [...new Set([kubectlPath, helmPath].map((path) => join(path, "..")))].join(":");
  return `
Everything still runs. In another terminal:

  export KUBECONFIG=${cluster.adminKubeconfigPath}
  export PATH=$PATH:${folders}

  kubectl get mdep,mdl,gnp -A
  kubectl scale mdep ${deploymentName} -n ${team} --replicas=3
  kubectl describe mdep ${deploymentName} -n ${team}
  curl -H "Authorization: Bearer $(kubectl create token ${account} -n ${team})" \\
    '${operator.urls["usage"] ?? ""}/v1/usage?namespace=${team}'

  S3    ${s3.endpoint}
        AWS_ACCESS_KEY_ID=${s3.accessKeyId}
        AWS_SECRET_ACCESS_KEY=${s3.secretAccessKey}
  logs  ${cluster.logDir}

The chart's own pods stay Pending: no kubelet runs here, they are processes.

Ctrl-C ends all of it.`;
}

/** Never resolves: the signal's handler ends the process. */
export async function keepRunning(demo: Demo): Promise<never> {
  await viewerToken(demo);
  demo.screen.line(instructions(demo));
  setInterval(() => undefined, 60_000);
  return new Promise(() => undefined);
}
