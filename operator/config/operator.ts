/** What the operator is started with. */
import type { EngineImage } from "../plan/engine/args.ts";
import { common, type CommonConfig } from "./cluster.ts";
import { place, type PlaceConfig } from "./place.ts";
import { Reader, type Environment, type Flags } from "./reader.ts";
import { cidrs, originOf, publicKeys } from "./values.ts";

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

export function operatorConfig(flags: Flags, env: Environment): OperatorConfig {
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

function catalogueChoice(read: Reader): CatalogueConfig | undefined {
  const names = (flag: string): string[] => (read.text(flag) ?? "").split(",").filter((name) => name !== "");
  const wanted = read.flag("catalogue");
  const [include, exclude] = [names("catalogue-include"), names("catalogue-exclude")];
  return wanted ? { include, exclude, tokenSecret: read.text("catalogue-token-secret") || undefined } : undefined;
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
