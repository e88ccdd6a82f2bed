/**
 * Requests to a hub. Files come by redirects to its content network: they are followed here, one by one, to hosts that the
 * administrator lists, and the token never leaves the hub's own origin.
 */
import { TerminalError } from "../../runtime/errors.ts";
import { hubError, refusalOf, unreachable } from "./errors.ts";

export interface Hub {
  /** URL without a slash at the end. */
  readonly endpoint: string;
  readonly repo: string;
  readonly revision: string;
  readonly token: string | undefined;
  readonly timeoutMs: number;
  /** Host names that a redirect may lead to, `*.example.org` for all below it; the hub's own is always one. */
  readonly redirectHosts: readonly string[];
  /** The way to it where it is not the global one. */
  readonly fetch?: typeof fetch | undefined;
}

export interface HubRequest {
  readonly url: URL;
  readonly headers: Readonly<Record<string, string>>;
  readonly reading: boolean;
  readonly signal?: AbortSignal | undefined;
}

export interface HubAnswer {
  readonly answer: Response;
  /** Where the answer came from in the end. */
  readonly place: URL;
  /** Headers of the hub's own answer: what it says of the file, before the redirect. */
  readonly own: Headers;
  readonly silence: Silence;
}

/** Aborts after a time without a byte: a large part over a slow line may take as long as it needs. */
interface Silence {
  readonly signal: AbortSignal;
  /** Something has come. */
  broken(): void;
}

function newSilence(timeoutMs: number): Silence {
  const end = new AbortController();
  const timer = setTimeout(() => end.abort(new DOMException("no byte came", "TimeoutError")), timeoutMs);
  // An answer whose body nobody reads keeps no process alive.
  timer.unref();
  return { signal: end.signal, broken: () => void timer.refresh() };
}

/** A chain longer than this is a loop. */
const MOST_REDIRECTS = 5;

/** An answer with status 200 or 206. Throws TerminalError (refusals, redirects that are not followed) or RetryError. */
export async function request(hub: Hub, { url, headers, reading, signal }: HubRequest): Promise<HubAnswer> {
  const home = new URL(hub.endpoint);
  let place = url;
  let own: Headers | undefined;
  for (let hop = 0; hop <= MOST_REDIRECTS; hop++) {
    const isHome = place.origin === home.origin;
    const token: Record<string, string> =
      isHome && hub.token !== undefined ? { Authorization: `Bearer ${hub.token}` } : {};
    const { answer, silence } = await once(hub, place, { ...headers, ...token }, signal);
    if (isHome) own = answer.headers;
    const target = answer.status >= 300 && answer.status < 400 ? answer.headers.get("location") : null;
    if (target === null) {
      if (answer.status === 200 || answer.status === 206) return { answer, place, own: own ?? new Headers(), silence };
      const { endpoint, repo, revision } = hub;
      const about = { endpoint: isHome ? endpoint : place.origin, repo, revision, reading };
      throw hubError(await refusalOf(answer, hub.token), { ...about, hasToken: hub.token !== undefined });
    }
    await answer.body?.cancel();
    place = nextPlace(hub, home, place, target);
  }
  throw new TerminalError("EndpointRedirects", `${hub.endpoint} redirects more than ${String(MOST_REDIRECTS)} times`);
}

/** The place that a redirect names, where the administrator allows it. */
function nextPlace(hub: Hub, home: URL, from: URL, target: string): URL {
  const place = URL.canParse(target, from.href) ? new URL(target, from) : undefined;
  if (!place) throw new TerminalError("EndpointRedirects", `${hub.endpoint} redirects to something that is no URL`);
  if (place.origin === home.origin) return place;
  const isSafe = place.protocol === "https:" || (home.protocol === "http:" && place.protocol === "http:");
  const isListed = hub.redirectHosts.some((host) => matches(host, place));
  if (isSafe && isListed && place.username === "" && place.password === "") return place;
  const why = isSafe ? "which the administrator does not list" : "which is not https";
  throw new TerminalError("EndpointRedirects", `${hub.endpoint} redirects to ${place.origin}, ${why}`);
}

function matches(pattern: string, { host, hostname, port }: URL): boolean {
  if (pattern.startsWith("*.")) return hostname.endsWith(pattern.slice(1)) && port === "";
  return pattern === host;
}

async function once(
  hub: Hub,
  place: URL,
  headers: Readonly<Record<string, string>>,
  signal: AbortSignal | undefined,
): Promise<{ readonly answer: Response; readonly silence: Silence }> {
  const silence = newSilence(hub.timeoutMs);
  try {
    const answer = await (hub.fetch ?? fetch)(place, {
      headers: { ...headers, "Accept-Encoding": "identity" },
      redirect: "manual",
      signal: signal ? AbortSignal.any([signal, silence.signal]) : silence.signal,
    });
    silence.broken();
    return { answer, silence };
  } catch (error) {
    if (signal?.aborted) throw error;
    throw unreachable(place.origin, error);
  }
}

/** Takes the body as it comes, piece by piece. */
async function drink({ answer, place, silence }: HubAnswer, take: (piece: Uint8Array) => void): Promise<void> {
  try {
    for await (const piece of (answer.body ?? []) as AsyncIterable<Uint8Array>) {
      silence.broken();
      take(piece);
    }
  } catch (error) {
    throw error instanceof TerminalError ? error : unreachable(place.origin, error);
  }
}

const tooMuch = ({ place }: HubAnswer): TerminalError =>
  new TerminalError("SourceError", `${place.origin} sends more than was asked for`);

/** The body, at most `mostBytes`. */
export async function collect(found: HubAnswer, mostBytes: number): Promise<Uint8Array> {
  const pieces: Uint8Array[] = [];
  let size = 0;
  await drink(found, (piece) => {
    size += piece.length;
    if (size > mostBytes) throw tooMuch(found);
    pieces.push(piece);
  });
  return Buffer.concat(pieces);
}

/** Fills the memory with the body; a shorter one is a fault that passes. Nothing of it is held besides. */
export async function collectInto(found: HubAnswer, into: Uint8Array): Promise<void> {
  let at = 0;
  await drink(found, (piece) => {
    if (at + piece.length > into.length) throw tooMuch(found);
    into.set(piece, at);
    at += piece.length;
  });
  if (at === into.length) return;
  const words = `the answer ended after ${String(at)} of ${String(into.length)} bytes`;
  throw unreachable(found.place.origin, new Error(words));
}
