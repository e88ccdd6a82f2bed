/**
 * Flags and environment → one frozen Config. Every flag `--some-name` may also be given as BERTH_SOME_NAME; the flag wins.
 * All problems are collected, so that one start shows them all.
 */
import { isIP } from "node:net";
import { proxyFault } from "./adapters/egress/proxy.ts";
import type { CredentialsConfig } from "./runtime/credentials.ts";
import { commonOptions, fetchOptions, importerOptions, operatorOptions, storeOptions } from "./options.ts";
import type { EngineImage } from "./plan/engine/args.ts";

export { commonOptions, fetchOptions, importerOptions, operatorOptions, storeOptions };

type Environment = Readonly<Record<string, string | undefined>>;

export interface S3Keys {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
}

export interface PlaceConfig {
  readonly url: string;
  readonly endpoint?: string;
  readonly region: string;
  /** The store's alone: where the bucket's name stands with an endpoint. */
  readonly addressing?: "Path" | "VirtualHost" | undefined;
  readonly credentials?: S3Keys;
}

export interface ProxyConfig {
  readonly https: string | undefined;
  readonly http: string | undefined;
  readonly none: string | undefined;
  readonly connectBy: "address" | "name";
}

export interface CommonConfig {
  readonly namespace: string;
  readonly logLevel: string;
  readonly kube: CredentialsConfig;
  readonly healthPort: number;
  readonly metricsPort: number;
}

export interface StoreRedirect {
  /** `https://host`, perhaps with a port. */
  readonly origin: string;
  readonly cidrs: readonly string[];
}

export interface CatalogueConfig {
  readonly include: readonly string[];
  readonly exclude: readonly string[];
  readonly tokenSecret?: string;
}

export interface OperatorConfig extends CommonConfig {
  readonly leaderElect: boolean;
  readonly ledger: PlaceConfig;
  readonly engineImages: readonly EngineImage[];
  readonly berthImage: string;
  readonly storeService: string;
  /** Absent where serving pods do not reach the object storage. */
  readonly storeRedirect?: StoreRedirect;
  /** Ed25519 public keys, each the base64 of its DER: one must have signed what new serving pods fetch. Empty: none need have. */
  readonly trustedModelKeys: readonly string[];
  readonly nodeTypesFile?: string;
  readonly sinksFile?: string;
  readonly priceListFile?: string;
  readonly ledgerSigningKeyFile?: string;
  /** Absent where the platform wants none. */
  readonly catalogue?: CatalogueConfig;
  readonly usagePort: number;
  readonly shrinkStabilizationMs: number;
  readonly drainGraceMs: number;
  readonly nodeLostMs: number;
  readonly staticCapacityTimeoutMs: number;
  readonly windowSeconds: number;
  readonly sealGraceSeconds: number;
  readonly sealSpreadSeconds: number;
  readonly ledgerShards: number;
  readonly metricsNamespaces: readonly string[];
  readonly fetchesConfigMap: string;
  /** Whether node types may have caches of models on their nodes. */
  readonly nodeCaches: boolean;
}

export interface ImporterConfig extends CommonConfig {
  readonly store: PlaceConfig;
  readonly allowHttpEndpoints: boolean;
  readonly allowedEndpointCidrs: readonly string[];
  readonly hubEndpoint: string;
  readonly hubRedirectHosts: readonly string[];
  readonly proxy: ProxyConfig;
  readonly allowGguf: boolean;
  readonly manifestSigningKeyFile: string | undefined;
  readonly importConcurrency: number;
  readonly serverSideCopy: boolean;
  readonly bufferBytes: number;
  readonly maxBytesPerSecond: number | undefined;
  readonly progressMs: number;
  readonly credentialsClusterRole: string;
  readonly serviceAccount: string;
}

export interface StoreConfig extends CommonConfig {
  readonly store: PlaceConfig;
  readonly storePort: number;
  readonly streams: number;
  readonly streamsPerPod: number;
  readonly redirects: boolean;
  readonly fetchesConfigMap: string;
}

