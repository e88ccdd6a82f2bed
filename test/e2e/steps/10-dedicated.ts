// Another tenant wants onto the nodes and into the Service.
import { stringify } from "yaml";
import type { KubeObject } from "../../cluster/client.ts";
import { apiPath } from "../../cluster/client.ts";
import { tenantIdentity } from "../../cluster/users.ts";
import { labels, taints } from "../../../operator/api/keys.ts";
import { chat, engineReference, models, otherTeam, systemNamespace, team } from "../names.ts";
import { ensureServing, getDeployment, heldNodes } from "../objects.ts";
import type { Stage } from "../stage.ts";
import { chatContext } from "./03-serve.ts";

const securityContext = { allowPrivilegeEscalation: false, capabilities: { drop: ["ALL"] } };
const podSecurity = { runAsNonRoot: true, runAsUser: 2000, seccompProfile: { type: "RuntimeDefault" } };

function intruder(spec: object): string {
  const container = { name: "miner", image: engineReference, args: ["--version"], securityContext };
  const whole = { securityContext: podSecurity, containers: [container], ...spec };
  return stringify({
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name: "intruder", namespace: otherTeam },
    spec: whole,
  });
}

export async function dedicated(stage: Stage): Promise<void> {
  const { cluster, tour } = stage;
  await ensureServing(stage, chat, { model: models.llama, replicas: 2, contextLength: chatContext });
  const [node] = await heldNodes(stage);
  if (!node) throw new Error("no node is claimed");
  const attempts: Readonly<Record<string, object>> = {
    "tolerates Berth's taint": { tolerations: [{ key: taints.dedicated, operator: "Exists" }] },
    "tolerates everything": { tolerations: [{ operator: "Exists" }] },
    "selects the pool's label": { nodeSelector: { [labels.pool]: node.metadata.labels?.[labels.pool] ?? "" } },
    "names the node": { nodeName: node.metadata.name },
  };
  const identity = await tenantIdentity(cluster, otherTeam, { user: "mallory" });
  for (const [what, spec] of Object.entries(attempts)) {
    const { code, stderr, stdout } = await cluster.kubectl(["apply", "-f", "-"], { identity, input: intruder(spec) });
    if (code === 0) throw new Error(`a pod of ${otherTeam} that ${what} was taken: ${stdout.trim()}`);
    if (!stderr.includes("ValidatingAdmissionPolicy"))
      throw new Error(`refused, but not by Berth's policy: ${stderr.trim()}`);
  }
  tour.say(
    `an editor of ${otherTeam} is refused a pod on ${node.metadata.name} that ${Object.keys(attempts).join("; that ")}`,
  );
  await networkPolicy(stage);
}

interface Policy extends KubeObject {
  readonly spec: {
    readonly podSelector: object;
    readonly policyTypes: readonly string[];
    readonly ingress: readonly { readonly from?: readonly object[]; readonly ports?: readonly object[] }[];
    readonly egress: readonly object[];
  };
}

/** The nodes here have no CNI that enforces policies: what is rendered is looked at instead. */
async function networkPolicy(stage: Stage): Promise<void> {
  const uid = (await getDeployment(stage, chat)).metadata.uid ?? "";
  const path = apiPath("networking.k8s.io/v1", "networkpolicies", { namespace: team });
  const { items } = await stage.cluster.admin.list<Policy>(`${path}?labelSelector=${labels.deploymentUID}%3D${uid}`);
  const [policy] = items;
  const expected = {
    podSelector: { matchLabels: { [labels.deploymentUID]: uid } },
    policyTypes: ["Ingress", "Egress"],
    ingress: [{ from: [{ podSelector: {} }], ports: [{ protocol: "TCP", port: 8000 }] }],
  };
  const { podSelector, policyTypes, ingress, egress } = policy?.spec ?? { egress: [] };
  const canonical = (value: unknown): string =>
    JSON.stringify(value, (_key, one: unknown) =>
      isRecord(one) ? Object.fromEntries(Object.entries(one).sort()) : one,
    );
  if (canonical({ podSelector, policyTypes, ingress }) !== canonical(expected))
    throw new Error(`the NetworkPolicy is ${JSON.stringify(policy?.spec)}`);
  if (egress.length !== 2 || !JSON.stringify(egress).includes(systemNamespace))
    throw new Error(`egress is ${JSON.stringify(egress)}`);
  const why = stage.material.engine
    ? "the nodes here have no CNI that would"
    : "whether this cluster's CNI does was not tried";
  stage.tour.say(
    `the NetworkPolicy of ${chat} lets in its own namespace alone and out only DNS and the store; it is looked at, not enforced: ${why}`,
  );
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
