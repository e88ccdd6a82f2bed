/**
 * The board of running fetches: what pods say of their progress, gathered and written into one ConfigMap at most every five
 * seconds, and taken away when they end. The operator watches it; nobody writes or reads while nobody fetches. Part of the
 * composition root.
 */
import { configMaps, fetchStateText, parseFetchState } from "./api/fetches.ts";
import type { FetchState } from "./api/fetches.ts";
import { fieldManagers } from "./api/keys.ts";
import type { Clock, KubeReader, KubeWriter, Log } from "./ports.ts";
import { messageOf } from "./runtime/errors.ts";

export interface FetchBoardWriter {
  /** Of the pod with this UID; one that has all of its model is taken off. */
  report(podUID: string, state: FetchState): void;
  /** Writes nothing any more: what stands there goes with the reports to another replica, or as leftovers of a dead one. */
  stop(): void;
}

export interface FetchBoardDeps {
  readonly kube: Pick<KubeReader, "read"> & Pick<KubeWriter, "mergePatch">;
  readonly clock: Clock;
  readonly log: Log;
  readonly namespace: string;
  readonly name: string;
}

const WRITE_EVERY_MS = 5_000;
/** The first report waits so long for those of others. */
const GATHER_MS = 250;
/** A pod that said nothing for so long fetches no more: it died, or it speaks to another replica. */
const SILENT_MS = 30_000;
/** What a replica left that died. */
const LEFTOVER_SECONDS = 300;
/** More pods at once than any replica can serve; their states stay far below the size of a ConfigMap. */
const MOST_PODS = 2_000;

export function newFetchBoard(deps: FetchBoardDeps): FetchBoardWriter {
  const { clock } = deps;
  const heard = new Map<string, number>();
  let pending = new Map<string, string | null>();
  let cancel: (() => void) | undefined;
  let lastWriteMs = -Infinity;
  let stopped = false;

  function schedule(): void {
    if (cancel || stopped || (heard.size === 0 && pending.size === 0)) return;
    const dueMs = lastWriteMs + WRITE_EVERY_MS - clock.monotonicMs();
    cancel = clock.after(Math.max(GATHER_MS, dueMs), () => void write());
  }

  function dropSilent(): void {
    for (const [uid, sinceMs] of heard) {
      if (clock.monotonicMs() - sinceMs < SILENT_MS) continue;
      heard.delete(uid);
      pending.set(uid, null);
    }
  }

  async function write(): Promise<void> {
    const begins = lastWriteMs + 2 * SILENT_MS < clock.monotonicMs();
    lastWriteMs = clock.monotonicMs();
    dropSilent();
    const data = pending;
    pending = new Map();
    try {
      await put(deps, data, begins);
    } catch (error) {
      deps.log.warn({ error: messageOf(error) }, "progress of fetches cannot be written");
    }
    cancel = undefined;
    schedule();
  }

  return {
    report(podUID, state) {
      if (!heard.has(podUID) && heard.size >= MOST_PODS) return;
      const isDone = state.doneBytes === state.totalBytes;
      if (isDone) heard.delete(podUID);
      else heard.set(podUID, clock.monotonicMs());
      pending.set(podUID, isDone ? null : fetchStateText(state));
      schedule();
    },
    stop() {
      stopped = true;
      cancel?.();
    },
  };
}

/** The first write after a silence looks for leftovers too. */
async function put(
  { kube, clock, namespace, name }: FetchBoardDeps,
  data: ReadonlyMap<string, string | null>,
  begins: boolean,
): Promise<void> {
  const leftovers: [string, null][] = [];
  if (begins) {
    const board = await kube.read(configMaps, namespace, name);
    const oldest = clock.now() / 1000 - LEFTOVER_SECONDS;
    for (const [uid, text] of Object.entries(board?.data ?? {}))
      if ((parseFetchState(text)?.at ?? 0) < oldest) leftovers.push([uid, null]);
  }
  const changes = Object.fromEntries([...leftovers, ...data]);
  if (Object.keys(changes).length === 0) return;
  await kube.mergePatch(configMaps, namespace, name, { data: changes }, { manager: fieldManagers.store });
}
