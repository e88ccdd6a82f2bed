// What users read: conditions, phases, counts and events of a deployment that has its nodes.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { Pod, Workload } from "../../../operator/api/kubernetes.ts";
import { planDeployment } from "../../../operator/plan/deployment/plan.ts";
import { currentRevision } from "../../../operator/plan/deployment/revisions.ts";
import { revisionLabelOf } from "../../../operator/plan/deployment/rollout.ts";
import type { Seen } from "../../../operator/plan/deployment/seen.ts";
import { NOON, changed, deploymentOf, instant, leaving, observed, podOf, poolOf, serving } from "./observed.ts";
import { conditionOf, messageOf, writes } from "./read.ts";

type Status = NonNullable<Pod["status"]>;

/** One replica whose pod is in this state. */
function withPod(status: Status, difference: Partial<Seen> = {}): Seen {
  const seen = serving({ replicas: 1 });
  const revision = revisionLabelOf(currentRevision(seen));
  return { ...seen, pods: [podOf("pod-0", { status, revision })], ...difference };
}

function waitingFor(reason: string, message?: string): Status {
  return { phase: "Pending", containerStatuses: [{ name: "vllm", state: { waiting: { reason, message } } }] };
}

const crashed = { exitCode: 1, message: "CUDA out of memory" };
const failing: readonly (readonly [string, Status, RegExp])[] = [
  ["an image that cannot be pulled", waitingFor("ImagePullBackOff", "403 from registry"), /ImagePullBackOff: 403 from/],
  [
    "a crash loop",
    {
      containerStatuses: [
        { name: "vllm", ...waitingFor("CrashLoopBackOff").containerStatuses?.[0], lastState: { terminated: crashed } },
      ],
    },
    /exit code 1: GPU memory did not suffice .* \(CUDA out of memory\); CrashLoopBackOff/,
  ],
  ["a container that ended", { containerStatuses: [{ name: "vllm", state: { terminated: crashed } }] }, /exit code 1/],
  [
    "a container between two crashes",
    {
      containerStatuses: [
        { name: "vllm", ready: false, restartCount: 3, state: { running: {} }, lastState: { terminated: crashed } },
      ],
    },
    /exit code 1: GPU memory did not suffice .*; started again, restarts: 3/,
  ],
  [
    "an engine that somebody killed",
    {
      containerStatuses: [
        {
          name: "vllm",
          ready: false,
          restartCount: 1,
          state: { running: {} },
          lastState: { terminated: { exitCode: 137, reason: "Error", message: "INFO: Started server process" } },
        },
      ],
    },
    /container vllm: killed \(exit code 137, SIGKILL\); started again, restarts: 1$/,
  ],
  [
    "an engine whose server ended with 0, as vLLM's does when its engine dies",
    {
      containerStatuses: [
        {
          name: "vllm",
          ready: false,
          restartCount: 1,
          state: { running: {} },
          lastState: { terminated: { exitCode: 0, reason: "Completed", message: "RuntimeError: NCCL error: 6" } },
        },
      ],
    },
    /container vllm: ended with exit code 0: .*RuntimeError: NCCL error: 6.*; started again, restarts: 1$/,
  ],
  [
    "an init step that fails",
    { initContainerStatuses: [{ name: "fetch", state: { terminated: { exitCode: 2, reason: "Error" } } }] },
    /container fetch: ended with exit code 2;/,
  ],
];