export interface FetchConfig {
  readonly store: string;
  readonly into: string;
  /** Absent where the model goes into a folder of the pod. */
  readonly cache?: { readonly root: string; readonly limitBytes: number; readonly nodeName: string };
  readonly tokenFile: string;
  readonly redirectOrigin?: string;
  /** Absent where any manifest is taken. */
  readonly trust?: { readonly keys: readonly string[]; readonly digest: string };
  readonly partsAtOnce: number;
  readonly patienceMs: number;
  readonly progressMs: number;
  readonly terminationLog: string;
  readonly logLevel: string;
}

/** Everything that is wrong with flags and environment, one line each. */
export class ConfigError extends Error {
  readonly problems: readonly string[];
  constructor(problems: readonly string[]) {
    super(problems.join("\n"));
    this.name = "ConfigError";
    this.problems = problems;
  }
}

/** Reads single values and keeps what is wrong with them. */
class Reader {
  readonly problems: string[] = [];
  readonly #flags: Readonly<Record<string, unknown>>;
  readonly #env: Environment;
  constructor(flags: Readonly<Record<string, unknown>>, env: Environment) {
    this.#flags = flags;
    this.#env = env;
  }

  text(flag: string): string | undefined {
    const camel = flag.replace(/-([a-z0-9])/g, (_all, letter: string) => letter.toUpperCase());
    const given = this.#flags[camel] ?? this.#env[`BERTH_${flag.toUpperCase().replaceAll("-", "_")}`];
    const all = [...commonOptions, ...operatorOptions, ...importerOptions, ...storeOptions, ...fetchOptions];
    const fallback = all.find((entry) => entry.flag === flag)?.fallback;
    return typeof given === "string" && given !== "" ? given : fallback;
  }

  required(flag: string): string {
    const value = this.text(flag);
    if (value === undefined)
      this.problems.push(`--${flag} is missing: give the flag or set BERTH_${flag.toUpperCase().replaceAll("-", "_")}`);
    return value ?? "";
  }

  whole(flag: string, min: number, max: number): number {
    const text = this.text(flag) ?? "";
    const value = Number(text);
    if (!/^\d+$/.test(text) || value < min || value > max)
      this.problems.push(`--${flag} is "${text}": give a whole number from ${min} to ${max}`);
    return value;
  }

  flag(flag: string): boolean {
    const text = this.text(flag);
    if (text !== "true" && text !== "false") this.problems.push(`--${flag} is "${text}": give true or false`);
    return text === "true";
  }

  url(flag: string, ...schemes: string[]): string {
    const text = this.required(flag);
    if (text !== "" && !schemes.some((scheme) => text.startsWith(`${scheme}://`))) {
      this.problems.push(
        `--${flag} is "${text}": begin it with ${schemes.map((scheme) => `${scheme}://`).join(" or ")}`,
      );
    }
    return text;
  }

  done(): void {
    if (this.problems.length > 0) throw new ConfigError(this.problems);
  }
}

export function operatorConfig(flags: Readonly<Record<string, unknown>>, env: Environment): OperatorConfig {
  const read = new Reader(flags, env);
  const config: OperatorConfig = {
    ...common(read, env),
    leaderElect: read.flag("leader-elect"),
    ledger: place(read, env, "ledger"),
    engineImages: engineImages(read),
    berthImage: read.required("berth-image"),
    storeService: read.url("store-service", "http", "https"),
    ...storeRedirect(read),
    trustedModelKeys: publicKeys(read, "trusted-model-keys"),
    nodeTypesFile: read.text("node-types-file"),
    sinksFile: read.text("sinks-file"),
    priceListFile: read.text("price-list-file"),
    ledgerSigningKeyFile: read.text("ledger-signing-key-file"),
    catalogue: catalogueChoice(read),
    usagePort: read.whole("usage-port", 0, 65_535),
    shrinkStabilizationMs: read.whole("shrink-stabilization-seconds", 0, 86_400) * 1000,
    drainGraceMs: read.whole("drain-grace-seconds", 0, 86_400) * 1000,
    nodeLostMs: read.whole("node-lost-seconds", 1, 86_400) * 1000,
    staticCapacityTimeoutMs: read.whole("static-capacity-timeout-seconds", 1, 86_400) * 1000,
    windowSeconds: windowSeconds(read),
    sealGraceSeconds: read.whole("seal-grace-seconds", 0, 86_400),
    sealSpreadSeconds: read.whole("seal-spread-seconds", 0, 86_400),
    ledgerShards: read.whole("ledger-shards", 1, 256),
    metricsNamespaces: (read.text("metrics-namespaces") ?? "").split(",").filter((name) => name !== ""),
    fetchesConfigMap: read.required("fetches-config-map"),
    nodeCaches: read.flag("node-caches"),
  };
  read.done();
  return Object.freeze(config);
}

