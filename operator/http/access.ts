/**
 * Who calls, and whether they may read a namespace's ModelDeployments: Kubernetes decides both (TokenReview,
 * SubjectAccessReview). Answers are kept for at most a minute, tokens only as digests.
 */
import { createHash } from "node:crypto";

import { GROUP } from "../api/keys.ts";
import type { Clock, KubeObject, KubeWriter, Resource } from "../ports.ts";

export interface Caller {
  readonly username: string;
  readonly uid?: string;
  readonly groups?: readonly string[];
  readonly extra?: Readonly<Record<string, readonly string[]>>;
}

/** A namespace by its name, or the one of that name whose UID is given, which may be gone. */
export interface NamespaceRef {
  readonly name: string;
  readonly uid?: string;
}

export interface AccessDeps {
  readonly kube: Pick<KubeWriter, "create">;
  readonly clock: Clock;
  /** UID of the namespace that has the name now; undefined where none has. */
  readonly namespaceUID: (name: string) => string | undefined;
}

export interface Access {
  /** undefined for a token that Kubernetes does not know. Throws when Kubernetes cannot be asked. */
  authenticate(token: string): Promise<Caller | undefined>;
  /**
   * May `caller` get the ModelDeployments of the namespace (or the one of that name)? Roles are bound in the namespace that lives:
   * to one that had its name before they say nothing, so it is for those who may get them in all namespaces.
   */
  mayGet(caller: Caller, namespace: NamespaceRef, name?: string): Promise<boolean>;
}

export interface TokenReview extends KubeObject {
  readonly spec: { readonly token: string; readonly audiences?: readonly string[] };
  readonly status?: {
    readonly authenticated?: boolean;
    readonly user?: Caller;
    readonly audiences?: readonly string[];
  };
}

interface SubjectAccessReview extends KubeObject {
  readonly spec: object;
  readonly status?: { readonly allowed?: boolean };
}

export const tokenReviews: Resource<TokenReview> = {
  group: "authentication.k8s.io",
  version: "v1",
  plural: "tokenreviews",
  kind: "TokenReview",
  namespaced: false,
};
const subjectAccessReviews: Resource<SubjectAccessReview> = {
  group: "authorization.k8s.io",
  version: "v1",
  plural: "subjectaccessreviews",
  kind: "SubjectAccessReview",
  namespaced: false,
};

const keptMs = 60_000;
/** A refusal is forgotten sooner, so that a new RoleBinding helps at once. */
const refusalKeptMs = 5_000;
const mostKept = 4_096;
/** Both reviews are answered and never stored, so they have no name. */
const nameless = { metadata: { name: "" } };
const manager = { manager: "berth" };

/** As a SubjectAccessReview says it. */
const allNamespaces = "";

export function newAccess(deps: AccessDeps): Access {
  const callers = newMemory<Caller | undefined>(deps.clock);
  const decisions = newMemory<boolean>(deps.clock);
  async function allowed(caller: Caller, namespace: string, name: string | undefined): Promise<boolean> {
    const verb = { verb: "get", group: GROUP, resource: "modeldeployments" };
    const resourceAttributes = { ...verb, namespace, ...(name === undefined ? {} : { name }) };
    const { username: user, uid, groups, extra } = caller;
    const body = { ...nameless, spec: { resourceAttributes, user, uid, groups, extra } };
    return (await deps.kube.create(subjectAccessReviews, body, manager)).status?.allowed === true;
  }
  return {
    authenticate: (token) =>
      callers(createHash("sha256").update(token).digest("hex"), async () => {
        const { status } = await deps.kube.create(tokenReviews, { ...nameless, spec: { token } }, manager);
        return status?.authenticated === true ? status.user : undefined;
      }),
    mayGet: ({ username, uid, groups, extra }, namespace, name) => {
      const living = deps.namespaceUID(namespace.name);
      const isEarlier = namespace.uid !== undefined && namespace.uid !== living;
      // With the UID: what was allowed in a namespace is not remembered for the next one of its name.
      const where = isEarlier ? [allNamespaces] : [namespace.name, living];
      return decisions(JSON.stringify([username, uid, groups, extra, name, ...where]), () =>
        allowed({ username, uid, groups, extra }, isEarlier ? allNamespaces : namespace.name, name),
      );
    },
  };
}

export interface Keeping<T> {
  /** How long this answer is good for. */
  readonly keptMs: (answer: T) => number;
  readonly mostKept: number;
}

const usual: Keeping<unknown> = { keptMs: (answer) => (answer ? keptMs : refusalKeptMs), mostKept };

/** Remembers answers by key; equal questions at the same time are asked once. A failure is not kept. */
export function newMemory<T>(
  clock: Clock,
  keeping: Keeping<T> = usual,
): (key: string, ask: () => Promise<T>) => Promise<T> {
  const kept = new Map<string, { readonly answer: Promise<T>; untilMs: number }>();
  return (key, ask) => {
    const known = kept.get(key);
    if (known && known.untilMs > clock.monotonicMs()) return known.answer;
    const entry = { answer: ask(), untilMs: Infinity };
    kept.delete(key);
    kept.set(key, entry);
    const [oldest] = kept.keys();
    if (kept.size > keeping.mostKept && oldest !== undefined) kept.delete(oldest);
    entry.answer.then(
      (answer) => {
        entry.untilMs = clock.monotonicMs() + keeping.keptMs(answer);
      },
      () => void kept.delete(key),
    );
    return entry.answer;
  };
}
