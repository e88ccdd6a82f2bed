/**
 * Whose token it is: Kubernetes decides (TokenReview with the store's audience). What the token says of itself is read
 * only to refuse garbage without a review and to word a refusal.
 */
import { STORE_AUDIENCE } from "../api/keys.ts";
import type { PodIdentity, StoreReason, StoreRefusal } from "../api/store.ts";
import type { Clock, KubeWriter } from "../ports.ts";
import { tokenReviews } from "./access.ts";

export type Reviewed = { readonly identity: PodIdentity } | { readonly refusal: StoreRefusal };

/** Extra fields that the API server adds for a token bound to a pod (pkg/serviceaccount/claims.go of Kubernetes). */
const POD_NAME = "authentication.kubernetes.io/pod-name";
const POD_UID = "authentication.kubernetes.io/pod-uid";
const longestToken = 16_384;

const refused = (reason: StoreReason, message: string): Reviewed => ({ refusal: { reason, message } });

/** The token of `Authorization: Bearer …`; undefined where there is none. */
export function bearerOf(header: string | undefined): string | undefined {
  const [scheme = "", token = "", ...rest] = (header ?? "").split(" ");
  return scheme.toLowerCase() === "bearer" && token !== "" && rest.length === 0 ? token : undefined;
}

/** What a JWT says of itself, unverified. */
interface Claims {
  readonly aud?: unknown;
  readonly exp?: unknown;
}

function claimsOf(token: string): Claims | undefined {
  const [, payload, signature] = token.length > longestToken ? [] : token.split(".");
  if (!payload || !signature) return undefined;
  try {
    const claims: unknown = JSON.parse(Buffer.from(payload, "base64url").toString("utf8"));
    return typeof claims === "object" && claims !== null ? claims : undefined;
  } catch {
    return undefined;
  }
}

/** Why a review need not even be asked for. */
function plainlyWrong(token: string, clock: Clock): Reviewed | undefined {
  const claims = claimsOf(token);
  if (!claims)
    return refused("TokenInvalid", "this is no service account token: mount one for the store and send that");
  if (![claims.aud].flat().includes(STORE_AUDIENCE)) {
    return refused(
      "WrongAudience",
      `the token is for another audience: send a projected service account token of audience ${STORE_AUDIENCE}`,
    );
  }
  if (typeof claims.exp === "number" && claims.exp * 1000 <= clock.now())
    return refused("TokenExpired", "the token has expired: read it again from its file, the kubelet renews it");
  return undefined;
}

/** Throws where Kubernetes cannot be asked. */
export function newTokenReviewer(deps: { readonly kube: Pick<KubeWriter, "create">; readonly clock: Clock }) {
  return async function review(token: string): Promise<Reviewed> {
    const wrong = plainlyWrong(token, deps.clock);
    if (wrong) return wrong;
    const spec = { token, audiences: [STORE_AUDIENCE] };
    // Answered and never stored, so it has no name.
    const question = { metadata: { name: "" }, spec };
    const { status } = await deps.kube.create(tokenReviews, question, { manager: "berth-store" });
    if (status?.authenticated !== true || !status.audiences?.includes(STORE_AUDIENCE))
      return refused(
        "TokenInvalid",
        "Kubernetes does not accept the token: its pod is gone, or it was not issued here",
      );
    const { username = "", extra = {} } = status.user ?? {};
    const [, namespace] = /^system:serviceaccount:([^:]+):[^:]+$/.exec(username) ?? [];
    const podName = extra[POD_NAME]?.[0];
    const podUID = extra[POD_UID]?.[0];
    if (namespace === undefined || !podName || !podUID)
      return refused("NotAPod", "the token is not bound to a pod: send the one that is projected into the serving pod");
    return { identity: { namespace, podName, podUID } };
  };
}
