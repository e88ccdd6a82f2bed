// A handle on a running cluster: clients, kubectl, helm, kubeconfigs. It can be made from `info.json` in any process.
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { stringify } from "yaml";
import { newAudit } from "./audit.ts";
import type { Audit } from "./audit.ts";
import { newApiClient } from "./client.ts";
import type { ApiClient, Identity } from "./client.ts";
import type { KeyPair } from "./x509.ts";

/**
 * What a cluster can do for a test beyond serving its API:
 * - `kwok`: nodes and pods are played, and their annotations steer them.
 * - `karpenter`: the real Karpenter with its kwok provider and static capacity runs here.
 * - `audit`: requests can be counted.
 * - `user-certificates`: any user of any groups by client certificate.
 * - `server-restart`: the test may start control planes of its own, whose parts it can kill.
 */
export type Capability = "kwok" | "karpenter" | "audit" | "user-certificates" | "server-restart";

/** Content of `info.json`: what another process needs to use this cluster. */
export interface ClusterInfo {
  readonly url: string;
  readonly caPath: string;
  readonly adminIdentity: Identity;
  readonly adminKubeconfigPath: string;
  readonly runDir: string;
  readonly logDir: string;
  readonly kubectlPath: string;
  readonly helmPath: string;
  readonly capabilities: readonly Capability[];
  readonly auditLogPath?: string;
  readonly clientAuthority?: KeyPair;
  /** Certificate and key that the API server serves with, so that a proxy in front is trusted like it. */
  readonly servingCertPath?: string;
  readonly servingKeyPath?: string;
}

export interface CommandOptions {
  readonly identity?: Identity;
  readonly kubeconfigPath?: string;
  readonly input?: string;
  readonly timeoutMs?: number;
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
}

export interface CommandResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Cluster {
  readonly info: ClusterInfo;
  readonly url: string;
  readonly caPath: string;
  readonly caPem: string;
  readonly adminToken: string;
  readonly adminKubeconfigPath: string;
  readonly runDir: string;
  readonly logDir: string;
  /** Client with every right (system:masters). */
  readonly admin: ApiClient;
  /** Requests seen by the API server; throws without the capability `audit`. */
  readonly audit: Audit;
  has(capability: Capability): boolean;
  /** A client for somebody else; `url` sends it through a proxy. */
  client(identity: Identity, url?: string): ApiClient;
  /** Writes a kubeconfig for this identity and returns its path. */
  kubeconfigFor(identity: Identity, options?: { url?: string; namespace?: string }): string;
  /** Runs kubectl (as admin by default); a non-zero exit code is a result, not an exception. */
  kubectl(args: readonly string[], options?: CommandOptions): Promise<CommandResult>;
  helm(args: readonly string[], options?: CommandOptions): Promise<CommandResult>;
}

/** Runs a program to its end. Rejects only where it could not be started. */
export function run(command: string, args: readonly string[], options: CommandOptions = {}): Promise<CommandResult> {
  return new Promise((resolve, reject) => {
    const { timeoutMs = 120_000, cwd, env, input } = options;
    const settings = { timeout: timeoutMs, cwd, env: { ...process.env, ...env }, maxBuffer: 1 << 28 };
    const child = execFile(command, [...args], settings, (error, stdout, stderr) => {
      if (error && typeof error.code === "string") return reject(error);
      const killed = error?.killed ? `\nended after ${String(timeoutMs)} ms` : "";
      resolve({ code: error ? Number(error.code ?? 1) : 0, stdout, stderr: stderr + killed });
    });
    child.stdin?.on("error", () => undefined).end(input ?? "");
  });
}

interface KubeconfigParts {
  readonly url: string;
  readonly caPem: string;
  readonly identity: Identity;
  readonly namespace?: string;
}

/** A kubeconfig as YAML, credentials and CA inlined. */
export function kubeconfigYaml({ url, caPem, identity, namespace }: KubeconfigParts): string {
  const base64 = (text: string): string => Buffer.from(text).toString("base64");
  const { token, certificate, impersonate } = identity;
  const user = {
    ...(token && { token }),
    ...(certificate && {
      "client-certificate-data": base64(certificate.certPem),
      "client-key-data": base64(certificate.keyPem),
    }),
    ...(impersonate && { as: impersonate.user, "as-groups": impersonate.groups ?? [] }),
  };
  return stringify({
    apiVersion: "v1",
    kind: "Config",
    clusters: [{ name: "berth-test", cluster: { server: url, "certificate-authority-data": base64(caPem) } }],
    users: [{ name: "user", user }],
    contexts: [
      { name: "berth-test", context: { cluster: "berth-test", user: "user", ...(namespace && { namespace }) } },
    ],
    "current-context": "berth-test",
  });
}

/** Makes a handle from a cluster's description. */
export function newCluster(info: ClusterInfo): Cluster {
  const caPem = readFileSync(info.caPath, "utf8");
  const client = (identity: Identity, url = info.url): ApiClient => newApiClient(url, caPem, identity);
  const admin = client(info.adminIdentity);
  let audit: Audit | undefined;
  const kubeconfigFor: Cluster["kubeconfigFor"] = (identity, { url = info.url, namespace } = {}) => {
    const text = kubeconfigYaml({ url, caPem, identity, namespace });
    const folder = join(info.runDir, "kubeconfigs");
    mkdirSync(folder, { recursive: true });
    const path = join(folder, `${createHash("sha256").update(text).digest("hex").slice(0, 12)}.yaml`);
    writeFileSync(path, text, { mode: 0o600 });
    return path;
  };
  const environment = (options: CommandOptions): Record<string, string> => ({
    KUBECONFIG:
      options.kubeconfigPath ?? (options.identity ? kubeconfigFor(options.identity) : info.adminKubeconfigPath),
    KUBECACHEDIR: join(info.runDir, "kubectl-cache"),
    HELM_CACHE_HOME: join(info.runDir, "helm", "cache"),
    HELM_CONFIG_HOME: join(info.runDir, "helm", "config"),
    HELM_DATA_HOME: join(info.runDir, "helm", "data"),
    ...options.env,
  });
  const command =
    (path: string) =>
    (args: readonly string[], options: CommandOptions = {}) =>
      run(path, args, { ...options, env: environment(options) });
  return {
    info,
    url: info.url,
    caPath: info.caPath,
    caPem,
    adminToken: info.adminIdentity.token ?? "",
    adminKubeconfigPath: info.adminKubeconfigPath,
    runDir: info.runDir,
    logDir: info.logDir,
    admin,
    get audit() {
      if (!info.auditLogPath) throw new Error("this cluster shows no audit log; ask requires(t, 'audit') first");
      return (audit ??= newAudit(info.auditLogPath, admin));
    },
    has: (capability) => info.capabilities.includes(capability),
    client,
    kubeconfigFor,
    kubectl: command(info.kubectlPath),
    helm: command(info.helmPath),
  };
}
