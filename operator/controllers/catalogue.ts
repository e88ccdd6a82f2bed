/**
 * The catalogue's entries as ClusterModels: applied without force by the leader, each under its name. What somebody else made
 * or changed stays, and an event says so; an entry that is not wanted any more goes once nobody uses it.
 */
import { API_VERSION, fieldManagers } from "../api/keys.ts";
import type { ClusterModel } from "../api/model.ts";
import type { ModelDeployment } from "../api/modeldeployment.ts";
import { clusterModels } from "../api/resources.ts";
import { decideEntry, isShipped, type EntryDecision } from "../plan/catalogue/plan.ts";
import { recordedStatus } from "../plan/catalogue/recorded.ts";
import type { ModelFacts } from "../plan/model/inspect.ts";
import type { Clock, EventRecorder, KubeWriter, Log, Outcome } from "../ports.ts";
import type { Applier } from "../runtime/apply.ts";
import { feedController, type Controller } from "../runtime/controller.ts";
import { fieldOwnersOf } from "../runtime/errors.ts";
import type { Reflector } from "../runtime/reflector.ts";
import { modelUsers, type ModelStores } from "./modelusers.ts";

export interface CatalogueDeps {
  readonly stores: ModelStores;
  readonly applier: Applier;
  readonly writer: Pick<KubeWriter, "remove">;
  readonly events: EventRecorder;
  /** Wanted entries by name. */
  readonly wanted: ReadonlyMap<string, ClusterModel>;
  /** What each entry records of its model, by name. */
  readonly recorded: ReadonlyMap<string, ModelFacts>;
  readonly clock: Pick<Clock, "now">;
}

/** Names that are wanted, and names of entries that were: the keys of the controller. */
export function catalogueKeys({ stores, wanted }: Pick<CatalogueDeps, "stores" | "wanted">): string[] {
  const shipped = stores.clusterModels.list().filter(isShipped);
  return [...new Set([...wanted.keys(), ...shipped.map(({ metadata }) => metadata.name)])];
}

/** `reconcile(name)`. */
export function newCatalogueReconciler(deps: CatalogueDeps): (name: string, log: Log) => Promise<Outcome> {
  const { stores, wanted } = deps;
  /** What was said about an object last, by UID: an event is for a change, not for each look. */
  const told = new Map<string, string>();
  /** Generations whose fields are others', by UID: asked again only when the object's spec has changed. */
  const refused = new Map<string, number | undefined>();

  function tell(live: ClusterModel, reason: string, message: string): void {
    const { uid = "" } = live.metadata;
    if (told.get(uid) === message) return;
    told.set(uid, message);
    deps.events.emit(
      { ...live, apiVersion: API_VERSION, kind: clusterModels.kind },
      { type: "Warning", reason, message, action: "Catalogue" },
    );
  }

  async function apply(object: ClusterModel, live: ClusterModel | undefined, log: Log): Promise<void> {
    const uid = live?.metadata.uid ?? "";
    if (live && refused.has(uid) && refused.get(uid) === live.metadata.generation) return;
    try {
      const options = { force: false, manager: fieldManagers.catalogue };
      const { wrote } = await deps.applier.apply(clusterModels, object, live, options);
      if (wrote) log.info({ clusterModel: object.metadata.name }, "catalogue entry applied");
    } catch (error) {
      const owners = fieldOwnersOf(error);
      if (owners.length === 0 || !live) throw error;
      refused.set(uid, live.metadata.generation);
      const message = `fields of this entry of the catalogue were changed by others, who keep them: ${owners.join("; ")}. To get the entry back, delete the ClusterModel`;
      tell(live, "CatalogueEntryChanged", message);
    }
  }

  /** So that matrix and refusals need no hub; the importer's facts take their place. */
  async function record(live: ClusterModel): Promise<void> {
    const status = recordedStatus(live, deps.recorded.get(live.metadata.name), deps.clock.now());
    if (status) await deps.applier.patchStatusIfChanged(clusterModels, live, status, { manager: fieldManagers.status });
  }

  async function act(decision: EntryDecision, live: ClusterModel | undefined, log: Log): Promise<void> {
    switch (decision.do) {
      case "nothing":
        return;
      case "apply":
        return apply(decision.object, live, log);
      case "leave":
        return tell(decision.live, decision.reason, decision.message);
      case "remove": {
        const { name, uid } = decision.live.metadata;
        await deps.writer.remove(clusterModels, undefined, name, uid === undefined ? {} : { uid });
        log.info({ clusterModel: name }, "catalogue entry removed");
      }
    }
  }

  return async function reconcile(name, log) {
    const live = stores.clusterModels.get(undefined, name);
    const users = live && isShipped(live) && !wanted.has(name) ? modelUsers(stores, `ClusterModel//${name}`, live) : [];
    await act(decideEntry({ wanted: wanted.get(name), live, users }), live, log);
    if (live && isShipped(live) && wanted.has(name)) await record(live);
    return {};
  };
}

/** What an entry depends on: its object, and the deployments that may keep an unwanted one. */
export function feedCatalogueController(
  controller: Controller,
  from: { readonly clusterModels: Reflector<ClusterModel>; readonly deployments: Reflector<ModelDeployment> },
  wanted: CatalogueDeps["wanted"],
): void {
  feedController(from.clusterModels, controller, ({ object }) =>
    wanted.has(object.metadata.name) || isShipped(object) ? [object.metadata.name] : [],
  );
  feedController(from.deployments, controller, ({ type, object, old }) => {
    if (type === "added") return [];
    const digest = (one: ModelDeployment | undefined): string | undefined => one?.status?.model?.digest;
    const same =
      type === "updated" && old?.spec.model.name === object.spec.model.name && digest(old) === digest(object);
    if (same) return [];
    // Whoever names another model now may still have served any of them.
    return from.clusterModels.store
      .list()
      .filter((model) => isShipped(model) && !wanted.has(model.metadata.name))
      .map(({ metadata }) => metadata.name);
  });
}
