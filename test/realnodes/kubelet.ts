// One node's kubelet, with a client certificate of its own node: the node authorizer and NodeRestriction are really on.
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { stringify } from "yaml";
import { kubeconfigYaml } from "../cluster/cluster.ts";
import type { Cluster } from "../cluster/cluster.ts";
import { newPart } from "../cluster/process.ts";
import type { Part } from "../cluster/process.ts";
import { nodeIdentity } from "../cluster/users.ts";
import { socketOf } from "./containerd.ts";
import { kubeletDir } from "./mounts.ts";
import { clusterDomain, dnsServiceAddress } from "./network.ts";

export interface Taint {
  readonly key: string;
  readonly value?: string;
  readonly effect: "NoSchedule" | "PreferNoSchedule" | "NoExecute";
}

export interface KubeletOptions {
  readonly program: string;
  readonly cluster: Cluster;
  readonly name: string;
  readonly address: string;
  /** The node's folder: containerd's in `containerd/`, the kubelet's own in `kubelet/`. */
  readonly dir: string;
  readonly logDir: string;
  readonly cgroupRoot: string;
  readonly taints: readonly Taint[];
}

const healthPort = 10248;

/** https://kubernetes.io/docs/reference/config-api/kubelet-config.v1beta1/ */
function configuration(options: KubeletOptions, clientCaPath: string): string {
  const { dir, address, cgroupRoot, taints } = options;
  return stringify({
    apiVersion: "kubelet.config.k8s.io/v1beta1",
    kind: "KubeletConfiguration",
    address,
    healthzBindAddress: address,
    healthzPort: healthPort,
    authentication: { x509: { clientCAFile: clientCaPath }, anonymous: { enabled: false }, webhook: { enabled: true } },
    authorization: { mode: "Webhook" },
    containerRuntimeEndpoint: `unix://${socketOf(join(dir, "containerd"))}`,
    cgroupDriver: "cgroupfs",
    cgroupRoot,
    failCgroupV1: false,
    failSwapOn: false,
    enforceNodeAllocatable: [],
    evictionHard: {},
    localStorageCapacityIsolation: false,
    oomScoreAdj: 0,
    clusterDNS: [dnsServiceAddress],
    clusterDomain,
    resolvConf: join(dir, "resolv.conf"),
    podLogsDir: join(dir, "pod-logs"),
    volumePluginDir: join(dir, "volume-plugins"),
    registerWithTaints: taints,
    // Status reaches the API server when it changes; this is the pulse in between.
    nodeStatusUpdateFrequency: "5s",
  });
}

/** Makes the kubelet; nothing runs before `start()`, which returns when it is healthy. */
export function newKubelet(options: KubeletOptions): Part {
  const { cluster, name, address, dir, logDir } = options;
  const own = join(dir, "kubelet");
  for (const path of [own, join(dir, "pod-logs"), join(dir, "volume-plugins")]) mkdirSync(path, { recursive: true });
  const write = (file: string, text: string): string => {
    const path = join(dir, file);
    writeFileSync(path, text, { mode: 0o600 });
    return path;
  };
  write("resolv.conf", "");
  const identity = nodeIdentity(cluster, name);
  const kubeconfig = write("kubelet.kubeconfig", kubeconfigYaml({ url: cluster.url, caPem: cluster.caPem, identity }));
  const clientCa = write("client-ca.crt", cluster.info.clientAuthority?.certPem ?? "");
  const config = write("kubelet.yaml", configuration(options, clientCa));
  // A mount namespace of its own, only to have its own folder at the fixed path of the sockets for device plugins.
  const inOwnMounts = `mount --bind "$0" ${kubeletDir} && exec "$@"`;
  return newPart({
    name: `kubelet of ${name}`,
    command: "unshare",
    args: [
      ...["--mount", "--propagation=unchanged", "sh", "-c", inOwnMounts, own, options.program],
      `--config=${config}`,
      `--kubeconfig=${kubeconfig}`,
      `--root-dir=${own}`,
      `--cert-dir=${join(own, "pki")}`,
      `--hostname-override=${name}`,
      `--node-ip=${address}`,
    ],
    logPath: join(logDir, "kubelet.log"),
    readyMs: 120_000,
    ready: async () =>
      (await fetch(`http://${address}:${String(healthPort)}/healthz`, { signal: AbortSignal.timeout(1000) })).ok,
  });
}
