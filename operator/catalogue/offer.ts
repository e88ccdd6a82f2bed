/** From the catalogue's entries to the ClusterModels that a platform wants. */
import { API_VERSION, MANAGED_BY, SHIPPED_CATALOGUE, labels } from "../api/keys.ts";
import type { ClusterModel, ClusterModelSpec } from "../api/model.ts";
import type { CatalogueEntry } from "./schema.ts";

/** The platform's choice, by names of entries; "*" stands for all. */
export interface Choice {
  readonly include: readonly string[];
  readonly exclude: readonly string[];
}

/** Entries that are included and not excluded, and names that the catalogue does not have. */
export function chosen(
  entries: readonly CatalogueEntry[],
  { include, exclude }: Choice,
): { readonly entries: readonly CatalogueEntry[]; readonly unknown: readonly string[] } {
  const names = new Set(["*", ...entries.map(({ name }) => name)]);
  const holds = (list: readonly string[], name: string): boolean => list.includes("*") || list.includes(name);
  return {
    entries: entries.filter(({ name }) => holds(include, name) && !holds(exclude, name)),
    unknown: [...include, ...exclude].filter((name) => !names.has(name)),
  };
}

type Wanted = Omit<Partial<ClusterModelSpec>, "source"> & {
  readonly source: { readonly huggingFace: object };
};

function specOf(entry: CatalogueEntry, tokenSecret: string | undefined): Wanted {
  const { source, license, tools, reasoningParser } = entry;
  // The hub asks for an account that has accepted the terms wherever a licence has to be accepted.
  const token = license.acceptanceRequired && tokenSecret ? { tokenSecretRef: { name: tokenSecret } } : {};
  const recommended = {
    ...(tools.parser === undefined ? {} : { toolCallParser: tools.parser }),
    ...(reasoningParser === undefined ? {} : { reasoningParser }),
  };
  return {
    displayName: entry.displayName,
    description: entry.description,
    family: entry.family,
    tasks: entry.tasks,
    modalities: entry.modalities,
    publishedContextLength: entry.contextLength,
    abilities: { toolCalling: tools.calling, structuredOutput: tools.structuredOutput },
    ...(Object.keys(recommended).length > 0 ? { recommended } : {}),
    lifecycle: entry.lifecycle,
    source: {
      huggingFace: {
        repo: source.huggingFace,
        ...(source.revision === undefined ? {} : { revision: source.revision }),
        ...token,
      },
    },
    license: { name: license.id, url: license.url, acceptanceRequired: license.acceptanceRequired },
    import: "OnDemand",
  };
}

/**
 * The ClusterModel of an entry: only the fields that the catalogue owns. `tokenSecret` is a Secret of the operator's
 * namespace, named by entries whose licence has to be accepted.
 */
export function clusterModelOf(entry: CatalogueEntry, tokenSecret?: string): ClusterModel {
  return {
    apiVersion: API_VERSION,
    kind: "ClusterModel",
    metadata: { name: entry.name, labels: { [labels.managedBy]: MANAGED_BY, [labels.catalogue]: SHIPPED_CATALOGUE } },
    // Defaults of the schema are the API server's to fill in.
    spec: specOf(entry, tokenSecret) as ClusterModelSpec,
  };
}
