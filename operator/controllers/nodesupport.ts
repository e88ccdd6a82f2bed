/**
 * status.nodeSupport of Models and ClusterModels: recomputed when a model's facts or an enabled NodeType change. It is the only
 * field of a model's status that the operator writes; all others are the importer's.
 */
import type { ClusterModel, Model } from "../api/model.ts";
import type { NodeType } from "../api/nodetype.ts";
import { clusterModels, models } from "../api/resources.ts";
import { nodeSupportOf } from "../plan/sizing/matrix.ts";
import type { Log, Outcome, Resource, Store } from "../ports.ts";
import { feedController } from "../runtime/controller.ts";
import type { Controller } from "../runtime/controller.ts";
import type { Reflector } from "../runtime/reflector.ts";
import { keyOf } from "../runtime/store.ts";
import type { PlanExecutor } from "./apply.ts";

type AnyModel = Model | ClusterModel;

export interface NodeSupportStores {
  readonly models: Store<Model>;
  readonly clusterModels: Store<ClusterModel>;
  readonly nodeTypes: Store<NodeType>;
}

export interface NodeSupportDeps {
  readonly stores: NodeSupportStores;
  /** Version of the engine that deployments get by default. */
  readonly engineVersion: string | undefined;
  readonly executor: PlanExecutor;
}

const modelKeyOf = (model: Model): string => `Model/${keyOf(model)}`;
const clusterModelKeyOf = (model: ClusterModel): string => `ClusterModel//${model.metadata.name}`;

/** Keys of all models, as the queue names them: `Model/<namespace>/<name>`, `ClusterModel//<name>`. */
export function everyModelKey({ models, clusterModels }: Omit<NodeSupportStores, "nodeTypes">): string[] {
  return [...models.list().map(modelKeyOf), ...clusterModels.list().map(clusterModelKeyOf)];
}

/** `reconcile(key)`: writes the matrix of one model whose weights are known, where it changed. */
export function newNodeSupportReconciler(deps: NodeSupportDeps): (key: string, log: Log) => Promise<Outcome> {
  const { stores, engineVersion, executor } = deps;
  const options = engineVersion === undefined ? {} : { engineVersion };
  return async function reconcile(key) {
    const [kind, namespace = "", name = ""] = key.split("/");
    const isCluster = kind === "ClusterModel";
    const model: AnyModel | undefined = isCluster
      ? stores.clusterModels.get(undefined, name)
      : stores.models.get(namespace, name);
    if (!model || model.metadata.deletionTimestamp || model.status?.weightBytes === undefined) return {};
    const nodeSupport = nodeSupportOf(model.status, stores.nodeTypes.list(), options);
    await executor.status((isCluster ? clusterModels : models) as Resource<AnyModel>, model, { nodeSupport });
    return {};
  };
}

/** What the matrix depends on: facts of the model, and the spec of each node type. */
export function feedNodeSupportController(
  controller: Controller,
  from: {
    readonly models: Reflector<Model>;
    readonly clusterModels: Reflector<ClusterModel>;
    readonly nodeTypes: Reflector<NodeType>;
  },
): void {
  feedController(from.models, controller, ({ object }) => [modelKeyOf(object)]);
  feedController(from.clusterModels, controller, ({ object }) => [clusterModelKeyOf(object)]);
  const stores = { models: from.models.store, clusterModels: from.clusterModels.store };
  feedController(from.nodeTypes, controller, ({ type, object, old }) => {
    const sameSpec = type === "updated" && old?.metadata.generation === object.metadata.generation;
    return sameSpec ? [] : everyModelKey(stores);
  });
}
