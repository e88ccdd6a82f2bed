/** What the init step of serving pods is started with. */
import { levelOf } from "./cluster.ts";
import { Reader, type Environment, type Flags } from "./reader.ts";
import { originOf, publicKeys } from "./values.ts";

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

export function fetchConfig(flags: Flags, env: Environment): FetchConfig {
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

function fetchTrust(read: Reader): Pick<FetchConfig, "trust"> {
  const keys = publicKeys(read, "trusted-keys");
  const digest = read.text("digest") ?? "";
  if (keys.length === 0 && digest === "") return {};
  if (keys.length === 0 || !/^sha256:[0-9a-f]{64}$/.test(digest))
    read.problems.push("give both --trusted-keys and --digest (sha256: and 64 hex digits), or neither");
  return { trust: { keys, digest } };
}
