/** The importer role: caches, one queue, and the imports that it starts. Part of the composition root. */
import { readFile } from "node:fs/promises";
import { clusterModels, modelDeployments, models } from "./api/resources.ts";
import { newEgressGuard } from "./adapters/egress/guard.ts";
import type { EgressGuard } from "./adapters/egress/guard.ts";
import type { ProxySettings } from "./adapters/egress/proxy.ts";
import { newProxiedFetch } from "./adapters/egress/proxyfetch.ts";
import { newTunnels } from "./adapters/egress/tunnel.ts";
import type { Tunnels } from "./adapters/egress/tunnel.ts";
import { openStore } from "./adapters/store/open.ts";
import type { StorePlace } from "./adapters/store/open.ts";
import { openHub } from "./adapters/hub/source.ts";
import { signerOf } from "./adapters/ledger/signing.ts";
import { newS3Source } from "./adapters/s3/source.ts";
import { annotations, fieldManagers } from "./api/keys.ts";
import { deploymentIndexes, modelKeyOf } from "./controllers/modeldeployment.ts";
import { modelKey, modelKeysOf, newModelReconciler } from "./controllers/model.ts";
import type { AccessSettings, SourceAccess } from "./controllers/modelcredentials.ts";
import type { ModelTransfer } from "./controllers/modelimport.ts";
import { everyModelKey } from "./controllers/nodesupport.ts";
import { newModelLeases } from "./controllers/modellease.ts";
import { newImportMetrics } from "./controllers/modelmetrics.ts";
import { newProgressPace } from "./controllers/progresspace.ts";
import type { SourceOrigin } from "./plan/model/importrecord.ts";
import type { Delays } from "./plan/model/plan.ts";
import type { Clock, EventRecorder, ManifestSigner, ObjectSource, ObjectStore } from "./ports.ts";
import { RetryError, TerminalError, messageOf } from "./runtime/errors.ts";
import type { newKubeClient } from "./runtime/client.ts";
import { VERSION } from "./process.ts";
import { newApplier } from "./runtime/apply.ts";
import { feedController, newController } from "./runtime/controller.ts";
import { newReflector } from "./runtime/reflector.ts";
import type { Reflector, ReflectorDeps } from "./runtime/reflector.ts";
import { importModel } from "./transfer/import.ts";
import { emptyModel } from "./transfer/revisions.ts";
import { newPartPlaces } from "./transfer/places.ts";
import { newRawClient } from "./transfer/rawget.ts";
import { newSlots } from "./transfer/slots.ts";

/** What the role takes from the process: the fields of `Base` in process.ts. */
export interface ImporterBase extends ReflectorDeps {
  readonly kube: ReturnType<typeof newKubeClient>;
  readonly events: EventRecorder;
  readonly identity: string;
}

export interface ImporterSettings extends AccessSettings {
  readonly store: StorePlace;
  /** Private Ed25519 key in PEM that signs manifests; unsigned where absent. */
  readonly manifestSigningKeyFile?: string | undefined;
  /** Imports that copy at once; others wait. */
  readonly importConcurrency: number;
  /** Whether the store's credentials may copy from the buckets of sources in the store's own service. */
  readonly serverSideCopy?: boolean;
  /** Memory for parts on their way, of all imports together. */
  readonly bufferBytes: number;
  /** Bytes a second that this process asks of sources; undefined for as many as there are. */
  readonly maxBytesPerSecond: number | undefined;
  /** Networks besides the public ones that a tenant's endpoint may stand in, as CIDRs; none where absent. */
  readonly allowedEndpointCidrs?: readonly string[];
  /** Hosts that the hub may redirect to for files. */
  readonly hubRedirectHosts: readonly string[];
  /** GGUF files come along beside safetensors; the administrator's to say. */
  readonly allowGguf?: boolean;
  /** The proxy on the way to sources and hub; the store is reached directly. */
  readonly proxy?: ProxySettings | undefined;
  readonly progressMs: number;
  readonly leaseMs?: number;
  readonly delays?: Partial<Delays>;
}

export interface Importer {
  /** Resolves when the caches are in sync and the work has begun. */
  readonly started: Promise<void>;
  readonly reflectors: readonly Reflector[];
  stop(): Promise<void>;
}

const usualDelays: Delays = { retryMinMs: 2_000, retryMaxMs: 300_000, secretMs: 30_000, refusedMs: 600_000 };
/** A source that sends nothing for so long is asked again on another connection. */
const SILENCE_MS = 20_000;

/** What connections to sources must obey. */
interface Ways {
  readonly redirectHosts: readonly string[];
  readonly guard: EgressGuard;
  readonly tunnels: Tunnels | undefined;
  /** As the global one, through the proxy. */
  readonly fetch: typeof fetch | undefined;
}

function waysOf(settings: ImporterSettings): Ways {
  const apiServer = process.env["KUBERNETES_SERVICE_HOST"];
  const guard = newEgressGuard({
    allowedCidrs: settings.allowedEndpointCidrs ?? [],
    guarded: apiServer === undefined ? [] : [apiServer],
  });
  const { proxy, hubRedirectHosts: redirectHosts } = settings;
  const tunnels = proxy && newTunnels(proxy, guard);
  return { guard, tunnels, redirectHosts, fetch: proxy && newProxiedFetch(proxy) };
}

