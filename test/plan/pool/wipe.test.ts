// When a node's cache is emptied, and what counts as the proof of it.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { Node } from "../../../operator/api/kubernetes.ts";
import { lastClaimText } from "../../../operator/api/lastclaim.ts";
import { describeWrite } from "../../../operator/plan/plan.ts";
import { planWipe, wipePod, wipePodName } from "../../../operator/plan/pool/wipe.ts";
import type { WipePod, WipeSnapshot } from "../../../operator/plan/pool/wipe.ts";

const owner = { namespace: "team-a", namespaceUID: "ns-1", claimName: "berth-cache-l4", claimUID: "uid-claim" };

function node(sequence = 3, taints: NonNullable<Node["spec"]>["taints"] = []): Node {
  const last = lastClaimText({ claim: `uid-node-${String(sequence)}`, sequence, pool: "p", held: false });
  const annotations = { "berth.dev/last-claim": last };
  return { metadata: { name: "node", uid: "uid-node", resourceVersion: "9", annotations }, spec: { taints } };
}

const base: WipeSnapshot = {
  node: node(),
  owner,
  namespaceUID: "ns-1",
  claimUID: "uid-claim",
  isWanted: true,
  image: "berth:1",
  gpuResource: "nvidia.com/gpu",
  pod: undefined,
};

type Change = Partial<NonNullable<WipePod["spec"]>>;

/** The pod as Berth makes it, run to its end on the node, with what differs. */
function ended(spec: Change = {}, { phase = "Succeeded", labels = {}, message = "" } = {}): WipePod {
  const made = wipePod(base);
  const state = { terminated: { message } };
  return {
    ...made,
    metadata: { ...made.metadata, uid: "uid-pod", labels: { ...made.metadata.labels, ...labels } },
    spec: { ...made.spec, nodeName: "node", ...spec },
    status: { phase, containerStatuses: [{ name: "wipe", state }] },
  };
}

const container = (change: object): Change => ({
  containers: (wipePod(base).spec?.containers ?? []).map((one) => ({ ...one, ...change })),
});

function answer(seen: Partial<WipeSnapshot>): string[] {
  return planWipe({ ...base, ...seen })
    .steps.flat()
    .map(describeWrite);
}

const pod = `Pod team-a/${wipePodName(node())}`;

describe("a cache that another namespace's pool needs", () => {
  test("is emptied by a pod on that node, as the user that wrote it, and the node is free afterwards", () => {
    assert.deepEqual(answer({}), [`create ${pod}`]);
    assert.deepEqual(answer({ pod: ended() }), ["patch Node node", `delete ${pod}`]);
    const [patch] = planWipe({ ...base, pod: ended() }).steps.flat();
    assert.deepEqual(patch && "body" in patch && patch.body, {
      metadata: { resourceVersion: "9", annotations: { "berth.dev/cache-owner": null } },
    });
  });

  test("is reported on the node when it was emptied", () => {
    const { events } = planWipe({ ...base, pod: ended() });
    assert.deepEqual(
      events.map(({ type, reason }) => `${type} ${reason}`),
      ["Normal CacheWiped"],
    );
  });

  test("stays as long as the pod is on its way", () => {
    for (const phase of ["Pending", "Running"]) assert.deepEqual(answer({ pod: ended({}, { phase }) }), []);
  });

  test("stays where the pod failed, and says its words", () => {
    const plan = planWipe({ ...base, pod: ended({}, { phase: "Failed", message: "EACCES" }) });
    assert.equal(plan.events[0]?.reason, "CacheKept");
    assert.match(plan.events[0]?.message ?? "", /stays with its namespace: EACCES/);
    assert.deepEqual(plan.steps.flat().map(describeWrite), [`delete ${pod}`]);
    assert.ok((plan.requeueAfterMs ?? 0) >= 60_000, "it is not hammered");
  });

  test("stays where its namespace is gone or another one has its name, with what the administrator can do", () => {
    for (const namespaceUID of [undefined, "ns-2"]) {
      const plan = planWipe({ ...base, namespaceUID });
      assert.deepEqual(plan.steps, []);
      assert.match(plan.events[0]?.message ?? "", /empty its folder yourself.*berth\.dev\/cache-owner/);
    }
  });
});

