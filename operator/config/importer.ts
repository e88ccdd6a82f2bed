/** What the importer is started with. */
import { proxyFault } from "../adapters/egress/proxy.ts";
import { common, type CommonConfig } from "./cluster.ts";
import { place, type PlaceConfig } from "./place.ts";
import { Reader, type Environment, type Flags } from "./reader.ts";
import { cidrs } from "./values.ts";

export interface ProxyConfig {
  readonly https: string | undefined;
  readonly http: string | undefined;
  readonly none: string | undefined;
  readonly connectBy: "address" | "name";
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

export function importerConfig(flags: Flags, env: Environment): ImporterConfig {
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
