// `make cluster`: starts the whole test bed, says how to use it, and ends all of it at Ctrl-C.
import { join } from "node:path";
import { ensureTools } from "./build.ts";
import { startControlPlane } from "./controlplane.ts";
import type { ControlPlane } from "./controlplane.ts";
import { startS3 } from "./s3.ts";
import type { S3Server } from "./s3.ts";

function instructions(cluster: ControlPlane, s3: S3Server, kubectl: string, helm: string): string {
  return `
A real control plane runs: kube-apiserver, controllers, scheduler, Karpenter; nodes and pods are played by kwok.

  export KUBECONFIG=${cluster.adminKubeconfigPath}
  export PATH=$PATH:${join(kubectl, "..")}${join(helm, "..") === join(kubectl, "..") ? "" : `:${join(helm, "..")}`}

  kubectl get nodes,pods -A                       everything in it
  BERTH_TEST_CLUSTER=${cluster.infoPath} \\
    node_modules/.bin/node --test test/<file>.test.ts   one test file on this cluster

  S3:    endpoint ${s3.endpoint}, region ${s3.region}
         export AWS_ACCESS_KEY_ID=${s3.accessKeyId} AWS_SECRET_ACCESS_KEY=${s3.secretAccessKey}
  logs:  ${cluster.logDir}
  audit: ${cluster.info.auditLogPath ?? "none"}

Ctrl-C ends all of it.`;
}

function untilSignal(): Promise<void> {
  return new Promise((resolve) => {
    const alive = setInterval(() => undefined, 60_000);
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
      process.on(signal, () => {
        clearInterval(alive);
        resolve();
      });
    }
  });
}

async function main(): Promise<void> {
  const progress = (line: string): void => console.log(line);
  const start = Date.now();
  const tools = await ensureTools(progress);
  console.log("starting");
  const ended = untilSignal();
  const starting = startControlPlane({ progress });
  const early = await Promise.race([starting.then(() => false), ended.then(() => true)]);
  const cluster = await starting;
  if (!early) {
    const s3 = await startS3({ runDir: cluster.runDir, name: "s3" });
    console.log(`  versitygw\nup after ${((Date.now() - start) / 1000).toFixed(1)} s`);
    console.log(instructions(cluster, s3, tools.kubectl, tools.helm));
    await ended;
    console.log("\nstopping");
    await s3.stop();
  }
  await cluster.stop();
  console.log("stopped; nothing is left");
}

main().catch((error: unknown) => {
  console.error(error instanceof Error ? error.message : error);
  process.exit(1);
});
