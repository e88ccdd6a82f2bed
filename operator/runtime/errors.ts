/**
 * The error taxonomy of the controller loop, and the raw error of the Kubernetes API beneath it. Adapters (client.ts for
 * Kubernetes) translate; the loop alone decides about retries. A raw error stays reachable as `cause`.
 */

/** Only a human or a change of the object helps: nothing before the next event, resync or a look every minute. */
export class TerminalError extends Error {
  readonly reason: string;
  constructor(reason: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "TerminalError";
    this.reason = reason;
  }
}

/** Will pass by itself: retried with jittered backoff, not before `afterMs`. */
export class RetryError extends Error {
  readonly afterMs: number | undefined;
  /** The other side asked for fewer requests (429, 503). */
  readonly isThrottled: boolean;
  /** The other side answered, and will say the same until somebody changes something there. */
  readonly isRefusal: boolean;
  constructor(cause: unknown, afterMs?: number, isThrottled = false, isRefusal = false) {
    super(messageOf(cause), { cause });
    this.name = "RetryError";
    this.afterMs = afterMs;
    this.isThrottled = isThrottled;
    this.isRefusal = isRefusal;
  }
}

/** The cache was behind the server (409, or a write to an object that is gone): retried quietly. */
export class ConflictError extends Error {
  constructor(cause: unknown) {
    super(messageOf(cause), { cause });
    this.name = "ConflictError";
  }
}

/** One cause of a metav1.Status: which field, and what is wrong with it. */
export interface StatusCause {
  readonly reason?: string;
  readonly message?: string;
  readonly field?: string;
}

/** An answer of the API server with a status of 400 or above; `reason` and `causes` as in metav1.Status. */
export class ApiError extends Error {
  readonly status: number;
  readonly reason: string;
  readonly retryAfterMs: number | undefined;
  readonly causes: readonly StatusCause[];
  constructor(init: {
    readonly status: number;
    readonly reason: string;
    readonly message: string;
    readonly retryAfterMs?: number;
    readonly causes?: readonly StatusCause[];
  }) {
    super(init.message);
    this.name = "ApiError";
    this.status = init.status;
    this.reason = init.reason;
    this.retryAfterMs = init.retryAfterMs;
    this.causes = init.causes ?? [];
  }
}

/** The API's own answer behind an error of the taxonomy, if there is one. */
export function apiErrorOf(error: unknown): ApiError | undefined {
  for (let at = error, depth = 0; at instanceof Error && depth < 8; at = at.cause, depth++) {
    if (at instanceof ApiError) return at;
  }
  return undefined;
}

/** True for 404, whether raw or translated. */
export function isNotFound(error: unknown): boolean {
  return apiErrorOf(error)?.status === 404;
}

/** True where the object to create exists already (409 AlreadyExists). */
export function isAlreadyExists(error: unknown): boolean {
  return apiErrorOf(error)?.reason === "AlreadyExists";
}

/** True for 403: RBAC, a quota, an admission policy, or a terminating namespace. */
export function isForbidden(error: unknown): boolean {
  return apiErrorOf(error)?.status === 403;
}

/** Owners named by a server-side apply that was refused because it did not force; empty for any other error. */
export function fieldOwnersOf(error: unknown): readonly string[] {
  const causes = apiErrorOf(error)?.causes ?? [];
  return causes.filter((cause) => cause.reason === "FieldManagerConflict").map((cause) => cause.message ?? "");
}

/** What the controller loop does with a thrown value. */
export type Failure =
  | { readonly kind: "terminal"; readonly error: TerminalError }
  | { readonly kind: "retry"; readonly error: RetryError }
  | { readonly kind: "conflict"; readonly error: ConflictError }
  | { readonly kind: "bug"; readonly error: unknown };

/** Sorts a thrown value into the taxonomy; what nobody translated is our bug. */
export function classify(error: unknown): Failure {
  if (error instanceof TerminalError) return { kind: "terminal", error };
  if (error instanceof RetryError) return { kind: "retry", error };
  if (error instanceof ConflictError) return { kind: "conflict", error };
  return { kind: "bug", error };
}

/** The message of anything that was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
