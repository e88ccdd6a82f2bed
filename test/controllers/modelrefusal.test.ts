// What the importer refuses, and what it says: each fault on the real S3 server and the real API server.
import assert from "node:assert/strict";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { test, before } from "node:test";
import { accessTo, bindingCommand } from "../../operator/controllers/modelcredentials.ts";
import type { Model } from "../../operator/api/model.ts";
import { apiPath } from "../cluster/client.ts";
import { eventually } from "../cluster/eventually.ts";
import { freePort } from "../cluster/process.ts";
import { safetensors, tinyConfig, tinyModel, uploadFiles } from "../models/tiny.ts";
import {
  fileScope,
  importerHere,
  newBed,
  newTenant,
  operatorNamespace,
  putModel,
  putSecret,
  readyOf,
  settingsOf,
  untilReason,
} from "./importbench.ts";
import type { Bed, ModelChange, RunningImporter, SecretChange } from "./importbench.ts";

const scope = fileScope();
let bed: Bed;
let running: RunningImporter;
before(async () => {
  bed = await newBed(scope);
  running = await importerHere(scope, bed);
});

const config = (change: object): string => JSON.stringify({ ...tinyConfig, ...change });
const tensor = { dtype: "BF16", shape: [16, 8], data_offsets: [0, 256] };
const index = (map: object): string => JSON.stringify({ weight_map: map });

/** Name → files that differ from a good model, the reason, and words of the message. */
const badSources: readonly (readonly [
  string,
  Readonly<Record<string, string | Uint8Array | undefined>>,
  string,
  RegExp,
])[] = [
  ["no-config", { "config.json": undefined }, "ConfigMissing", /no config\.json/],
  ["config-not-json", { "config.json": "{oops" }, "ConfigInvalid", /config\.json is not a JSON object/],
  ["no-tokenizer", { "tokenizer.json": undefined }, "TokenizerMissing", /tokenizer\.model/],
  ["pickle", { "pytorch_model.bin": "x" }, "UnsafeFormat", /pytorch_model\.bin/],
  ["code", { "modeling_evil.py": "import os" }, "CustomCode", /modeling_evil\.py/],
  ["auto-map", { "config.json": config({ auto_map: { AutoModel: "evil.Model" } }) }, "CustomCode", /auto_map/],
  [
    "tokenizer-auto-map",
    { "tokenizer_config.json": '{"auto_map":{"AutoTokenizer":["evil.Tokenizer",null]}}' },
    "CustomCode",
    /tokenizer_config\.json/,
  ],
  ["gguf", { "model.safetensors": undefined, "model.gguf": "GGUF" }, "NotSafetensors", /model\.gguf/],
  ["bad-header", { "model.safetensors": "not a safetensors file" }, "SafetensorsInvalid", /model\.safetensors/],
  ["header-bomb", { "model.safetensors": new Uint8Array(16).fill(255) }, "SafetensorsInvalid", /claims/],
  ["short-data", { "model.safetensors": safetensors({ a: tensor }, 255) }, "SafetensorsInvalid", /end at byte/],
  [
    "bad-index",
    { "model.safetensors.index.json": index({ a: "model-00002-of-00002.safetensors" }) },
    "IndexInvalid",
    /model-00002-of-00002\.safetensors/,
  ],
  ["unknown", { "config.json": config({ architectures: ["MadeUpForCausalLM"] }) }, "ArchitectureUnsupported", /MadeUp/],
  ["removed", { "config.json": config({ architectures: ["XverseForCausalLM"] }) }, "ArchitectureRemoved", /0\.23\.0/],
  ["backslash", { "a\\b.json": "{}" }, "OddKey", /backslash/],
  ["collision", { "Config.json": "{}" }, "OddKey", /collide/],
];

/** Ready False and Stalled True with the same reason, phase Error, and nothing of the model in the store. */
async function assertRefused(path: string, reason: string, words: RegExp): Promise<void> {
  const { status, metadata } = await untilReason(bed, path, reason);
  const stalled = status?.conditions?.find(({ type }) => type === "Stalled");
  assert.deepEqual([stalled?.status, stalled?.reason, status?.phase], ["True", reason, "Error"], path);
  assert.equal(readyOf(status)?.status, "False");
  assert.match(readyOf(status)?.message ?? "", words);
  for await (const object of bed.store.list("")) assert.ok(!object.key.includes(metadata.uid ?? "no uid"));
}