export function importerConfig(flags: Readonly<Record<string, unknown>>, env: Environment): ImporterConfig {
  const read = new Reader(flags, env);
  const config: ImporterConfig = {
    ...common(read, env),
    store: place(read, env, "store"),
    allowHttpEndpoints: read.flag("allow-http-endpoints"),
    allowedEndpointCidrs: cidrs(read, "allowed-endpoint-cidrs"),
    hubEndpoint: hubEndpoint(read),
    hubRedirectHosts: (read.text("hub-redirect-hosts") ?? "").split(",").filter((name) => name !== ""),
    proxy: proxyOf(read, env),
    allowGguf: read.flag("allow-gguf"),
    manifestSigningKeyFile: read.text("manifest-signing-key-file"),
    importConcurrency: read.whole("import-concurrency", 1, 64),
    serverSideCopy: read.flag("server-side-copy"),
    bufferBytes: read.whole("import-buffer-mib", 16, 16_384) * 2 ** 20,
    maxBytesPerSecond: read.whole("import-bandwidth-mib", 0, 100_000) * 2 ** 20 || undefined,
    progressMs: read.whole("progress-seconds", 1, 3600) * 1000,
    credentialsClusterRole: read.required("credentials-cluster-role"),
    serviceAccount: read.required("service-account"),
  };
  read.done();
  return Object.freeze(config);
}

function catalogueChoice(read: Reader): CatalogueConfig | undefined {
  const names = (flag: string): string[] => (read.text(flag) ?? "").split(",").filter((name) => name !== "");
  const wanted = read.flag("catalogue");
  const [include, exclude] = [names("catalogue-include"), names("catalogue-exclude")];
  return wanted ? { include, exclude, tokenSecret: read.text("catalogue-token-secret") || undefined } : undefined;
}

/** Scheme, host and port alone; undefined where none is given. */
function originOf(read: Reader, flag: string): string | undefined {
  const text = read.text(flag) ?? "";
  if (text === "") return undefined;
  const url = URL.canParse(text) ? new URL(text) : undefined;
  const isBare = url?.pathname === "/" && url.search === "" && url.hash === "" && url.username === "";
  if (isBare && /^https?:$/.test(url.protocol)) return url.origin;
  read.problems.push(`--${flag} is "${text}": write scheme, host and perhaps port alone, as in https://s3.example.org`);
  return undefined;
}

function storeRedirect(read: Reader): { readonly storeRedirect?: StoreRedirect } {
  const origin = originOf(read, "store-redirect-origin");
  const networks = cidrs(read, "store-redirect-cidrs");
  // A way out to everywhere would end the isolation of serving pods.
  if (networks.some((cidr) => cidr.endsWith("/0")))
    read.problems.push("--store-redirect-cidrs opens every address: name the networks of the object storage alone");
  if ((origin === undefined) !== (networks.length === 0))
    read.problems.push("give both --store-redirect-origin and --store-redirect-cidrs, or neither");
  return origin === undefined ? {} : { storeRedirect: { origin, cidrs: networks } };
}

/** 32 bytes behind the twelve that every Ed25519 key begins with (RFC 8410). */
const ED25519_KEY = /^MCowBQYDK2VwAyEA[A-Za-z0-9+/]{43}=$/;

