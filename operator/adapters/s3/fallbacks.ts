/** What servers may not know, or not permit to everybody who may read: they are asked without it then, and from then on. */
import { statusOf } from "./errors.ts";

/** What a request has besides the object. */
export interface Extras {
  readonly versionId: string | undefined;
  /** Whether the answer is to state the object's checksums (`x-amz-checksum-mode`, which some servers refuse). */
  readonly asksStated: boolean;
}

/** What a server is asked for, as far as it is known to take it. */
export interface Terms {
  /** Version of each key with its ETag, as the first answer named it. */
  readonly versions: Map<string, string>;
  /** False once the server refuses to read by version: the ETag pins as well, but only as long as nobody overwrites. */
  pinsVersions: boolean;
  asksStated: boolean;
}

/** Refusals of whoever asks, which may be renewed meanwhile, and of no part of the request. */
const CREDENTIALS = /^(ExpiredToken|InvalidToken|InvalidAccessKeyId|SignatureDoesNotMatch|RequestTimeTooSkewed)$/;

/** Requests for less, the least last. Many who may read objects may not read their versions (s3:GetObjectVersion). */
function lessThan<Request extends Extras>(request: Request, status: number): Request[] {
  const unstated = request.asksStated && [400, 501].includes(status);
  const unpinned = request.versionId !== undefined && [400, 403, 404, 405, 501].includes(status);
  return [
    ...(unstated ? [{ ...request, asksStated: false }] : []),
    ...(unpinned ? [{ ...request, versionId: undefined }] : []),
    ...(unstated && unpinned ? [{ ...request, asksStated: false, versionId: undefined }] : []),
  ];
}

/** The answer to the request, else to the first for less that the server does not refuse. */
export async function askedForLess<Request extends Extras, Answer>(
  terms: Terms,
  request: Request,
  ask: (request: Request) => Promise<Answer>,
): Promise<Answer> {
  let refusal: unknown;
  try {
    return await ask(request);
  } catch (error) {
    refusal = error;
  }
  if (refusal instanceof Error && CREDENTIALS.test(refusal.name)) throw refusal;
  for (const less of lessThan(request, statusOf(refusal) ?? 0)) {
    try {
      const answer = await ask(less);
      // Only now is it known that this was what was refused: credentials may have run out.
      if (less.asksStated !== request.asksStated) terms.asksStated = false;
      if (less.versionId !== request.versionId) {
        terms.pinsVersions = false;
        terms.versions.clear();
      }
      return answer;
    } catch (error) {
      refusal = error;
    }
  }
  throw refusal;
}
