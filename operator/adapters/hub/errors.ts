/**
 * What a hub or the way to it says, in our words. Headers X-Error-Code and X-Error-Message, and the body's `error`, as
 * huggingface_hub reads them (utils/_http.py hf_raise_for_status).
 */
import { RetryError, TerminalError } from "../../runtime/errors.ts";
import { quoted } from "../s3/errors.ts";

/** An answer that is none of what was asked for; `words` are the hub's own. */
export interface Refusal {
  readonly status: number;
  /** X-Error-Code: GatedRepo, RepoNotFound, RevisionNotFound, EntryNotFound, DisabledRepo … */
  readonly code: string;
  readonly words: string;
  readonly retryAfterMs?: number;
}

export interface HubPlace {
  readonly endpoint: string;
  readonly repo: string;
  readonly revision: string;
  /** True for the read of a file that the tree showed. */
  readonly reading: boolean;
  readonly hasToken: boolean;
}

const passing = (reason: string, message: string, afterMs?: number, isThrottled = false): RetryError =>
  new RetryError(new TerminalError(reason, message), afterMs, isThrottled);

/** A refusal of the hub itself, or of its content network, translated. */
export function hubError({ status, code, words, retryAfterMs }: Refusal, place: HubPlace): TerminalError | RetryError {
  const { endpoint, repo, revision, hasToken } = place;
  const says = `${endpoint} says ${words}`;
  if (status === 429 || status >= 500 || status === 408)
    return passing(
      "SourceUnreachable",
      `${says} (HTTP ${String(status)})`,
      retryAfterMs,
      status === 429 || status === 503,
    );
  if (code === "RevisionNotFound")
    return new TerminalError("RevisionMissing", `${repo} has no revision ${revision}: ${says}`);
  if (code === "RepoNotFound" || (status === 404 && !place.reading)) {
    const remedy = hasToken ? "" : "; one that is private or gated needs spec.source.huggingFace.tokenSecretRef";
    return new TerminalError("RepoNotFound", `${repo}: ${says}${remedy}`);
  }
  if (status === 401 || status === 403) {
    const remedy = hasToken ? "" : "; set spec.source.huggingFace.tokenSecretRef to a Secret with a token";
    return new TerminalError("AccessDenied", `${repo}: ${says}${remedy}`);
  }
  if (place.reading && (status === 404 || status === 410 || status === 412 || status === 416))
    return passing("SourceChanged", `a file changed or vanished while it was read: ${says}`);
  return new TerminalError("SourceError", `${repo}: ${says} (HTTP ${String(status)})`);
}

/** A request that got no answer. */
export function unreachable(origin: string, error: unknown): RetryError {
  const cause: unknown = error instanceof Error && error.cause !== undefined ? error.cause : error;
  const { code, name, message } = cause as { code?: string; name?: string; message?: string };
  const why = name === "TimeoutError" ? "it does not answer in time" : (code ?? message ?? "no connection");
  return passing("SourceUnreachable", `${origin} cannot be reached: ${quoted(why, [])}`);
}

/** The words of a refusal for people: one line, bounded, without the token. */
export async function refusalOf(answer: Response, token: string | undefined): Promise<Refusal> {
  const { status, headers } = answer;
  const said = headers.get("x-error-message") ?? (await bodyWords(answer)) ?? `status ${String(status)}`;
  await answer.body?.cancel().catch(() => undefined);
  const seconds = Number(headers.get("retry-after"));
  return {
    status,
    code: headers.get("x-error-code") ?? "",
    words: quoted(said, token === undefined ? [] : [token]),
    ...(seconds > 0 ? { retryAfterMs: Math.min(seconds, 60) * 1000 } : {}),
  };
}

const MOST_WORDS_BYTES = 16_384;

/** `error` of a JSON body, else the body where it is short plain text; pages for browsers say nothing. */
async function bodyWords(answer: Response): Promise<string | undefined> {
  const type = answer.headers.get("content-type") ?? "";
  if (!/json|text\/plain/.test(type)) return undefined;
  const parts: Uint8Array[] = [];
  let size = 0;
  try {
    for await (const part of (answer.body ?? []) as AsyncIterable<Uint8Array>) {
      parts.push(part);
      size += part.length;
      if (size > MOST_WORDS_BYTES) return undefined;
    }
    const text = Buffer.concat(parts).toString("utf8").trim();
    if (!type.includes("json")) return text === "" ? undefined : text;
    const { error } = JSON.parse(text) as { error?: unknown };
    return typeof error === "string" ? error : undefined;
  } catch {
    return undefined;
  }
}