/** The source as one that can be listed and read, with its place for the record beside the manifest. */
async function openSource(
  access: SourceAccess,
  { guard, tunnels, redirectHosts, fetch }: Ways,
  renew: () => Promise<SourceAccess | undefined>,
): Promise<{ readonly source: ObjectSource; readonly origin: SourceOrigin }> {
  const { endpoint } = access;
  if ("bucket" in access)
    return {
      source: newS3Source({
        ...access,
        guard,
        tunnels,
        idleTimeoutMs: SILENCE_MS,
        bulk: newRawClient({ silenceMs: SILENCE_MS, guard, tunnels }),
        renew: () => renew().then((now) => (now && "bucket" in now ? now.credentials : undefined)),
      }),
      origin: { endpoint, bucket: access.bucket, prefix: access.prefix },
    };
  const source = await openHub({ ...access, redirectHosts, ...(fetch ? { fetch } : {}) });
  return { source, origin: { endpoint, repo: access.repo, commit: source.commit } };
}

/** Read anew for each import, so that a key is exchanged without a restart. */
async function signerFrom(file: string | undefined): Promise<{ readonly signer?: ManifestSigner }> {
  if (file === undefined) return {};
  try {
    return { signer: signerOf(await readFile(file, "utf8"), file) };
  } catch (error) {
    const words = `no manifest can be signed: ${messageOf(error)}; the platform's administrator mends importer.signing`;
    throw new RetryError(new TerminalError("StoreError", words));
  }
}

function newTransfer(store: ObjectStore, clock: Clock, settings: ImporterSettings): ModelTransfer {
  const { bufferBytes, maxBytesPerSecond, serverSideCopy = false } = settings;
  const places = newPartPlaces({ clock, bufferBytes, maxBytesPerSecond, imports: settings.importConcurrency });
  const ways = waysOf(settings);
  const copies = newSlots(settings.importConcurrency);
  const inspections = newSlots(1);
  return {
    async importModel({ access, renew, owner, maxSizeBytes, copy, reimport, signal, observer }) {
      const signing = await signerFrom(settings.manifestSigningKeyFile);
      const { source, origin } = await openSource(access, ways, renew);
      const allowGguf = settings.allowGguf === true;
      const what = {
        ...signing,
        allowGguf,
        source,
        store,
        owner,
        origin,
        version: VERSION,
        maxSizeBytes,
        copy,
        reimport,
      };
      const job = { ...what, clock, signal, observer, serverSideCopy };
      return importModel({ ...job, places, copies, inspections }).finally(() => source.close());
    },
    emptyModel: (owner) => emptyModel(store, owner),
  };
}

function watched(base: ImporterBase) {
  return {
    models: newReflector({ resource: models }, base),
    clusterModels: newReflector({ resource: clusterModels }, base),
    deployments: newReflector(
      {
        resource: modelDeployments,
        indexes: {
          [deploymentIndexes.model]: modelKeyOf,
          [deploymentIndexes.namespace]: ({ metadata }) => metadata.namespace,
        },
      },
      base,
    ),
  };
}

/** Begins to watch and to import. Several importers may run at once; each model is worked on by one. */
export function startImporter(base: ImporterBase, settings: ImporterSettings): Importer {
  const { clock, log, metrics, kube, identity, events } = base;
  const store = openStore(settings.store);
  const reflectors = watched(base);
  const stores = {
    models: reflectors.models.store,
    clusterModels: reflectors.clusterModels.store,
    deployments: reflectors.deployments.store,
  };
  const reconciler = newModelReconciler({
    kube,
    applier: newApplier({ writer: kube, hashAnnotation: annotations.appliedHash, manager: fieldManagers.importer }),
    events,
    clock,
    log,
    stores,
    settings,
    transfer: newTransfer(store, clock, settings),
    metrics: newImportMetrics(metrics.registry),
    progress: newProgressPace(clock, settings.progressMs),
    leases: newModelLeases({ kube, clock, log, identity, namespace: settings.namespace, durationMs: settings.leaseMs }),
    delays: { ...usualDelays, ...settings.delays },
    enqueue: (key) => controller.add(key),
  });
  const controller = newController(
    {
      name: "model",
      concurrency: 8,
      reconcile: reconciler.reconcile,
      resyncKeys: () => everyModelKey(stores),
    },
    base,
  );
  feedController(reflectors.models, controller, ({ object }) => [modelKey("Model", object)]);
  feedController(reflectors.clusterModels, controller, ({ object }) => [modelKey("ClusterModel", object)]);
  feedController(reflectors.deployments, controller, ({ object, old }) => modelKeysOf(object, old));
  const all = Object.values(reflectors);
  for (const reflector of all) reflector.start();
  const started = Promise.all(all.map(({ synced }) => synced)).then(() => {
    log.info({ store: store.url }, "importer is at work");
    controller.start();
  });
  return {
    started,
    reflectors: all,
    async stop() {
      await controller.stop();
      await reconciler.stop();
      await Promise.all(all.map((reflector) => reflector.stop()));
      store.close();
    },
  };
}
