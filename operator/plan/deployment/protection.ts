/** The mark on a namespace that holds a protected deployment: with it an admission policy refuses the namespace's deletion. */
import { fieldManagers, labels } from "../../api/keys.ts";
import { namespaces } from "../../api/kubernetes.ts";
import type { Write } from "../plan.ts";
import type { Seen } from "./seen.ts";

/** A deployment that is being deleted protects nothing any more, however that was made possible. */
export function protectNamespace({ deployment, namespace, othersProtected }: Seen): Write[] {
  const labelled = namespace?.metadata.labels?.[labels.deletionProtected] === "true";
  const protects = deployment.spec.deletionProtection && !deployment.metadata.deletionTimestamp;
  const wanted = protects || othersProtected;
  if (!namespace || labelled === wanted) return [];
  const body = { metadata: { labels: { [labels.deletionProtected]: wanted ? "true" : null } } };
  return [{ op: "patch", resource: namespaces, name: namespace.metadata.name, body, manager: fieldManagers.operator }];
}
