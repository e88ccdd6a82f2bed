/** Composition root of the operator role: builds every object once, starts and stops them in order. */
import { readFile } from "node:fs/promises";
import { parse } from "yaml";
import { openLedger } from "./adapters/ledger/open.ts";
import { namespaces } from "./api/kubernetes.ts";
import { annotations, fieldManagers } from "./api/keys.ts";
import {
  deploymentController,
  nodeSupportController,
  nodeTypeController,
  sealer,
  usageApp,
  type Replaceable,
} from "./assemble.ts";
import { followDefinitions, newCaches, type Caches } from "./caches.ts";
import { poolController, wipeController } from "./pools.ts";
import { catalogueController } from "./offer.ts";
import { ConfigError, type OperatorConfig } from "./config.ts";
import { warnWithoutNodeRestriction } from "./controllers/noderestriction.ts";
import { applyNodeTypes, listedNodeTypes } from "./controllers/platform.ts";
import { newLedgerHealth, UNCONDITIONAL, type LedgerHealth } from "./controllers/ledgerhealth.ts";
import { newLedgerMetrics, type LedgerMetrics } from "./controllers/ledgermetrics.ts";
import type { Ledger } from "./ports.ts";
import { startMissed } from "./controllers/missed.ts";
import { newHeadKeeper } from "./controllers/clusterhead.ts";
import { newFirstLook } from "./controllers/firstlook.ts";
import { tellOfSkew } from "./controllers/clockskew.ts";
import { newVouchedWindows } from "./controllers/vouched.ts";
import { newSealedNote } from "./controllers/watermark.ts";
import { newUnproven } from "./controllers/unproven.ts";
import { listen } from "./listeners.ts";
import { openSinks, parseSinks, priceListIn } from "./sinks.ts";
import type { SinkConfig } from "./api/sinks.ts";
import { keyOf } from "./runtime/store.ts";
import { newBase, type Base, type Running } from "./process.ts";
import { newApplier } from "./runtime/apply.ts";
import { newLeader } from "./runtime/leader.ts";
import type { Reflector } from "./runtime/reflector.ts";
import { messageOf } from "./runtime/errors.ts";

const EXIT_LEADERSHIP_LOST = 3;

export async function startOperator(
  config: OperatorConfig,
  env: Readonly<Record<string, string | undefined>>,
  replaceable: Replaceable = {},
): Promise<Running> {
  const base = await newBase("operator", config, env);
  const ledger = openLedger(config.ledger);
  const clusterId = await clusterIdentity(base);
  const caches = newCaches(base, { namespace: config.namespace, name: config.fetchesConfigMap }, config);
  followDefinitions(caches);
  const reflectors: Reflector[] = Object.values(caches);
  const { kube, events, clockWatch: watch } = base;
  const namespace = () => kube.read(namespaces, undefined, config.namespace);
  tellOfSkew({ watch, log: base.log, namespace, emit: (about, event) => events.emit(about, event) });
  const books = {
    ledger,
    clusterId,
    sealed: newSealedNote(),
    unproven: newUnproven({ ...base, registry: base.metrics.registry }),
  };
  const seen = newFirstLook();
  const controllers = [
    deploymentController(base, caches, config, replaceable),
    poolController(base, caches, config, books, seen),
    nodeTypeController(base, caches),
    nodeSupportController(base, caches, config),
    ...[wipeController(base, caches, config), await catalogueController(base, caches, config)].filter(
      (controller) => controller !== undefined,
    ),
  ];
  const bookMetrics = newLedgerMetrics(base.metrics.registry);
  const health = newLedgerHealth({ ...base, url: config.ledger.url });
  const seals = sealer(base, caches, config, { ...books, metrics: bookMetrics, health }, seen);
  const { priceListFile } = config;
  const windows = newVouchedWindows(ledger, newHeadKeeper({ kube, namespace: config.namespace }).read);
  const sinks = openSinks(base, { ledger, windows, configs: await listedSinks(config), priceListFile });
  const silence = await listen(base, config, reflectors, {
    port: config.usagePort,
    app: usageApp(base, caches, config, books),
  });
  for (const reflector of reflectors) reflector.start();
  await Promise.all(reflectors.map(({ synced }) => synced));
  base.log.info({ caches: reflectors.length }, "caches are in sync");
  const offer = await nodeTypeOffer(base, caches, config);
  const ending = new AbortController();
  let stopMissed = (): void => undefined;
  const work: Work = {
    start() {
      seen.begin(caches.pools.store.list().map(keyOf));
      for (const controller of controllers) controller.start();
      const tell = (conditional: boolean): void => {
        health.probed(conditional);
        tellOfStore(base, config, { conditional, metrics: bookMetrics });
      };
      proveAndSeal(base, { ledger, tell, health, over: ending.signal }, () => {
        seals.start();
        for (const sink of sinks) sink.start();
      });
      stopMissed = startMissed({ ...base, ...books, stores: missedStores(caches) });
      checkNodeRestriction(base, config);
      offer().catch((error: unknown) => base.log.error({ error: messageOf(error) }, "node types could not be applied"));
    },
    pause: () => controllers.forEach((controller) => controller.pause()),
    resume() {
      // After a long outage each watch would wait for up to half a minute more.
      for (const reflector of reflectors) reflector.lookAgain();
      for (const controller of controllers) controller.resume();
    },
    async stop() {
      ending.abort();
      stopMissed();
      await Promise.all([
        ...controllers.map((controller) => controller.stop()),
        seals.stop(),
        health.stop(),
        ...sinks.map((sink) => sink.stop()),
      ]);
    },
  };
  return lead(base, config, work, async () => {
    await silence();
    base.tidy.stop();
    await base.events.stop();
    await Promise.all(reflectors.map((reflector) => reflector.stop()));
    await base.transport.close();
  });
}

