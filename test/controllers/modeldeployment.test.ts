// ModelDeployments on a real control plane with the whole operator: creation and change, and what users see of it.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import type { ControllerRevision } from "../../operator/api/kubernetes.ts";
import { tally, writeVerbs } from "../cluster/audit.ts";
import { eventually } from "../cluster/eventually.ts";
import { free, reasonOf } from "./sights.ts";
import { closeStage, stage, tenant, type ServingPod } from "./stage.ts";

before(async () => {
  await stage();
});
after(closeStage);

describe("create", () => {
  test("becomes Ready with few writes, and kubectl tells why and what", async (t) => {
    const at = await tenant(t);
    const { cluster } = await stage();
    const mark = await cluster.audit.mark();
    await at.deploy("chat");
    await at.kubectl("wait", "--for=condition=Ready", "mdep/chat", "--timeout=60s");
    const { status } = await at.get("chat");
    assert.equal(status?.phase, "Ready");
    assert.equal(status?.readyReplicas, 1);
    assert.match(await at.kubectl("get", "mdep", "-o", "wide"), /chat\s+Ready\s+True\s+mini\s+\S+\s+1\s+Serving/);
    const entries = await cluster.audit.since(mark, {
      verbs: writeVerbs,
      namespace: at.namespace,
      userAgent: /berth-operator/,
    });
    const patches = entries.filter(({ resource }) => resource.startsWith("modeldeployments"));
    const statuses = patches.filter(({ resource }) => resource === "modeldeployments/status");
    assert.ok(statuses.length <= 3, `${statuses.length} status patches`);
    assert.equal(patches.length - statuses.length, 1, "one write of the finalizer");
    const refused = entries.filter(({ code }) => code >= 400);
    assert.deepEqual(refused, []);
    const counts = JSON.stringify(tally(entries));
    for (const kind of ["deployments", "services", "poddisruptionbudgets", "networkpolicies", "controllerrevisions"]) {
      assert.equal(entries.filter(({ resource }) => resource === kind).length, 1, `${kind}: ${counts}`);
    }
  });

  test("tells each transition once", async (t) => {
    const at = await tenant(t);
    await at.deploy("chat");
    await at.ready("chat");
    const reasons = await eventually(async () => {
      const { items } = await at.cluster.admin.list<{
        metadata: { name: string };
        reason: string;
        regarding: { kind: string };
      }>(at.path("events"));
      const found = items.filter(({ regarding }) => regarding.kind === "ModelDeployment").map(({ reason }) => reason);
      return found.includes("Serving") && found.includes("ReplicaStarted") && found;
    });
    assert.deepEqual(reasons.filter((reason) => reason !== "Provisioning").sort(), [
      "PodsStarting",
      "ReplicaStarted",
      "Serving",
    ]);
  });

  test("waits for a model that appears later, and serves on when it is deleted", async (t) => {
    const at = await tenant(t, { model: false });
    await at.deploy("chat");
    const before = await at.until("chat", "the model is missed", (seen) => reasonOf(seen) === "ModelNotFound");
    assert.equal(before.status?.phase, "Error");
    assert.equal(await at.find(at.path("gpunodepools", "chat")), undefined);
    await at.addModel();
    await at.ready("chat");
    await at.cluster.admin.remove(at.path("models", "mini"));
    const after = await at.until("chat", "the model is missed again", (seen) =>
      ["ModelDeleted", "ModelBeingDeleted"].includes(reasonOf(seen, "ModelReady") ?? ""),
    );
    assert.equal(reasonOf(after), "Serving");
  });

  test("waits for a node and says so in the provider's words", async (t) => {
    const at = await tenant(t, { nodes: 0 });
    await at.deploy("chat");
    const waiting = await at.until("chat", "no node is to be had", (seen) => reasonOf(seen) === "OutOfStock");
    const message = waiting.status?.conditions?.find(({ type }) => type === "CapacityReady")?.message ?? "";
    assert.match(message, /0 of 1 nodes ready: ./);
    await at.addNode();
    await at.ready("chat");
  });

  test("leaves a Service of that name alone and serves when it is gone", async (t) => {
    const at = await tenant(t);
    const spec = { selector: { app: "mine" }, ports: [{ name: "web", port: 8080 }] };
    await at.cluster.admin.create(at.path("services"), {
      apiVersion: "v1",
      kind: "Service",
      metadata: { name: "chat" },
      spec,
    } as never);
    await at.deploy("chat");
    const taken = await at.until("chat", "the name is found taken", (seen) => reasonOf(seen) === "NameTaken");
    assert.equal(taken.status?.phase, "Error");
    const service = await at.cluster.admin.get<{ metadata: { name: string }; spec: { selector: object } }>(
      at.path("services", "chat"),
    );
    assert.deepEqual(service.spec.selector, { app: "mine" });
    await at.cluster.admin.remove(at.path("services", "chat"));
    await at.ready("chat");
  });

  test("repeats why the API server takes no pod", async (t) => {
    const at = await tenant(t);
    const quota = {
      apiVersion: "v1",
      kind: "ResourceQuota",
      metadata: { name: "none" },
      spec: { hard: { pods: "0" } },
    };
    await at.cluster.admin.create(at.path("resourcequotas"), quota);
    await at.deploy("chat");
    const refused = await at.until("chat", "the pods are refused", (seen) => reasonOf(seen) === "PodsRefused");
    assert.match(refused.status?.conditions?.at(-1)?.message ?? "", /exceeded quota: none/);
  });

  test("repeats why the API server refuses a child", async (t) => {
    const at = await tenant(t);
    const quota = {
      apiVersion: "v1",
      kind: "ResourceQuota",
      metadata: { name: "no-services" },
      spec: { hard: { services: "0" } },
    };
    await at.cluster.admin.create(at.path("resourcequotas"), quota);
    await at.deploy("chat");
    const refused = await at.until("chat", "the Service is refused", (seen) => reasonOf(seen) === "WriteRefused");
    assert.match(refused.status?.conditions?.at(-1)?.message ?? "", /exceeded quota: no-services/);
  });

  test("repeats the container's words when it crashes", async (t) => {
    const at = await tenant(t, { play: "crash-loop" });
    await at.deploy("chat");
    const failing = await at.until("chat", "the crash is seen", (seen) => reasonOf(seen) === "PodFailing");
    assert.equal(failing.status?.phase, "Error");
  });
});

