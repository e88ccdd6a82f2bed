/**
 * Where bytes of files come from without the store role between: short-lived addresses in the object storage that the store role
 * hands out. Only the one origin that this pod was made for is followed. What goes wrong there ends in the store role's own
 * bytes, never in a failed fetch.
 */
import type { Log } from "../ports.ts";
import { RetryError, TerminalError, messageOf } from "../runtime/errors.ts";

/** An address that is still good. */
export interface Link {
  readonly url: URL;
  /** False where it had served before: then it may only be over. */
  readonly isNew: boolean;
}

export interface Redirects {
  /** Whether the store role should be asked for an address. */
  readonly wanted: boolean;
  /** The address that the file came from a moment ago. */
  kept(sha256: string): Link | undefined;
  /** Takes what the store role named. Undefined, and no redirects any more, where it may not be followed. */
  keep(sha256: string, location: string | undefined): Link | undefined;
  /**
   * A read failed before its first byte. Returns where an address is over (ask for another) and where redirects have stopped;
   * throws a RetryError where the object storage may do better soon.
   */
  failed(sha256: string, link: Link, error: unknown): void;
  /** A read went well. */
  worked(): void;
  /** All further bytes come from the store role. */
  stop(why: string): void;
}

export interface RedirectOptions {
  /** `https://host` or `https://host:port`; undefined follows nothing. */
  readonly origin: string | undefined;
  readonly log: Log;
  /** Milliseconds that never run backwards. */
  readonly nowMs: () => number;
}

/** The object storage does not take the address: it is over, or wrong. Anything else that fails may pass by itself. */
export class AddressRefused extends Error {}

/** Used for half of its life, as told by itself, so that no read begins with one that is about to end. */
function goodForMs(url: URL): number {
  const seconds = Number(url.searchParams.get("X-Amz-Expires"));
  return Number.isFinite(seconds) && seconds > 0 ? seconds * 500 : 0;
}

/** Failures in a row after which the way through the store role is the better one: parts fail side by side, so it is soon taken. */
const MOST_FAILURES = 3;

export function newRedirects({ origin, log, nowMs }: RedirectOptions): Redirects {
  const kept = new Map<string, { readonly url: URL; readonly untilMs: number }>();
  let wanted = origin !== undefined;
  let failures = 0;
  const stop = (why: string): void => {
    if (!wanted) return;
    wanted = false;
    log.warn({ why }, "files come through the store role from here on");
  };
  return {
    get wanted() {
      return wanted;
    },
    kept(sha256) {
      const found = kept.get(sha256);
      if (!wanted || !found || found.untilMs <= nowMs()) return undefined;
      return { url: found.url, isNew: false };
    },
    keep(sha256, location) {
      const url = URL.canParse(location ?? "") ? new URL(location ?? "") : undefined;
      if (!url || url.origin !== origin || url.username !== "" || url.password !== "") {
        stop("the store role redirects to a place that this pod may not follow");
        return undefined;
      }
      kept.set(sha256, { url, untilMs: nowMs() + goodForMs(url) });
      return { url, isNew: true };
    },
    failed(sha256, link, error) {
      kept.delete(sha256);
      const isRefused = error instanceof AddressRefused;
      if (isRefused && !link.isNew) return;
      if (!isRefused && wanted && ++failures < MOST_FAILURES)
        throw new RetryError(new TerminalError("StoreUnreachable", `the object storage fails: ${messageOf(error)}`));
      stop(`the object storage fails: ${messageOf(error)}`);
    },
    worked: () => void (failures = 0),
    stop,
  };
}