describe("the claim through which a cache is emptied", () => {
  const unnoted = { ...owner, claimUID: undefined };
  const claimed = node(4, [{ key: "berth.dev/dedicated", value: "p", effect: "NoSchedule" }]);

  test("is noted as soon as it is there, by another manager than the node's claim, whose instant is metered", () => {
    for (const at of [claimed, node()]) {
      const [write, ...more] = planWipe({ ...base, node: at, owner: unnoted }).steps.flat();
      assert.ok(write?.op === "patch" && more.length === 0);
      assert.equal(write.manager, "berth");
      const metadata = { resourceVersion: "9", annotations: { "berth.dev/cache-owner": JSON.stringify(owner) } };
      assert.deepEqual(write.body, { metadata });
    }
  });

  test("is not noted where it is another namespace's of the same name", () => {
    assert.deepEqual(answer({ node: claimed, owner: unnoted, namespaceUID: "ns-2" }), []);
  });

  test("proves nothing by a pod from before it was noted", () => {
    assert.deepEqual(answer({ owner: unnoted, pod: ended() }), ["patch Node node", `delete ${pod}`]);
    const [write] = planWipe({ ...base, owner: unnoted, pod: ended() }).steps.flat();
    assert.match(JSON.stringify(write), /uid-claim/);
  });

  test("proves nothing once it is gone or made anew: the node stays, with what the administrator can do", () => {
    for (const claimUID of [undefined, "uid-claim-2"]) {
      assert.deepEqual(answer({ claimUID }), []);
      assert.deepEqual(answer({ claimUID, pod: ended() }), [`delete ${pod}`]);
      const { events } = planWipe({ ...base, claimUID });
      assert.match(
        events[0]?.message ?? "",
        /PersistentVolumeClaim team-a\/berth-cache-l4 (is gone|was made anew).*: empty/,
      );
    }
  });
});

test("nobody's wish empties a cache: not without a pool that needs it, and not of a node in use", () => {
  assert.deepEqual(answer({ isWanted: false }), []);
  assert.deepEqual(answer({ isWanted: false, pod: ended({}, { phase: "Running" }) }), [`delete ${pod}`]);
  const claimed = node(4, [{ key: "berth.dev/dedicated", value: "p", effect: "NoSchedule" }]);
  assert.deepEqual(answer({ node: claimed }), []);
  assert.deepEqual(answer({ node: claimed, pod: ended() }), [`delete ${pod}`]);
});

test("a wipe counts with all that API servers add to a container by themselves", () => {
  const added = {
    terminationMessagePath: "/dev/termination-log",
    imagePullPolicy: "IfNotPresent",
    resizePolicy: [{ resourceName: "memory", restartPolicy: "NotRequired" }],
  };
  assert.deepEqual(answer({ pod: ended(container(added)) }), ["patch Node node", `delete ${pod}`]);
});

test("a wipe that ended when nobody wants the node any more counts all the same", () => {
  assert.deepEqual(answer({ isWanted: false, pod: ended() }), ["patch Node node", `delete ${pod}`]);
});

const forged: Readonly<Record<string, WipePod>> = {
  "of another image": ended(container({ image: "busybox" })),
  "with other arguments": ended(container({ args: ["--help"] })),
  "with a command": ended(container({ command: ["true"] })),
  "with a variable": ended(container({ env: [{ name: "NODE_OPTIONS", value: "--version" }] })),
  "with sources of variables": ended(container({ envFrom: [{ secretRef: { name: "mine" } }] })),
  "with a hook": ended(container({ lifecycle: { postStart: { exec: { command: ["true"] } } } })),
  "with a probe": ended(container({ livenessProbe: { exec: { command: ["true"] } } })),
  "with a part of the volume": ended(
    container({ volumeMounts: [{ name: "cache", mountPath: "/var/cache/berth", subPath: "x" }] }),
  ),
  "with another mount": ended(container({ volumeMounts: [{ name: "cache", mountPath: "/elsewhere" }] })),
  "of another volume": ended({ volumes: [{ name: "cache", persistentVolumeClaim: { claimName: "mine" } }] }),
  "of no volume": ended({ volumes: [] }),
  "on another node": ended({ nodeName: "elsewhere" }),
  "with a second container": ended({ containers: [...(wipePod(base).spec?.containers ?? []), { name: "more" }] }),
  "with an init step": ended({ initContainers: [{}] }),
  "with a debugger": ended({ ephemeralContainers: [{}] }),
  "from before the node's last claim": ended({}, { labels: { "berth.dev/claim-sequence": "2" } }),
  "for another node": ended({}, { labels: { "berth.dev/cache-wipe": "uid-other" } }),
};

describe("no proof is a pod that ended well", () => {
  for (const [title, found] of Object.entries(forged)) {
    test(title, () => assert.deepEqual(answer({ pod: found }), [`delete ${pod}`]));
  }
});
