import assert from "node:assert/strict";
import { test, before } from "node:test";
import { PutObjectCommand } from "@aws-sdk/client-s3";
import type { Model } from "../../operator/api/model.ts";
import { apiPath } from "../cluster/client.ts";
import { eventually } from "../cluster/eventually.ts";
import { llamaFolder } from "../models/llama.ts";
import { tinyModel, uploadFiles } from "../models/tiny.ts";
import { filesBelow } from "../models/upload.ts";
import { RECORD, digestOf, hashesOf, withoutHash } from "../transfer/bench.ts";
import {
  bindSecrets,
  fileScope,
  importerHere,
  modelUntil,
  newBed,
  newTenant,
  operatorNamespace,
  putClusterModel,
  putDeployment,
  putModel,
  putSecret,
  readyOf,
  untilReason,
  uploadLlama,
} from "./importbench.ts";
import type { Bed, RunningImporter } from "./importbench.ts";

const scope = fileScope();
let bed: Bed;
let running: RunningImporter;
before(async () => {
  bed = await newBed(scope);
  running = await importerHere(scope, bed);
  await uploadLlama(bed);
  await putSecret(bed, operatorNamespace);
  await bindSecrets(bed, operatorNamespace, "catalogue-secrets");
});

async function namespaceUID(name: string): Promise<string> {
  return (await bed.cluster.admin.get<{ metadata: { uid: string } }>(`/api/v1/namespaces/${name}`)).metadata.uid;
}

async function keysBelow(prefix: string): Promise<string[]> {
  const keys: string[] = [];
  for await (const object of bed.store.list(prefix)) keys.push(withoutHash(object.key.slice(prefix.length)));
  return keys.sort();
}

test("a Model becomes Ready with digest, facts and files, without a needless write", async () => {
  const namespace = await newTenant(bed);
  await putSecret(bed, namespace);
  const mark = await bed.cluster.audit.mark();
  const path = await putModel(bed, namespace);
  const model = await untilReason(bed, path, "Imported");
  const { status, metadata } = model;
  const folder = llamaFolder();
  assert.equal(status?.digest, digestOf(folder, filesBelow(folder)));
  assert.deepEqual(metadata.finalizers, ["berth.dev/store"]);
  assert.equal(status?.phase, "Ready");
  assert.equal(status?.observedGeneration, 1);
  assert.deepEqual([status?.progress, status?.copied], [undefined, "100%"]);
  assert.deepEqual(
    status?.conditions?.map(({ type }) => type),
    ["Ready"],
  );
  assert.deepEqual([status?.architecture, status?.task, status?.dtype], ["LlamaForCausalLM", "Generate", "BF16"]);
  const prefix = `models/${await namespaceUID(namespace)}/${metadata.uid ?? ""}/1/`;
  const kept = [...filesBelow(folder), "MANIFEST.json", RECORD].sort();
  assert.deepEqual(await keysBelow(prefix), kept);
  for (const [file, sha256] of hashesOf(folder, ["config.json", "LICENSE"])) {
    const bytes = await bed.store.get(prefix + file, 1 << 20);
    assert.equal(
      Buffer.from(await crypto.subtle.digest("SHA-256", new Uint8Array(bytes ?? []))).toString("hex"),
      sha256,
    );
  }
  const user = `system:serviceaccount:${operatorNamespace}:berth-importer`;
  const requests = await bed.cluster.audit.since(mark, { user });
  const verbs = requests.filter(({ verb }) => verb !== "watch" && verb !== "list");
  assert.deepEqual(
    verbs.filter(({ code }) => code >= 300),
    [],
    "no request was refused",
  );
  const patches = verbs.filter(({ verb, resource }) => verb === "patch" && resource === "models");
  assert.equal(patches.length, 1, "one patch for the finalizer");
  const events = await eventually(
    async () => {
      const list = await bed.cluster.admin.list<{ reason: string }>(
        apiPath("events.k8s.io/v1", "events", { namespace }),
      );
      const reasons = list.items.map(({ reason }) => reason).sort();
      return reasons.length >= 2 ? reasons : undefined;
    },
    { what: "events of the import" },
  );
  assert.deepEqual(events, ["Copying", "Imported"]);
  const metrics = await running.base.metrics.registry.metrics();
  assert.match(metrics, /berth_import_bytes_total\{outcome="copied"\} [1-9]/);
  assert.match(metrics, /berth_import_seconds_count\{outcome="imported"\} [1-9]/);
  for (const idle of ["refused", "failed", "stopped"])
    assert.match(metrics, new RegExp(`berth_import_seconds_count\\{outcome="${idle}"\\} 0`));
});

