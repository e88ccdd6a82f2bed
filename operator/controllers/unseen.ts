/** NodeClaims that were launched and went before anything was written down about them: their seconds are lost, and counted here. */
import type { CapacityClaim } from "../api/capacityclaim.ts";
import type { NodeClaim } from "../api/karpenter.ts";
import { labels } from "../api/keys.ts";
import type { Change } from "../runtime/store.ts";
import type { Unproven } from "./unproven.ts";

export interface Unseen {
  claim(change: Pick<Change<CapacityClaim>, "object">): void;
  nodeClaim(change: Pick<Change<NodeClaim>, "type" | "object">): void;
}

/** Memory of this process: what came and went while none ran leaves no trace at all. */
export function newUnseen(unproven: Unproven): Unseen {
  /** Of living NodeClaims whose record was seen; the record of one that ended may be sealed and gone before it. */
  const recorded = new Set<string>();
  return {
    claim({ object: { spec } }) {
      if (spec.providerRef.kind === "NodeClaim") recorded.add(spec.providerRef.uid);
    },
    nodeClaim({ type, object: { metadata, status } }) {
      if (type !== "deleted") return;
      const { uid = "", name } = metadata;
      const launched = status?.conditions?.some((one) => one.type === "Launched" && one.status === "True");
      if (launched && !recorded.has(uid)) {
        const pool = metadata.labels?.[labels.pool] ?? "?";
        const message = `NodeClaim ${name} of pool ${pool} was launched and gone before it was recorded: nothing is billed for it`;
        unproven({ cause: "unseen", key: uid, message });
      }
      recorded.delete(uid);
    },
  };
}
