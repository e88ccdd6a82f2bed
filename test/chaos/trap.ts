// Kills the operator at a chosen moment: in place of its k-th write, while it writes to the ledger, or at any time.
import { watch } from "node:fs";
import type { Replica } from "../chart/rendered.ts";
import { eventually } from "../cluster/eventually.ts";
import type { FaultProxy, SeenRequest } from "../cluster/faultproxy.ts";
import type { Chance } from "./random.ts";

/** `lost`: the API server acts on the write, and the operator dies before it hears of it. */
export type Moment =
  | { readonly kind: "write"; readonly count: number; readonly lost: boolean }
  | { readonly kind: "ledger" | "delivery"; readonly count: number }
  | { readonly kind: "time"; readonly afterMs: number };

/** Where the operator's deeds show. */
export interface Places {
  readonly proxy: FaultProxy;
  readonly ledger: string;
  readonly delivered: string;
}

export interface Trap {
  /** What set it off; undefined until then. */
  readonly sprung: () => string | undefined;
  disarm(): void;
}

export function anyMoment(chance: Chance): Moment {
  const kind = chance.pick(["write", "write", "write", "write", "ledger", "delivery", "time"] as const);
  if (kind === "write") return { kind, count: chance.whole(1, 24), lost: chance.whole(0, 1) === 1 };
  if (kind === "ledger") return { kind, count: chance.whole(1, 6) };
  if (kind === "delivery") return { kind, count: chance.whole(1, 3) };
  return { kind, afterMs: chance.whole(0, 3500) };
}

export function isWrite({ method, path }: SeenRequest): boolean {
  return method !== "GET" && !path.includes("/leases") && !path.includes("/events") && !path.includes("reviews");
}

/** Arms it; the operator may be started before or after. */
export function arm(moment: Moment, operator: Replica, places: Places): Trap {
  let cause: string | undefined;
  const kill = (why: string): void => {
    if (cause !== undefined || operator.pid() === undefined) return;
    cause = why;
    operator.killNow();
  };
  const release = watchFor(moment, kill, places);
  return { sprung: () => cause, disarm: release };
}

function watchFor(moment: Moment, kill: (why: string) => void, places: Places): () => void {
  if (moment.kind === "write") return watchWrites(moment, kill, places.proxy);
  if (moment.kind !== "time") {
    const folder = moment.kind === "ledger" ? places.ledger : places.delivered;
    return watchFolder(moment.count, kill, folder, moment.kind);
  }
  const at = Date.now() + moment.afterMs;
  const disarmed = new AbortController();
  const due = (): boolean => disarmed.signal.aborted || Date.now() >= at;
  void eventually(due, { recheckMs: 10 }).then(() => {
    if (!disarmed.signal.aborted) kill(`after ${String(moment.afterMs)} ms`);
  });
  return () => disarmed.abort();
}

function watchWrites(
  { count, lost }: Moment & { kind: "write" },
  kill: (why: string) => void,
  proxy: FaultProxy,
): () => void {
  let writes = 0;
  const match = (request: SeenRequest): boolean => {
    if (!isWrite(request)) return false;
    writes += 1;
    const what = `${request.method} ${request.path}`;
    if (writes === count && lost) soon(() => kill(`write ${String(count)} unheard: ${what}`));
    if (writes === count && !lost) kill(`before write ${String(count)}: ${what}`);
    return writes >= count;
  };
  const rule = proxy.add({ match, fault: lost ? { kind: "stall-after", afterBytes: 0 } : { kind: "reset" } });
  return () => rule.remove();
}

/** The server has to get the write before its sender dies. */
function soon(run: () => void): void {
  const at = Date.now() + 30;
  void eventually(() => Date.now() >= at, { recheckMs: 5 }).then(run);
}

function watchFolder(count: number, kill: (why: string) => void, folder: string, what: string): () => void {
  let changes = 0;
  const watcher = watch(folder, { recursive: true }, (_event, name) => {
    changes += 1;
    if (changes >= count) kill(`at change ${String(count)} of the ${what}: ${String(name)}`);
  });
  return () => watcher.close();
}