describe("a pod that fails", () => {
  for (const [name, status, says] of failing) {
    test(`${name}: PodFailing in the kubelet's words`, () => {
      const plan = planDeployment(withPod(status));
      assert.equal(conditionOf(plan, "Ready"), "False PodFailing");
      assert.equal(plan.status?.phase, "Error");
      assert.match(messageOf(plan), says);
      assert.deepEqual(
        plan.events.map(({ type, reason }) => `${type} ${reason}`),
        ["Warning PodFailing"],
      );
    });
  }

  test("refuses a model that no trusted key vouches for: SignatureInvalid in its own words, which only people can help", () => {
    const words =
      "the manifest of sha256:1 is signed with a key that is not trusted (ab); Trusted keys: cd. What to do: ask";
    const ended = { exitCode: 4, reason: "Error", message: `SignatureInvalid: ${words}` };
    const states: readonly object[] = [
      { state: { terminated: ended } },
      { state: { waiting: { reason: "CrashLoopBackOff" } }, lastState: { terminated: ended }, restartCount: 2 },
      { state: { running: {} }, lastState: { terminated: ended }, restartCount: 3 },
    ];
    for (const state of states) {
      const plan = planDeployment(withPod({ phase: "Pending", initContainerStatuses: [{ name: "fetch", ...state }] }));
      assert.equal(conditionOf(plan, "Ready"), "False SignatureInvalid");
      assert.equal(conditionOf(plan, "Stalled"), "True SignatureInvalid");
      assert.equal(plan.status?.phase, "Error");
      assert.equal(messageOf(plan), `pod pod-0 refuses Model llama: ${words}`);
      assert.deepEqual(
        plan.events.map(({ type, reason }) => `${type} ${reason}`),
        ["Warning SignatureInvalid"],
      );
    }
    // The same words of the engine, whose log anybody may write, are none of the fetch.
    const engine = planDeployment(withPod({ containerStatuses: [{ name: "fetch", state: { terminated: ended } }] }));
    assert.equal(conditionOf(engine, "Ready"), "False PodFailing");
  });

  test("that restarted and answers again is no failure", () => {
    const status: Status = {
      conditions: [{ type: "Ready", status: "True" }],
      containerStatuses: [{ name: "vllm", ready: true, restartCount: 3, lastState: { terminated: crashed } }],
    };
    assert.equal(conditionOf(planDeployment(withPod(status)), "Ready"), "True Serving");
  });

  test("cannot even be made: PodsRefused in the API server's words", () => {
    const seen = serving({ replicas: 1 }, { pods: [] });
    const message = 'pods "chat-1" is forbidden: exceeded quota: gpus';
    const conditions = [{ type: "ReplicaFailure", status: "True", reason: "FailedCreate", message }];
    const workload: Workload = { metadata: { name: "w" }, ...seen.workload, status: { conditions } };
    const plan = planDeployment({ ...seen, workload });
    assert.equal(conditionOf(plan, "Ready"), "False PodsRefused");
    assert.equal(messageOf(plan), message);
  });
});

describe("a pod without a node", () => {
  const unschedulable = (agoMs: number): Status => ({
    phase: "Pending",
    conditions: [
      {
        type: "PodScheduled",
        status: "False",
        reason: "Unschedulable",
        message: "0/3 nodes are available: 3 Insufficient memory.",
        lastTransitionTime: instant(NOON - agoMs),
      },
    ],
  });

  test("just starts at first, and is looked at again", () => {
    const plan = planDeployment(withPod(unschedulable(10_000)));
    assert.equal(conditionOf(plan, "Ready"), "False PodsStarting");
    assert.equal(plan.requeueAfterMs, 20_000);
  });

  test("is told in the scheduler's words when it lasts: PodUnschedulable", () => {
    const plan = planDeployment(withPod(unschedulable(30_000)));
    assert.equal(conditionOf(plan, "Ready"), "False PodUnschedulable");
    assert.match(messageOf(plan), /Insufficient memory/);
  });

  test("waits for its predecessor's GPUs without complaint", () => {
    const seen = withPod(unschedulable(60_000));
    const old = podOf("old", { revision: "former", metadata: leaving("old", 60_000) });
    assert.equal(conditionOf(planDeployment({ ...seen, pods: [...seen.pods, old] }), "Ready"), "False PodsStarting");
  });
});

describe("a pod that fetches its model", () => {
  const fetching: Status = { phase: "Pending", initContainerStatuses: [{ name: "fetch", state: { running: {} } }] };
  const state = { doneBytes: 45e9, totalBytes: 100e9, bytesPerSecond: 1.2e9, at: NOON / 1000 };
  const told = (fetches: Seen["fetches"], pods?: Seen["pods"]): string => {
    const seen = withPod(fetching, { fetches });
    const plan = planDeployment(pods ? { ...seen, pods } : seen);
    assert.equal(conditionOf(plan, "Ready"), "False PodsStarting");
    return messageOf(plan);
  };
  const start = "0 of 1 replicas answer with the newest template";

  test("is told with what it says of itself", () => {
    assert.equal(told({ "pod-0-uid": state }), `${start}; pod-0 fetches the model: 45 %, 1.20 GB/s, 46 s left`);
    const slow = { ...state, bytesPerSecond: 2.5e6 };
    assert.equal(told({ "pod-0-uid": slow }), `${start}; pod-0 fetches the model: 45 %, 2.5 MB/s, 6 h 7 min left`);
    const stalled = { ...state, bytesPerSecond: 0 };
    assert.equal(told({ "pod-0-uid": stalled }), `${start}; pod-0 fetches the model: 45 %`);
  });

  test("is told without figures before it said any, and those of others are not its own", () => {
    assert.equal(told({}), `${start}; pod-0 fetches the model`);
    assert.equal(told({ "pod-1-uid": state }), `${start}; pod-0 fetches the model`);
  });

  test("is counted where there are many", () => {
    const pods = ["a", "b", "c", "d", "e"].map((name) => podOf(name, { status: fetching, revision: "" }));
    const revision = withPod(fetching).pods[0]?.metadata.labels?.["berth.dev/revision"] ?? "";
    const mine = pods.map((pod) => ({
      ...pod,
      metadata: { ...pod.metadata, labels: { ...pod.metadata.labels, "berth.dev/revision": revision } },
    }));
    assert.match(told({}, mine), /; a fetches the model; b fetches the model; c fetches the model; 2 more fetch it$/);
  });

  test("is silent once it has its model", () => {
    const done: Status = {
      ...fetching,
      initContainerStatuses: [{ name: "fetch", state: { terminated: { exitCode: 0 } } }],
    };
    assert.equal(messageOf(planDeployment(withPod(done, { fetches: { "pod-0-uid": state } }))), start);
  });
});

