/** NodeClaims that Karpenter's events tell of, which the API server keeps for an hour when the objects are long gone. Pure. */
import type { CoreEvent } from "../../api/karpenter.ts";
import { nodePoolOf } from "../../api/karpenter.ts";

export interface Launch {
  readonly uid: string;
  readonly name: string;
  readonly poolUID: string;
  /** When it was told, in seconds; the launch itself is no later. */
  readonly toldAt: number;
}

/** Each NodeClaim of a pool of ours that was launched, once. */
export function launchesIn(events: readonly CoreEvent[]): readonly Launch[] {
  const found = new Map<string, Launch>();
  for (const event of events) {
    const { name = "", uid } = event.involvedObject ?? {};
    const poolUID = nodePoolOf(name);
    if (poolUID === undefined || uid === undefined || found.has(uid) || !tellsOfLaunch(event)) continue;
    const time = event.eventTime ?? event.firstTimestamp ?? event.lastTimestamp ?? event.metadata.creationTimestamp;
    if (time) found.set(uid, { uid, name, poolUID, toldAt: Math.floor(Date.parse(time) / 1000) });
  }
  return [...found.values()];
}

/** Karpenter tells of each condition that turns; one for which there was no capacity was never launched. */
function tellsOfLaunch({ reason, message = "" }: CoreEvent): boolean {
  return reason === "Launched" && message.includes("-> True");
}
