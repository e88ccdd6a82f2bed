/** What is done about one name of the catalogue. Nothing that the platform made itself is touched, nothing in use removed. */
import { SHIPPED_CATALOGUE, labels } from "../../api/keys.ts";
import type { ClusterModel } from "../../api/model.ts";

export interface EntrySnapshot {
  /** The entry as a ClusterModel; undefined where the platform does not want it, or the catalogue has none of that name. */
  readonly wanted: ClusterModel | undefined;
  readonly live: ClusterModel | undefined;
  /** Deployments that use the model, as namespace/name. */
  readonly users: readonly string[];
}

export type EntryDecision =
  | { readonly do: "nothing"; readonly because: string }
  | { readonly do: "apply"; readonly object: ClusterModel }
  | { readonly do: "remove"; readonly live: ClusterModel }
  /** Left as it is, which its owner is told. */
  | { readonly do: "leave"; readonly live: ClusterModel; readonly reason: string; readonly message: string };

const nothing = (because: string): EntryDecision => ({ do: "nothing", because });

/** Whether the object came with the catalogue. */
export function isShipped(model: ClusterModel): boolean {
  return model.metadata.labels?.[labels.catalogue] === SHIPPED_CATALOGUE;
}

/** Same snapshot in, same decision out. */
export function decideEntry({ wanted, live, users }: EntrySnapshot): EntryDecision {
  if (!live) return wanted ? { do: "apply", object: wanted } : nothing("neither wanted nor there");
  const { name, deletionTimestamp } = live.metadata;
  if (deletionTimestamp) return nothing("being deleted");
  if (!isShipped(live)) {
    if (!wanted) return nothing("the platform's own");
    const message = `the catalogue has an entry ${name}, and this ClusterModel of that name is not of the catalogue: it stays as it is. Exclude the entry in the chart's values (catalogue.exclude), or delete the ClusterModel to get the entry`;
    return { do: "leave", live, reason: "CatalogueNameTaken", message };
  }
  if (wanted) return { do: "apply", object: wanted };
  if (users.length === 0) return { do: "remove", live };
  const shown = users.slice(0, 10).join(", ");
  const more = users.length > 10 ? ` and ${String(users.length - 10)} more` : "";
  const message = `the catalogue's entry ${name} is not wanted any more and goes when these deployments are gone: ${shown}${more}`;
  return { do: "leave", live, reason: "CatalogueEntryInUse", message };
}
