/** How far pods are with their model, from the board that the store role writes; and whom a change of it concerns. */
import { parseFetchState, type FetchBoard } from "../api/fetches.ts";
import type { Pod } from "../api/kubernetes.ts";
import type { Seen } from "../plan/deployment/seen.ts";
import type { Store } from "../ports.ts";

/** Empty in steady state: the store role takes away what it wrote when a fetch ends. */
export function fetchesOf(board: Store<FetchBoard>, pods: readonly Pod[]): Seen["fetches"] {
  const data = board.list()[0]?.data;
  if (!data) return {};
  return Object.fromEntries(
    pods.flatMap(({ metadata: { uid = "" } }) => {
      const state = parseFetchState(data[uid]);
      return state ? [[uid, state] as const] : [];
    }),
  );
}

/** The pods whose progress differs between two states of the board. */
export function movedPods(pods: Store<Pod>, before: FetchBoard | undefined, after: FetchBoard): readonly Pod[] {
  const uids = new Set([...Object.keys(before?.data ?? {}), ...Object.keys(after.data ?? {})]);
  const moved = [...uids].filter((uid) => before?.data?.[uid] !== after.data?.[uid]);
  return moved.map((uid) => pods.byUid(uid)).filter((pod) => pod !== undefined);
}
