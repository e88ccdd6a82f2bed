/**
 * What an S3 server or the way to it says, in our words. A refusal is TerminalError; what may pass by itself is RetryError
 * with a TerminalError of the same shape as its cause, so that the reason survives. Messages quote the server, shortened,
 * with the credentials that were used cut out.
 */
import { RetryError, TerminalError } from "../../runtime/errors.ts";
import { AnswerTooLarge } from "./answerlimits.ts";

interface RawError {
  readonly name: string;
  readonly message: string;
  readonly status: number | undefined;
  /** Node's code of a failed connection. */
  readonly code: string | undefined;
  readonly retryAfterMs: number | undefined;
}

/** A server that asks for more is asked again all the same: what waits for it holds memory. */
const LONGEST_PAUSE_MS = 60_000;

function rawOf(error: unknown): RawError {
  const seen = error as {
    name?: string;
    message?: string;
    code?: string;
    $metadata?: { httpStatusCode?: number };
    $response?: { headers?: Record<string, string>; statusCode?: number };
    errors?: readonly { code?: string }[];
  } | null;
  const retryAfter = Number(seen?.$response?.headers?.["retry-after"]);
  return {
    name: String(seen?.name ?? "Error"),
    message: String(seen?.message ?? ""),
    status: seen?.$metadata?.httpStatusCode ?? seen?.$response?.statusCode,
    code: seen?.code ?? seen?.errors?.[0]?.code,
    retryAfterMs:
      Number.isFinite(retryAfter) && retryAfter > 0 ? Math.min(retryAfter * 1000, LONGEST_PAUSE_MS) : undefined,
  };
}

/** Bounded, on one line, without the secrets in `hidden`. */
export function quoted(text: string, hidden: readonly string[]): string {
  let shown = text;
  for (const secret of hidden) if (secret.length >= 4) shown = shown.replaceAll(secret, "***");
  shown = shown.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]+/gu, " ").trim();
  return shown.length > 300 ? `${shown.slice(0, 297)}...` : shown;
}

const refusals = new Set(
  "InvalidAccessKeyId XAdminUserNotFound SignatureDoesNotMatch AccessDenied ExpiredToken InvalidToken AllAccessDisabled AccountProblem".split(
    " ",
  ),
);
const changed = new Set(["PreconditionFailed", "NoSuchKey", "NotFound", "InvalidRange"]);
const connection =
  /^(ENOTFOUND|EAI_|ECONN|ETIMEDOUT|EHOST|ENET|EPIPE|CERT_|ERR_TLS|ERR_SSL|DEPTH_ZERO|SELF_SIGNED|UNABLE_TO|EPROTO|HPE_)/;

/** The name of a connection's failure in words that say where to look. */
function unreachable(raw: RawError): string {
  if (raw.code === "ENOTFOUND" || raw.code?.startsWith("EAI_")) return `its name does not resolve (${raw.code})`;
  if (raw.code === "ECONNREFUSED") return "the connection is refused (ECONNREFUSED)";
  return `no connection (${raw.code ?? raw.name})`;
}

export interface S3Place {
  readonly endpoint: string;
  readonly bucket: string;
  /** True for the read of an object that the listing showed. */
  readonly reading?: boolean;
  /** True for a HEAD, whose refusal has no words. */
  readonly asksHead?: boolean;
  /** Strings that no message may carry. */
  readonly hidden: readonly string[];
}

const isThrottled = ({ status }: RawError): boolean => status === 429 || status === 503;

/** 400 and more that pass by themselves. */
const passingNames = new Set(["RequestTimeout", "RequestTimeTooSkewed"]);
const isRefused = ({ name, status = 0 }: RawError): boolean =>
  status >= 400 && status < 500 && status !== 408 && status !== 429 && !passingNames.has(name);

const saidBy = ({ name, message }: RawError, hidden: readonly string[]): string =>
  quoted(message === name || message === "" ? name : `${name}: ${message}`, hidden);

