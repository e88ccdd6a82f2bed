import assert from "node:assert/strict";
import { test } from "node:test";
import type { CapacityClaim } from "../../../operator/api/capacityclaim.ts";
import { labels } from "../../../operator/api/keys.ts";
import type { ControllerRevision } from "../../../operator/api/kubernetes.ts";
import { desiredPool, desiredRevision } from "../../../operator/plan/deployment/children.ts";
import type { PinnedTemplate } from "../../../operator/plan/deployment/seen.ts";
import { REVISION_LABEL } from "../../../operator/plan/deployment/template.ts";
import { decideGrant } from "../../../operator/plan/store/grant.ts";
import type { GrantSeen } from "../../../operator/plan/store/grant.ts";
import { POOL_UID, UID, deploymentOf, nodeTypeOf } from "../deployment/observed.ts";

const deployment = deploymentOf();
const bare = desiredPool(deployment, nodeTypeOf(), 1);
const pool = { ...bare, metadata: { ...bare.metadata, uid: POOL_UID } };
const nodeClaim = { apiVersion: "karpenter.sh/v1", kind: "NodeClaim", name: "berth-x", uid: "nodeclaim-uid" };

function pinned(label: string, path: string, digest: string): PinnedTemplate {
  const own = { [labels.deploymentUID]: UID, [labels.poolUID]: POOL_UID, [REVISION_LABEL]: label };
  return {
    inputsHash: label,
    podTemplate: { metadata: { labels: own }, spec: { nodeSelector: { [labels.pool]: POOL_UID } } },
    model: { digest, revision: 1, path },
    engine: { image: "vllm", args: [] },
    capacity: { contextLength: 1, kvCacheTokens: 1, maxConcurrency: 1 },
  };
}

const revision = (number: number, label: string, path: string, digest = `sha256:${label}`): ControllerRevision =>
  desiredRevision(deployment, number, pinned(label, path, digest));

const MODEL = "aaaaaaaa-1111-4111-8111-111111111111";
const revisions = [revision(1, "old", `models/ns-uid/${MODEL}/1`), revision(2, "new", `models/ns-uid/${MODEL}/2`)];

function claim(spec: Partial<CapacityClaim["spec"]> = {}, status: CapacityClaim["status"] = {}): CapacityClaim {
  const providerRef = { provider: "static", kind: "Node", name: "node-1", uid: "node-uid" } as const;
  const where = { deploymentUID: UID, deploymentName: "chat", namespace: "team", poolUID: POOL_UID };
  return { metadata: { name: "node-uid-1" }, spec: { ...where, sku: "l4", gpus: 1, providerRef, ...spec }, status };
}

const podMeta = { name: "chat-0", namespace: "team", uid: "pod-uid", labels: { [REVISION_LABEL]: "new" } };
const good: GrantSeen = {
  identity: { namespace: "team", podName: "chat-0", podUID: "pod-uid" },
  pod: { metadata: podMeta, spec: { nodeName: "node-1" } },
  node: { metadata: { name: "node-1", uid: "node-uid", labels: { [labels.pool]: POOL_UID } } },
  claims: [claim()],
  namespace: { metadata: { name: "team", uid: "ns-uid" } },
  pool,
  deployment,
  revisions,
};

const podWith = (label: string | undefined): GrantSeen["pod"] => ({
  metadata: { ...podMeta, labels: label === undefined ? {} : { [REVISION_LABEL]: label } },
  spec: { nodeName: "node-1" },
});

const karpenterNode = { metadata: { ...good.node?.metadata, name: "node-1", ownerReferences: [nodeClaim] } };
const karpenterClaim = claim({
  providerRef: { provider: "karpenter", kind: "NodeClaim", name: nodeClaim.name, uid: nodeClaim.uid },
});

const granted: Record<string, { seen: Partial<GrantSeen>; folder: string; digest: string }> = {
  "the newest revision": { seen: {}, folder: `models/ns-uid/${MODEL}/2/`, digest: "sha256:new" },
  "an earlier one, to a pod that still runs it": {
    seen: { pod: podWith("old") },
    folder: `models/ns-uid/${MODEL}/1/`,
    digest: "sha256:old",
  },
  "a model of the catalogue": {
    seen: { revisions: [revision(3, "new", `models/cluster/${MODEL}/7`)] },
    folder: `models/cluster/${MODEL}/7/`,
    digest: "sha256:new",
  },
  "a model on a node of Karpenter's": {
    seen: { node: karpenterNode, claims: [karpenterClaim] },
    folder: `models/ns-uid/${MODEL}/2/`,
    digest: "sha256:new",
  },
  "a model after an earlier claim of the same node": {
    seen: { claims: [claim({}, { releasedAt: { time: "2026-01-01T00:00:00Z", evidence: "x" } }), claim()] },
    folder: `models/ns-uid/${MODEL}/2/`,
    digest: "sha256:new",
  },
};