describe("change", () => {
  test("scales by kubectl scale, up and down, nodes following", async (t) => {
    const at = await tenant(t, { nodes: 3 });
    await at.deploy("chat");
    await at.ready("chat");
    await at.kubectl("scale", "mdep/chat", "--replicas=3");
    const three = await at.ready("chat");
    assert.equal(three.status?.readyReplicas, 3);
    await at.kubectl("scale", "mdep/chat", "--replicas=1");
    await eventually(async () => (await at.pool("chat")).spec.size === 1, { what: "the pool has shrunk" });
    await at.until("chat", "one replica is left", ({ status }) => status?.phase === "Ready" && status.replicas === 1);
    assert.equal((await at.pods()).length, 1);
    // Changes within one second of the server's clock collapse to the last one, so only that one is certain.
    assert.equal((await at.pool("chat")).status?.sizeLog?.at(-1)?.size, 1);
  });

  test("of the context length rolls over without a spare node", async (t) => {
    const at = await tenant(t, { nodes: 2 });
    await at.deploy("chat", { replicas: 2 });
    await at.ready("chat");
    const stop = new AbortController();
    let most = 0;
    const watching = (async () => {
      const bound = new Map<string, boolean>();
      const living = ({ spec, status }: ServingPod) =>
        spec.nodeName !== undefined && status?.phase !== "Failed" && status?.phase !== "Succeeded";
      for await (const { type, object } of at.cluster.admin.watch<ServingPod>(at.path("pods"), stop.signal)) {
        bound.set(object.metadata.name ?? "", type !== "DELETED" && living(object));
        most = Math.max(most, [...bound.values()].filter(Boolean).length);
      }
    })().catch(() => undefined);
    const before = new Set((await at.pods()).map(({ metadata }) => metadata.name));
    await at.patch("chat", { contextLength: 256 });
    await at.ready("chat");
    const pods = await at.pods();
    assert.ok(
      pods.every(({ metadata }) => !before.has(metadata.name)),
      "every pod was replaced",
    );
    assert.equal((await at.get("chat")).status?.capacity?.contextLength, 256);
    stop.abort();
    await watching;
    assert.ok(most <= 2, `${most} bound pods on 2 nodes`);
  });

  test("of the model to one that is missing leaves the former serving", async (t) => {
    const at = await tenant(t);
    await at.deploy("chat");
    await at.ready("chat");
    const [pod] = await at.pods();
    await at.patch("chat", { model: { name: "other" } });
    await at.until("chat", "the other model is missed", (seen) => reasonOf(seen) === "ModelNotFound");
    assert.deepEqual(
      (await at.pods()).map(({ metadata }) => metadata.uid),
      [pod?.metadata.uid],
    );
    await at.addModel("other");
    await at.ready("chat");
    assert.notEqual((await at.pods())[0]?.metadata.uid, pod?.metadata.uid);
  });

  test("suspends to nothing and resumes with the same template", async (t) => {
    const at = await tenant(t);
    await at.deploy("chat");
    await at.ready("chat");
    const { metadata } = await at.pool("chat");
    await at.patch("chat", { suspend: true });
    await at.until("chat", "it is suspended", ({ status }) => status?.phase === "Suspended");
    assert.deepEqual(await at.pods(), []);
    await free(at);
    await at.patch("chat", { suspend: false });
    await at.ready("chat");
    assert.equal((await at.pool("chat")).metadata.uid, metadata.uid);
    const { items } = await at.cluster.admin.list<ControllerRevision>(at.path("controllerrevisions"));
    assert.deepEqual(
      items.map(({ revision }) => revision),
      [1],
    );
  });

  test("keeps within a quota that ten deployments race for", async (t) => {
    const at = await tenant(t, { nodes: 4, quota: { total: 3 } });
    const names = Array.from({ length: 10 }, (_, index) => `d${index}`);
    await Promise.all(names.map((name) => at.deploy(name)));
    const settled = await eventually(
      async () => {
        const all = await Promise.all(names.map((name) => at.get(name)));
        const served = all.filter((seen) => reasonOf(seen) === "Serving");
        const refused = all.filter((seen) => reasonOf(seen) === "QuotaExceeded");
        return served.length === 3 && refused.length === 7 && { served, refused };
      },
      { what: "three are served and seven are refused", deadlineMs: 60_000 },
    );
    const [first] = settled.served;
    assert.ok(first);
    await at.kubectl("delete", "mdep", first.metadata.name);
    await eventually(
      async () => {
        const rest = await Promise.all(
          names.filter((name) => name !== first.metadata.name).map((name) => at.get(name)),
        );
        return rest.filter((seen) => reasonOf(seen) === "Serving").length === 3;
      },
      { what: "the freed node serves another", deadlineMs: 60_000 },
    );
  });
});
