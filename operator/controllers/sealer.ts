/**
 * The sealer: each window is written to the ledger once, in order, when what is known of it is at least as new as a read made
 * after its end and grace. It remembers nothing that the ledger and the objects do not say, so it may die anywhere.
 */
import type { CapacityClaim } from "../api/capacityclaim.ts";
import { spreadOffset } from "../plan/metering/identity.ts";
import { dueThrough, nextDueAt, sealLag, secondsOf } from "../plan/metering/windows.ts";
import type { SealTimes, Window } from "../plan/metering/windows.ts";
import type { Clock, KubeWriter, Ledger, Log, ManifestSigner } from "../ports.ts";
import { RetryError, messageOf } from "../runtime/errors.ts";
import type { CapacitySeries } from "./capacityseries.ts";
import type { HeadKeeper } from "./clusterhead.ts";
import { foreignClosing } from "./closing.ts";
import { notedPools } from "./closingregister.ts";
import type { ClosingRegister } from "./closingregister.ts";
import { withClosings } from "./facts.ts";
import type { MeteredObjects, SeenFacts } from "./facts.ts";
import { checkHead, readHeads } from "./headcheck.ts";
import { packHistories } from "./histories.ts";
import type { LedgerHealth } from "./ledgerhealth.ts";
import type { LedgerMetrics } from "./ledgermetrics.ts";
import { newHead } from "./ledgerreads.ts";
import { newRepeating } from "./repeating.ts";
import { sealDue, shardsOf } from "./sealing.ts";
import { settle } from "./settling.ts";
import { completeHead } from "./signatures.ts";

export interface SealerDeps {
  readonly ledger: Ledger;
  readonly kube: Pick<KubeWriter, "mergePatch" | "remove">;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: LedgerMetrics;
  /** The series of node-seconds; none where nobody scrapes. */
  readonly counters?: CapacitySeries;
  /** UID of the namespace kube-system. */
  readonly clusterId: string;
  readonly windowSeconds: number;
  readonly sealGraceSeconds: number;
  readonly sealSpreadSeconds: number;
  /** Segments a window, by the hash of the deployment's UID; 1 where it is left out. */
  readonly shards?: number;
  /** Objects at least as new as a quorum read made after the call (facts.ts: freshObjects). */
  readonly freshObjects: () => Promise<MeteredObjects>;
  /** Read anew at each pass, so that a key that was changed is used from then on. Without one nothing is signed. */
  readonly signer?: () => Promise<ManifestSigner>;
  /** Where the head is kept outside of the ledger; without one the ledger's newest window is trusted. */
  readonly headKeeper?: HeadKeeper;
  /** Where digests of closing objects are kept outside of the ledger; without one each that is there counts. */
  readonly register?: ClosingRegister;
  /** False until the pool controller has looked at every pool since it started: claims may lack times until then. */
  readonly caughtUp: () => boolean;
  /** Last proof of life of a claim's node, if there is one. */
  readonly lastSeenAt?: (claim: CapacityClaim) => string | undefined;
  /** Told how each pass ended. */
  readonly health?: Pick<LedgerHealth, "failed" | "sealed">;
  /** Told the end (seconds) of the newest sealed window as soon as it is known to be in the ledger and ours. */
  readonly noteSealed?: (end: number) => void;
}

export interface Sealer {
  /** Begins to look; on the leader only. */
  start(): void;
  /** Resolves when the pass that runs has ended. */
  stop(): Promise<void>;
  /** One look at the clock and, if windows are due, at everything, anew for each batch of them. For start() and tests. */
  pass(): Promise<PassResult>;
}

export interface PassResult {
  readonly sealed: readonly Window[];
  /** Seconds; undefined while nothing was ever sealed. */
  readonly sealedThrough: number | undefined;
}

interface BatchResult extends PassResult {
  /** There are further windows. */
  readonly more: boolean;
}

const longestRetryMs = 60_000;
/** A clock that was set, or a sleep of the machine, must not delay an hour for long. */
const longestSleepMs = 60_000;

/** Makes a sealer; nothing happens before start() or pass(). */
export function newSealer(deps: SealerDeps): Sealer {
  const pass = newPass(deps);
  const work = newRepeating({
    clock: deps.clock,
    longestRetryMs,
    async pass() {
      const { sealedThrough } = await allBatches(pass, work.isStopped);
      deps.health?.sealed(sealedThrough);
      return Math.min(longestSleepMs, pass.sleepMs());
    },
    failed(error, failures) {
      deps.metrics.failures.inc();
      deps.health?.failed(error, failures);
      deps.log.warn({ error: messageOf(error), failures }, "sealing failed, will be repeated");
    },
  });
  return {
    pass: () => allBatches(pass, work.isStopped),
    start() {
      if (work.isStopped()) return;
      deps.metrics.followLag(pass.lagSeconds);
      if (deps.counters) deps.metrics.followCapacity(deps.counters.values);
      work.start();
    },
    async stop() {
      await work.stop();
      deps.metrics.followLag(() => 0);
      deps.metrics.followCapacity(() => []);
    },
  };
}