for (const [what, { seen, folder, digest }] of Object.entries(granted)) {
  test(`a pod may read ${what}`, () => {
    assert.deepEqual(decideGrant({ ...good, ...seen }), { grant: { folder, digest } });
  });
}

const otherPool = { ...pool, metadata: { ...pool.metadata, uid: "other-pool" } };
const otherNode = { metadata: { ...good.node?.metadata, name: "node-1", uid: "another-node" } };
const released = claim({}, { releasedAt: { time: "2026-01-01T00:00:00Z", evidence: "x" } });
const foreignRevision = {
  ...revisions[1],
  metadata: { ...revisions[1]?.metadata, name: "mine" },
} as ControllerRevision;

const refused: Record<string, { seen: Partial<GrantSeen>; reason: string }> = {
  "a pod that is gone": { seen: { pod: undefined }, reason: "PodGone" },
  "another pod of the same name": {
    seen: { identity: { ...good.identity, podUID: "earlier-pod" } },
    reason: "PodGone",
  },
  "a pod that has ended": {
    seen: { pod: { ...good.pod, metadata: podMeta, status: { phase: "Failed" } } },
    reason: "PodGone",
  },
  "a pod without a node": { seen: { pod: { metadata: podMeta, spec: {} } }, reason: "NotScheduled" },
  "a node that is gone": { seen: { node: undefined }, reason: "NodeNotDedicated" },
  "a node without the pool's label": {
    seen: { node: { metadata: { name: "node-1", uid: "node-uid" } } },
    reason: "NodeNotDedicated",
  },
  "a label without a claim": { seen: { claims: [] }, reason: "NodeNotDedicated" },
  "a claim of another node": { seen: { node: otherNode }, reason: "NodeNotDedicated" },
  "a claim of another pool": { seen: { claims: [claim({ poolUID: "other" })] }, reason: "NodeNotDedicated" },
  "a claim that has ended": { seen: { claims: [released] }, reason: "NodeNotDedicated" },
  "a NodeClaim that does not own the node": {
    seen: { node: { metadata: { ...karpenterNode.metadata, ownerReferences: [] } }, claims: [karpenterClaim] },
    reason: "NodeNotDedicated",
  },
  "a node of another namespace": {
    seen: { claims: [claim({ namespace: "other-team" })] },
    reason: "OtherNamespace",
  },
  "a pool that is gone": { seen: { pool: undefined }, reason: "DeploymentGone" },
  "a pool that was made anew": { seen: { pool: otherPool }, reason: "DeploymentGone" },
  "a deployment that is gone": { seen: { deployment: undefined }, reason: "DeploymentGone" },
  "a deployment that was made anew": {
    seen: { deployment: deploymentOf({}, { uid: "new-uid" }) },
    reason: "DeploymentGone",
  },
  "a label that no revision has": { seen: { pod: podWith("other") }, reason: "RevisionUnknown" },
  "a pod without the label": { seen: { pod: podWith(undefined) }, reason: "RevisionUnknown" },
  "a revision that Berth did not name": { seen: { revisions: [foreignRevision] }, reason: "RevisionUnknown" },
  "a model of another namespace": {
    seen: { revisions: [revision(2, "new", `models/other-ns/${MODEL}/1`)] },
    reason: "ForeignModel",
  },
  "a path that leaves the models": {
    seen: { revisions: [revision(2, "new", `models/ns-uid/../../ledger/1`)] },
    reason: "ForeignModel",
  },
  "a namespace whose UID is not known": { seen: { namespace: undefined }, reason: "ForeignModel" },
};

for (const [what, { seen, reason }] of Object.entries(refused)) {
  test(`nothing is granted to ${what}`, () => {
    const decision = decideGrant({ ...good, ...seen });
    assert.ok("refusal" in decision);
    assert.equal(decision.refusal.reason, reason, decision.refusal.message);
    assert.match(decision.refusal.message, /: /, "says what to do");
    for (const name of ["other-team", "other-ns", POOL_UID]) assert.ok(!decision.refusal.message.includes(name));
  });
}
