// Users of a cluster with exactly the rights that a test gives them.
import type { Cluster } from "./cluster.ts";
import { apiPath } from "./client.ts";
import type { Identity } from "./client.ts";
import { newClientCertificate } from "./x509.ts";

export interface PolicyRule {
  readonly apiGroups?: readonly string[];
  readonly resources?: readonly string[];
  readonly resourceNames?: readonly string[];
  readonly nonResourceURLs?: readonly string[];
  readonly verbs: readonly string[];
}

export interface Subject {
  readonly kind: "User" | "Group" | "ServiceAccount";
  readonly name: string;
  readonly namespace?: string;
}

const rbac = "rbac.authorization.k8s.io/v1";

/**
 * Any user of any groups (`system:authenticated` comes by itself). A real client certificate on our own control plane;
 * on a foreign cluster (BERTH_TEST_KUBECONFIG) the administrator impersonates the user.
 */
export function userIdentity(cluster: Cluster, user: string, groups: readonly string[] = []): Identity {
  const { clientAuthority, adminIdentity } = cluster.info;
  if (clientAuthority) return { certificate: newClientCertificate(clientAuthority, user, groups) };
  return { ...adminIdentity, impersonate: { user, groups: [...groups, "system:authenticated"] } };
}

/** A kubelet: `system:node:<name>`, under the node authorizer and the NodeRestriction admission plugin. */
export function nodeIdentity(cluster: Cluster, nodeName: string): Identity {
  return userIdentity(cluster, `system:node:${nodeName}`, ["system:nodes"]);
}

/**
 * A service account (made when missing) with a token of the TokenRequest API. `audiences` asks for another audience
 * than the API server's own, `boundPod` binds the token to a pod as the kubelet does.
 */
export async function serviceAccountIdentity(
  cluster: Cluster,
  namespace: string,
  name: string,
  options: { audiences?: readonly string[]; expirationSeconds?: number; boundPod?: { name: string; uid: string } } = {},
): Promise<Identity & { readonly token: string }> {
  await cluster.admin.apply(apiPath("v1", "serviceaccounts", { namespace, name }), {
    apiVersion: "v1",
    kind: "ServiceAccount",
    metadata: { name, namespace },
  });
  const { audiences, expirationSeconds = 7200, boundPod } = options;
  const spec = {
    audiences: audiences ?? [],
    expirationSeconds,
    ...(boundPod && { boundObjectRef: { apiVersion: "v1", kind: "Pod", ...boundPod } }),
  };
  const answer = await cluster.admin.create<{ status: { token: string } }>(
    apiPath("v1", "serviceaccounts", { namespace, name, subresource: "token" }),
    { apiVersion: "authentication.k8s.io/v1", kind: "TokenRequest", spec },
  );
  return { token: answer.status.token };
}

/** Gives a subject these rules and no more, in one namespace or (without `namespace`) cluster-wide. Idempotent by `name`. */
export async function grant(
  cluster: Cluster,
  subject: Subject,
  { name, namespace, rules }: { name: string; namespace?: string; rules: readonly PolicyRule[] },
): Promise<void> {
  const kind = namespace ? "Role" : "ClusterRole";
  await cluster.admin.apply(apiPath(rbac, namespace ? "roles" : "clusterroles", { namespace, name }), {
    apiVersion: rbac,
    kind,
    metadata: { name, namespace },
    rules,
  });
  await bind(cluster, subject, { name, namespace, role: { kind, name } });
}

/** Binds a subject to a role that exists, e.g. `{ kind: "ClusterRole", name: "edit" }`. */
export async function bind(
  cluster: Cluster,
  subject: Subject,
  { name, namespace, role }: { name: string; namespace?: string; role: { kind: "Role" | "ClusterRole"; name: string } },
): Promise<void> {
  const kind = namespace ? "RoleBinding" : "ClusterRoleBinding";
  const apiGroup = "rbac.authorization.k8s.io";
  const path = apiPath(rbac, namespace ? "rolebindings" : "clusterrolebindings", { namespace, name });
  await cluster.admin.apply(path, {
    apiVersion: rbac,
    kind,
    metadata: { name, namespace },
    roleRef: { apiGroup, ...role },
    subjects: [subject.kind === "ServiceAccount" ? subject : { apiGroup, kind: subject.kind, name: subject.name }],
  });
}

/** An ordinary tenant: a user with the built-in role `edit` (or another) in one namespace and nothing else. */
export async function tenantIdentity(
  cluster: Cluster,
  namespace: string,
  { user = `tenant-of-${namespace}`, role = "edit" }: { user?: string; role?: string } = {},
): Promise<Identity> {
  await bind(
    cluster,
    { kind: "User", name: user },
    { name: `test-${role}`, namespace, role: { kind: "ClusterRole", name: role } },
  );
  return userIdentity(cluster, user);
}
