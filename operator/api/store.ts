/** Words that the store role and those who fetch from it share: identity of a pod, what it may read, why it may not. */

/** The pod that a token is bound to, as the API server vouched for it. */
export interface PodIdentity {
  readonly namespace: string;
  readonly podName: string;
  readonly podUID: string;
}

/** One pinned revision of one model. */
export interface StoreGrant {
  /** Folder of the revision in the store; ends with '/'. */
  readonly folder: string;
  /** `sha256:` and 64 hex digits: what the folder's manifest must say. */
  readonly digest: string;
}

/** What `berth fetch` says of itself while it runs; only people read it. */
export interface FetchReport {
  /** Verified bytes that stand in its folder. */
  readonly doneBytes: number;
  readonly bytesPerSecond: number;
}

/** Reasons of refused requests; the body of the answer carries one beside a message that says what to do. */
export const storeReasons = {
  TokenMissing: 401,
  TokenInvalid: 401,
  TokenExpired: 401,
  WrongAudience: 401,
  NotAPod: 403,
  PodGone: 403,
  NotScheduled: 403,
  NodeNotDedicated: 403,
  OtherNamespace: 403,
  DeploymentGone: 403,
  RevisionUnknown: 403,
  ForeignModel: 403,
  NoSuchPath: 404,
  NotInManifest: 404,
  SignatureMissing: 404,
  ReportInvalid: 400,
  RangeNotSatisfiable: 416,
  TooManyStreams: 429,
  ModelMissing: 503,
  StoreUnavailable: 503,
  KubernetesUnavailable: 503,
} as const;
export type StoreReason = keyof typeof storeReasons;

export interface StoreRefusal {
  readonly reason: StoreReason;
  /** What is wrong and what to do; names nothing but the caller's own pod and namespace. */
  readonly message: string;
}

/**
 * Request header with the value "allowed": the caller can read from the object storage itself, so a blob may be answered with
 * 307 and an address there. Without it (as of callers that know nothing of redirects) bytes are sent.
 */
export const REDIRECT_HEADER = "berth-redirect";
export const MANIFEST_ROUTE = "/v1/manifest";
/** The DSSE envelope around that manifest; what it is worth is for the caller to find out, with keys that the store role does not choose. */
export const SIGNATURE_ROUTE = "/v1/manifest/signature";
/** `PUT` of a FetchReport: how far the pod of the token has come. */
export const PROGRESS_ROUTE = "/v1/progress";
/** Followed by the SHA-256 (64 hex digits) of a file of the manifest. */
export const BLOBS_ROUTE = "/v1/blobs/";
