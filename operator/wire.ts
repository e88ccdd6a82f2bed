/** Composition root of the operator role: builds every object once, starts and stops them in order. */
import { readFile } from "node:fs/promises";
import { parse } from "yaml";
import { openLedger } from "./adapters/ledger/open.ts";
import { namespaces } from "./api/kubernetes.ts";
import { annotations, fieldManagers } from "./api/keys.ts";
import { deploymentController, poolController, type Replaceable } from "./assemble.ts";
import { newCaches, type Caches } from "./caches.ts";
import type { OperatorConfig } from "./config.ts";
import { applyNodeTypes, listedNodeTypes } from "./controllers/platform.ts";
import { newBase, type Base, type Running } from "./process.ts";
import { newApplier } from "./runtime/apply.ts";
import type { Controller } from "./runtime/controller.ts";
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
  const caches = newCaches(base);
  const reflectors: Reflector[] = Object.values(caches);
  const controllers = [
    deploymentController(base, caches, config, replaceable),
    poolController(base, caches, config, ledger, clusterId),
  ];
  for (const reflector of reflectors) reflector.start();
  await Promise.all(reflectors.map(({ synced }) => synced));
  base.log.info({ caches: reflectors.length }, "caches are in sync");
  const offer = await nodeTypeOffer(base, caches, config);
  return lead(base, config, controllers, offer, async () => {
    await base.events.stop();
    await Promise.all(reflectors.map((reflector) => reflector.stop()));
    await base.transport.close();
  });
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

/** Controllers run while the Lease is ours; without election at once. */
function lead(
  base: Base,
  config: OperatorConfig,
  controllers: readonly Controller[],
  offer: () => Promise<void>,
  close: () => Promise<void>,
): Running {
  let endWith: (code: number) => void = () => undefined;
  const ended = new Promise<number>((resolve) => (endWith = resolve));
  const start = (): void => {
    controllers.forEach((controller) => controller.start());
    offer().catch((error: unknown) => base.log.error({ error: messageOf(error) }, "node types could not be applied"));
  };
  const leader = newLeader({ namespace: config.namespace, name: "berth-operator", identity: base.identity }, base, {
    onStarted: start,
    onPaused: () => controllers.forEach((controller) => controller.pause()),
    onResumed: () => controllers.forEach((controller) => controller.resume()),
    onLost: (holder) => {
      base.log.error({ holder }, "leadership was lost to another process");
      endWith(EXIT_LEADERSHIP_LOST);
    },
  });
  if (config.leaderElect) leader.start();
  else start();
  return {
    ended,
    async stop() {
      await Promise.all(controllers.map((controller) => controller.stop()));
      if (config.leaderElect) await leader.stop();
      await close();
    },
  };
}
