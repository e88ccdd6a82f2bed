/** Which deployments keep a model from being removed. */
import type { ClusterModel, Model } from "../../api/model.ts";
import type { ModelDeployment } from "../../api/modeldeployment.ts";

export interface UserSnapshot {
  readonly model: Model | ClusterModel;
  /** Deployments whose spec names the model. */
  readonly naming: readonly ModelDeployment[];
  /** All deployments that could use it: those of its namespace, or all for a ClusterModel. */
  readonly reachable: readonly ModelDeployment[];
  /** Digests of the model that a deployment's spec names now; undefined where that model does not exist. */
  readonly digestsNamedBy: (deployment: ModelDeployment) => ReadonlySet<string> | undefined;
}

/**
 * Users as namespace/name, sorted: whoever names the model, and whoever still serves a revision of it although its spec
 * has moved on to another model that does not hold the same bytes.
 */
export function usersOf(snapshot: UserSnapshot): readonly string[] {
  const own = new Set((snapshot.model.status?.revisions ?? []).map((revision) => revision.digest));
  const serves = (deployment: ModelDeployment): boolean => {
    const digest = deployment.status?.model?.digest;
    return digest !== undefined && own.has(digest) && !snapshot.digestsNamedBy(deployment)?.has(digest);
  };
  const users = [...snapshot.naming, ...snapshot.reachable.filter(serves)];
  const names = users.map(({ metadata }) => `${metadata.namespace ?? ""}/${metadata.name}`);
  return [...new Set(names)].sort();
}
