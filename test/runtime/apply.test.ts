import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { TestContext } from "node:test";

import type { KubeObject, Resource } from "../../operator/ports.ts";
import { newApplier } from "../../operator/runtime/apply.ts";
import { canonicalJson, holds, quantityOf } from "../../operator/runtime/compare.ts";
import { ConflictError, TerminalError, fieldOwnersOf } from "../../operator/runtime/errors.ts";
import type { Reflector } from "../../operator/runtime/reflector.ts";
import { apiPath } from "../cluster/client.ts";
import { eventually } from "../cluster/eventually.ts";
import { requires, testCluster, testNamespace } from "../cluster/session.ts";
import { tally, writeVerbs } from "../cluster/audit.ts";
import { newRig } from "./rig.ts";
import type { Rig } from "./rig.ts";

interface Workload extends KubeObject {
  readonly spec?: object;
  readonly status?: { readonly observedGeneration?: number; readonly replicas?: number };
}

const resource = (group: string, plural: string, kind: string): Resource<Workload> => ({
  group,
  version: "v1",
  plural,
  kind,
  namespaced: true,
});
const deployments = resource("apps", "deployments", "Deployment");
const services = resource("", "services", "Service");
const policies = resource("networking.k8s.io", "networkpolicies", "NetworkPolicy");
const budgets = resource("policy", "poddisruptionbudgets", "PodDisruptionBudget");
const pods = resource("", "pods", "Pod");

const labels = { app: "server" };
const server = {
  name: "server",
  image: "registry.invalid/server:1",
  args: ["--port", "8000"],
  env: [
    { name: "EMPTY", value: "" },
    { name: "NODE", valueFrom: { fieldRef: { fieldPath: "spec.nodeName" } } },
  ],
  ports: [{ name: "http", containerPort: 8000 }],
  resources: { limits: { cpu: "1000m", memory: "2048Mi", "nvidia.com/gpu": 1 }, requests: { cpu: 0.5, memory: "1Gi" } },
  readinessProbe: { httpGet: { path: "/health", port: "http" }, failureThreshold: 3 },
  securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: ["ALL"] } },
  volumeMounts: [
    { name: "shm", mountPath: "/dev/shm" },
    { name: "models", mountPath: "/models", readOnly: true },
  ],
};

function deployment(namespace: string, image = server.image): Workload {
  const template = {
    metadata: { labels },
    spec: {
      enableServiceLinks: false,
      automountServiceAccountToken: false,
      tolerations: [{ key: "dedicated", operator: "Equal", value: "x", effect: "NoSchedule" }],
      containers: [{ ...server, image }],
      volumes: [
        { name: "shm", emptyDir: { medium: "Memory", sizeLimit: "1024Mi" } },
        { name: "models", emptyDir: {} },
      ],
    },
  };
  const strategy = { type: "RollingUpdate", rollingUpdate: { maxSurge: 0, maxUnavailable: 1 } };
  const spec = { replicas: 2, selector: { matchLabels: labels }, strategy, template };
  return { metadata: { name: "server", namespace, labels }, spec };
}

const others = (namespace: string): readonly (readonly [Resource<Workload>, Workload])[] => {
  const metadata = { name: "server", namespace, labels };
  const rule = { ports: [{ port: 8000 }], from: [{ podSelector: {} }] };
  return [
    [services, { metadata, spec: { selector: labels, ports: [{ name: "http", port: 80, targetPort: "http" }] } }],
    [policies, { metadata, spec: { podSelector: { matchLabels: labels }, policyTypes: ["Ingress"], ingress: [rule] } }],
    [budgets, { metadata, spec: { maxUnavailable: 1, selector: { matchLabels: labels } } }],
  ];
};

async function newScene(t: TestContext) {
  const cluster = await testCluster();
  const namespace = await testNamespace(t);
  const userAgent = `apply-${namespace}`;
  const rig = newRig(t, cluster, { userAgent });
  const applier = newApplier({
    writer: rig.kube,
    hashAnnotation: "runtime.test/applied-hash",
    manager: "runtime-test",
  });
  return { cluster, namespace, userAgent, rig, applier };
}

async function follow(rig: Rig, namespace: string, wanted: Resource<Workload>): Promise<Reflector<Workload>> {
  const reflector = rig.reflector({ resource: wanted, namespace });
  reflector.start();
  await reflector.synced;
  return reflector;
}

