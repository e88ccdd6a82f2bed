/** A place among the imports that copy at once. */
import type { Clock, ObjectStore } from "../ports.ts";
import type { StoreOwner } from "../plan/model/manifest.ts";
import { claimLeft } from "./revisions.ts";
import type { Slots } from "./slots.ts";

/** Well below what anybody waits before garbage is collected. */
const CLAIM_EVERY_MS = 10 * 60_000;

export interface TurnJob {
  readonly copies: Slots;
  readonly store: ObjectStore;
  readonly owner: StoreOwner;
  readonly clock: Clock;
  readonly signal?: AbortSignal | undefined;
}

export interface Turn {
  readonly release: () => void;
  /** What was known of the store before is old. */
  readonly hasWaited: boolean;
}

/** Before this import large ones may take a day: what an earlier attempt brought is no garbage meanwhile. */
export async function takeTurn({ copies, store, owner, clock, signal }: TurnJob): Promise<Turn> {
  const hasWaited = copies.free === 0;
  const taking = copies.take(signal, owner.namespaceUID);
  if (!hasWaited) return { release: await taking, hasWaited };
  let isWaiting = true;
  let cancel = (): void => undefined;
  let claiming = Promise.resolve();
  const claim = async (): Promise<void> => {
    // A store that is away loses nothing by it, and the copy itself will say so.
    await claimLeft(store, owner).catch(() => undefined);
    if (isWaiting) cancel = clock.after(CLAIM_EVERY_MS, () => void (claiming = claim()));
  };
  claiming = claim();
  try {
    return { release: await taking, hasWaited };
  } finally {
    isWaiting = false;
    cancel();
    // A word that comes after the revision is complete would be left there.
    await claiming;
  }
}