test("each kind of bad source has one clear reason", async () => {
  const namespace = await newTenant(bed);
  await putSecret(bed, namespace);
  const client = bed.s3.client();
  for (const [name, change] of badSources) await uploadFiles(client, "source", `bad/${name}/`, tinyModel(change));
  await uploadFiles(client, "source", "bad/good/", tinyModel());
  client.destroy();
  const put = (name: string, change: ModelChange = {}) =>
    putModel(bed, namespace, { name, prefix: `bad/${name}`, ...change });
  const expected = await Promise.all(
    badSources.map(async ([name, , reason, words]) => [await put(name), reason, words] as const),
  );
  const large = await put("too-large", { prefix: "bad/good", spec: { maxSize: "100" } });
  const template = await put("own-template", { prefix: "bad/good", spec: { chatTemplate: "{{ x.__class__ }}" } });
  const empty = await put("nothing-here");
  // "bad/goo" must not match "bad/good/…".
  const half = await put("half-a-name", { prefix: "bad/goo" });
  const cases = [
    ...expected,
    [large, "TooLarge", /maxSize/],
    [template, "ChatTemplateUnsafe", /in spec\.chatTemplate reads the private attribute __class__: correct it there/],
    [empty, "NoFiles", /nothing-here/],
    [half, "NoFiles", /goo/],
  ] as const;
  for (const [path, reason, words] of cases) await assertRefused(path, reason, words);
  const { status } = await untilReason(bed, await put("good"), "Imported");
  assert.match(status?.parsers?.because ?? "", /neither the chat template nor the architecture/);
});

test("a refused source that was mended is imported at the next look", async () => {
  const namespace = await newTenant(bed);
  await putSecret(bed, namespace);
  const client = bed.s3.client();
  await uploadFiles(client, "source", "mended/", tinyModel({ "tokenizer.json": undefined }));
  const path = await putModel(bed, namespace, { prefix: "mended" });
  await assertRefused(path, "TokenizerMissing", /tokenizer/);
  await uploadFiles(client, "source", "mended/", tinyModel());
  client.destroy();
  await untilReason(bed, path, "Imported");
});

interface Fault {
  readonly secret?: SecretChange;
  readonly model?: ModelChange;
  readonly bound?: boolean;
  readonly reason: string;
  readonly words: RegExp;
  readonly retries?: boolean;
}

async function faults(): Promise<Record<string, Fault>> {
  const good = { accessKeyId: bed.s3.accessKeyId, secretAccessKey: bed.s3.secretAccessKey };
  const closed = `http://127.0.0.1:${String(await freePort())}`;
  const nowhere = "http://s3.does-not-exist.invalid";
  const listed = (endpoint: string, data = good): SecretChange => ({
    endpoints: `${bed.s3.endpoint}, ${endpoint}`,
    data,
  });
  return {
    "wrong access key": {
      secret: { data: { ...good, accessKeyId: "AKIAWRONG" } },
      reason: "AccessDenied",
      // S3 itself says InvalidAccessKeyId; this server has a name of its own for it.
      words: /says \w+: .*access key/i,
    },
    "wrong secret key": {
      secret: { data: { ...good, secretAccessKey: "wrong-secret-key" } },
      reason: "AccessDenied",
      words: /SignatureDoesNotMatch/,
    },
    "no credentials": { model: { secret: null }, reason: "AccessDenied", words: /AccessDenied/ },
    "no bucket": { model: { bucket: "no-such-bucket" }, reason: "BucketNotFound", words: /no-such-bucket/ },
    "nobody listens": {
      secret: listed(closed),
      model: { endpoint: closed },
      reason: "SourceUnreachable",
      words: /refused.*keeps retrying/,
      retries: true,
    },
    "no such name": {
      secret: listed(nowhere),
      model: { endpoint: nowhere },
      reason: "SourceUnreachable",
      words: /does not resolve/,
      retries: true,
    },
    "no secret": { model: { secret: "other" }, reason: "SecretNotFound", words: /\/other does not exist/ },
    "wrong type": {
      secret: { type: "Opaque" },
      reason: "SecretTypeWrong",
      words: /--type=berth\.dev\/source-credentials/,
    },
    "half a secret": { secret: { data: { accessKeyId: "x" } }, reason: "SecretInvalid", words: /secretAccessKey/ },
    "endpoint not listed": {
      secret: { endpoints: "https://elsewhere.example" },
      reason: "EndpointNotAllowed",
      words: /berth\.dev\/endpoints/,
    },
    "no right": { bound: false, reason: "SecretNotReadable", words: /kubectl create rolebinding berth-importer/ },
  };
}