describe("server-side apply", { concurrency: 6 }, () => {
  test("makes no request for what is true already, after defaulting, status changes and a restart", async (t) => {
    const { cluster, namespace, applier, rig, userAgent } = await newScene(t);
    const wanted = [[deployments, deployment(namespace)] as const, ...others(namespace)];
    for (const [kind, body] of wanted) assert.equal((await applier.apply(kind, body, undefined)).wrote, true);
    const stored = await follow(rig, namespace, deployments);
    // The deployment controller fills the status in: the object moves on without us.
    if (cluster.has("kwok")) {
      await eventually(() => (stored.store.get(namespace, "server")?.status?.replicas ?? 0) > 0);
    }
    const mark = cluster.has("audit") ? await cluster.audit.mark() : undefined;
    for (const [kind, body] of wanted) {
      const cache = await follow(rig, namespace, kind);
      const applied = await applier.apply(kind, body, cache.store.get(namespace, "server"));
      assert.equal(applied.wrote, false, kind.kind);
    }
    if (mark) assert.deepEqual(tally(await cluster.audit.since(mark, { userAgent, verbs: writeVerbs })), {});
  });

  test("restores drift once, and writes a changed body once", async (t) => {
    const { cluster, namespace, applier, rig } = await newScene(t);
    const { store } = await follow(rig, namespace, deployments);
    const body = deployment(namespace);
    await applier.apply(deployments, body, undefined);
    const path = apiPath("apps/v1", "deployments", { namespace, name: "server" });
    const live = (): Workload | undefined => store.get(namespace, "server");
    await cluster.admin.patch(path, { spec: { replicas: 5 } });
    await eventually(() => !holds({ spec: { replicas: 2 } }, live()), { what: "the drift is seen" });
    assert.equal((await applier.apply(deployments, body, live())).wrote, true);
    assert.ok(holds({ spec: { replicas: 2 } }, live()));
    assert.equal((await applier.apply(deployments, body, live())).wrote, false);
    const next = deployment(namespace, "registry.invalid/server:2");
    assert.equal((await applier.apply(deployments, next, live())).wrote, true);
    assert.equal((await applier.apply(deployments, next, live())).wrote, false);
  });

  test("leaves fields of others alone and forgets its own that it no longer wants", async (t) => {
    const { cluster, namespace, applier, rig } = await newScene(t);
    const { store } = await follow(rig, namespace, services);
    const body = (extra: object): Workload => ({
      metadata: { name: "svc", namespace, annotations: { "runtime.test/mine": "1", ...extra } },
      spec: { ports: [{ port: 80 }] },
    });
    await applier.apply(services, body({ "runtime.test/later-gone": "1" }), undefined);
    const path = apiPath("v1", "services", { namespace, name: "svc" });
    await cluster.admin.patch(path, { metadata: { annotations: { "runtime.test/theirs": "1" } } });
    await eventually(() => store.get(namespace, "svc")?.metadata.annotations?.["runtime.test/theirs"]);
    const { object, wrote } = await applier.apply(services, body({}), store.get(namespace, "svc"));
    assert.equal(wrote, true);
    const { annotations = {} } = object.metadata;
    assert.deepEqual(Object.keys(annotations).sort(), [
      "runtime.test/applied-hash",
      "runtime.test/mine",
      "runtime.test/theirs",
    ]);
    assert.equal((await applier.apply(services, body({}), object)).wrote, false);
  });

  test("does not make a deleted object again, and says so of one that must exist", async (t) => {
    const { cluster, namespace, applier } = await newScene(t);
    const body: Workload = { metadata: { name: "svc", namespace }, spec: { ports: [{ port: 80 }] } };
    const { object } = await applier.apply(services, body, undefined);
    await cluster.admin.remove(apiPath("v1", "services", { namespace, name: "svc" }));
    const changed = { ...body, spec: { ports: [{ port: 81 }] } };
    await assert.rejects(applier.apply(services, changed, object), ConflictError);
    await assert.rejects(applier.apply(services, changed, undefined, { mustExist: true }), ConflictError);
    assert.equal(await cluster.admin.find(apiPath("v1", "services", { namespace, name: "svc" })), undefined);
  });

  test("names the owner of a field where it may not force, and refuses a field that does not exist", async (t) => {
    const { namespace, applier } = await newScene(t);
    const body = (port: number): Workload => ({
      metadata: { name: "svc", namespace },
      spec: { type: "ClusterIP", ports: [{ port }], sessionAffinity: port === 80 ? "None" : "ClientIP" },
    });
    await applier.apply(services, body(80), undefined, { manager: "somebody" });
    await assert.rejects(applier.apply(services, body(81), undefined, { force: false }), (error: unknown) => {
      assert.ok(error instanceof ConflictError);
      assert.match(fieldOwnersOf(error).join(), /somebody/);
      return true;
    });
    const unknown: Workload = { metadata: { name: "svc", namespace }, spec: { prots: [] } };
    await assert.rejects(applier.apply(services, unknown, undefined), TerminalError);
  });

  test("patches only the status fields that changed, and none when none did", async (t) => {
    const { cluster, namespace, applier, rig, userAgent } = await newScene(t);
    if (!(await requires(t, "audit"))) return;
    const { store } = await follow(rig, namespace, pods);
    const spec = { containers: [{ name: "c", image: "registry.invalid/x" }], schedulingGates: [{ name: "test/hold" }] };
    await eventually(() => applier.apply(pods, { metadata: { name: "p", namespace }, spec }, undefined), {
      what: "the default service account is there",
    });
    const live = (): Workload => store.get(namespace, "p") ?? assert.fail("the pod is not in the cache");
    const mark = await cluster.audit.mark();
    const status = { message: "held", reason: "Gate", nominatedNodeName: undefined };
    assert.equal((await applier.patchStatusIfChanged(pods, live(), status)).wrote, true);
    assert.equal((await applier.patchStatusIfChanged(pods, live(), status)).wrote, false);
    const { object } = await applier.patchStatusIfChanged(
      pods,
      live(),
      { message: "x", reason: undefined },
      { lock: true },
    );
    assert.deepEqual(
      [Reflect.get(object.status ?? {}, "message"), Reflect.get(object.status ?? {}, "reason")],
      ["x", undefined],
    );
    const stale = { ...live(), metadata: { ...live().metadata, resourceVersion: "1" } };
    await assert.rejects(applier.patchStatusIfChanged(pods, stale, { message: "y" }, { lock: true }), ConflictError);
    assert.deepEqual(tally(await cluster.audit.since(mark, { userAgent, verbs: writeVerbs })), {
      "patch pods/status 200": 2,
      "patch pods/status 409": 1,
    });
  });
});

