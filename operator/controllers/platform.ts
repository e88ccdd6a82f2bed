/** Node types that the platform lists in the chart's values: applied when a process begins to lead, never taken away. */
import { nodeTypes } from "../api/resources.ts";
import { API_VERSION, MANAGED_BY, fieldManagers, labels } from "../api/keys.ts";
import type { NodeType } from "../api/nodetype.ts";
import type { Log, Store } from "../ports.ts";
import type { Applier } from "../runtime/apply.ts";
import { TerminalError, messageOf } from "../runtime/errors.ts";

/** One entry of the file: name and spec; anything else is filled in. */
export interface ListedNodeType {
  readonly metadata?: { readonly name?: string; readonly labels?: Readonly<Record<string, string>> };
  readonly spec?: unknown;
}

/** Takes the parsed file apart; throws TerminalError that names the entry. */
export function listedNodeTypes(parsed: unknown): NodeType[] {
  const list: unknown[] = Array.isArray(parsed) ? parsed : [];
  return list.map((entry, index) => {
    const { metadata, spec } = (entry ?? {}) as ListedNodeType;
    if (!metadata?.name || typeof spec !== "object" || spec === null) {
      throw new TerminalError(
        "InvalidNodeTypesFile",
        `entry ${index} of the node types file needs metadata.name and spec`,
      );
    }
    const ours = { ...metadata.labels, [labels.managedBy]: MANAGED_BY };
    return {
      apiVersion: API_VERSION,
      kind: "NodeType",
      metadata: { name: metadata.name, labels: ours },
      spec: spec as NodeType["spec"],
    };
  });
}

/** Applies each one; a refused one is logged with the API server's words and does not stop the others. */
export async function applyNodeTypes(
  deps: { readonly applier: Applier; readonly store: Store<NodeType>; readonly log: Log },
  list: readonly NodeType[],
): Promise<void> {
  for (const wanted of list) {
    try {
      const { wrote } = await deps.applier.apply(nodeTypes, wanted, deps.store.get(undefined, wanted.metadata.name), {
        force: true,
        manager: fieldManagers.operator,
      });
      if (wrote) deps.log.info({ nodeType: wanted.metadata.name }, "node type applied");
    } catch (error) {
      if (!(error instanceof TerminalError)) throw error;
      deps.log.error({ nodeType: wanted.metadata.name, error: messageOf(error) }, "node type refused");
    }
  }
}