/** Each with what is known by then: what is settled after one batch need not be looked at again by the next. */
async function allBatches(pass: ReturnType<typeof newPass>, isStopped: () => boolean): Promise<PassResult> {
  const sealed: Window[] = [];
  for (;;) {
    const batch = await pass.run();
    sealed.push(...batch.sealed);
    if (!batch.more || isStopped()) return { sealed, sealedThrough: batch.sealedThrough };
  }
}

function newPass(deps: SealerDeps) {
  const findHead = newHead(deps.ledger);
  const forgetIdle = newIdleForgetting(deps);
  const times: SealTimes = {
    windowSeconds: deps.windowSeconds,
    graceSeconds: deps.sealGraceSeconds,
    offsetSeconds: spreadOffset(deps.clusterId, deps.sealSpreadSeconds),
  };
  const nowSeconds = (): number => Math.floor(deps.clock.now() / 1000);
  /** Everything that ends by here was dealt with, in seconds; only saves looking twice. */
  let doneThrough: number | undefined;
  let newestSeal: number | undefined;
  /** While the ledger never answered: the head kept in the cluster, else what was due at the first look. */
  let presumed: number | undefined;
  return {
    async run(): Promise<BatchResult> {
      const dueEnd = dueThrough(nowSeconds(), times);
      presumed ??= (await keptEnd(deps).catch(() => undefined)) ?? dueEnd;
      if (doneThrough !== undefined && dueEnd <= doneThrough)
        return { sealed: [], sealedThrough: newestSeal, more: false };
      if (!deps.caughtUp()) throw new RetryError(new Error("the pool controller has not seen every pool yet"));
      const facts = await seenFacts(deps);
      const heads = await readHeads(deps, findHead);
      const histories = packHistories(facts, shardsOf(deps));
      const knowledge = { facts, histories, dueEnd, signer: await deps.signer?.() };
      const head = await checkHead(deps, heads, knowledge);
      for (const { key, problem } of facts.foreign) throw foreignClosing(key, problem);
      newestSeal = head?.end;
      if (head) deps.noteSealed?.(head.end);
      if (head) await completeHead(deps, head, knowledge);
      const { sealed, settledThrough: sealedThrough, isLateRecorded, ...at } = await sealDue(deps, knowledge, head);
      newestSeal = at.head?.end;
      // What two leaders knew differently is corrected by the next window; until then nothing of it may be forgotten.
      await settle(deps, { facts, histories, sealed, sealedThrough, mayForget: isLateRecorded });
      await forgetIdle(facts);
      if (!at.more) doneThrough = dueEnd;
      return { sealed: sealed.map(({ window }) => window), sealedThrough: newestSeal, more: at.more };
    },
    sleepMs: (): number => Math.max(1_000, nextDueAt(nowSeconds(), times) * 1000 - deps.clock.now()),
    lagSeconds: (): number => sealLag(doneThrough ?? newestSeal ?? presumed, nowSeconds(), times),
  };
}

/** Those of another cluster mean nothing here; the head says whose place it is. */
async function seenFacts({ ledger, clusterId, register, freshObjects, log, metrics }: SealerDeps): Promise<SeenFacts> {
  const noted = register && (async () => register.read(ledger));
  const facts = await withClosings(await freshObjects(), ledger, { clusterId, ...(noted && { noted }) });
  for (const { key, problem } of facts.ofOthers) {
    metrics.conflicts.inc();
    log.error({ key }, `closing object ${problem}: it does not count; give each cluster a place of its own`);
  }
  return facts;
}

/**
 * A process that died between the removal of closing objects and their forgetting leaves entries that nobody looks at again: what is
 * of no pool and no object over two passes goes. It also begins the register where there is none yet.
 */
function newIdleForgetting({ ledger, register }: SealerDeps): (facts: SeenFacts) => Promise<void> {
  let before: ReadonlySet<string> = new Set();
  return async ({ pools, stored, noted: read }) => {
    const noted = read ?? (await register?.read(ledger));
    if (!register || !noted) return;
    const known = new Set([
      ...pools.map(({ metadata }) => metadata.uid),
      ...stored.map(({ closing }) => closing.poolUID),
    ]);
    const idle = new Set([...notedPools(noted)].filter((uid) => !known.has(uid)));
    await register.forget(noted, new Set([...idle].filter((uid) => before.has(uid))));
    before = idle;
  };
}

/** End in seconds of the window that this cluster sealed last. */
async function keptEnd({ headKeeper }: SealerDeps): Promise<number | undefined> {
  const windowEnd = (await headKeeper?.read())?.windowEnd;
  return windowEnd ? secondsOf(windowEnd) : undefined;
}