/** A failed request to a tenant's source, translated. */
export function sourceError(error: unknown, place: S3Place): TerminalError | RetryError {
  if (error instanceof TerminalError || error instanceof RetryError) return error;
  const raw = rawOf(error);
  const isHeadRefused = place.asksHead === true && raw.status !== undefined && raw.status >= 400;
  const words = isHeadRefused ? `${String(raw.status)} to a HEAD, and no more` : saidBy(raw, place.hidden);
  // An expired token, which a GET would be told of by name.
  const isWordless = isHeadRefused && raw.status === 400;
  const says = `${place.endpoint} says ${words}`;
  const terminal = (reason: string, message: string): TerminalError => new TerminalError(reason, message);
  const passing = (reason: string, message: string): RetryError =>
    new RetryError(terminal(reason, message), raw.retryAfterMs, isThrottled(raw));
  if (error instanceof AnswerTooLarge) {
    const remedy = "check spec.source.s3.endpoint, what answers there is no S3 server";
    return terminal("ListingInvalid", `${place.endpoint} does not answer as an S3 server: ${error.message}: ${remedy}`);
  }
  if (raw.name === "NoSuchBucket") return terminal("BucketNotFound", `bucket ${place.bucket}: ${says}`);
  const isRedirect = raw.status !== undefined && raw.status >= 300 && raw.status < 400;
  if (isRedirect) return terminal("EndpointRedirects", `bucket ${place.bucket}: ${says} (HTTP ${String(raw.status)})`);
  // The SDK has learnt the server's time from this very answer, and signs the next request by it.
  if (raw.name === "RequestTimeTooSkewed") return passing("AccessDenied", `bucket ${place.bucket}: ${says}`);
  if (isWordless || refusals.has(raw.name) || raw.status === 401 || raw.status === 403) {
    return terminal("AccessDenied", `bucket ${place.bucket}: ${says}`);
  }
  // Only an object that was listed can vanish or change; elsewhere a 404 has another meaning.
  const isGone = changed.has(raw.name) || raw.status === 412 || raw.status === 416 || raw.status === 404;
  if (place.reading && isGone) {
    return passing("SourceChanged", `an object changed or vanished while it was read: ${says}`);
  }
  if (raw.status === undefined && (raw.name === "TimeoutError" || connection.test(raw.code ?? ""))) {
    return passing("SourceUnreachable", `${place.endpoint} cannot be reached: ${unreachable(raw)}`);
  }
  const isOfRequest = raw.status !== undefined && raw.status < 500 && raw.status !== 429 && raw.status !== 408;
  if ((isOfRequest && raw.status >= 400) || (isHeadRefused && raw.status === 501)) {
    return terminal("SourceError", `bucket ${place.bucket}: ${says}`);
  }
  return passing(
    "SourceError",
    raw.status === undefined ? `${place.endpoint}: ${words}` : `${says} (HTTP ${String(raw.status)})`,
  );
}

/** A failed request to the platform's own store: always tried again, since only the platform can mend it. */
export function storeError(error: unknown, url: string, hidden: readonly string[]): RetryError {
  if (error instanceof RetryError) return error;
  const raw = rawOf(error);
  const words = quoted(raw.code ? `${raw.code}: ${raw.message}` : `${raw.name}: ${raw.message}`, hidden);
  const said = new TerminalError("StoreError", `the store ${url} fails: ${words}`);
  return new RetryError(said, raw.retryAfterMs, isThrottled(raw), isRefused(raw));
}

/** A failed copy inside of the store's service: a refusal stays one however often it is asked, and the bytes can be sent instead. */
export function copyError(error: unknown, url: string, hidden: readonly string[]): TerminalError | RetryError {
  if (error instanceof TerminalError) return error;
  const raw = rawOf(error);
  const { status = 0 } = raw;
  const isFinal = status === 501 || (status >= 400 && status < 500 && status !== 408 && status !== 429);
  if (!isFinal) return storeError(error, url, hidden);
  return new TerminalError("StoreError", `the store says ${saidBy(raw, hidden)} (HTTP ${String(status)})`);
}

/** HTTP status of a raw error of the SDK, if it has one. */
export function statusOf(error: unknown): number | undefined {
  return rawOf(error).status;
}