describe("conditions and phases", () => {
  test("Ready is there from the first write, and so is everything kstatus needs", () => {
    const plan = planDeployment(observed());
    assert.deepEqual(
      plan.status?.conditions?.map(({ type, status }) => `${type} ${status}`),
      [
        "LicenseAccepted True",
        "ModelReady True",
        "CapacityReady False",
        "Serving False",
        "Reconciling True",
        "Ready False",
      ],
    );
    assert.equal(plan.status?.phase, "Creating");
    assert.equal(plan.status?.observedGeneration, 1);
  });

  test("a waiting template is said by Serving while nodes are awaited: WaitingForTemplate", () => {
    assert.equal(conditionOf(planDeployment(observed()), "Serving"), "False WaitingForTemplate");
    assert.equal(conditionOf(planDeployment(observed()), "LicenseAccepted"), "True NotRequired");
    assert.equal(conditionOf(planDeployment(observed()), "ModelReady"), "True Imported");
  });

  test("nodes without pods are Deploying", () => {
    const deployment = deploymentOf();
    const plan = planDeployment(observed({ deployment, pool: poolOf(deployment, 1) }));
    assert.equal(plan.status?.phase, "Deploying");
    assert.equal(conditionOf(plan, "CapacityReady"), "True NodesReady");
    assert.equal(conditionOf(plan, "Ready"), "False PodsStarting");
  });

  test("Ready is True only at the generation that was observed", () => {
    const plan = planDeployment(changed(serving(), { billing: { tags: { a: "b" } } }));
    assert.equal(plan.status?.observedGeneration, 2);
    assert.ok(plan.status?.conditions?.every(({ observedGeneration }) => observedGeneration === 2));
    assert.equal(conditionOf(plan, "Serving"), "True AllReplicasServing");
  });

  test("pods of the former template keep Ready False: Updating", () => {
    const seen = serving();
    const pods = seen.pods.map((pod, index) => (index === 0 ? podOf("old", { revision: "former" }) : pod));
    const plan = planDeployment({ ...seen, pods });
    assert.equal(conditionOf(plan, "Ready"), "False Updating");
    assert.equal(plan.status?.phase, "Updating");
    assert.equal(plan.status?.updatedReplicas, 1);
  });

  test("a pod of the former template that is leaving does not", () => {
    const seen = serving();
    const old = podOf("old", { revision: "former", metadata: leaving("old", 1000) });
    assert.equal(conditionOf(planDeployment({ ...seen, pods: [...seen.pods, old] }), "Ready"), "True Serving");
  });

  test("a node that is lost under a running deployment is told in the pool's words", () => {
    const seen = serving();
    const words = {
      type: "Ready",
      status: "False",
      reason: "NodeLost",
      message: "node gpu-7 does not answer",
    } as const;
    const conditions = [{ ...words, lastTransitionTime: instant(NOON), observedGeneration: 1 }];
    const plan = planDeployment({ ...seen, pool: poolOf(seen.deployment, 2, { ready: 1, conditions }) });
    assert.equal(conditionOf(plan, "Ready"), "False NodeLost");
    assert.equal(plan.status?.phase, "Scaling");
  });

  test("nothing is written and nothing told in steady state", () => {
    const plan = planDeployment(serving());
    assert.deepEqual(plan.status, serving().deployment.status);
    assert.deepEqual(plan.events, []);
    assert.ok(writes(plan).every((write) => write.op === "apply"));
    assert.equal(plan.requeueAfterMs, undefined);
  });
});
