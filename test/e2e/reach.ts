// How this process reaches addresses of pods and Services: directly where it lives in the cluster's network, else through
// a pod of the tenant's namespace, so that what is asked goes the way that a user's own pod would go.
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { apiPath } from "../cluster/client.ts";
import type { Cluster } from "../cluster/cluster.ts";
import { eventually } from "../cluster/eventually.ts";
import { freePort } from "../cluster/process.ts";
import { team } from "./names.ts";

export interface Reach {
  /** Base URL of what listens on this address of the cluster. */
  url(address: string, port: number): Promise<string>;
  stop(): void;
}

export const directly: Reach = {
  url: (address, port) => Promise.resolve(`http://${address}:${String(port)}`),
  stop: () => undefined,
};

const name = "test-gateway";
const gatewayPort = 8888;

function gatewayPod(image: string): object {
  const program = readFileSync(join(import.meta.dirname, "gateway.mjs"), "utf8");
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name, namespace: team },
    spec: {
      terminationGracePeriodSeconds: 1,
      automountServiceAccountToken: false,
      enableServiceLinks: false,
      securityContext: { runAsNonRoot: true, runAsUser: 65532, seccompProfile: { type: "RuntimeDefault" } },
      containers: [
        {
          name: "gateway",
          image,
          imagePullPolicy: "IfNotPresent",
          command: ["/nodejs/bin/node", "--input-type=module", "-e", program],
          readinessProbe: { tcpSocket: { port: gatewayPort }, periodSeconds: 1 },
          securityContext: {
            allowPrivilegeEscalation: false,
            readOnlyRootFilesystem: true,
            capabilities: { drop: ["ALL"] },
          },
        },
      ],
    },
  };
}

interface GatewayPod {
  readonly status: { readonly conditions?: readonly { readonly type: string; readonly status: string }[] };
}

/** Through a pod and `kubectl port-forward`; both begin when the first address is asked for. */
export function throughPod(cluster: Cluster, image: string): Reach {
  let port: Promise<number> | undefined;
  let child: ChildProcess | undefined;
  let stopped = false;

  const forward = (local: number): void => {
    if (stopped) return;
    const args = ["port-forward", "-n", team, `pod/${name}`, `${String(local)}:${String(gatewayPort)}`];
    const env = { ...process.env, KUBECONFIG: cluster.adminKubeconfigPath };
    child = spawn(cluster.info.kubectlPath, args, { env, stdio: "ignore" });
    // It gives up when the API server goes away, and the address must stay the same.
    child.once("exit", () => setTimeout(() => forward(local), 500).unref());
  };
  const begin = async (): Promise<number> => {
    await cluster.admin.create(apiPath("v1", "pods", { namespace: team }), gatewayPod(image));
    await eventually(
      async () => {
        const { status } = await cluster.admin.get<GatewayPod>(apiPath("v1", "pods", { namespace: team, name }));
        return status.conditions?.some(({ type, status: value }) => type === "Ready" && value === "True") ?? false;
      },
      { what: `pod ${team}/${name}, through which requests go, is ready`, deadlineMs: 120_000, recheckMs: 500 },
    );
    const local = await freePort();
    forward(local);
    await eventually(async () => (await fetch(`http://127.0.0.1:${String(local)}/`)).status > 0, {
      what: "kubectl port-forward answers",
      deadlineMs: 30_000,
      recheckMs: 200,
    });
    return local;
  };
  return {
    url: async (address, to) => `http://127.0.0.1:${String(await (port ??= begin()))}/${address}:${String(to)}`,
    stop: () => {
      stopped = true;
      child?.kill();
    },
  };
}
