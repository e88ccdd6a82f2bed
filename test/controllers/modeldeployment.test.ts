// The life of ModelDeployments on a real control plane with the whole operator: what users do, and what they see.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import type { ControllerRevision } from "../../operator/api/kubernetes.ts";
import { renderPodTemplate } from "../../operator/plan/deployment/template.ts";
import { tally, writeVerbs } from "../cluster/audit.ts";
import { eventually } from "../cluster/eventually.ts";
import { closeStage, stage, tenant, type ServingPod, type Tenant } from "./stage.ts";

before(async () => {
  await stage();
});
after(closeStage);

const reasonOf = (seen: { status?: { conditions?: readonly { type: string; reason: string }[] } }, type = "Ready") =>
  seen.status?.conditions?.find((condition) => condition.type === type)?.reason;

async function gone(at: Tenant, path: string): Promise<void> {
  await eventually(async () => (await at.find(path)) === undefined, { what: `${path} is gone` });
}

async function free(at: Tenant): Promise<void> {
  const held = "berth.node-restriction.kubernetes.io/pool";
  await eventually(async () => (await at.nodes()).every(({ metadata }) => !metadata.labels?.[held]), {
    what: "every node is given back",
  });
}

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
      return found.includes("Serving") && found;
    });
    assert.deepEqual(
      reasons.filter((reason) => reason !== "Provisioning"),
      ["PodsStarting", "Serving"],
    );
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
    const log = (await at.pool("chat")).status?.sizeLog?.map(({ size }) => size);
    // Two changes in one second collapse to the last.
    assert.deepEqual(log?.slice(-2), [3, 1]);
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

describe("delete", () => {
  test("with running pods gives everything back, and the name can be used again", async (t) => {
    const at = await tenant(t);
    await at.deploy("chat");
    const first = await at.ready("chat");
    await at.kubectl("delete", "mdep", "chat", "--timeout=60s");
    assert.equal(await at.find(at.path("gpunodepools", "chat")), undefined);
    assert.deepEqual(await at.pods(), []);
    await free(at);
    await at.deploy("chat");
    const second = await at.ready("chat");
    assert.notEqual(second.metadata.uid, first.metadata.uid);
    for (const kind of ["services", "poddisruptionbudgets", "networkpolicies", "deployments"]) {
      await eventually(async () => (await at.cluster.admin.list(at.path(kind))).items.length === 1, {
        what: `one of ${kind} is left`,
      });
    }
  });

  test("of pods that do not end takes them away after the grace", async (t) => {
    const at = await tenant(t, { drain: "600s" });
    await at.deploy("chat");
    await at.ready("chat");
    await at.kubectl("delete", "mdep", "chat", "--wait=false");
    const leaving = await at.until("chat", "its pods are waited for", ({ status }) => status?.phase === "Deleting");
    assert.equal(reasonOf(leaving), "Deleting");
    await gone(at, at.path("modeldeployments", "chat"));
    await free(at);
  });

  test("while it is being created leaves nothing behind", async (t) => {
    const at = await tenant(t, { nodes: 2 });
    const names = ["a", "b", "c", "d", "e", "f"];
    await Promise.all(
      names.map(async (name, index) => {
        await at.deploy(name);
        if (index % 2 === 1) await at.find(at.path("gpunodepools", name));
        await at.cluster.admin.remove(at.path("modeldeployments", name));
      }),
    );
    for (const name of names) {
      await gone(at, at.path("modeldeployments", name));
      await gone(at, at.path("gpunodepools", name));
    }
    await free(at);
  });

  test("of the namespace takes everything with it", async (t) => {
    const at = await tenant(t, { nodes: 2 });
    await at.deploy("chat");
    await at.deploy("waiting", { replicas: 3 });
    await at.ready("chat");
    const { cluster } = await stage();
    await cluster.kubectl(["delete", "ns", at.namespace, "--timeout=90s"]);
    await gone(at, `/api/v1/namespaces/${at.namespace}`);
    await free(at);
  });

  test("of the node type in use changes nothing for who has nodes", async (t) => {
    const at = await tenant(t);
    await at.deploy("chat");
    await at.ready("chat");
    const [pod] = await at.pods();
    await at.cluster.admin.remove(`/apis/berth.dev/v1alpha1/nodetypes/${at.nodeType}`);
    await at.patch("chat", { replicas: 2 });
    const seen = await at.until("chat", "growth is refused", (one) => reasonOf(one) === "NodeTypeNotFound");
    assert.equal(seen.status?.readyReplicas, 1);
    assert.deepEqual(
      (await at.pods()).map(({ metadata }) => metadata.uid),
      [pod?.metadata.uid],
    );
    await at.kubectl("delete", "mdep", "chat", "--timeout=60s");
    await free(at);
  });
});

