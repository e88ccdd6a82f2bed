/** The init step of a serving pod: fetches, shows progress, leaves the reason of a failure for the kubelet. Part of the composition root. */
import { existsSync, writeFileSync } from "node:fs";
import type { FetchReport } from "./api/store.ts";
import type { FetchConfig } from "./config.ts";
import { trustedKeysOf } from "./adapters/ledger/signing.ts";
import { newLog } from "./log.ts";
import type { Log } from "./ports.ts";
import { systemClock as clock } from "./runtime/clock.ts";
import { RetryError, TerminalError, messageOf } from "./runtime/errors.ts";
import { wipeCache } from "./transfer/fetchcache.ts";
import { diskError } from "./transfer/fetchfolder.ts";
import { newStoreClient } from "./transfer/fetchclient.ts";
import { fetchModel, newProgress } from "./transfer/fetch.ts";
import type { FetchJob, FetchProgress } from "./transfer/fetch.ts";
import { newRedirects } from "./transfer/fetchredirects.ts";
import { isAbort } from "./transfer/slots.ts";

/** Exit codes beside 0: a fault that may pass by itself, and one that stays until a person acts. */
const EXIT_MAY_PASS = 1;
const EXIT_LASTING = 4;

/** A read that is silent for so long is given up and asked for again. */
const SILENCE_MS = 20_000;
/** A report that is not taken by then is not worth waiting for. */
const REPORT_MS = 2_000;
/** The kubelet cuts a container's message there. */
const LONGEST_MESSAGE = 4_000;

const gigabytes = (bytes: number): string => (bytes / 1e9).toFixed(bytes < 1e8 ? 4 : 2);

/** A line of progress each `everyMs`, told to the store role too; the answer ends it. */
function showProgress(
  progress: FetchProgress,
  { log, everyMs, tell }: { readonly log: Log; readonly everyMs: number; readonly tell: (report: FetchReport) => void },
): () => void {
  let beforeBytes = 0;
  const timer = setInterval(() => {
    const { doneBytes, totalBytes, receivedBytes, files, totalFiles } = progress;
    const bytesPerSecond = Math.max(0, Math.round(((doneBytes - beforeBytes) * 1000) / everyMs));
    beforeBytes = doneBytes;
    const etaSeconds = bytesPerSecond > 0 ? Math.ceil((totalBytes - doneBytes) / bytesPerSecond) : undefined;
    log.info(
      { bytes: doneBytes, totalBytes, receivedBytes, bytesPerSecond, etaSeconds, files, totalFiles },
      "fetching",
    );
    if (totalBytes > 0) tell({ doneBytes, bytesPerSecond });
  }, everyMs);
  return () => clearInterval(timer);
}

/** `Reason: what happened and what to do`, on one line. */
function failureOf(error: unknown): { readonly code: number; readonly reason: string; readonly message: string } {
  const cause = error instanceof RetryError ? error.cause : error;
  const lasting = error instanceof TerminalError;
  const reason = cause instanceof TerminalError ? cause.reason : "Unexpected";
  return { code: lasting ? EXIT_LASTING : EXIT_MAY_PASS, reason, message: messageOf(error) };
}

/** Only where the kubelet (or a test) has put the file: nothing is created beside it. */
function leaveMessage(path: string, text: string): void {
  if (existsSync(path)) writeFileSync(path, text.slice(0, LONGEST_MESSAGE));
}

/** Only where the platform pins keys. */
function trustOf({ trust }: FetchConfig): Pick<FetchJob, "trust"> {
  if (!trust) return {};
  const pems = trust.keys.map((key) => `-----BEGIN PUBLIC KEY-----\n${key}\n-----END PUBLIC KEY-----`);
  return { trust: { keys: trustedKeysOf(pems.join("\n"), "--trusted-keys"), digest: trust.digest } };
}

/** The step of a pod that Berth puts onto a free node: empties the cache that another namespace will use; resolves with the exit code. */
export async function runWipe(root: string, terminationLog: string): Promise<number> {
  const log = newLog("info").child({ role: "wipe" });
  try {
    const removed = await wipeCache(root);
    log.info({ root, removed }, "the cache is empty");
    return 0;
  } catch (error) {
    const { reason, message } = failureOf(diskError(error, root));
    log.error({ reason, error: message }, "the cache could not be emptied");
    leaveMessage(terminationLog, `${reason}: ${message}`);
    return EXIT_MAY_PASS;
  }
}

/** Runs to the end and resolves with the exit code; `signal` ends it, with what was fetched kept for the next run. */
export async function runFetch(config: FetchConfig, signal: AbortSignal): Promise<number> {
  const log = newLog(config.logLevel).child({ role: "fetch" });
  const { store: url, tokenFile, into, cache, partsAtOnce, patienceMs } = config;
  const redirects = newRedirects({ origin: config.redirectOrigin, log, nowMs: () => clock.monotonicMs() });
  const client = newStoreClient({ url, tokenFile, redirects, maxSockets: partsAtOnce + 1, silenceMs: SILENCE_MS });
  const progress = newProgress();
  // Nothing hangs on a report: what a broken connection means is found out by those who fetch.
  const tell = (report: FetchReport): Promise<void> =>
    client.report(report, AbortSignal.any([signal, AbortSignal.timeout(REPORT_MS)])).catch(() => undefined);
  const hide = showProgress(progress, { log, everyMs: config.progressMs, tell: (report) => void tell(report) });
  const startMs = clock.monotonicMs();
  try {
    const job = { client, into, cache, partsAtOnce, patienceMs, clock, log, signal, progress };
    const { digest } = await fetchModel({ ...job, ...trustOf(config) });
    const seconds = (clock.monotonicMs() - startMs) / 1000;
    await tell({ doneBytes: progress.totalBytes, bytesPerSecond: 0 });
    const { totalBytes, receivedBytes, directBytes, totalFiles } = progress;
    log.info({ digest, totalBytes, receivedBytes, directBytes, files: totalFiles, seconds }, "fetched and verified");
    const rate = (receivedBytes / 1e9 / seconds).toFixed(2);
    const words = `fetched ${String(totalFiles)} files, ${gigabytes(totalBytes)} GB (${gigabytes(receivedBytes)} received) in ${seconds.toFixed(1)} s, ${rate} GB/s`;
    leaveMessage(config.terminationLog, words);
    return 0;
  } catch (error) {
    const { code, reason, message } = isAbort(error)
      ? { code: EXIT_MAY_PASS, reason: "Stopped", message: "told to stop; what was fetched is kept" }
      : failureOf(error);
    log.error({ reason, error: message, code }, "fetch failed");
    leaveMessage(config.terminationLog, `${reason}: ${message}`);
    return code;
  } finally {
    hide();
    client.close();
  }
}
