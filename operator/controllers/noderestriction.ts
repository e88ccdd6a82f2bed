/**
 * Is the NodeRestriction admission plugin on? It keeps a kubelet from giving its own node a pool's label. A dry run in the
 * name of a kubelet that does not exist tells: the plugin refuses the label, an API server without it would take it.
 */
import { Gauge } from "prom-client";
import type { Registry } from "prom-client";
import type { KubeObject } from "../ports.ts";
import { ApiError } from "../runtime/errors.ts";
import type { Transport } from "../runtime/transport.ts";

const PROBE_NODE = "berth-probe";
/** Below the plugin's own prefix, but none of Berth's labels, so that no policy of Berth answers in its place. */
const PROBE_LABEL = "probe.node-restriction.kubernetes.io/berth";

export type NodeRestriction = "on" | "off" | "unknown";

export const NODE_RESTRICTION_OFF = {
  type: "Warning",
  reason: "NodeRestrictionOff",
  message:
    "the API server lets a kubelet set labels below node-restriction.kubernetes.io on itself, so a captured node could join another tenant's pool: " +
    "start kube-apiserver with --enable-admission-plugins=NodeRestriction (and --authorization-mode=Node,RBAC)",
} as const;

/** One request that changes nothing. `unknown` where Berth may not impersonate, or kubelets have no rights by the Node authorizer. */
export async function probeNodeRestriction(transport: Pick<Transport, "request">): Promise<NodeRestriction> {
  try {
    await transport.request({
      method: "POST",
      path: "/api/v1/nodes?dryRun=All",
      contentType: "application/json",
      headers: { "impersonate-user": `system:node:${PROBE_NODE}`, "impersonate-group": "system:nodes" },
      body: JSON.stringify({
        apiVersion: "v1",
        kind: "Node",
        metadata: { name: PROBE_NODE, labels: { [PROBE_LABEL]: "probe" } },
      }),
    });
    return "off";
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    // plugin/pkg/admission/noderestriction/admission.go: "is not allowed to set the following labels: …".
    return error.status === 403 && error.message.includes(PROBE_LABEL) ? "on" : "unknown";
  }
}

/** Whatever the API server answers is shown as a metric; only a proven absence is a warning, on Berth's own namespace. */
export async function warnWithoutNodeRestriction(deps: {
  readonly transport: Pick<Transport, "request">;
  readonly registry: Registry;
  readonly namespace: () => Promise<KubeObject | undefined>;
  readonly warn: (about: KubeObject & { apiVersion: string; kind: string }, event: typeof NODE_RESTRICTION_OFF) => void;
}): Promise<NodeRestriction> {
  const found = await probeNodeRestriction(deps.transport);
  new Gauge({
    name: "berth_node_restriction_enabled",
    help: "1 where the NodeRestriction admission plugin refused a dry run, 0 where it did not, -1 where that could not be found out",
    registers: [deps.registry],
  }).set(found === "on" ? 1 : found === "off" ? 0 : -1);
  const about = found === "off" ? await deps.namespace() : undefined;
  if (about) deps.warn({ ...about, apiVersion: "v1", kind: "Namespace" }, NODE_RESTRICTION_OFF);
  return found;
}
