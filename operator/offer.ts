/** The catalogue as the operator role offers it. Part of the composition root. */
import { annotations, fieldManagers } from "./api/keys.ts";
import type { Caches } from "./caches.ts";
import { chosen, clusterModelOf } from "./catalogue/offer.ts";
import type { OperatorConfig } from "./config.ts";
import { catalogueKeys, feedCatalogueController, newCatalogueReconciler } from "./controllers/catalogue.ts";
import { recordedOf } from "./plan/catalogue/recorded.ts";
import type { Base } from "./process.ts";
import { newApplier } from "./runtime/apply.ts";
import { newController, type Controller } from "./runtime/controller.ts";
import { priority } from "./runtime/queue.ts";

/** undefined where the platform wants no catalogue; the entries are loaded only where it does. */
export async function catalogueController(
  base: Base,
  caches: Caches,
  { catalogue }: OperatorConfig,
): Promise<Controller | undefined> {
  if (!catalogue) return undefined;
  const { entries } = await import("./catalogue/index.ts");
  const { entries: wantedEntries, unknown } = chosen(entries, catalogue);
  if (unknown.length > 0) base.log.warn({ names: unknown }, "the catalogue has no entries of these names");
  const wanted = new Map(wantedEntries.map((entry) => [entry.name, clusterModelOf(entry, catalogue.tokenSecret)]));
  const { models, clusterModels, deployments } = caches;
  const stores = { models: models.store, clusterModels: clusterModels.store, deployments: deployments.store };
  const applier = newApplier({
    writer: base.kube,
    hashAnnotation: annotations.appliedHash,
    manager: fieldManagers.catalogue,
  });
  const recorded = recordedOf(wantedEntries);
  const deps = { stores, applier, writer: base.kube, events: base.events, clock: base.clock, wanted, recorded };
  const resyncKeys = (): string[] => catalogueKeys(deps);
  const controller = newController(
    { name: "catalogue", concurrency: 1, reconcile: newCatalogueReconciler(deps), resyncKeys },
    base,
  );
  feedCatalogueController(controller, { clusterModels, deployments }, wanted);
  return {
    ...controller,
    start() {
      // No change in the cluster tells of an entry that is not there yet.
      for (const name of resyncKeys()) controller.add(name, { priority: priority.background });
      controller.start();
    },
  };
}
