// Models from a hub that is played by a small local server, on the real API server and into the real store.
import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { before, test, type TestContext } from "node:test";
import { COMMIT, TOKEN, startHub, type Faults, type Hub } from "../adapters/hub/hubserver.ts";
import { apiPath } from "../cluster/client.ts";
import { tinyConfig, tinyModel } from "../models/tiny.ts";
import {
  fileScope,
  importerHere,
  modelUntil,
  newBed,
  newTenant,
  putSecret,
  readyOf,
  untilReason,
  type Bed,
} from "./importbench.ts";

const group = "berth.dev/v1alpha1";
const NEWER = "89abcdef0123456789abcdef0123456789abcdef";
const scope = fileScope();
const faults: Faults = {};
let bed: Bed;
let hub: Hub;
let network: Hub;
before(async () => {
  const folder = mkdtempSync(join(tmpdir(), "hub-"));
  scope.after(() => rmSync(folder, { recursive: true }));
  mkdirSync(join(folder, "original"));
  // As many repositories have them beside the safetensors: never imported.
  const others = {
    "pytorch_model.bin": "x",
    "original/consolidated.00.pth": "x",
    "convert.py": "x",
    // Named, never there, and not needed: the engine has classes of its own.
    "config.json": JSON.stringify({
      ...tinyConfig,
      model_type: "llama",
      auto_map: { AutoConfig: "configuration_x.XConfig", AutoModelForCausalLM: "modeling_x.XForCausalLM" },
    }),
    "configuration_x.py": "x",
    ".gitattributes": "x",
  };
  for (const [name, content] of Object.entries({ ...tinyModel(), ...others }))
    writeFileSync(join(folder, name), content);
  const played = scope as unknown as TestContext;
  network = await startHub(played, { folder, repo: "cdn/only", faults });
  const elsewhere = network.url.replace("127.0.0.1", "localhost");
  hub = await startHub(played, { folder, repo: "org/tiny", gated: true, redirectTo: elsewhere, faults });
  bed = await newBed(scope);
  await importerHere(scope, bed, { hubEndpoint: hub.url, hubRedirectHosts: [new URL(elsewhere).host] });
});

interface Source {
  readonly repo?: string;
  readonly revision?: string;
  readonly secret?: string;
}

async function put(kind: "Model" | "ClusterModel", namespace: string, name: string, source: Source): Promise<string> {
  const { repo = "org/tiny", revision, secret } = source;
  const huggingFace = {
    repo,
    ...(revision === undefined ? {} : { revision }),
    ...(secret === undefined ? {} : { tokenSecretRef: { name: secret } }),
  };
  const place = kind === "Model" ? { namespace } : {};
  const plural = `${kind.toLowerCase()}s`;
  await bed.cluster.admin.create(apiPath(group, plural, place), {
    apiVersion: group,
    kind,
    metadata: { name, ...place },
    spec: { source: { huggingFace } },
  });
  return apiPath(group, plural, { ...place, name });
}

const withToken = (token = TOKEN) => ({ endpoints: hub.url, data: { token } });

test("a gated repository is imported with the token of a Secret that lists the hub, at one commit, without foreign files", async () => {
  const tenant = await newTenant(bed);
  await putSecret(bed, tenant, withToken());
  const path = await put("Model", tenant, "tiny", { secret: "source" });
  const { status, metadata } = await untilReason(bed, path, "Imported");
  assert.equal(status?.phase, "Ready");
  assert.equal(status.sourceCommit, COMMIT);
  assert.equal(status.revisions?.[0]?.sourceCommit, COMMIT);
  assert.equal(status.architecture, "LlamaForCausalLM");
  const keys: string[] = [];
  for await (const { key } of bed.store.list("")) if (key.includes(`${metadata.uid ?? "?"}/1/`)) keys.push(key);
  const names = keys.map((key) => key.split("/1/")[1]).filter((name) => !name?.startsWith(".berth"));
  assert.deepEqual(names.sort(), ["MANIFEST.json", ...Object.keys(tinyModel())].sort());
  assert.ok(network.asked.length > 0 && network.asked.every(({ authorized }) => !authorized));
});

