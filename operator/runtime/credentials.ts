/**
 * Who we are for the API server and how we trust it: in-cluster files, explicit files from the configuration, or a
 * kubeconfig. Tokens go into the Authorization header and nowhere else: no function here logs or stringifies one.
 */
import { readFileSync, statSync } from "node:fs";
import type { Clock } from "../ports.ts";

/** TLS side of a connection, PEM. Empty values mean the system's defaults. */
export interface TlsMaterial {
  readonly ca?: string | Buffer;
  readonly cert?: string | Buffer;
  readonly key?: string | Buffer;
  readonly servername?: string;
  readonly rejectUnauthorized?: boolean;
}

/** Credentials for one API server. */
export interface Credentials {
  /** Base URL without a trailing slash. */
  readonly server: string;
  /** Another object identity means other material: connections have to be made anew. */
  tls(): TlsMaterial;
  /** Value of the Authorization header, or undefined where a client certificate speaks. */
  authorization(): Promise<string | undefined> | string | undefined;
  /** After a 401: read everything again. */
  invalidate(): Promise<void>;
}

/** Files are looked at no more often than this; the kubelet renews a token when a fifth of its life is left. */
const recheckMs = 10_000;
const serviceAccountFolder = "/var/run/secrets/kubernetes.io/serviceaccount";

/** Where to find the API server, in the order in which it is tried: explicit files, kubeconfig, in-cluster. */
export interface CredentialsConfig {
  /** Explicit server with files, as the configuration names them. */
  readonly server?: string;
  readonly tokenFile?: string;
  readonly caFile?: string;
  /** Path of a kubeconfig. */
  readonly kubeconfig?: string;
  readonly context?: string;
}

/**
 * Picks the credentials that the configuration or the environment offers.
 * Throws an Error that names what is missing where there are none.
 */
export async function loadCredentials(
  config: CredentialsConfig,
  environment: Readonly<Record<string, string | undefined>>,
  clock: Clock,
): Promise<Credentials> {
  if (config.server) return fileCredentials({ ...config, server: config.server }, clock);
  const kubeconfig = config.kubeconfig ?? environment["KUBECONFIG"];
  if (kubeconfig) return kubeconfigCredentials(kubeconfig, config.context, clock);
  const host = environment["KUBERNETES_SERVICE_HOST"];
  if (!host) {
    throw new Error("no API server: set a server with token and CA files, or KUBECONFIG, or run inside a cluster");
  }
  const folder = environment["BERTH_SERVICE_ACCOUNT_DIR"] ?? serviceAccountFolder;
  return inClusterCredentials(host, environment["KUBERNETES_SERVICE_PORT"] ?? "443", clock, folder);
}

/** The service account that every pod gets: token and CA from its mounted folder. */
export function inClusterCredentials(
  host: string,
  port: string,
  clock: Clock,
  folder = serviceAccountFolder,
): Credentials {
  const name = host.includes(":") ? `[${host}]` : host;
  return fileCredentials(
    {
      server: `https://${name}:${port}`,
      tokenFile: `${folder}/token`,
      caFile: `${folder}/ca.crt`,
    },
    clock,
  );
}

/** Credentials from files, read again when their modification time changes or after a 401. */
export function fileCredentials(
  files: { readonly server: string; readonly tokenFile?: string; readonly caFile?: string },
  clock: Clock,
): Credentials {
  const token = files.tokenFile ? watchedFile(files.tokenFile, clock) : undefined;
  const ca = files.caFile ? watchedFile(files.caFile, clock) : undefined;
  let material: TlsMaterial = {};
  return {
    server: withoutSlash(files.server),
    tls() {
      const pem = ca?.read();
      if (material.ca !== pem) material = { ca: pem };
      return material;
    },
    authorization() {
      const value = token?.read().trim();
      return value ? `Bearer ${value}` : undefined;
    },
    invalidate() {
      token?.forget();
      ca?.forget();
      return Promise.resolve();
    },
  };
}

/** One small file whose content is kept until its modification time moves. */
function watchedFile(path: string, clock: Clock): { read(): string; forget(): void } {
  let content: string | undefined;
  let modifiedMs = 0;
  let checkedMs = -Infinity;
  return {
    read() {
      const now = clock.monotonicMs();
      if (content !== undefined && now - checkedMs < recheckMs) return content;
      try {
        const modified = statSync(path).mtimeMs;
        if (content === undefined || modified !== modifiedMs) content = readFileSync(path, "utf8");
        modifiedMs = modified;
      } catch (error) {
        // A projected volume is swapped by renaming a link: between two reads an old value beats none.
        if (content === undefined) throw error;
      }
      checkedMs = now;
      return content;
    },
    forget() {
      modifiedMs = 0;
      checkedMs = -Infinity;
    },
  };
}

/** What client-node fills in for a request; only these fields are used. */
interface HttpsOptions extends TlsMaterial {
  readonly auth?: string;
  readonly headers?: Readonly<Record<string, string | undefined>>;
}

interface KubeconfigState {
  readonly server: string;
  readonly tls: TlsMaterial;
  readonly authorization: string | undefined;
}

/** A kubeconfig with all that it may hold (exec and OIDC plugins, client certificates), through client-node. */
export async function kubeconfigCredentials(
  path: string,
  context: string | undefined,
  clock: Clock,
): Promise<Credentials> {
  const { KubeConfig } = await import("@kubernetes/client-node");
  const load = (): InstanceType<typeof KubeConfig> => {
    const config = new KubeConfig();
    config.loadFromFile(path);
    if (context) config.setCurrentContext(context);
    return config;
  };
  const evaluate = async (before?: KubeconfigState): Promise<KubeconfigState> => {
    const cluster = config.getCurrentCluster();
    if (!cluster) throw new Error(`kubeconfig ${path} has no cluster for its context`);
    const options: HttpsOptions = {};
    await config.applyToHTTPSOptions(options);
    return kubeconfigState(cluster, options, before);
  };
  let config = load();
  let current = await evaluate();
  let checkedMs = clock.monotonicMs();
  const refresh = async (): Promise<string | undefined> => {
    checkedMs = clock.monotonicMs();
    current = await evaluate(current);
    return current.authorization;
  };
  return {
    server: current.server,
    tls: () => current.tls,
    // One KubeConfig is kept, since it remembers the exec plugin's token until that expires.
    authorization: () => (clock.monotonicMs() - checkedMs < 6 * recheckMs ? current.authorization : refresh()),
    async invalidate() {
      config = load();
      await refresh();
    },
  };
}

function kubeconfigState(
  cluster: { readonly server: string; readonly tlsServerName?: string },
  options: HttpsOptions,
  before: KubeconfigState | undefined,
): KubeconfigState {
  const tls: TlsMaterial = {
    ca: options.ca,
    cert: options.cert,
    key: options.key,
    servername: options.servername ?? cluster.tlsServerName,
    rejectUnauthorized: options.rejectUnauthorized,
  };
  const basic = options.auth ? `Basic ${Buffer.from(options.auth).toString("base64")}` : undefined;
  return {
    server: withoutSlash(cluster.server),
    tls: before && sameTls(before.tls, tls) ? before.tls : tls,
    authorization: options.headers?.["Authorization"] ?? basic,
  };
}

function sameTls(a: TlsMaterial, b: TlsMaterial): boolean {
  const same = (x?: string | Buffer, y?: string | Buffer): boolean => String(x ?? "") === String(y ?? "");
  return same(a.ca, b.ca) && same(a.cert, b.cert) && same(a.key, b.key);
}

function withoutSlash(url: string): string {
  return url.endsWith("/") ? url.slice(0, -1) : url;
}