test("a changed source is a revision beside the old one; the refresh annotation brings a new look", async (t) => {
  const client = bed.s3.client();
  t.after(() => client.destroy());
  await uploadLlama(bed, { prefix: "refreshed/" });
  const namespace = await newTenant(bed);
  await putSecret(bed, namespace);
  const path = await putModel(bed, namespace, { prefix: "refreshed" });
  const first = await untilReason(bed, path, "Imported");
  await client.send(new PutObjectCommand({ Bucket: "source", Key: "refreshed/LICENSE", Body: "changed" }));
  await bed.cluster.admin.patch(path, { metadata: { annotations: { "berth.dev/refresh": "1" } } });
  const second = await modelUntil(bed, path, "has two revisions", ({ status, metadata }) => {
    return status?.revisions?.length === 2 && metadata.annotations?.["berth.dev/refresh"] === undefined;
  });
  assert.equal(second.status?.revisions?.[0]?.digest, first.status?.digest);
  assert.deepEqual(
    second.status?.revisions?.map(({ way }) => way),
    ["StreamedUpload", "StreamedUpload"],
  );
  assert.notEqual(second.status?.digest, first.status?.digest);
  await bed.cluster.admin.patch(path, { spec: { source: { s3: { prefix: "llama/" } } } });
  const third = await modelUntil(bed, path, "has three revisions", ({ status }) => status?.revisions?.length === 3);
  assert.equal(third.status?.digest, first.status?.digest, "equal files have an equal digest");
  const told = await eventually(
    async () => {
      const events = await bed.cluster.admin.list<{ reason: string; note: string }>(
        apiPath("events.k8s.io/v1", "events", { namespace }),
      );
      return events.items.find(({ reason }) => reason === "NewRevision")?.note;
    },
    { what: "the event of the new revision" },
  );
  assert.match(told, /^the source changed: revision sha256:\S+ follows sha256:\S+, which stays in the store$/);
});

test("berth.dev/reimport reads every byte again beside the old revision, each time that it is asked for", async (t) => {
  const client = bed.s3.client();
  t.after(() => client.destroy());
  await uploadFiles(client, "source", "anew/", tinyModel());
  const namespace = await newTenant(bed);
  await putSecret(bed, namespace);
  const path = await putModel(bed, namespace, { prefix: "anew" });
  const first = await untilReason(bed, path, "Imported");
  for (const number of [2, 3]) {
    // The same word in the same second of the API server's clock is the same request.
    const asked = `number ${String(number)}`;
    await bed.cluster.admin.patch(path, { metadata: { annotations: { "berth.dev/reimport": asked } } });
    const { status } = await modelUntil(bed, path, `has ${String(number)} revisions`, ({ status: seen, metadata }) => {
      const isAnswered = metadata.annotations?.["berth.dev/reimport"] === undefined;
      return seen?.revisions?.length === number && isAnswered && readyOf(seen)?.reason === "Imported";
    });
    assert.equal(status?.digest, first.status?.digest, "equal bytes are an equal digest");
    const folder = `models/${await namespaceUID(namespace)}/${first.metadata.uid ?? ""}/${String(number)}/`;
    assert.deepEqual(await keysBelow(folder), [...Object.keys(tinyModel()), "MANIFEST.json", RECORD].sort());
  }
});

test("a model in use stays and names its users; an unused one goes with its files", async () => {
  const namespace = await newTenant(bed);
  await putSecret(bed, namespace);
  const path = await putModel(bed, namespace);
  const model = await untilReason(bed, path, "Imported");
  const deployment = await putDeployment(bed, namespace, { name: "model" });
  await bed.cluster.admin.remove(path);
  const held = await untilReason(bed, path, "InUse");
  assert.match(readyOf(held.status)?.message ?? "", new RegExp(`${namespace}/chat`));
  await bed.cluster.admin.remove(deployment);
  await eventually(async () => (await bed.cluster.admin.find(path)) === undefined, { what: "the model is gone" });
  assert.deepEqual(await keysBelow(`models/${await namespaceUID(namespace)}/${model.metadata.uid ?? ""}/`), []);
});

test("a ClusterModel on demand is inspected at once and copied for the first deployment", async () => {
  const path = await putClusterModel(bed, "on-demand");
  const inspected = await untilReason(bed, path, "Inspected");
  assert.equal(inspected.status?.architecture, "LlamaForCausalLM");
  assert.equal(inspected.status?.digest, undefined);
  assert.deepEqual(await keysBelow(`models/cluster/${inspected.metadata.uid ?? ""}/`), []);
  const namespace = await newTenant(bed);
  await putDeployment(bed, namespace, { name: "on-demand", kind: "ClusterModel" });
  const imported = await untilReason(bed, path, "Imported");
  assert.equal(imported.status?.digest, digestOf(llamaFolder(), filesBelow(llamaFolder())));
  const eager = await putClusterModel(bed, "eager", { spec: { import: "Eager" } });
  await untilReason(bed, eager, "Imported");
});

test("a namespace's Model that goes before it was looked at leaves nothing", async () => {
  const namespace = await newTenant(bed);
  const path = await putModel(bed, namespace, { secret: "missing" });
  await untilReason(bed, path, "SecretNotFound");
  await bed.cluster.admin.remove(path);
  await eventually(async () => (await bed.cluster.admin.find<Model>(path)) === undefined, {
    what: "the model is gone",
  });
});
