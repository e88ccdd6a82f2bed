/**
 * The sealer: each window is written to the ledger once, in order, when what is known of it is at least as new as a read made
 * after its end and grace. It remembers nothing that the ledger and the objects do not say, so it may die anywhere.
 */
import type { CapacityClaim } from "../api/capacityclaim.ts";
import { addQuantities } from "../plan/metering/fold.ts";
import { historiesOf } from "../plan/metering/history.ts";
import type { PoolHistory } from "../plan/metering/history.ts";
import { spreadOffset } from "../plan/metering/identity.ts";
import { manifestBytes, nextWindow, recordsOf } from "../plan/metering/records.ts";
import { dueThrough, instantOfSeconds, manifestKey, nextDueAt } from "../plan/metering/windows.ts";
import type { SealTimes, Window } from "../plan/metering/windows.ts";
import type { Clock, KubeWriter, Ledger, Log, ManifestSigner } from "../ports.ts";
import { RetryError, messageOf } from "../runtime/errors.ts";
import { withClosings } from "./facts.ts";
import type { MeteredObjects } from "./facts.ts";
import type { LedgerMetrics } from "./ledgermetrics.ts";
import { signHead, signManifest } from "./signatures.ts";
import { newHead, sealWindow } from "./segments.ts";
import type { Head, SealResult, SealedWindow } from "./segments.ts";
import { settle } from "./settling.ts";

export interface SealerDeps {
  readonly ledger: Ledger;
  readonly kube: Pick<KubeWriter, "mergePatch" | "remove">;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: LedgerMetrics;
  /** UID of the namespace kube-system. */
  readonly clusterId: string;
  readonly windowSeconds: number;
  readonly sealGraceSeconds: number;
  readonly sealSpreadSeconds: number;
  /** Objects at least as new as a quorum read made after the call (facts.ts: freshObjects). */
  readonly freshObjects: () => Promise<MeteredObjects>;
  /** Read anew at each pass, so that a key that was changed is used from then on. Without one nothing is signed. */
  readonly signer?: () => Promise<ManifestSigner>;
  /** False until the pool controller has looked at every pool since it started: claims may lack times until then. */
  readonly caughtUp: () => boolean;
  /** Last proof of life of a claim's node, if there is one. */
  readonly lastSeenAt?: (claim: CapacityClaim) => string | undefined;
}

export interface Sealer {
  /** Begins to look; on the leader only. */
  start(): void;
  /** Resolves when the pass that runs has ended. */
  stop(): Promise<void>;
  /** One look at the clock and, if windows are due, at everything. For start() and tests. */
  pass(): Promise<PassResult>;
}

export interface PassResult {
  readonly sealed: readonly Window[];
  /** Seconds; undefined while nothing was ever sealed. */
  readonly sealedThrough: number | undefined;
}

const firstRetryMs = 1_000;
const longestRetryMs = 60_000;
/** A clock that was set, or a sleep of the machine, must not delay an hour for long. */
const longestSleepMs = 60_000;

/** Makes a sealer; nothing happens before start() or pass(). */
export function newSealer(deps: SealerDeps): Sealer {
  const pass = newPass(deps);
  let cancel = (): void => undefined;
  let running: Promise<void> = Promise.resolve();
  let stopped = false;
  let failures = 0;
  const again = (delayMs: number): void => {
    if (!stopped) cancel = deps.clock.after(delayMs, () => void (running = turn()));
  };
  async function turn(): Promise<void> {
    try {
      await pass.run();
      failures = 0;
      again(Math.min(longestSleepMs, pass.sleepMs()));
    } catch (error) {
      failures += 1;
      deps.metrics.failures.inc();
      deps.log.warn({ error: messageOf(error), failures }, "sealing failed, will be repeated");
      again(Math.min(longestRetryMs, firstRetryMs * 2 ** Math.min(failures - 1, 10)));
    }
  }
  return {
    pass: pass.run,
    start() {
      if (stopped) return;
      deps.metrics.followLag(pass.lagSeconds);
      running = turn();
    },
    async stop() {
      stopped = true;
      cancel();
      await running;
      deps.metrics.followLag(() => 0);
    },
  };
}

