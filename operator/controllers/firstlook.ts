/** Whether every key that existed at the start was worked on since: until then what the objects say may be incomplete. */
import type { Log, Outcome } from "../ports.ts";

type Reconcile = (key: string, log: Log) => Promise<Outcome>;

export interface FirstLook {
  /** Names the keys that have to be looked at; called when the work begins. */
  begin(keys: Iterable<string>): void;
  watch(reconcile: Reconcile): Reconcile;
  complete(): boolean;
}

/** One object that fails again and again must not hold up all the others. */
const TRIES = 5;

export function newFirstLook(): FirstLook {
  let open: Map<string, number> | undefined;
  return {
    begin: (keys) => void (open = new Map([...keys].map((key) => [key, 0]))),
    complete: () => open?.size === 0,
    watch: (reconcile) => async (key, log) => {
      try {
        const outcome = await reconcile(key, log);
        open?.delete(key);
        return outcome;
      } catch (error) {
        const tries = (open?.get(key) ?? 0) + 1;
        if (open?.has(key)) open.set(key, tries);
        if (tries >= TRIES) open?.delete(key);
        throw error;
      }
    },
  };
}
