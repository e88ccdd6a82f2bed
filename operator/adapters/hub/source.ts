/**
 * A model repository of a Hugging Face-compatible hub. Protocol: huggingface_hub's HfApi (api/models/…/revision, …/tree,
 * …/resolve, X-Repo-Commit, X-Linked-Etag, Link rel="next"), as its documentation and source state it.
 */
import type { Filled, ObjectSource, SourceObject } from "../../ports.ts";
import { RetryError, TerminalError } from "../../runtime/errors.ts";
import { quoted } from "../s3/errors.ts";
import { collect, collectInto, request, type Hub, type HubAnswer } from "./request.ts";

export const PUBLIC_HUB = "https://huggingface.co";
/** Hosts that the public hub sends files from (its LFS and Xet content networks). */
export const PUBLIC_REDIRECT_HOSTS: readonly string[] = ["huggingface.co", "*.huggingface.co", "*.hf.co"];

export interface HubOptions {
  /** URL with scheme and host, perhaps a path; the administrator's or the caller's, never a tenant's. */
  readonly endpoint?: string;
  /** "org/name", or "name" for the few that have no organisation. */
  readonly repo: string;
  /** Branch, tag or commit; the default branch where absent. */
  readonly revision?: string;
  /** Sent to the endpoint's own origin only. */
  readonly token?: string;
  /** Milliseconds without a byte after which a request fails; 20 s where absent, as with buckets. */
  readonly timeoutMs?: number;
  /** Hosts that files may come from besides the endpoint's own; those of the public hub where absent. */
  readonly redirectHosts?: readonly string[];
  /** The way to it where it is not the global one. */
  readonly fetch?: typeof fetch;
}

export interface HubSource extends ObjectSource {
  /** The commit of 40 digits that the revision stood for when it was opened. */
  readonly commit: string;
}

const REPO = /^[A-Za-z0-9][\w.-]{0,95}(\/[A-Za-z0-9][\w.-]{0,95})?$/;
const REVISION = /^[\w][\w./-]{0,127}$/;
const COMMIT = /^[0-9a-f]{40}$/;
/** A page of the tree and a model's facts are JSON far smaller than this. */
const MOST_JSON_BYTES = 32 << 20;

/**
 * Resolves the revision to its commit; all that is read afterwards is of that commit. TerminalError: RepoInvalid, RepoNotFound,
 * RevisionMissing, AccessDenied (the hub's own words), EndpointRedirects; RetryError: SourceUnreachable.
 */
export async function openHub(options: HubOptions): Promise<HubSource> {
  const { repo, revision = "main", token, timeoutMs = 20_000 } = options;
  if (!REPO.test(repo) || repo.includes("..") || !REVISION.test(revision) || revision.includes(".."))
    throw new TerminalError(
      "RepoInvalid",
      `'${quoted(repo.slice(0, 100), [])}' at '${quoted(revision.slice(0, 100), [])}' is no repository: write org/name`,
    );
  const endpoint = (options.endpoint ?? PUBLIC_HUB).replace(/\/+$/, "");
  const redirectHosts = options.redirectHosts ?? PUBLIC_REDIRECT_HOSTS;
  const hub: Hub = { endpoint, repo, revision, token, timeoutMs, redirectHosts, fetch: options.fetch };
  const { body } = await json(hub, `${endpoint}/api/models/${repo}/revision/${encodeURIComponent(revision)}`);
  const commit = isRecord(body) ? body["sha"] : undefined;
  if (typeof commit !== "string" || !COMMIT.test(commit))
    throw new TerminalError("SourceError", `${endpoint} names no commit for ${repo} at ${revision}`);
  if (COMMIT.test(revision) && revision !== commit)
    throw new TerminalError("SourceError", `${endpoint} names commit ${commit} where ${revision} was asked for`);
  return {
    commit,
    list: (prefix, next, signal) => list(hub, commit, prefix, { next, signal }),
    ...newReader(hub, commit),
    close: () => undefined,
  };
}

async function list(
  hub: Hub,
  commit: string,
  prefix: string,
  { next, signal }: { readonly next: string | undefined; readonly signal: AbortSignal | undefined },
): ReturnType<ObjectSource["list"]> {
  const first = `${hub.endpoint}/api/models/${hub.repo}/tree/${commit}?recursive=true&limit=1000`;
  if (next !== undefined && new URL(next).origin !== new URL(hub.endpoint).origin)
    throw new TerminalError("SourceError", `${hub.endpoint} continues its list at another place`);
  const { body, link } = await json(hub, next ?? first, signal);
  if (!Array.isArray(body)) throw new TerminalError("SourceError", `${hub.endpoint} answered with no list of files`);
  const objects = body.map(fileOf).filter((file) => file !== undefined);
  const more = /<([^>]+)>;\s*rel="next"/.exec(link ?? "")?.[1];
  return {
    objects: objects.filter(({ key }) => key.startsWith(prefix)),
    ...(more === undefined ? {} : { next: new URL(more, hub.endpoint).href }),
  };
}

