// The files and ports of one control plane: tokens, kubeconfigs, keys and the configuration of each part.
import { generateKeyPairSync, randomBytes } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { stringify } from "yaml";
import { auditPolicy } from "./audit.ts";
import type { Tools } from "./build.ts";
import { instanceTypesFile } from "./karpenter.ts";
import { freePort } from "./process.ts";
import type { RunDir } from "./rundir.ts";
import { kwokConfiguration } from "./stages.ts";
import { newAuthority, newClientCertificate } from "./x509.ts";
import type { KeyPair } from "./x509.ts";

/** Users with a static token, each with its groups. Karpenter runs as the service account that its chart would make. */
const users = {
  admin: { name: "test-admin", groups: ["system:masters"] },
  "controller-manager": { name: "system:kube-controller-manager", groups: [] },
  scheduler: { name: "system:kube-scheduler", groups: [] },
  kwok: { name: "test-kwok", groups: ["system:masters"] },
  karpenter: {
    name: "system:serviceaccount:kube-system:karpenter",
    groups: ["system:serviceaccounts", "system:serviceaccounts:kube-system"],
  },
  cloud: {
    name: "system:serviceaccount:kube-system:cloud-node-lifecycle-controller",
    groups: ["system:serviceaccounts", "system:serviceaccounts:kube-system"],
  },
} as const;

export interface Prepared {
  readonly runDir: RunDir;
  readonly tools: Tools;
  readonly url: string;
  readonly etcdUrl: string;
  readonly ports: Readonly<Record<"apiserver" | "etcd" | "etcdPeer" | "karpenterMetrics" | "karpenterProbe", number>>;
  readonly pkiDir: string;
  /** Exists once the API server has run: it makes its own serving certificate. */
  readonly caPath: string;
  readonly adminToken: string;
  readonly adminKubeconfigPath: string;
  readonly auditLogPath: string;
  readonly clientAuthority: KeyPair;
  readonly infoPath: string;
  /** Path of a file in the run's folder. */
  readonly file: (name: string) => string;
}

/** Kubeconfig that names the CA by file, so that it can be written before the API server has made it. */
function kubeconfig(url: string, caPath: string, token: string): string {
  return stringify({
    apiVersion: "v1",
    kind: "Config",
    clusters: [{ name: "berth-test", cluster: { server: url, "certificate-authority": caPath } }],
    users: [{ name: "user", user: { token } }],
    contexts: [{ name: "berth-test", context: { cluster: "berth-test", user: "user" } }],
    "current-context": "berth-test",
  });
}

async function choosePorts(): Promise<Prepared["ports"]> {
  return {
    apiserver: await freePort(),
    etcd: await freePort(),
    etcdPeer: await freePort(),
    karpenterMetrics: await freePort(),
    karpenterProbe: await freePort(),
  };
}

function schedulerConfiguration(kubeconfigPath: string, defaultClientLimits: boolean): string {
  const limits = defaultClientLimits ? {} : { qps: 500, burst: 1000 };
  return stringify({
    apiVersion: "kubescheduler.config.k8s.io/v1",
    kind: "KubeSchedulerConfiguration",
    leaderElection: { leaderElect: false },
    clientConnection: { kubeconfig: kubeconfigPath, ...limits },
  });
}

/** Writes everything that the parts read, and chooses their ports. */
export async function prepare(
  runDir: RunDir,
  tools: Tools,
  { defaultClientLimits = false, address = "127.0.0.1" }: { defaultClientLimits?: boolean; address?: string },
): Promise<Prepared> {
  const file = (name: string): string => join(runDir.path, name);
  const ports = await choosePorts();
  const url = `https://${address}:${String(ports.apiserver)}`;
  const pkiDir = file("pki");
  mkdirSync(pkiDir, { recursive: true });
  const caPath = join(pkiDir, "apiserver.crt");
  const write = (name: string, content: string): void => writeFileSync(file(name), content, { mode: 0o600 });

  const tokens = Object.entries(users).map(([role, user]) => ({
    role,
    ...user,
    token: randomBytes(16).toString("hex"),
  }));
  const row = ({ role, name, groups, token }: (typeof tokens)[number]): string =>
    [token, name, role, `"${groups.join(",")}"`].join(",");
  write("tokens.csv", tokens.map(row).join("\n"));
  for (const { role, token } of tokens) write(`${role}.kubeconfig`, kubeconfig(url, caPath, token));
  write("cloud.token", tokens.find(({ role }) => role === "cloud")?.token ?? "");
  const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  write("pki/sa.key", privateKey.export({ type: "pkcs1", format: "pem" }).toString());
  const clientAuthority = newAuthority();
  write("pki/client-ca.crt", clientAuthority.certPem);
  // The API server's own identity towards real kubelets (logs, exec).
  const toKubelets = newClientCertificate(clientAuthority, "kube-apiserver", ["system:masters"]);
  write("pki/kubelet-client.crt", toKubelets.certPem);
  write("pki/kubelet-client.key", toKubelets.keyPem);
  write("audit-policy.yaml", stringify(auditPolicy));
  write("audit.log", "");
  write("kwok.yaml", kwokConfiguration());
  write("scheduler.yaml", schedulerConfiguration(file("scheduler.kubeconfig"), defaultClientLimits));
  write("instance-types.json", instanceTypesFile());
  return {
    runDir,
    tools,
    url,
    etcdUrl: `http://127.0.0.1:${String(ports.etcd)}`,
    ports,
    pkiDir,
    caPath,
    adminToken: tokens.find(({ role }) => role === "admin")?.token ?? "",
    adminKubeconfigPath: file("admin.kubeconfig"),
    auditLogPath: file("audit.log"),
    clientAuthority,
    infoPath: file("info.json"),
    file,
  };
}
