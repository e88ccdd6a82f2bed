/** Who uses a model, read from the caches. */
import type { ClusterModel, Model } from "../api/model.ts";
import type { ModelDeployment } from "../api/modeldeployment.ts";
import { usersOf } from "../plan/model/users.ts";
import type { Store } from "../ports.ts";
import { deploymentIndexes, modelKeyOf } from "./modeldeployment.ts";
import type { AnyModel } from "./modelstatus.ts";

export interface ModelStores {
  readonly models: Store<Model>;
  readonly clusterModels: Store<ClusterModel>;
  /** With the indexes deploymentIndexes.model and .namespace. */
  readonly deployments: Store<ModelDeployment>;
}

/** The model of a key `Model/<namespace>/<name>` or `ClusterModel//<name>`. */
export function modelOf(stores: Omit<ModelStores, "deployments">, key: string): AnyModel | undefined {
  const [kind, namespace = "", name = ""] = key.split("/");
  return kind === "ClusterModel" ? stores.clusterModels.get(undefined, name) : stores.models.get(namespace, name);
}

/** Deployments that name the model of a key, or still serve a revision of it, as namespace/name. */
export function modelUsers(stores: ModelStores, key: string, model: AnyModel): readonly string[] {
  const { namespace } = model.metadata;
  const { deployments } = stores;
  return usersOf({
    model,
    naming: deployments.byIndex(deploymentIndexes.model, key),
    reachable:
      namespace === undefined ? deployments.list() : deployments.byIndex(deploymentIndexes.namespace, namespace),
    digestsNamedBy: (deployment) => {
      const other = modelOf(stores, modelKeyOf(deployment));
      return other && new Set((other.status?.revisions ?? []).map((revision) => revision.digest));
    },
  });
}
