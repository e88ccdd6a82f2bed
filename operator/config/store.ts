/** What the store role is started with. */
import { common, type CommonConfig } from "./cluster.ts";
import { place, type PlaceConfig } from "./place.ts";
import { Reader, type Environment, type Flags } from "./reader.ts";

export interface StoreConfig extends CommonConfig {
  readonly store: PlaceConfig;
  readonly storePort: number;
  readonly streams: number;
  readonly streamsPerPod: number;
  readonly redirects: boolean;
  readonly fetchesConfigMap: string;
}

export function storeConfig(flags: Flags, env: Environment): StoreConfig {
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
