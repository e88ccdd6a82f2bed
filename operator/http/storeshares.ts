/**
 * Fair turns at a bounded number of streams: a place that falls free goes to the pod that has the fewest, and among those
 * to the one that was served longest ago. Who waits holds a socket and nothing else, so memory is bounded by the places.
 */
import type { Clock } from "../ports.ts";

/** Gives a place back; once. */
export type Leave = () => void;

export interface Shares {
  /** Waits for a turn. Undefined where the pod asks for too much at once, where its turn does not come in time, and where `signal` aborts. */
  enter(podUID: string, signal: AbortSignal): Promise<Leave | undefined>;
}

export interface SharesOptions {
  /** Places: in all, and for one pod. */
  readonly streams: number;
  readonly streamsPerPod: number;
  /** Longest wait for a turn; shorter than callers are patient with a silent connection. */
  readonly waitMs: number;
  readonly clock: Clock;
  readonly onChange: (taken: number, waiting: number) => void;
}

/** Requests that may wait for one place of a pod: more are no use to it. */
const WAITING_PER_PLACE = 4;

interface Member {
  taken: number;
  /** Number of its last turn among all turns, or of its coming: who leaves and comes again stands at the end. */
  turn: number;
  readonly waiting: (() => void)[];
}

export function newShares({ streams, streamsPerPod, waitMs, clock, onChange }: SharesOptions): Shares {
  const members = new Map<string, Member>();
  let taken = 0;
  let waiting = 0;
  let turns = 0;

  function next(): Member | undefined {
    let best: Member | undefined;
    for (const member of members.values()) {
      if (member.waiting.length === 0 || member.taken >= streamsPerPod) continue;
      if (!best || member.taken < best.taken || (member.taken === best.taken && member.turn < best.turn)) best = member;
    }
    return best;
  }

  function serve(): void {
    for (let member = taken < streams ? next() : undefined; member; member = taken < streams ? next() : undefined) {
      member.taken++;
      member.turn = ++turns;
      taken++;
      waiting--;
      member.waiting.shift()?.();
    }
    onChange(taken, waiting);
  }

  function tidy(podUID: string, member: Member): void {
    if (member.taken === 0 && member.waiting.length === 0) members.delete(podUID);
  }

  function leaver(podUID: string, member: Member): Leave {
    let held = true;
    return () => {
      if (!held) return;
      held = false;
      member.taken--;
      taken--;
      tidy(podUID, member);
      serve();
    };
  }

  return {
    enter(podUID, signal) {
      const member = members.get(podUID) ?? { taken: 0, turn: ++turns, waiting: [] };
      if (signal.aborted || member.waiting.length >= streamsPerPod * WAITING_PER_PLACE)
        return Promise.resolve(undefined);
      members.set(podUID, member);
      return new Promise((resolve) => {
        const end = (leave: Leave | undefined): void => {
          cancel();
          signal.removeEventListener("abort", giveUp);
          resolve(leave);
        };
        const begin = (): void => end(leaver(podUID, member));
        const giveUp = (): void => {
          member.waiting.splice(member.waiting.indexOf(begin), 1);
          waiting--;
          tidy(podUID, member);
          onChange(taken, waiting);
          end(undefined);
        };
        const cancel = clock.after(waitMs, giveUp);
        signal.addEventListener("abort", giveUp, { once: true });
        member.waiting.push(begin);
        waiting++;
        serve();
      });
    },
  };
}