test("each fault of credentials, bucket and endpoint is named, and no secret is told", async () => {
  const started = Object.entries(await faults()).map(async ([name, fault]) => {
    const namespace = await newTenant(bed, { bound: fault.bound });
    await putSecret(bed, namespace, fault.secret);
    return { name, fault, namespace, path: await putModel(bed, namespace, { prefix: "any", ...fault.model }) };
  });
  for (const { name, fault, path, namespace } of await Promise.all(started)) {
    const { status } = await untilReason(bed, path, fault.reason);
    assert.match(readyOf(status)?.message ?? "", fault.words, name);
    const types = status?.conditions?.map(({ type, status: value }) => `${type}=${value}`);
    assert.deepEqual(types, ["Ready=False", fault.retries ? "Reconciling=True" : "Stalled=True"], name);
    const events = await bed.cluster.admin.list(apiPath("events.k8s.io/v1", "events", { namespace }));
    const told = JSON.stringify([status, events]);
    for (const secret of [bed.s3.secretAccessKey, "wrong-secret-key", "AKIAWRONG"])
      assert.ok(!told.includes(secret), name);
  }
});

test("a refusal is told by a Warning that names file and reason", async () => {
  const namespace = await newTenant(bed);
  await putSecret(bed, namespace);
  const client = bed.s3.client();
  await uploadFiles(client, "source", "warned/", tinyModel({ "pytorch_model.bin": "x" }));
  client.destroy();
  const path = await putModel(bed, namespace, { prefix: "warned" });
  await assertRefused(path, "UnsafeFormat", /pytorch_model\.bin/);
  const warned = await eventually(
    async () => {
      const events = apiPath("events.k8s.io/v1", "events", { namespace });
      const { items } = await bed.cluster.admin.list<{ type: string; reason: string; note: string }>(events);
      return items.find(({ type }) => type === "Warning");
    },
    { what: "the Warning of the refusal" },
  );
  assert.equal(warned.reason, "UnsafeFormat");
  assert.match(warned.note, /pytorch_model\.bin/);
});

test("the command that the condition prints lets the importer in", async () => {
  const namespace = await newTenant(bed, { bound: false });
  await putSecret(bed, namespace);
  const client = bed.s3.client();
  await uploadFiles(client, "source", "later/", tinyModel());
  client.destroy();
  const path = await putModel(bed, namespace, { prefix: "later" });
  const { status } = await untilReason(bed, path, "SecretNotReadable");
  const command = /kubectl (create rolebinding .*)$/.exec(readyOf(status)?.message ?? "")?.[1] ?? "";
  const { code, stderr } = await bed.cluster.kubectl(command.split(" "));
  assert.equal(code, 0, stderr);
  await untilReason(bed, path, "Imported");
});

test("an endpoint that redirects is not followed", async (t) => {
  let followed = 0;
  const target = createServer((_request, response) => {
    followed++;
    response.end();
  });
  await new Promise<void>((resolve) => target.listen(0, "127.0.0.1", resolve));
  const away = `http://127.0.0.1:${String((target.address() as AddressInfo).port)}/`;
  const redirecting = createServer((_request, response) => response.writeHead(307, { location: away }).end());
  await new Promise<void>((resolve) => redirecting.listen(0, "127.0.0.1", resolve));
  t.after(() => [target.close(), redirecting.close()]);
  const endpoint = `http://127.0.0.1:${String((redirecting.address() as AddressInfo).port)}`;
  const namespace = await newTenant(bed);
  await putSecret(bed, namespace, { endpoints: endpoint });
  const path = await putModel(bed, namespace, { endpoint, prefix: "any" });
  await assertRefused(path, "EndpointRedirects", /307/);
  assert.equal(followed, 0);
});

test("plain http is refused unless the platform allows it", async () => {
  const namespace = await newTenant(bed);
  const model = await bed.cluster.admin.get<Model>(await putModel(bed, namespace, { secret: "none" }));
  const settings = { ...settingsOf(bed), allowHttpEndpoints: false };
  const access = await accessTo(running.base.kube, model, settings);
  assert.ok("reason" in access);
  assert.equal(access.reason, "EndpointNotAllowed");
  assert.match(
    bindingCommand(settings, namespace),
    new RegExp(`--serviceaccount=${operatorNamespace}:berth-importer -n ${namespace}$`),
  );
});

test("an endpoint inside of the platform's own network is refused unless the platform lists it", async (t) => {
  await running.stop();
  await importerHere(t, bed, { allowedEndpointCidrs: [] });
  const namespace = await newTenant(bed);
  const byName = `http://localhost:${new URL(bed.s3.endpoint).port}`;
  await putSecret(bed, namespace, { endpoints: `${bed.s3.endpoint} ${byName}` });
  for (const [name, endpoint] of [
    ["by-address", bed.s3.endpoint],
    ["by-name", byName],
  ] as const) {
    const path = await putModel(bed, namespace, { name, endpoint, prefix: "bad/good" });
    await assertRefused(path, "EndpointNotAllowed", /loopback address: .*importer\.allowedEndpointCIDRs/);
  }
});
