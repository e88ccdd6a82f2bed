// What pods need of the cluster beside their node: kube-proxy for Services and CoreDNS for names, one process each, since
// all nodes share a network namespace. CoreDNS stands behind the usual Service `kube-dns` by an EndpointSlice of ours.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { request } from "undici";
import { stringify } from "yaml";
import { kubeconfigYaml } from "../cluster/cluster.ts";
import type { Cluster } from "../cluster/cluster.ts";
import { apiPath } from "../cluster/client.ts";
import { newPart } from "../cluster/process.ts";
import type { Part } from "../cluster/process.ts";
import { grant, userIdentity } from "../cluster/users.ts";
import type { NodeTools } from "./build.ts";
import { clusterDomain, dnsAddress, dnsServiceAddress, hostAddress, podRange } from "./network.ts";

export interface Services {
  readonly kubeProxy: Part;
  readonly dns: Part;
}

const proxyHealthPort = 10256;
const dnsHealthPort = 8053;

async function answers(url: string): Promise<boolean> {
  const response = await request(url, { headersTimeout: 1000 });
  await response.body.dump();
  return response.statusCode === 200;
}

function writeKubeconfig(cluster: Cluster, path: string, user: string): string {
  const identity = userIdentity(cluster, user);
  writeFileSync(path, kubeconfigYaml({ url: cluster.url, caPem: cluster.caPem, identity }), { mode: 0o600 });
  return path;
}

function newKubeProxy(cluster: Cluster, tools: NodeTools, { dir, logDir, node }: Place): Part {
  // User of the default ClusterRoleBinding system:node-proxier.
  const kubeconfig = writeKubeconfig(cluster, join(dir, "kube-proxy.kubeconfig"), "system:kube-proxy");
  const path = join(dir, "kube-proxy.yaml");
  const configuration = {
    apiVersion: "kubeproxy.config.k8s.io/v1alpha1",
    kind: "KubeProxyConfiguration",
    mode: "nftables",
    clientConnection: { kubeconfig },
    bindAddress: hostAddress,
    healthzBindAddress: `${hostAddress}:${String(proxyHealthPort)}`,
    metricsBindAddress: `${hostAddress}:10249`,
    clusterCIDR: podRange,
    hostnameOverride: node,
    // Zeroes leave the kernel's connection tracking as it is.
    conntrack: { maxPerCore: 0, min: 0, tcpEstablishedTimeout: "0s", tcpCloseWaitTimeout: "0s" },
    nftables: { syncPeriod: "30s", minSyncPeriod: "100ms" },
  };
  writeFileSync(path, stringify(configuration));
  return newPart({
    name: "kube-proxy",
    command: tools.kubeProxy,
    args: [`--config=${path}`],
    logPath: join(logDir, "kube-proxy.log"),
    ready: () => answers(`http://${hostAddress}:${String(proxyHealthPort)}/livez`),
  });
}

function newDns(cluster: Cluster, tools: NodeTools, { dir, logDir }: Place): Part {
  const kubeconfig = writeKubeconfig(cluster, join(dir, "coredns.kubeconfig"), "test-coredns");
  const path = join(dir, "Corefile");
  writeFileSync(
    path,
    `.:53 {
  bind ${dnsAddress}
  errors
  health ${dnsAddress}:${String(dnsHealthPort)}
  kubernetes ${clusterDomain} in-addr.arpa {
    kubeconfig ${kubeconfig}
    pods insecure
    ttl 5
  }
}
`,
  );
  return newPart({
    name: "coredns",
    command: tools.coredns,
    args: ["-conf", path],
    logPath: join(logDir, "coredns.log"),
    ready: () => answers(`http://${dnsAddress}:${String(dnsHealthPort)}/health`),
  });
}

async function publishDns(cluster: Cluster): Promise<void> {
  const namespace = "kube-system";
  const ports = (["UDP", "TCP"] as const).map((protocol) => ({
    name: `dns-${protocol.toLowerCase()}`,
    port: 53,
    protocol,
  }));
  await cluster.admin.apply(apiPath("v1", "services", { namespace, name: "kube-dns" }), {
    apiVersion: "v1",
    kind: "Service",
    metadata: { name: "kube-dns", namespace, labels: { "k8s-app": "kube-dns" } },
    spec: { clusterIP: dnsServiceAddress, ports },
  });
  await cluster.admin.apply(apiPath("discovery.k8s.io/v1", "endpointslices", { namespace, name: "kube-dns-host" }), {
    apiVersion: "discovery.k8s.io/v1",
    kind: "EndpointSlice",
    metadata: { name: "kube-dns-host", namespace, labels: { "kubernetes.io/service-name": "kube-dns" } },
    addressType: "IPv4",
    endpoints: [{ addresses: [dnsAddress], conditions: { ready: true } }],
    ports,
  });
}

interface Place {
  readonly dir: string;
  readonly logDir: string;
  /** Node in whose name kube-proxy runs. */
  readonly node: string;
}

/** Starts both and publishes the DNS Service. */
export async function startServices(cluster: Cluster, tools: NodeTools, place: Place): Promise<Services> {
  await grant(
    cluster,
    { kind: "User", name: "test-coredns" },
    {
      name: "test-coredns",
      rules: [
        { apiGroups: [""], resources: ["services", "namespaces", "pods", "endpoints"], verbs: ["list", "watch"] },
        { apiGroups: ["discovery.k8s.io"], resources: ["endpointslices"], verbs: ["list", "watch"] },
      ],
    },
  );
  const kubeProxy = newKubeProxy(cluster, tools, place);
  const dns = newDns(cluster, tools, place);
  await Promise.all([kubeProxy.start(), dns.start(), publishDns(cluster)]);
  return { kubeProxy, dns };
}