function newPass(deps: SealerDeps) {
  const findHead = newHead(deps.ledger);
  const times: SealTimes = {
    windowSeconds: deps.windowSeconds,
    graceSeconds: deps.sealGraceSeconds,
    offsetSeconds: spreadOffset(deps.clusterId, deps.sealSpreadSeconds),
  };
  const nowSeconds = (): number => Math.floor(deps.clock.now() / 1000);
  /** Everything that ends by here was dealt with, in seconds; only saves looking twice. */
  let doneThrough: number | undefined;
  let newestSeal: number | undefined;
  return {
    async run(): Promise<PassResult> {
      const dueEnd = dueThrough(nowSeconds(), times);
      if (doneThrough !== undefined && dueEnd <= doneThrough) return { sealed: [], sealedThrough: newestSeal };
      if (!deps.caughtUp()) throw new RetryError(new Error("the pool controller has not seen every pool yet"));
      const facts = await withClosings(await deps.freshObjects(), deps.ledger);
      const head = await findHead();
      newestSeal = head?.end;
      const histories = historiesOf(facts);
      const signer = await deps.signer?.();
      if (head && signer) await completeHead(deps, head, { signer, histories, clusterId: deps.clusterId });
      const sealed = await sealDue(deps, histories, { dueEnd, head, signer });
      newestSeal = sealed.at(-1)?.window.end ?? newestSeal;
      await settle(deps, { facts, histories, sealed, sealedThrough: newestSeal });
      doneThrough = dueEnd;
      return { sealed: sealed.map(({ window }) => window), sealedThrough: newestSeal };
    },
    sleepMs: (): number => Math.max(1_000, nextDueAt(nowSeconds(), times) * 1000 - deps.clock.now()),
    lagSeconds(): number {
      const done = doneThrough ?? newestSeal;
      if (done === undefined || dueThrough(nowSeconds(), times) <= done) return 0;
      return Math.max(0, nowSeconds() - done - times.windowSeconds);
    },
  };
}

/** Seals every window that is due, oldest first. */
async function sealDue(
  deps: SealerDeps,
  histories: readonly PoolHistory[],
  at: { readonly dueEnd: number; readonly head: Head | undefined; readonly signer: ManifestSigner | undefined },
): Promise<SealedWindow[]> {
  const { clusterId, windowSeconds } = deps;
  const sealed: SealedWindow[] = [];
  let sealedThrough = at.head?.end;
  let previousManifestSha256 = at.head?.sha256;
  for (;;) {
    const window = nextWindow(histories, { sealedThrough, dueEnd: at.dueEnd, windowSeconds });
    if (!window) return sealed;
    const records = recordsOf(histories, window, { clusterId });
    const result = await sealWindow(deps.ledger, { window, records, clusterId, sealedThrough, previousManifestSha256 });
    report(deps, result);
    if (at.signer) await signSealed(deps, result, at.signer);
    sealed.push(result);
    sealedThrough = window.end;
    previousManifestSha256 = result.manifestSha256;
  }
}

/** Before anything of the window is forgotten: whoever comes after a death here must still be able to compute it. */
async function signSealed(deps: SealerDeps, sealed: SealResult, signer: ManifestSigner): Promise<void> {
  const key = manifestKey(sealed.window);
  if (sealed.differing.length > 0) {
    deps.log.error({ key }, "not signed, since its bytes are not what these facts give");
    return;
  }
  tellOfForeign(deps, key, await signManifest(deps.ledger, { key, bytes: manifestBytes(sealed.manifest) }, signer));
}

async function completeHead(deps: SealerDeps, head: Head, by: Parameters<typeof signHead>[2]): Promise<void> {
  const outcome = await signHead(deps.ledger, head, by);
  if (outcome === "unknown") deps.log.warn({ key: head.key }, "newest window stays unsigned: it is not computed anew");
  tellOfForeign(deps, head.key, outcome);
}

function tellOfForeign(deps: SealerDeps, key: string, outcome: string): void {
  if (outcome !== "differs") return;
  deps.metrics.conflicts.inc();
  deps.log.error({ key }, "ledger holds another signature than ours, kept what is stored");
}

function report(deps: SealerDeps, sealed: SealedWindow & { readonly differing: readonly string[] }): void {
  const { window, manifest, records, differing } = sealed;
  const { log, metrics } = deps;
  for (const key of differing) {
    metrics.conflicts.inc();
    log.error({ key }, "ledger holds other bytes than these facts give, kept what is stored");
  }
  metrics.windowsSealed.inc();
  for (const { namespace, deploymentName, deploymentUID, sku, ...record } of records) {
    const labels = { namespace, deployment: deploymentName, deployment_uid: deploymentUID, sku };
    metrics.nodeSeconds.inc({ ...labels, basis: "billable" }, record.billableNodeSeconds);
    metrics.nodeSeconds.inc({ ...labels, basis: "claimed" }, record.claimedNodeSeconds);
    metrics.nodeSeconds.inc({ ...labels, basis: "ready" }, record.readyNodeSeconds);
  }
  const { billableNodeSeconds } = addQuantities(records);
  log.info(
    { window: instantOfSeconds(window.start), records: records.length, billableNodeSeconds, sha256: manifest.sha256 },
    "window sealed",
  );
}
