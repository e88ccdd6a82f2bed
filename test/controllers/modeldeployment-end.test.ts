// ModelDeployments on a real control plane with the whole operator: deletion, edits by hand, upgrades of Berth.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { renderPodTemplate } from "../../operator/plan/deployment/template.ts";
import { writeVerbs } from "../cluster/audit.ts";
import { eventually } from "../cluster/eventually.ts";
import { free, gone, reasonOf } from "./sights.ts";
import { closeStage, stage, tenant } from "./stage.ts";

before(async () => {
  await stage();
});
after(closeStage);

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
    // Events are written in the background: the first process' last ones may come while it ends.
    const aboutChat = entries.filter(({ name, resource }) => name.startsWith("chat") && resource !== "events");
    assert.deepEqual(aboutChat, []);
    assert.deepEqual(
      (await at.pods()).filter(({ metadata }) => metadata.name?.startsWith("chat")).map(({ metadata }) => metadata.uid),
      pods,
    );
  });
});