function missedStores({ claimEvents, nodeClaims, claims }: Caches) {
  return { events: claimEvents.store, nodeClaims: nodeClaims.store, claims: claims.store };
}

/** Everything that only the leader does. */
interface Work {
  start(): void;
  pause(): void;
  resume(): void;
  stop(): Promise<void>;
}

const PROBE_RETRY_MS = 30_000;

interface Proof {
  readonly ledger: Ledger;
  readonly tell: (conditional: boolean) => void;
  readonly health: LedgerHealth;
  /** Aborted when the process stops to lead. */
  readonly over: AbortSignal;
}

/** Said once a lead: a metric, and an event for whoever looks at the operator's namespace. */
function tellOfStore(
  { log, kube, events }: Base,
  { namespace }: OperatorConfig,
  { conditional, metrics }: { readonly conditional: boolean; readonly metrics: LedgerMetrics },
): void {
  metrics.unconditional.set(conditional ? 0 : 1);
  if (conditional) return;
  const message = UNCONDITIONAL;
  log.warn({ reason: "LedgerUnconditional" }, message);
  kube.read(namespaces, undefined, namespace).then(
    (about) =>
      about &&
      events.emit(
        { ...about, apiVersion: "v1", kind: "Namespace" },
        { type: "Warning", reason: "LedgerUnconditional", message },
      ),
    (error: unknown) =>
      log.warn({ error: messageOf(error) }, "the event about the ledger's store could not be written"),
  );
}

/** Nothing is sealed before it is known whether the store refuses to overwrite; nothing else waits for it. */
function proveAndSeal(base: Base, proof: Proof, begin: () => void, failures = 1): void {
  const { ledger, tell, health, over } = proof;
  if (over.aborted) return;
  const known = ({ conditional }: { readonly conditional: boolean }): void => {
    tell(conditional);
    begin();
  };
  ledger.probe().then(known, (error: unknown) => {
    base.log.error({ error: messageOf(error) }, "the ledger cannot be used, nothing is sealed until it can");
    health.failed(error, failures);
    base.clock.after(PROBE_RETRY_MS, () => proveAndSeal(base, proof, begin, failures + 1));
  });
}

/** Asked once a lead: the answer is a metric, and a warning where a captured node could choose its pool itself. */
function checkNodeRestriction({ transport, metrics, kube, events, log }: Base, { namespace }: OperatorConfig): void {
  warnWithoutNodeRestriction({
    transport,
    registry: metrics.registry,
    namespace: () => kube.read(namespaces, undefined, namespace),
    warn(about, event) {
      log.warn({ reason: event.reason, remedy: event.message }, "the NodeRestriction admission plugin is off");
      events.emit(about, event);
    },
  }).then(
    (found) => log.info({ nodeRestriction: found }, "the NodeRestriction admission plugin was looked for"),
    (error: unknown) =>
      log.warn({ error: messageOf(error) }, "the NodeRestriction admission plugin could not be looked for"),
  );
}

/** UID of the namespace kube-system: the one thing that tells clusters apart and never changes. */
async function clusterIdentity(base: Base): Promise<string> {
  const system = await base.kube.read(namespaces, undefined, "kube-system");
  if (!system?.metadata.uid)
    throw new Error("the namespace kube-system cannot be read: its UID names the cluster in the ledger");
  return system.metadata.uid;
}

/** The platform's own node types; read before leading, so that a broken file ends the start and not the work. */
async function nodeTypeOffer(
  base: Base,
  caches: Caches,
  { nodeTypesFile }: OperatorConfig,
): Promise<() => Promise<void>> {
  if (nodeTypesFile === undefined) return async () => undefined;
  const list = listedNodeTypes(parse(await readFile(nodeTypesFile, "utf8")));
  const applier = newApplier({
    writer: base.kube,
    hashAnnotation: annotations.appliedHash,
    manager: fieldManagers.operator,
  });
  return () => applyNodeTypes({ applier, store: caches.nodeTypes.store, log: base.log }, list);
}

/** Read at the start, so that a wrong list of sinks or of prices ends it with every problem named. */
async function listedSinks({ sinksFile, priceListFile }: OperatorConfig): Promise<readonly SinkConfig[]> {
  if (priceListFile !== undefined) await priceListIn(priceListFile)();
  if (sinksFile === undefined) return [];
  const given: unknown = parse(await readFile(sinksFile, "utf8"));
  const { sinks, problems } = parseSinks(given, { hasPrices: priceListFile !== undefined });
  if (problems.length > 0) throw new ConfigError(problems);
  return sinks;
}

/** The work runs while the Lease is ours; without election at once. */
function lead(base: Base, config: OperatorConfig, work: Work, close: () => Promise<void>): Running {
  let endWith: (code: number) => void = () => undefined;
  const ended = new Promise<number>((resolve) => (endWith = resolve));
  const leader = newLeader({ namespace: config.namespace, name: "berth-operator", identity: base.identity }, base, {
    onStarted: () => work.start(),
    onPaused: () => work.pause(),
    onResumed: () => work.resume(),
    onLost: (holder) => {
      base.log.error({ holder }, "leadership was lost to another process");
      endWith(EXIT_LEADERSHIP_LOST);
    },
  });
  base.gate.mayWrite = () => !leader.isOverdue;
  if (config.leaderElect) leader.start();
  else work.start();
  return {
    ended,
    async stop() {
      await work.stop();
      if (config.leaderElect) await leader.stop();
      await close();
    },
  };
}