describe("comparison of wanted and live", () => {
  const cases: readonly (readonly [string, unknown, unknown, boolean])[] = [
    ["defaulted fields", { a: 1 }, { a: 1, b: 2 }, true],
    ["a changed value", { a: 1 }, { a: 2 }, false],
    ["a missing value", { a: 1 }, {}, false],
    ["omitted empty values", { a: "", b: [], c: {}, d: false, e: 0, f: null }, {}, true],
    ["an empty value that was filled", { a: "" }, { a: "x" }, false],
    ["quantities", { limits: { cpu: "1000m", memory: "1Gi" } }, { limits: { cpu: "1", memory: "1024Mi" } }, true],
    ["a number for a quantity", { limits: { "nvidia.com/gpu": 1 } }, { limits: { "nvidia.com/gpu": "1" } }, true],
    ["another quantity", { limits: { cpu: "1" } }, { limits: { cpu: "1001m" } }, false],
    ["a string that only looks like a quantity", { value: "1000m" }, { value: "1" }, false],
    ["foreign entries of a list map", [{ name: "a", v: 1 }], [{ name: "b" }, { name: "a", v: 1, w: 2 }], true],
    ["a lost entry of a list map", [{ name: "a" }, { name: "b" }], [{ name: "a" }], false],
    ["ports by number and default protocol", [{ containerPort: 1 }], [{ containerPort: 1, protocol: "TCP" }], true],
    [
      "one port of two protocols",
      [{ containerPort: 1, protocol: "UDP" }],
      [{ containerPort: 1, protocol: "TCP" }],
      false,
    ],
    [
      "mounts of one volume",
      [
        { name: "v", mountPath: "/a" },
        { name: "v", mountPath: "/b" },
      ],
      [{ name: "v", mountPath: "/a" }],
      false,
    ],
    ["a longer atomic list", { args: ["a"] }, { args: ["a", "b"] }, false],
    ["a foreign toleration", { tolerations: [{ key: "a" }] }, { tolerations: [{ key: "a" }, { key: "b" }] }, false],
    ["a port opened by hand", { ports: [{ port: 1 }] }, { ports: [{ port: 1 }, { port: 2 }] }, false],
    ["finalizers of others", { finalizers: ["a"] }, { finalizers: ["b", "a"] }, true],
    ["a list in place of an object", { a: { b: 1 } }, { a: [] }, false],
    ["an object in place of a list", { a: [1] }, { a: { 0: 1 } }, false],
  ];
  for (const [name, wanted, live, expected] of cases) {
    test(`${name}: ${expected ? "no drift" : "drift"}`, () => assert.equal(holds(wanted, live), expected));
  }

  test("reads quantities", () => {
    const read = ["1", "1500m", "1.5", "1Ki", "2e3", "1k", 3, "x", "1x", ""].map(quantityOf);
    assert.deepEqual(read, [1, 1.5, 1.5, 1024, 2000, 1000, 3, undefined, undefined, undefined]);
  });

  test("writes equal objects as equal text", () => {
    assert.equal(canonicalJson({ b: [{ y: 1, x: undefined }], a: null }), '{"a":null,"b":[{"y":1}]}');
  });
});
