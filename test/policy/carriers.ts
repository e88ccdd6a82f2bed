// Pod specs that reach for dedicated nodes and some that do not, and every built-in way to bring a pod into being.
import { apiPath } from "../cluster/client.ts";
import type { ApiClient, KubeObject } from "../cluster/client.ts";
import { container, pod, poolLabel, taintKey } from "./installed.ts";

const requiredAffinity = (...terms: object[]): object => ({
  nodeAffinity: { requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms: terms } },
});
const expression = (key: string, operator: string, values?: string[]): object => ({
  matchExpressions: [{ key, operator, ...(values && { values }) }],
});
export const everyTaint = { tolerations: [{ operator: "Exists" }] };

export const refused: Record<string, { spec: object; words: RegExp }> = {
  "tolerates the taint by key and value": {
    spec: { tolerations: [{ key: taintKey, operator: "Equal", value: "pool-1", effect: "NoSchedule" }] },
    words: /remove the toleration/,
  },
  "tolerates the taint by key": {
    spec: { tolerations: [{ key: taintKey, operator: "Exists" }] },
    words: /remove the toleration/,
  },
  "tolerates it by key although its affinity keeps off": {
    spec: {
      tolerations: [{ key: taintKey, operator: "Exists" }],
      affinity: requiredAffinity(expression(poolLabel, "DoesNotExist")),
    },
    words: /remove the toleration/,
  },
  "tolerates every taint": { spec: everyTaint, words: /or of every taint/ },
  "tolerates every taint of one effect": {
    spec: { tolerations: [{ operator: "Exists", effect: "NoExecute" }] },
    words: /or of every taint/,
  },
  "tolerates every taint, and only one term of its affinity keeps off": {
    spec: {
      ...everyTaint,
      affinity: requiredAffinity(expression(poolLabel, "DoesNotExist"), expression("other", "Exists")),
    },
    words: /or of every taint/,
  },
  "tolerates every taint, and its affinity keeps off only by preference": {
    spec: {
      ...everyTaint,
      affinity: {
        nodeAffinity: {
          preferredDuringSchedulingIgnoredDuringExecution: [
            { weight: 100, preference: expression(poolLabel, "DoesNotExist") },
          ],
        },
      },
    },
    words: /or of every taint/,
  },
  "selects the label": { spec: { nodeSelector: { [poolLabel]: "pool-1" } }, words: /remove the node selector/ },
  "requires the label by affinity": {
    spec: { affinity: requiredAffinity(expression(poolLabel, "In", ["pool-1"])) },
    words: /remove the node selector or affinity/,
  },
  "requires the label to exist": {
    spec: { affinity: requiredAffinity(expression("other", "Exists"), expression(poolLabel, "Exists")) },
    words: /remove the node selector or affinity/,
  },
  "names its node": { spec: { nodeName: "node-1" }, words: /left to the scheduler/ },
};

export const accepted: Record<string, object> = {
  "says nothing": {},
  "tolerates other taints by key": { tolerations: [{ key: "nvidia.com/gpu", operator: "Exists" }] },
  "tolerates every taint but keeps off by affinity": {
    ...everyTaint,
    affinity: requiredAffinity(expression(poolLabel, "DoesNotExist")),
  },
  "keeps off in every term": {
    ...everyTaint,
    affinity: requiredAffinity(expression(poolLabel, "DoesNotExist"), {
      matchExpressions: [
        { key: "a", operator: "Exists" },
        { key: poolLabel, operator: "DoesNotExist" },
      ],
    }),
  },
  "selects another label": { nodeSelector: { "kubernetes.io/os": "linux" } },
};

export type Carrier = (spec: object) => { apiVersion: string; resource: string; object: object };

export const podSpec = (spec: object): object => ({ containers: [container], ...spec });
export const template = (spec: object): object => ({ metadata: { labels: { app: "t" } }, spec: podSpec(spec) });
export const selector = { matchLabels: { app: "t" } };
export const metadata = { generateName: "t-" };
const onceOnly = { restartPolicy: "Never" };

/** Every built-in way to bring a pod into being. */
export const carriers: Record<string, Carrier> = {
  Pod: (spec) => ({ apiVersion: "v1", resource: "pods", object: pod(spec) }),
  Deployment: (spec) => ({
    apiVersion: "apps/v1",
    resource: "deployments",
    object: { kind: "Deployment", metadata, spec: { selector, template: template(spec) } },
  }),
  ReplicaSet: (spec) => ({
    apiVersion: "apps/v1",
    resource: "replicasets",
    object: { kind: "ReplicaSet", metadata, spec: { selector, template: template(spec) } },
  }),
  StatefulSet: (spec) => ({
    apiVersion: "apps/v1",
    resource: "statefulsets",
    object: { kind: "StatefulSet", metadata, spec: { selector, serviceName: "t", template: template(spec) } },
  }),
  DaemonSet: (spec) => ({
    apiVersion: "apps/v1",
    resource: "daemonsets",
    object: { kind: "DaemonSet", metadata, spec: { selector, template: template(spec) } },
  }),
  Job: (spec) => ({
    apiVersion: "batch/v1",
    resource: "jobs",
    object: { kind: "Job", metadata, spec: { template: { spec: { ...podSpec(spec), ...onceOnly } } } },
  }),
  CronJob: (spec) => ({
    apiVersion: "batch/v1",
    resource: "cronjobs",
    object: {
      kind: "CronJob",
      metadata,
      spec: {
        schedule: "0 0 * * *",
        jobTemplate: { spec: { template: { spec: { ...podSpec(spec), ...onceOnly } } } },
      },
    },
  }),
  ReplicationController: (spec) => ({
    apiVersion: "v1",
    resource: "replicationcontrollers",
    object: { kind: "ReplicationController", metadata, spec: { selector: { app: "t" }, template: template(spec) } },
  }),
};

export function carry(client: ApiClient, namespace: string, carrier: Carrier, spec: object): Promise<KubeObject> {
  const { apiVersion, resource, object } = carrier(spec);
  return client.create(`${apiPath(apiVersion, resource, { namespace })}?dryRun=All`, { apiVersion, ...object });
}
