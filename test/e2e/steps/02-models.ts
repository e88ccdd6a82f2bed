// Models from a bucket: inspected, copied, hashed; and what a vLLM started by hand says about the same files.
import { join } from "node:path";
import { GetObjectCommand, ListObjectsV2Command } from "@aws-sdk/client-s3";
import { run } from "../../cluster/cluster.ts";
import { eventually } from "../../cluster/eventually.ts";
import { filesBelow } from "../../models/upload.ts";
import { conditionOf, getModel, paths } from "../objects.ts";
import { buckets, models, sourceSecret, team } from "../names.ts";
import type { ModelName } from "../names.ts";
import type { Stage } from "../stage.ts";

function modelObject({ s3 }: Stage, name: string): object {
  return {
    apiVersion: "berth.dev/v1alpha1",
    kind: "Model",
    metadata: { name, namespace: team },
    spec: {
      source: {
        s3: {
          endpoint: s3.endpoint,
          region: s3.region,
          bucket: buckets.source,
          prefix: `${name}/`,
          credentialsSecretRef: { name: sourceSecret },
        },
      },
    },
  };
}

async function untilImported(stage: Stage, name: string): Promise<void> {
  await eventually(
    async () => {
      const ready = conditionOf(await getModel(stage, name), "Ready");
      if (ready?.status === "True") return true;
      throw new Error(`Ready is ${ready ? `${ready.reason}: ${ready.message}` : "not there"}`);
    },
    { what: `Model ${name} is imported`, deadlineMs: 120_000, recheckMs: 500, logDir: stage.cluster.logDir },
  );
}

interface Manifest {
  readonly files: readonly { readonly path: string; readonly sha256: string }[];
}

/** The manifest in the store's bucket of a model's newest revision. */
async function manifestOf({ s3, cluster }: Stage, name: string): Promise<Manifest> {
  const client = s3.client();
  const { metadata } = await cluster.admin.get(paths.model(name));
  const { Contents = [] } = await client.send(new ListObjectsV2Command({ Bucket: buckets.store }));
  const key = Contents.map(({ Key = "" }) => Key).find(
    (one) => one.includes(metadata.uid ?? "?") && one.endsWith("MANIFEST.json"),
  );
  if (!key) throw new Error(`the store holds no manifest of model ${name}`);
  const { Body } = await client.send(new GetObjectCommand({ Bucket: buckets.store, Key: key }));
  const text = (await Body?.transformToString()) ?? "{}";
  client.destroy();
  return JSON.parse(text) as Manifest;
}

/** SHA-256 of a source file by a program that is none of ours. */
async function digestOf(path: string): Promise<string> {
  const { code, stdout, stderr } = await run("openssl", ["dgst", "-sha256", "-r", path]);
  if (code !== 0) throw new Error(`openssl dgst -sha256 ${path}: ${stderr.trim()}`);
  return stdout.slice(0, 64);
}

async function compareDigests(stage: Stage, name: ModelName): Promise<number> {
  const folder = stage.material.models[name];
  const { files } = await manifestOf(stage, name);
  const source = new Set(filesBelow(folder));
  for (const { path, sha256 } of files) {
    const digest = await digestOf(join(folder, path));
    if (!source.has(path) || !/^[0-9a-f]{64}$/.test(digest) || !sha256.endsWith(digest))
      throw new Error(`${name}/${path}: the manifest says ${sha256}, openssl ${digest}`);
  }
  if (!files.some(({ path }) => path.endsWith(".safetensors")))
    throw new Error(`the manifest of ${name} holds no weights`);
  return files.length;
}

export async function importModels(stage: Stage): Promise<void> {
  const { cluster, tour } = stage;
  const names = Object.values(models);
  for (const name of names) await cluster.admin.create(paths.model(), modelObject(stage, name));
  await Promise.all(names.map((name) => untilImported(stage, name)));
  for (const name of [models.minilm, models.llama]) {
    const { status } = await getModel(stage, name);
    const count = await compareDigests(stage, name);
    tour.say(
      `${name}: ${status?.architecture ?? ""}, ${String(Math.round((status?.sizeBytes ?? 0) / 1e6))} MB, ${String(count)} files whose SHA-256 equal openssl's of the source`,
    );
  }
}
