// One control plane with the chart installed for all tests of a file, and the users who try the policies.
import assert from "node:assert/strict";
import { join } from "node:path";
import { after } from "node:test";
import type { TestContext } from "node:test";
import { ApiError, apiPath } from "../cluster/client.ts";
import type { ApiClient } from "../cluster/client.ts";
import type { ControlPlane } from "../cluster/controlplane.ts";
import { startControlPlane } from "../cluster/controlplane.ts";
import { eventually } from "../cluster/eventually.ts";
import { berthCrdDir, requires, testNamespace } from "../cluster/session.ts";
import { repoDir } from "../cluster/paths.ts";
import { serviceAccountIdentity, tenantIdentity } from "../cluster/users.ts";

export const release = "berth";
export const releaseNamespace = "berth-system";
export const breakGlassGroup = "berth-break-glass";
export const poolLabel = "berth.node-restriction.kubernetes.io/pool";
export const taintKey = "berth.dev/dedicated";

let shared: Promise<ControlPlane> | undefined;
after(async () => (await shared)?.stop());

/** The control plane with the policies in force; undefined (and the test skipped) on a foreign cluster. */
export async function policyCluster(t: TestContext): Promise<ControlPlane | undefined> {
  if (!(await requires(t, "server-restart"))) return undefined;
  return (shared ??= install());
}

async function install(): Promise<ControlPlane> {
  const cluster = await startControlPlane({ karpenter: false, crdFolders: [berthCrdDir] });
  const chart = join(repoDir, "charts", "berth");
  const values = ["--set", "crds.enabled=false", "--set", `policies.breakGlassGroup=${breakGlassGroup}`];
  const where = ["-n", releaseNamespace, "--create-namespace"];
  const { code, stderr } = await cluster.helm(["install", release, chart, ...where, ...values]);
  assert.equal(code, 0, stderr);
  // The API server compiles new policies after a moment.
  await eventually(
    () => refusal(cluster.admin.create("/api/v1/namespaces/default/pods?dryRun=All", pod({ nodeName: "any" }))),
    { what: "the policies are in force" },
  );
  return cluster;
}

export const container = { name: "main", image: "example/main:1" };

export function pod(spec: object, metadata: object = {}): object {
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { generateName: "t-", ...metadata },
    spec: { containers: [container], automountServiceAccountToken: false, ...spec },
  };
}

/** The API server's message when it refused with 403, undefined when it accepted; anything else is thrown. */
export async function refusal(attempt: Promise<unknown>): Promise<string | undefined> {
  try {
    await attempt;
    return undefined;
  } catch (error) {
    if (error instanceof ApiError && error.status === 403) return error.message;
    throw error;
  }
}

/** Fails unless a ValidatingAdmissionPolicy of the release refuses the attempt with these words. */
export async function refusedBy(policy: string, words: RegExp, attempt: Promise<unknown>, what = ""): Promise<void> {
  const message = await refusal(attempt);
  assert.ok(message !== undefined, `accepted: ${what}`);
  assert.match(message, new RegExp(`ValidatingAdmissionPolicy '${release}-${policy}'`), what);
  assert.match(message, words, what);
}

export interface Tenant {
  readonly namespace: string;
  /** The built-in role `edit` in the namespace and nothing else. */
  readonly client: ApiClient;
}

/** A namespace with a tenant in it. */
export async function newTenant(t: TestContext, cluster: ControlPlane): Promise<Tenant> {
  const namespace = await testNamespace(t, { cluster });
  const client = cluster.client(await tenantIdentity(cluster, namespace));
  t.after(() => client.close());
  await eventually(() => cluster.admin.find(apiPath("v1", "serviceaccounts", { namespace, name: "default" })), {
    what: "the namespace has its default service account",
  });
  return { namespace, client };
}

/** A client with the token and rights of one of the chart's service accounts. */
export async function chartAccount(
  t: TestContext,
  cluster: ControlPlane,
  component: "operator" | "importer",
): Promise<ApiClient> {
  const client = cluster.client(await serviceAccountIdentity(cluster, releaseNamespace, `${release}-${component}`));
  t.after(() => client.close());
  return client;
}
