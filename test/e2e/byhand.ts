// A vLLM that nobody but the test starts: a bare pod on a GPU node, its model mounted from this machine by the device
// plugin. What it answers is what a deployment must answer.
import { eventually } from "../cluster/eventually.ts";
import { apiPath } from "../cluster/client.ts";
import { embedding } from "./requests.ts";
import { isReady, paths } from "./objects.ts";
import type { RunningPod } from "./objects.ts";
import { engineReference, otherTeam } from "./names.ts";
import type { Stage } from "./stage.ts";

export const sentence = "A berth is a place where one ship lies, and no other.";
const name = "by-hand";
const node = "gpu-3";

const pod = {
  apiVersion: "v1",
  kind: "Pod",
  metadata: { name, namespace: otherTeam },
  spec: {
    nodeSelector: { "kubernetes.io/hostname": node },
    tolerations: [{ key: "nvidia.com/gpu", operator: "Exists", effect: "NoSchedule" }],
    terminationGracePeriodSeconds: 1,
    automountServiceAccountToken: false,
    enableServiceLinks: false,
    securityContext: {
      runAsNonRoot: true,
      runAsUser: 2000,
      runAsGroup: 0,
      fsGroup: 0,
      seccompProfile: { type: "RuntimeDefault" },
    },
    containers: [
      {
        name: "vllm",
        image: engineReference,
        imagePullPolicy: "Never",
        args: ["/by-hand", "--served-model-name", name, "--runner", "pooling", "--enforce-eager", "--port", "8000"],
        env: [
          { name: "HF_HUB_OFFLINE", value: "1" },
          { name: "HOME", value: "/tmp" },
          { name: "VLLM_NO_USAGE_STATS", value: "1" },
        ],
        readinessProbe: { httpGet: { path: "/health", port: 8000 }, periodSeconds: 1 },
        securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: ["ALL"] } },
        resources: { limits: { "nvidia.com/gpu": "1" } },
        volumeMounts: [
          { name: "tmp", mountPath: "/tmp" },
          { name: "shm", mountPath: "/dev/shm" },
        ],
      },
    ],
    volumes: [
      { name: "tmp", emptyDir: {} },
      { name: "shm", emptyDir: { medium: "Memory" } },
    ],
  },
};

/** The embedding of `sentence`; the pod and the mount of the model are gone afterwards. */
export async function askByHand(stage: Stage): Promise<readonly number[]> {
  const { cluster, real, material } = stage;
  const { allocation } = real.node(node);
  if (!allocation) throw new Error(`${node} has no device plugin`);
  const usual = allocation.current;
  const mounts = [...usual.mounts, { hostPath: material.models.minilm, containerPath: "/by-hand" }];
  allocation.current = { ...usual, mounts };
  try {
    await cluster.admin.create(paths.pods(otherTeam), pod);
    const path = apiPath("v1", "pods", { namespace: otherTeam, name });
    const running = await eventually(
      async () => {
        const live = await cluster.admin.get<RunningPod>(path);
        return isReady(live) ? live : undefined;
      },
      { what: "vLLM by hand answers", deadlineMs: 180_000, recheckMs: 500, logDir: cluster.logDir },
    );
    const vector = await embedding(`http://${running.status.podIP ?? ""}:8000`, name, sentence);
    await cluster.admin.remove(path);
    await eventually(async () => (await cluster.admin.find(path)) === undefined, {
      what: "vLLM by hand is gone",
      deadlineMs: 30_000,
    });
    return vector;
  } finally {
    allocation.current = usual;
  }
}
