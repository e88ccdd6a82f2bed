// The flags of each program of the control plane, and how one sees that it is ready.
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { Agent, request } from "undici";
import type { ControlPlaneOptions } from "./controlplane.ts";
import type { Prepared } from "./files.ts";
import { clusterDir } from "./paths.ts";
import { newPart } from "./process.ts";
import type { Part, PartSpec } from "./process.ts";

export type PartName = "etcd" | "apiserver" | "controllerManager" | "scheduler" | "kwok" | "karpenter" | "cloud";
export type Parts = Readonly<Record<PartName, Part>>;

async function answers(url: string, caPath?: string): Promise<boolean> {
  const ca = caPath ? readFileSync(caPath, "utf8") : undefined;
  const dispatcher = new Agent({ connect: { ca }, headersTimeout: 2000 });
  try {
    const response = await request(url, { dispatcher });
    await response.body.dump();
    return response.statusCode === 200;
  } finally {
    await dispatcher.destroy();
  }
}

function etcdArgs({ ports, etcdUrl, file }: Prepared): string[] {
  const peer = `http://127.0.0.1:${String(ports.etcdPeer)}`;
  return [
    "--name=test",
    `--data-dir=${file("etcd")}`,
    "--unsafe-no-fsync",
    "--log-level=warn",
    `--listen-client-urls=${etcdUrl}`,
    `--advertise-client-urls=${etcdUrl}`,
    `--listen-peer-urls=${peer}`,
    `--initial-advertise-peer-urls=${peer}`,
    `--initial-cluster=test=${peer}`,
    "--quota-backend-bytes=4294967296",
  ];
}

function apiserverArgs(
  { ports, etcdUrl, file, pkiDir, auditLogPath }: Prepared,
  { controllers = true, nodeRestriction = true, address = "127.0.0.1" }: ControlPlaneOptions,
): string[] {
  const onLoopback = address.startsWith("127.");
  return [
    `--etcd-servers=${etcdUrl}`,
    `--secure-port=${String(ports.apiserver)}`,
    `--bind-address=${address}`,
    `--advertise-address=${address}`,
    // An endpoint on loopback would be refused.
    ...(onLoopback ? ["--endpoint-reconciler-type=none"] : []),
    `--kubelet-client-certificate=${join(pkiDir, "kubelet-client.crt")}`,
    `--kubelet-client-key=${join(pkiDir, "kubelet-client.key")}`,
    "--kubelet-preferred-address-types=InternalIP",
    `--cert-dir=${pkiDir}`,
    `--client-ca-file=${join(pkiDir, "client-ca.crt")}`,
    `--service-account-key-file=${join(pkiDir, "sa.key")}`,
    `--service-account-signing-key-file=${join(pkiDir, "sa.key")}`,
    "--service-account-issuer=https://kubernetes.default.svc",
    `--token-auth-file=${file("tokens.csv")}`,
    "--authorization-mode=Node,RBAC",
    `--${nodeRestriction ? "enable" : "disable"}-admission-plugins=NodeRestriction`,
    // Without kube-controller-manager nobody makes default service accounts, and pods could not be created.
    ...(controllers ? [] : ["--disable-admission-plugins=ServiceAccount"]),
    "--service-cluster-ip-range=10.0.0.0/16",
    "--allow-privileged",
    "--max-requests-inflight=1200",
    "--max-mutating-requests-inflight=600",
    `--audit-policy-file=${file("audit-policy.yaml")}`,
    `--audit-log-path=${auditLogPath}`,
    "--audit-log-mode=blocking",
    "--audit-log-format=json",
    "--audit-log-maxsize=100000",
  ];
}

function controllerManagerArgs({ file, pkiDir, caPath }: Prepared, options: ControlPlaneOptions): string[] {
  return [
    `--kubeconfig=${file("controller-manager.kubeconfig")}`,
    `--service-account-private-key-file=${join(pkiDir, "sa.key")}`,
    `--root-ca-file=${caPath}`,
    "--use-service-account-credentials",
    "--leader-elect=false",
    "--secure-port=0",
    ...(options.defaultClientLimits ? [] : ["--kube-api-qps=500", "--kube-api-burst=1000"]),
    ...(options.nodeMonitorGracePeriod ? [`--node-monitor-grace-period=${options.nodeMonitorGracePeriod}`] : []),
  ];
}

function kwokArgs({ file }: Prepared, { nodeLeaseSeconds = 40 }: ControlPlaneOptions): string[] {
  return [
    `--kubeconfig=${file("kwok.kubeconfig")}`,
    `--config=${file("kwok.yaml")}`,
    "--manage-all-nodes=false",
    "--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake",
    `--node-lease-duration-seconds=${String(nodeLeaseSeconds)}`,
    "--cidr=10.64.0.0/12",
  ];
}

function karpenterArgs({ ports, file }: Prepared, { staticCapacity = true }: ControlPlaneOptions): string[] {
  return [
    `--instance-types-file-path=${file("instance-types.json")}`,
    `--feature-gates=StaticCapacity=${String(staticCapacity)}`,
    "--disable-leader-election",
    `--metrics-port=${String(ports.karpenterMetrics)}`,
    `--health-probe-port=${String(ports.karpenterProbe)}`,
  ];
}

/** Makes all parts; none is started. */
export function newParts(prepared: Prepared, options: ControlPlaneOptions): Parts {
  const { tools, runDir, file, caPath, url, etcdUrl, ports } = prepared;
  const part = (name: string, args: string[], extra: Partial<PartSpec> = {}): Part =>
    newPart({
      name,
      command: join(tools.bin, name),
      args,
      logPath: join(runDir.logs, `${name}.log`),
      onPid: runDir.recordPid,
      ...extra,
    });
  const apiserverReady = async (): Promise<boolean> => existsSync(caPath) && (await answers(`${url}/readyz`, caPath));
  const karpenterEnv = {
    KUBECONFIG: file("karpenter.kubeconfig"),
    SYSTEM_NAMESPACE: "kube-system",
    KUBERNETES_MIN_VERSION: "1.29.0",
    KUBE_CLIENT_QPS: "500",
    KUBE_CLIENT_BURST: "1000",
  };
  return {
    etcd: part("etcd", etcdArgs(prepared), { ready: () => answers(`${etcdUrl}/health`) }),
    apiserver: part("kube-apiserver", apiserverArgs(prepared, options), { ready: apiserverReady }),
    controllerManager: part("kube-controller-manager", controllerManagerArgs(prepared, options)),
    scheduler: part("kube-scheduler", [`--config=${file("scheduler.yaml")}`, "--secure-port=0"]),
    kwok: part("kwok", kwokArgs(prepared, options)),
    karpenter: part("karpenter", karpenterArgs(prepared, options), {
      env: karpenterEnv,
      ready: () => answers(`http://127.0.0.1:${String(ports.karpenterProbe)}/readyz`),
    }),
    cloud: part("cloud", [join(clusterDir, "cloud.ts"), url, caPath, file("cloud.token")], {
      command: process.execPath,
    }),
  };
}