/** An entry of the tree: large files carry their size and SHA-256 in `lfs`, others the id of their git blob. */
function fileOf(entry: unknown): SourceObject | undefined {
  if (!isRecord(entry) || entry["type"] !== "file" || typeof entry["path"] !== "string") return undefined;
  const large = isRecord(entry["lfs"]) ? entry["lfs"] : undefined;
  const { size: sizeBytes, oid } = (large ?? entry) as { size?: unknown; oid?: unknown };
  if (typeof sizeBytes !== "number" || !Number.isSafeInteger(sizeBytes) || sizeBytes < 0)
    throw new TerminalError("SourceError", `the hub names no size of ${quoted(entry["path"].slice(0, 200), [])}`);
  const etag = typeof oid === "string" ? oid : "";
  const sha256 = large && /^[0-9a-f]{64}$/.test(etag) ? etag : undefined;
  return { key: entry["path"], sizeBytes, etag, ...(sha256 === undefined ? {} : { sha256 }) };
}

/** How long the address of a file on the content network is used again: it is signed for an hour there. */
const PLACE_AGE_MS = 5 * 60_000;

type Ask = (object: SourceObject, range: string | undefined, signal: AbortSignal | undefined) => Promise<HubAnswer>;

/** Asks for files of one commit. Where one was found on the content network is remembered, so that a part costs one request. */
function newAsker(hub: Hub, commit: string): Ask {
  const places = new Map<string, { readonly place: URL; readonly until: number }>();

  return async function ask(object, range, signal) {
    const headers: Record<string, string> = range === undefined ? {} : { Range: range };
    const known = places.get(object.key);
    if (known && known.until > performance.now()) {
      try {
        return await request(hub, { url: known.place, headers, reading: true, signal });
      } catch (error) {
        // Perhaps its signature has expired: the hub gives a new one.
        if (!(error instanceof TerminalError)) throw error;
        places.delete(object.key);
      }
    }
    const path = object.key.split("/").map(encodeURIComponent).join("/");
    const url = new URL(`${hub.endpoint}/${hub.repo}/resolve/${commit}/${path}`);
    const found = await request(hub, { url, headers, reading: true, signal });
    const fault = faultOf(object, commit, found.own);
    if (fault !== undefined) {
      await found.answer.body?.cancel();
      throw changed(object, fault);
    }
    if (found.place.origin !== url.origin)
      places.set(object.key, { place: found.place, until: performance.now() + PLACE_AGE_MS });
    return found;
  };
}

/** Ranged reads of one commit. */
function newReader(hub: Hub, commit: string): Required<Pick<ObjectSource, "read" | "fill">> {
  const ask = newAsker(hub, commit);
  async function fill(object: SourceObject, offset: number, into: Uint8Array, signal?: AbortSignal): Promise<Filled> {
    const lengthBytes = into.length;
    // There is no range of nothing: an empty file is asked for as a whole.
    const range = lengthBytes === 0 ? undefined : `bytes=${String(offset)}-${String(offset + lengthBytes - 1)}`;
    const found = await ask(object, range, signal);
    const { status, headers, body } = found.answer;
    const [, from, total] = /^bytes (\d+)-\d+\/(\d+)$/.exec(headers.get("content-range") ?? "") ?? [];
    const isWhole = status === 200 && offset === 0 && lengthBytes === object.sizeBytes;
    const isPart = status === 206 && (from === undefined || Number(from) === offset);
    const sizeDiffers = total !== undefined && Number(total) !== object.sizeBytes;
    if (sizeDiffers || !(isWhole || isPart)) await body?.cancel();
    if (sizeDiffers) throw changed(object, `has ${total ?? ""} bytes instead of ${String(object.sizeBytes)}`);
    if (!isWhole && !isPart)
      throw new RetryError(new TerminalError("SourceError", `${found.place.origin} ignores ranges`));
    await collectInto(found, into);
    // The tree has said it all.
    return { stated: {} };
  }
  return {
    fill,
    async read(object, offset, lengthBytes, signal) {
      const bytes = Buffer.allocUnsafe(lengthBytes);
      await fill(object, offset, bytes, signal);
      return bytes;
    },
  };
}

const changed = (object: SourceObject, what: string): RetryError =>
  new RetryError(new TerminalError("SourceChanged", `${quoted(object.key.slice(0, 200), [])} ${what}`));

/** Why this answer is not of the commit or the content that the tree showed; what the hub does not state is not compared. */
function faultOf(object: SourceObject, commit: string, own: Headers): string | undefined {
  const answered = own.get("x-repo-commit");
  if (answered !== null && answered !== commit)
    return `is of commit ${quoted(answered.slice(0, 64), [])} now instead of ${commit}`;
  const linked = own.get("x-linked-etag") ?? (object.sha256 === undefined ? own.get("etag") : null);
  const etag = linked?.replace(/^W\//, "").replaceAll('"', "");
  const isComparable = etag !== undefined && /^[0-9a-f]+$/.test(etag) && etag.length === object.etag.length;
  return isComparable && etag !== object.etag ? `has ETag ${etag} instead of ${object.etag}` : undefined;
}

async function json(
  hub: Hub,
  url: string,
  signal?: AbortSignal,
): Promise<{ readonly body: unknown; readonly link: string | null }> {
  const found = await request(hub, { url: new URL(url), headers: {}, reading: false, signal });
  const bytes = await collect(found, MOST_JSON_BYTES);
  try {
    const body = JSON.parse(Buffer.from(bytes).toString("utf8")) as unknown;
    return { body, link: found.answer.headers.get("link") };
  } catch {
    throw new TerminalError("SourceError", `${hub.endpoint} answered with something that is no JSON`);
  }
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