function publicKeys(read: Reader, flag: string): readonly string[] {
  const given = (read.text(flag) ?? "").split(",").filter((key) => key !== "");
  for (const key of given.filter((text) => !ED25519_KEY.test(text)))
    read.problems.push(
      `--${flag} holds "${key.slice(0, 80)}", which is no Ed25519 public key: give the base64 between the lines that openssl pkey -pubout prints`,
    );
  return given;
}

function fetchTrust(read: Reader): Pick<FetchConfig, "trust"> {
  const keys = publicKeys(read, "trusted-keys");
  const digest = read.text("digest") ?? "";
  if (keys.length === 0 && digest === "") return {};
  if (keys.length === 0 || !/^sha256:[0-9a-f]{64}$/.test(digest))
    read.problems.push("give both --trusted-keys and --digest (sha256: and 64 hex digits), or neither");
  return { trust: { keys, digest } };
}

function cidrs(read: Reader, flag: string): readonly string[] {
  const given = (read.text(flag) ?? "").split(",").filter((cidr) => cidr !== "");
  for (const cidr of given) {
    const [address = "", bits = ""] = cidr.split("/");
    const most = isIP(address) === 4 ? 32 : isIP(address) === 6 ? 128 : -1;
    if (!/^\d{1,3}$/.test(bits) || Number(bits) > most)
      read.problems.push(`--${flag} holds "${cidr}": give networks such as 10.0.0.0/8`);
  }
  return given;
}

export function storeConfig(flags: Readonly<Record<string, unknown>>, env: Environment): StoreConfig {
  const read = new Reader(flags, env);
  const config: StoreConfig = {
    ...common(read, env),
    store: place(read, env, "store"),
    storePort: read.whole("store-port", 0, 65_535),
    streams: read.whole("streams", 1, 10_000),
    streamsPerPod: read.whole("streams-per-pod", 1, 1_000),
    redirects: read.flag("redirects"),
    fetchesConfigMap: read.required("fetches-config-map"),
  };
  read.done();
  return Object.freeze(config);
}

export function fetchConfig(flags: Readonly<Record<string, unknown>>, env: Environment): FetchConfig {
  const read = new Reader(flags, env);
  const config: FetchConfig = {
    store: read.url("store", "http", "https"),
    into: read.required("into"),
    ...nodeCache(read),
    tokenFile: read.required("token-file"),
    redirectOrigin: originOf(read, "redirect-origin"),
    ...fetchTrust(read),
    partsAtOnce: read.whole("parts-at-once", 1, 64),
    patienceMs: read.whole("patience-seconds", 1, 86_400) * 1000,
    progressMs: read.whole("progress-seconds", 1, 3600) * 1000,
    terminationLog: read.required("termination-log"),
    logLevel: levelOf(read),
  };
  read.done();
  return Object.freeze(config);
}

function nodeCache(read: Reader): Pick<FetchConfig, "cache"> {
  const root = read.text("cache") ?? "";
  if (root === "") return {};
  const limitBytes = read.whole("cache-bytes", 1, Number.MAX_SAFE_INTEGER);
  return { cache: { root, limitBytes, nodeName: read.required("node-name") } };
}

/** What every command that speaks to the cluster needs. */
export function commonConfig(flags: Readonly<Record<string, unknown>>, env: Environment): CommonConfig {
  const read = new Reader(flags, env);
  const config = common(read, env);
  read.done();
  return Object.freeze(config);
}

const LEVELS = ["debug", "info", "warn", "error"];

function levelOf(read: Reader): string {
  const logLevel = read.text("log-level") ?? "info";
  if (!LEVELS.includes(logLevel)) read.problems.push(`--log-level is "${logLevel}": give one of ${LEVELS.join(", ")}`);
  return logLevel;
}

function common(read: Reader, env: Environment): CommonConfig {
  const logLevel = levelOf(read);
  const kubeconfig = read.text("kubeconfig");
  return {
    namespace: env["POD_NAMESPACE"] ?? read.required("namespace"),
    logLevel,
    kube: kubeconfig === undefined ? {} : { kubeconfig },
    healthPort: read.whole("health-port", 0, 65_535),
    metricsPort: read.whole("metrics-port", 0, 65_535),
  };
}

