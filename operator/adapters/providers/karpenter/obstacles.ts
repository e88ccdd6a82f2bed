/** Why Karpenter buys nothing, in its own words: conditions of the NodePool and the NodeClaims, and events. */
import type { CoreEvent, NodeClaim, NodePool } from "../../../api/karpenter.ts";
import type { CapacityObstacle } from "../../../ports.ts";
import { launchProblem } from "./units.ts";

/** Reasons of events (and conditions) that mean: there is no such capacity now. */
const SHORTAGE = /insufficient.?capacity|out.?of.?capacity|capacity.?unavailable/i;
const TELLING_EVENTS = ["InsufficientCapacityError", "NodeClassNotReady"];

/**
 * `since`: events older than the present wish (milliseconds since the epoch) belong to an earlier one. Karpenter deletes a
 * NodeClaim for which there is no capacity, so the event may be all that is left of it.
 */
export function obstacleOf(
  nodePool: NodePool | undefined,
  nodeClaims: readonly NodeClaim[],
  events: readonly CoreEvent[],
  since: number,
): CapacityObstacle | undefined {
  const fromPool = nodePool && poolProblem(nodePool);
  if (fromPool) return { reason: "ProviderError", message: fromPool };
  const failing = nodeClaims.map(launchProblem).find((condition) => condition !== undefined);
  if (failing) return classified(failing.reason ?? "", failing.message ?? "");
  const last = [...events]
    .filter((event) => TELLING_EVENTS.includes(event.reason ?? "") && timeOf(event) >= since)
    .sort((a, b) => timeOf(a) - timeOf(b))
    .at(-1);
  return last && classified(last.reason ?? "", wordsOf(last));
}

/** The dependent condition has the cause; `Ready` only repeats its name. */
function poolProblem({ status }: NodePool): string | undefined {
  const failing = (status?.conditions ?? []).filter((condition) => condition.status === "False");
  const cause = failing.find(({ type }) => type === "NodeClassReady" || type === "ValidationSucceeded");
  const said = cause ?? failing.find(({ type }) => type === "Ready");
  return said && (said.message || said.reason);
}

function classified(reason: string, message: string): CapacityObstacle {
  const short = SHORTAGE.test(reason) || SHORTAGE.test(message);
  return { reason: short ? "OutOfStock" : "ProviderError", message };
}

/** Each try has a NodeClaim of another name, which must not make each message another one. */
function wordsOf({ message = "" }: CoreEvent): string {
  return message.replace(/^NodeClaim \S+ event: /, "");
}

function timeOf(event: CoreEvent): number {
  const time = event.lastTimestamp ?? event.eventTime ?? event.firstTimestamp ?? event.metadata.creationTimestamp;
  return time ? Date.parse(time) : 0;
}
