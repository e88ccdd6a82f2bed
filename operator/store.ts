/** The store role: what a pod may read, and the bytes of it. Holds no state but small caches. Part of the composition root. */
import { Counter, Gauge } from "prom-client";
import type { Registry } from "prom-client";
import { openStore } from "./adapters/store/open.ts";
import type { StorePlace } from "./adapters/store/open.ts";
import { serve } from "./http/serve.ts";
import { newShares } from "./http/storeshares.ts";
import { createStoreApp, type StoreAppDeps } from "./http/store.ts";
import type { Clock, Log, ObjectStore } from "./ports.ts";
import type { newKubeClient } from "./runtime/client.ts";
import { newSender } from "./storesend.ts";
import { newFetchBoard } from "./storefetches.ts";
import { newAuthorize } from "./storegrants.ts";
import { newRevisions } from "./storerevisions.ts";

/** What the role takes from the process: fields of `Base` in process.ts. */
export interface StoreBase {
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: { readonly registry: Registry };
  readonly kube: ReturnType<typeof newKubeClient>;
}

export interface StoreSettings {
  readonly store: StorePlace;
  readonly storePort: number;
  /** Blobs that are sent at once: in all, and to one pod. */
  readonly streams: number;
  readonly streamsPerPod: number;
  /** Serving pods reach the object storage: they are sent there for their bytes. */
  readonly redirects: boolean;
  /** Berth's own namespace, and the ConfigMap there that says how far fetches are. */
  readonly namespace: string;
  readonly fetchesConfigMap: string;
}

export interface StoreRole {
  readonly port: number;
  /** Takes no new connections, lets running answers out for at most `graceMs`, then cuts them. */
  stop(graceMs: number): Promise<void>;
}

/** Long enough for a part over a slow line, short enough for an address that leaked. */
const ADDRESS_SECONDS = 300;
/** Callers give up a connection that is silent for 20 s. */
const TURN_MS = 12_000;

function newStoreMetrics(registry: Registry) {
  const registers = [registry];
  return {
    requests: new Counter({
      name: "berth_store_requests_total",
      help: "Requests of serving pods to the store role, by path (manifest, signature, blob, progress, other) and HTTP status code",
      labelNames: ["path", "code"],
      registers,
    }),
    bytes: new Counter({ name: "berth_store_bytes_total", help: "Bytes of model files sent to pods", registers }),
    streams: new Gauge({ name: "berth_store_streams", help: "Model files that are being sent now", registers }),
    waiting: new Gauge({
      name: "berth_store_streams_waiting",
      help: "Requests for model files that wait for their pod's turn",
      registers,
    }),
  };
}

function addressing(store: ObjectStore, { redirects }: StoreSettings): Pick<StoreAppDeps, "address"> {
  const { presign } = store;
  return redirects && presign ? { address: (key) => presign(key, ADDRESS_SECONDS) } : {};
}

/** Serves until it is stopped. Several may run side by side: none knows anything that another needs. */
export async function startStore(base: StoreBase, settings: StoreSettings): Promise<StoreRole> {
  const { clock, log, kube, metrics } = base;
  const store = openStore({ maxSockets: settings.streams, ...settings.store });
  const sender = newSender(store);
  const counters = newStoreMetrics(metrics.registry);
  const board = newFetchBoard({ kube, clock, log, namespace: settings.namespace, name: settings.fetchesConfigMap });
  const onChange = (taken: number, waiting: number): void => {
    counters.streams.set(taken);
    counters.waiting.set(waiting);
  };
  const shares = newShares({ ...settings, waitMs: TURN_MS, clock, onChange });
  let leaving = false;
  const app = createStoreApp({
    log,
    authorize: newAuthorize({ kube, clock }),
    revision: newRevisions(store),
    send: sender.send,
    ...addressing(store, settings),
    enter: shares.enter,
    onAnswer: (path, code) => counters.requests.inc({ path, code: String(code) }),
    onBytes: (bytes) => counters.bytes.inc(bytes),
    onReport: (podUID, report, totalBytes) =>
      board.report(podUID, { ...report, totalBytes, at: Math.floor(clock.now() / 1000) }),
    leaving: () => leaving,
  });
  const serving = await serve(app, settings.storePort);
  log.info({ store: store.url, port: serving.port }, "store is at work");
  return {
    port: serving.port,
    async stop(graceMs) {
      leaving = true;
      const cancel = clock.after(graceMs, () => serving.cut());
      await serving.stop();
      cancel();
      board.stop();
      sender.close();
      store.close();
    },
  };
}
