// `spec.model.revision` on the real control plane, with the chart's operator and importer: a deployment that pins a revision stays at it
// whatever is imported later and whatever else of it changes, and collecting garbage with the cluster's own word keeps it.
import assert from "node:assert/strict";
import { PutObjectCommand } from "@aws-sdk/client-s3";
import { after, before, test } from "node:test";
import { modelsCommand } from "../../operator/cli/models.ts";
import type { Model } from "../../operator/api/model.ts";
import type { ModelDeployment } from "../../operator/api/modeldeployment.ts";
import { apiPath } from "../cluster/client.ts";
import { eventually } from "../cluster/eventually.ts";
import { serviceAccountIdentity } from "../cluster/users.ts";
import { filesBelow } from "../models/upload.ts";
import { first, largeModel, newFolder, podToken, startFetch, startStoreRig } from "../transfer/storerig.ts";
import type { StoreRig } from "../transfer/storerig.ts";

let rig: StoreRig;
const ending: (() => unknown)[] = [];
before(
  async () => {
    rig = await startStoreRig({ after: (work) => void ending.unshift(work as () => unknown) }, "file");
  },
  { timeout: 240_000 },
);
after(async () => {
  for (const work of ending) await work();
});

const api = "berth.dev/v1alpha1";
const deploymentPath = apiPath(api, "modeldeployments", { namespace: first, name: "chat" });
const modelPath = apiPath(api, "models", { namespace: first, name: "model" });

/** The deployment once it is Ready as it is wanted now. */
function settled(what: string, holds: (seen: ModelDeployment) => boolean): Promise<ModelDeployment> {
  return eventually(
    async () => {
      const seen = await rig.cluster.admin.get<ModelDeployment>(deploymentPath);
      const ready = seen.status?.conditions?.find(({ type }) => type === "Ready");
      const isCurrent = ready?.status === "True" && ready.observedGeneration === seen.metadata.generation;
      if (isCurrent && holds(seen)) return seen;
      throw new Error(JSON.stringify([seen.status?.model, ready]));
    },
    { what, deadlineMs: 120_000, logDir: rig.cluster.logDir },
  );
}

async function berth(...args: readonly string[]): Promise<{ code: number; out: string; err: string }> {
  let [code, out, err] = [-1, "", ""];
  const io = {
    env: {},
    write: (text: string) => void (out += text),
    complain: (text: string) => void (err += text),
    read: () => Promise.resolve(""),
  };
  const command = modelsCommand(io, (ended) => (code = ended));
  await command.parseAsync([...args, "--store", `file://${rig.storeDir}`], { from: "user" });
  return { code, out, err };
}

/** Another revision of the model, beside the one that is served. */
async function importAnother(): Promise<Model> {
  const client = rig.s3.client();
  await client.send(new PutObjectCommand({ Bucket: "weights", Key: "large/LICENSE", Body: "changed" }));
  client.destroy();
  await rig.cluster.admin.patch(modelPath, { metadata: { annotations: { "berth.dev/refresh": "1" } } });
  return eventually(
    async () => {
      const model = await rig.cluster.admin.get<Model>(modelPath);
      return model.status?.revisions?.length === 2 ? model : undefined;
    },
    { what: "the changed source is a second revision", deadlineMs: 60_000 },
  );
}

test(
  "a deployment that pins its revision stays at it, and gc keeps what it serves",
  { timeout: 400_000 },
  async (t) => {
    const { admin } = rig.cluster;
    const served = (await settled("it serves", () => true)).status?.model;
    assert.ok(served);
    await admin.patch(deploymentPath, { spec: { model: { revision: served.digest } } });
    await settled("it pins what it serves", ({ spec }) => spec.model.revision === served.digest);
    const newest = (await importAnother()).status?.digest;
    assert.notEqual(newest, served.digest);

    const before = (await rig.servingPod(first)).metadata.labels?.["berth.dev/revision"];
    await admin.patch(deploymentPath, { spec: { contextLength: 1024 } });
    const pinned = await settled(
      "its new template is rolled out",
      ({ status }) => status?.capacity?.contextLength === 1024,
    );
    assert.deepEqual(pinned.status?.model, served);
    const pod = await rig.servingPod(first);
    assert.notEqual(pod.metadata.labels?.["berth.dev/revision"], before);

    // The model's own list forgets old revisions at some time: then the deployment's word alone must do.
    const kept = (await admin.get<Model>(modelPath)).status?.revisions?.filter(({ digest }) => digest === newest);
    await admin.patch(`${modelPath}/status`, { status: { revisions: kept } });
    const nobody = await serviceAccountIdentity(rig.cluster, first, "default");
    const blind = await berth("gc", "--yes", "--older-than", "0m", "--kubeconfig", rig.cluster.kubeconfigFor(nobody));
    assert.equal(blind.code, 1);
    assert.match(blind.err, /^berth models: the cluster does not list its \w+: /);
    const ours = ["--kubeconfig", rig.cluster.adminKubeconfigPath];
    const collected = await berth("gc", "--yes", "--older-than", "0m", ...ours);
    assert.equal(collected.code, 0, collected.err);
    assert.doesNotMatch(collected.out, /given up/);
    assert.match((await berth("verify", ...ours)).out, /intact/);
    const store = await rig.startStore();
    const run = startFetch(newFolder(t), { url: store.urls["store"] ?? "", token: await podToken(rig.cluster, pod) });
    const { code, message } = await run.done;
    assert.equal(code, 0, message);
    assert.deepEqual(filesBelow(run.into), filesBelow(largeModel));

    await admin.patch(deploymentPath, { spec: { model: { revision: null } } });
    const moved = await settled("without a pin it takes the newest", ({ status }) => status?.model?.digest === newest);
    assert.equal(moved.status?.model?.revision, 2);
  },
);