test("refusals are the hub's own words, and nothing of a Secret goes where it does not say", async () => {
  const tenant = await newTenant(bed);
  await putSecret(bed, tenant, { ...withToken(), endpoints: "https://huggingface.co" });
  const before = hub.asked.filter(({ authorized }) => authorized).length;
  const elsewhere = await put("Model", tenant, "elsewhere", { secret: "source" });
  const { status } = await untilReason(bed, elsewhere, "EndpointNotAllowed");
  assert.match(readyOf(status)?.message ?? "", /add the endpoint to its annotation/);
  assert.equal(hub.asked.filter(({ authorized }) => authorized).length, before);

  const without = await put("Model", tenant, "without", {});
  const refused = await untilReason(bed, without, "AccessDenied");
  assert.match(readyOf(refused.status)?.message ?? "", /Access to model org\/tiny is restricted.*tokenSecretRef/);
  assert.equal(refused.status?.phase, "Error");
});

test("a wrong token, no token, an unknown revision and an unknown repository each have one reason", async () => {
  for (const [name, data, source, reason, words] of [
    ["wrong", { token: "hf_wrong" }, {}, "AccessDenied", /is restricted/],
    ["empty", { accessKeyId: "x" }, {}, "SecretInvalid", /lacks the key token/],
    ["line", { token: "two words" }, {}, "SecretInvalid", /lacks the key token/],
    ["revision", { token: TOKEN }, { revision: "v9" }, "RevisionMissing", /Invalid rev id: v9/],
    ["repo", { token: TOKEN }, { repo: "org/other" }, "RepoNotFound", /Repository not found/],
  ] as const) {
    const tenant = await newTenant(bed);
    await putSecret(bed, tenant, { endpoints: hub.url, data });
    const path = await put("Model", tenant, name, { secret: "source", ...source });
    const message = readyOf((await untilReason(bed, path, reason)).status)?.message ?? "";
    assert.match(message, words);
    assert.ok(!message.includes("hf_wrong"), message);
  }
});

test("bytes that are not those that the hub states are never committed", async () => {
  const tenant = await newTenant(bed);
  await putSecret(bed, tenant, withToken());
  faults.flipLastByte = true;
  const path = await put("Model", tenant, "flipped", { secret: "source" });
  const { status } = await untilReason(bed, path, "ChecksumMismatch");
  assert.match(readyOf(status)?.message ?? "", /model\.safetensors has SHA-256 .* but the source states/);
  assert.equal(status?.revisions, undefined);
  delete faults.flipLastByte;
  await untilReason(bed, path, "Imported");
});

test("a hub that is away is waited for: no error phase where the facts are known already, and who asked for a look gets it", async () => {
  const tenant = await newTenant(bed);
  await putSecret(bed, tenant, withToken());
  const path = await put("Model", tenant, "away", { secret: "source" });
  await untilReason(bed, path, "Imported");
  faults.refuse = { status: 503, body: "the hub rests" };
  await bed.cluster.admin.patch(path, { metadata: { annotations: { "berth.dev/refresh": "now" } } });
  const { status } = await untilReason(bed, path, "SourceUnreachable");
  assert.match(readyOf(status)?.message ?? "", /the hub rests/);
  assert.equal(status?.phase, "Preparing");
  assert.ok(status.weightBytes !== undefined);
  // The branch moved meanwhile: the look that was asked for has not been had yet.
  faults.commit = NEWER;
  delete faults.refuse;
  await modelUntil(
    bed,
    path,
    "is Ready at the newer commit, and asks for nothing",
    ({ status: now, metadata }) =>
      readyOf(now)?.status === "True" &&
      now?.sourceCommit === NEWER &&
      metadata.annotations?.["berth.dev/refresh"] === undefined,
  );
  delete faults.commit;
});