describe("edited by hand", () => {
  const children = ["services", "poddisruptionbudgets", "networkpolicies", "deployments", "controllerrevisions"];

  test("children that are deleted come back", async (t) => {
    const at = await tenant(t);
    await at.deploy("chat");
    await at.ready("chat");
    for (const kind of children) {
      const [child] = (await at.cluster.admin.list(at.path(kind))).items;
      assert.ok(child);
      await at.cluster.admin.remove(at.path(kind, child.metadata.name));
      await eventually(
        async () => {
          const [again] = (await at.cluster.admin.list(at.path(kind))).items;
          return again !== undefined && again.metadata.uid !== child.metadata.uid;
        },
        { what: `${kind} is made again` },
      );
    }
    await at.ready("chat");
  });

  test("children that are edited are restored, once", async (t) => {
    const at = await tenant(t);
    await at.deploy("chat");
    await at.ready("chat");
    const { metadata } = await at.workload("chat");
    const mark = await at.cluster.audit.mark();
    await at.cluster.admin.patch(at.path("deployments", metadata.name), { spec: { replicas: 0 } });
    await eventually(async () => (await at.workload("chat")).spec?.replicas === 1, {
      what: "the replicas are restored",
    });
    await at.cluster.admin.patch(at.path("services", "chat"), { spec: { selector: { app: "mine" } } });
    type Service = { metadata: { name: string }; spec: { selector: Record<string, string> } };
    await eventually(
      async () => !("app" in (await at.cluster.admin.get<Service>(at.path("services", "chat"))).spec.selector),
      { what: "the selector is restored" },
    );
    await at.ready("chat");
    const entries = await at.cluster.audit.since(mark, {
      verbs: writeVerbs,
      namespace: at.namespace,
      userAgent: /berth-operator/,
    });
    for (const kind of ["deployments", "services"]) {
      assert.equal(entries.filter(({ resource }) => resource === kind).length, 1, kind);
    }
  });

  test("a status that an administrator wrote is restored", async (t) => {
    const at = await tenant(t);
    await at.deploy("chat");
    await at.ready("chat");
    await at.cluster.admin.patch(`${at.path("modeldeployments", "chat")}/status`, {
      status: { phase: "Error", replicas: 40 },
    });
    await at.until(
      "chat",
      "the status is right again",
      ({ status }) => status?.phase === "Ready" && status.replicas === 1,
    );
  });
});

describe("an upgrade", () => {
  test("with a changed renderer and a restart costs no write and no pod", async (t) => {
    const at = await tenant(t, { nodes: 2 });
    await at.deploy("chat");
    await at.ready("chat");
    const pods = (await at.pods()).map(({ metadata }) => metadata.uid);
    const { cluster, restart } = await stage();
    const mark = await cluster.audit.mark();
    await restart((input) => {
      const { metadata, spec } = renderPodTemplate(input);
      return { metadata, spec: { ...spec, terminationGracePeriodSeconds: 77 } };
    });
    t.after(() => restart());
    await at.deploy("probe");
    await at.ready("probe");
    const entries = await cluster.audit.since(mark, {
      verbs: writeVerbs,
      namespace: at.namespace,
      userAgent: /berth-operator/,
    });
    const aboutChat = entries.filter(({ name }) => name.startsWith("chat"));
    assert.deepEqual(aboutChat, []);
    assert.deepEqual(
      (await at.pods()).filter(({ metadata }) => metadata.name?.startsWith("chat")).map(({ metadata }) => metadata.uid),
      pods,
    );
  });
});
