/**
 * A model repository of a Hugging Face-compatible hub. Protocol: huggingface_hub's HfApi (api/models/…/revision, …/tree,
 * …/resolve, headers X-Error-Code and X-Error-Message, Link rel="next"), as its documentation and source state it.
 */
import type { ObjectSource, SourceObject } from "../../ports.ts";
import { RetryError, TerminalError } from "../../runtime/errors.ts";

export const PUBLIC_HUB = "https://huggingface.co";

export interface HubOptions {
  /** URL with scheme and host, perhaps a path; the administrator's or the caller's, never a tenant's. */
  readonly endpoint?: string;
  /** "org/name", or "name" for the few that have no organisation. */
  readonly repo: string;
  /** Branch, tag or commit; the default branch where absent. */
  readonly revision?: string;
  /** Sent to the endpoint's own origin only. */
  readonly token?: string;
  /** Milliseconds for one answer's head and again for its body. */
  readonly timeoutMs?: number;
}

export interface HubSource extends ObjectSource {
  /** The commit of 40 digits that the revision stood for when it was opened. */
  readonly commit: string;
}

const REPO = /^[A-Za-z0-9][\w.-]{0,95}(\/[A-Za-z0-9][\w.-]{0,95})?$/;
const REVISION = /^[\w][\w./-]{0,127}$/;
/** Redirects lead to the hub's content network. */
const MOST_REDIRECTS = 5;
/** A page of the tree and a model's facts are JSON far smaller than this. */
const MOST_JSON_BYTES = 32 << 20;

interface Hub {
  readonly endpoint: string;
  readonly repo: string;
  readonly token: string | undefined;
  readonly timeoutMs: number;
}

/** Resolves the revision to its commit. TerminalError: RepoInvalid, AccessDenied (the hub's own words), RepoNotFound; RetryError: not reached. */
export async function openHub(options: HubOptions): Promise<HubSource> {
  const { repo, revision = "main" } = options;
  if (!REPO.test(repo) || repo.includes("..") || !REVISION.test(revision) || revision.includes(".."))
    throw new TerminalError(
      "RepoInvalid",
      `'${repo.slice(0, 100)}' at '${revision.slice(0, 100)}' is no repository: write org/name`,
    );
  const endpoint = (options.endpoint ?? PUBLIC_HUB).replace(/\/+$/, "");
  const hub = { endpoint, repo, token: options.token, timeoutMs: options.timeoutMs ?? 30_000 };
  const facts = await json(hub, `${endpoint}/api/models/${repo}/revision/${encodeURIComponent(revision)}`);
  const commit = isRecord(facts.body) ? facts.body["sha"] : undefined;
  if (typeof commit !== "string" || !/^[0-9a-f]{40}$/.test(commit))
    throw new TerminalError("SourceError", `${endpoint} names no commit for ${repo} at ${revision}`);
  return {
    commit,
    list: (prefix, next) => list(hub, commit, prefix, next),
    read: (object, offset, lengthBytes, signal) => read(hub, commit, { object, offset, lengthBytes }, signal),
    close: () => undefined,
  };
}

async function list(
  hub: Hub,
  commit: string,
  prefix: string,
  next: string | undefined,
): ReturnType<ObjectSource["list"]> {
  const first = `${hub.endpoint}/api/models/${hub.repo}/tree/${commit}?recursive=true&limit=1000`;
  if (next !== undefined && new URL(next).origin !== new URL(hub.endpoint).origin)
    throw new TerminalError("SourceError", `${hub.endpoint} continues its list at another place`);
  const { body, link } = await json(hub, next ?? first);
  if (!Array.isArray(body)) throw new TerminalError("SourceError", `${hub.endpoint} answered with no list of files`);
  const objects = body.map(fileOf).filter((file) => file !== undefined);
  const more = /<([^>]+)>;\s*rel="next"/.exec(link ?? "")?.[1];
  return {
    objects: objects.filter(({ key }) => key.startsWith(prefix)),
    ...(more === undefined ? {} : { next: new URL(more, hub.endpoint).href }),
  };
}

/** An entry of the tree: large files carry their size and digest in `lfs`. */
function fileOf(entry: unknown): SourceObject | undefined {
  if (!isRecord(entry) || entry["type"] !== "file" || typeof entry["path"] !== "string") return undefined;
  const large = isRecord(entry["lfs"]) ? entry["lfs"] : entry;
  const sizeBytes = large["size"];
  const digest = large["oid"];
  if (typeof sizeBytes !== "number" || !Number.isSafeInteger(sizeBytes) || sizeBytes < 0) return undefined;
  return { key: entry["path"], sizeBytes, etag: typeof digest === "string" ? digest : "" };
}

interface Range {
  readonly object: SourceObject;
  readonly offset: number;
  readonly lengthBytes: number;
}