function place(read: Reader, env: Environment, what: "ledger" | "store"): PlaceConfig {
  const accessKeyId = env[`BERTH_${what.toUpperCase()}_ACCESS_KEY_ID`];
  const secretAccessKey = env[`BERTH_${what.toUpperCase()}_SECRET_ACCESS_KEY`];
  const url = read.url(`${what}-url`, "s3", "file");
  if ((accessKeyId === undefined) !== (secretAccessKey === undefined)) {
    read.problems.push(
      `set both BERTH_${what.toUpperCase()}_ACCESS_KEY_ID and BERTH_${what.toUpperCase()}_SECRET_ACCESS_KEY, or neither`,
    );
  }
  return {
    url,
    endpoint: read.text(`${what}-endpoint`),
    region: read.text(`${what}-region`) ?? "us-east-1",
    ...(what === "store" ? { addressing: addressingStyle(read) } : {}),
    ...(accessKeyId && secretAccessKey ? { credentials: { accessKeyId, secretAccessKey } } : {}),
  };
}

function addressingStyle(read: Reader): "Path" | "VirtualHost" {
  const text = read.text("store-addressing-style") ?? "Path";
  if (text !== "Path" && text !== "VirtualHost")
    read.problems.push(`--store-addressing-style is "${text}": give Path or VirtualHost`);
  return text === "VirtualHost" ? text : "Path";
}

/** From the usual variables, since a proxy's URL may hold a password: what is wrong with one never repeats it. */
function proxyOf(read: Reader, env: Environment): ProxyConfig {
  const given = (name: string): string | undefined => env[name] || env[name.toLowerCase()] || undefined;
  const url = (name: string): string | undefined => {
    const text = given(name);
    const fault = text === undefined ? undefined : proxyFault(text);
    if (fault !== undefined) read.problems.push(`${name} ${fault}`);
    return text;
  };
  const connectBy = read.text("proxy-connect-by");
  if (connectBy !== "address" && connectBy !== "name")
    read.problems.push(`--proxy-connect-by is "${String(connectBy)}": give address or name`);
  const none = given("NO_PROXY");
  return {
    https: url("HTTPS_PROXY"),
    http: url("HTTP_PROXY"),
    none,
    connectBy: connectBy === "name" ? "name" : "address",
  };
}

/** The hub's address carries no credentials: tokens come from Secrets that list it. */
function hubEndpoint(read: Reader): string {
  const text = read.url("hub-endpoint", "http", "https");
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url && url.username === "" && url.search === "" && url.hash === "") return text.replace(/\/+$/, "");
  if (text !== "") read.problems.push("--hub-endpoint is no plain address: write https://host, perhaps with a path");
  return text;
}

/** UTC days must be whole numbers of windows, so that hours and days of different windows never overlap. */
function windowSeconds(read: Reader): number {
  const seconds = read.whole("window-seconds", 1, 3600);
  if (seconds > 0 && 3600 % seconds !== 0) read.problems.push(`--window-seconds is ${seconds}: give a divisor of 3600`);
  return seconds;
}

function engineImages(read: Reader): readonly EngineImage[] {
  const text = read.required("engine-images");
  if (text === "") return [];
  try {
    const list: unknown = JSON.parse(text);
    if (Array.isArray(list) && list.length > 0 && list.every(isEngineImage)) return list;
  } catch {
    // Reported below with the same remedy as a wrong shape.
  }
  read.problems.push(
    `--engine-images is not a JSON list of {"version","image"} with at least one entry: ${text.slice(0, 200)}`,
  );
  return [];
}

function isEngineImage(value: unknown): value is EngineImage {
  if (typeof value !== "object" || value === null) return false;
  const { version, image } = value as Partial<EngineImage>;
  return typeof version === "string" && version !== "" && typeof image === "string" && image !== "";
}