async function read(
  hub: Hub,
  commit: string,
  { object, offset, lengthBytes }: Range,
  signal?: AbortSignal,
): Promise<Uint8Array> {
  const path = object.key.split("/").map(encodeURIComponent).join("/");
  const range = `bytes=${String(offset)}-${String(offset + lengthBytes - 1)}`;
  const answer = await request(hub, `${hub.endpoint}/${hub.repo}/resolve/${commit}/${path}`, { Range: range }, signal);
  const total = /\/(\d+)$/.exec(answer.headers.get("content-range") ?? "")?.[1];
  const isWhole = answer.status === 200 && offset === 0 && lengthBytes === object.sizeBytes;
  if (answer.status !== 206 && !isWhole) {
    await answer.body?.cancel();
    throw new RetryError(new Error(`${hub.endpoint} ignores ranges`));
  }
  if (total !== undefined && Number(total) !== object.sizeBytes) {
    await answer.body?.cancel();
    throw new TerminalError("SourceChanged", `${object.key} has ${total} bytes instead of ${String(object.sizeBytes)}`);
  }
  return collect(answer, lengthBytes, true);
}

async function json(hub: Hub, url: string): Promise<{ readonly body: unknown; readonly link: string | null }> {
  const answer = await request(hub, url, {});
  const bytes = await collect(answer, MOST_JSON_BYTES, false);
  try {
    return { body: JSON.parse(Buffer.from(bytes).toString("utf8")) as unknown, link: answer.headers.get("link") };
  } catch {
    throw new TerminalError("SourceError", `${hub.endpoint} answered with something that is no JSON`);
  }
}

/** Follows redirects itself: the token must not leave the hub's own origin. */
async function request(
  hub: Hub,
  url: string,
  headers: Record<string, string>,
  signal?: AbortSignal,
): Promise<Response> {
  let place = new URL(url);
  const home = new URL(hub.endpoint);
  for (let hop = 0; hop <= MOST_REDIRECTS; hop++) {
    const authorization: Record<string, string> =
      hub.token !== undefined && place.origin === home.origin ? { Authorization: `Bearer ${hub.token}` } : {};
    const answer = await once(hub, place, { ...headers, ...authorization }, signal);
    const target = answer.status >= 300 && answer.status < 400 ? answer.headers.get("location") : null;
    if (target === null) return await checked(hub, answer);
    await answer.body?.cancel();
    place = new URL(target, place);
    if (place.protocol !== home.protocol && place.protocol !== "https:")
      throw new TerminalError("SourceError", `${hub.endpoint} redirects to ${place.protocol}//, which is not followed`);
  }
  throw new TerminalError("SourceError", `${hub.endpoint} redirects more than ${String(MOST_REDIRECTS)} times`);
}

async function once(hub: Hub, place: URL, headers: Record<string, string>, signal?: AbortSignal): Promise<Response> {
  const patience = AbortSignal.timeout(hub.timeoutMs);
  try {
    return await fetch(place, {
      headers: { ...headers, "Accept-Encoding": "identity" },
      redirect: "manual",
      signal: signal ? AbortSignal.any([signal, patience]) : patience,
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    const cause = error instanceof Error && error.cause instanceof Error ? error.cause.message : String(error);
    throw new RetryError(new Error(`${place.origin} cannot be reached: ${cause}`));
  }
}

async function checked(hub: Hub, answer: Response): Promise<Response> {
  if (answer.ok) return answer;
  await answer.body?.cancel();
  const code = answer.headers.get("x-error-code") ?? "";
  const words = printable(answer.headers.get("x-error-message") ?? `status ${String(answer.status)}`, hub.token);
  if (answer.status === 429 || answer.status >= 500) {
    const after = Number(answer.headers.get("retry-after"));
    throw new RetryError(new Error(`${hub.endpoint}: ${words}`), after > 0 ? after * 1000 : undefined);
  }
  if (answer.status === 401 || answer.status === 403 || code === "GatedRepo")
    throw new TerminalError("AccessDenied", `${hub.endpoint} refuses ${hub.repo}: ${words}`);
  if (answer.status === 404) throw new TerminalError("RepoNotFound", `${hub.endpoint} has no ${hub.repo}: ${words}`);
  throw new TerminalError("SourceError", `${hub.endpoint}: ${words}`);
}

/** The hub's words for people: one line, without the token. */
function printable(text: string, token: string | undefined): string {
  const plain = text.replace(/\p{Cc}+/gu, " ").slice(0, 500);
  return token ? plain.replaceAll(token, "***") : plain;
}

async function collect(answer: Response, mostBytes: number, exactly: boolean): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  let size = 0;
  try {
    for await (const part of (answer.body ?? []) as AsyncIterable<Uint8Array>) {
      size += part.length;
      if (size > mostBytes)
        throw new TerminalError("SourceError", "the hub's answer is longer than what was asked for");
      parts.push(part);
    }
  } catch (error) {
    throw error instanceof TerminalError ? error : new RetryError(error);
  }
  if (exactly && size !== mostBytes)
    throw new RetryError(new Error(`the answer ended after ${String(size)} of ${String(mostBytes)} bytes`));
  return Buffer.concat(parts);
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
