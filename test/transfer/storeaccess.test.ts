// Whose token opens what: every token but that of a serving pod on a node of its own namespace's deployment gets a clear no.
import assert from "node:assert/strict";
import { createPrivateKey, createSign } from "node:crypto";
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { after, before, test } from "node:test";
import { apiPath } from "../cluster/client.ts";
import { eventually } from "../cluster/eventually.ts";
import { serviceAccountIdentity } from "../cluster/users.ts";
import type { Replica } from "../chart/rendered.ts";
import { first, namespace, newFolder, podToken, second, startFetch, startStoreRig } from "./storerig.ts";
import type { Pod, StoreRig } from "./storerig.ts";

let rig: StoreRig;
let store: Replica;
let serving: Pod;
let url: string;
const ending: (() => unknown)[] = [];
before(
  async () => {
    rig = await startStoreRig({ after: (work) => void ending.unshift(work as () => unknown) }, "s3");
    store = await rig.startStore();
    serving = await rig.servingPod(first);
    url = store.urls["store"] ?? "";
  },
  { timeout: 240_000 },
);
after(async () => {
  for (const work of ending) await work();
});

interface Answer {
  readonly status: number;
  readonly reason: string;
  readonly error: string;
}

/** Asks for the manifest with these headers; what is refused never carries anything else than the refusal. */
async function ask(authorization?: string): Promise<Answer> {
  const response = await fetch(`${url}/v1/manifest`, { headers: authorization === undefined ? {} : { authorization } });
  const body = (await response.json()) as { reason?: string; error?: string; files?: unknown };
  if (response.status !== 200) assert.deepEqual(Object.keys(body).sort(), ["error", "reason"]);
  return { status: response.status, reason: body.reason ?? "", error: body.error ?? "" };
}

async function refused(token: string, status: number, reason: string, words: RegExp): Promise<void> {
  const answer = await ask(`Bearer ${token}`);
  assert.deepEqual([answer.status, answer.reason], [status, reason], answer.error);
  assert.match(answer.error, words);
  for (const secret of [rig.s3.secretAccessKey, rig.s3.endpoint, token]) assert.ok(!answer.error.includes(secret));
}

const pause = {
  name: "main",
  image: "pause",
  securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: ["ALL"] } },
};

/** A pod as somebody may make it who is not Berth; it runs where `spec` says. */
async function newPod(tenant: string, name: string, spec: object, metadata: object = {}): Promise<Pod> {
  const { admin } = rig.cluster;
  await eventually(() => admin.find(apiPath("v1", "serviceaccounts", { namespace: tenant, name: "default" })), {
    what: "the default service account",
  });
  return admin.create<Pod>(apiPath("v1", "pods", { namespace: tenant }), {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name, ...metadata },
    spec: { containers: [pause], ...spec },
  });
}

const onNode = (instance: string): object => ({
  nodeSelector: { "node.kubernetes.io/instance-type": instance },
  tolerations: [{ key: "nvidia.com/gpu", operator: "Exists" }],
});

async function bound(pod: Pod): Promise<Pod> {
  const path = apiPath("v1", "pods", { namespace: pod.metadata.namespace ?? "", name: pod.metadata.name });
  return eventually(
    async () => {
      const now = await rig.cluster.admin.get<Pod>(path);
      return now.spec.nodeName ? now : undefined;
    },
    { what: `${pod.metadata.name} has a node` },
  );
}

test("what is no token of a pod for the store is not authenticated", async () => {
  const { cluster } = rig;
  const answer = await ask();
  assert.deepEqual([answer.status, answer.reason], [401, "TokenMissing"]);
  assert.equal((await ask("Basic dXNlcjpwYXNz")).reason, "TokenMissing");
  await refused("rubbish", 401, "TokenInvalid", /no service account token/);
  await refused(`a.${"b".repeat(8_000)}.c`, 401, "TokenInvalid", /no service account token/);
  const token = await podToken(cluster, serving);
  const [head = "", claims = "", signature = ""] = token.split(".");
  const flipped = signature.startsWith("A") ? `B${signature.slice(1)}` : `A${signature.slice(1)}`;
  await refused(`${head}.${claims}.${flipped}`, 401, "TokenInvalid", /Kubernetes does not accept the token/);
  await refused(await podToken(cluster, serving, []), 401, "WrongAudience", /audience berth-store/);
  await refused(await podToken(cluster, serving, ["vault"]), 401, "WrongAudience", /audience berth-store/);
  const unbound = await serviceAccountIdentity(cluster, first, "default", { audiences: ["berth-store"] });
  await refused(unbound.token, 403, "NotAPod", /not bound to a pod/);
});

/** The same token as the API server would have given it out a day ago, signed with its own key. */
function outOfDate(token: string, seconds: number): string {
  const [head = "", payload = ""] = token.split(".");
  const claims = JSON.parse(Buffer.from(payload, "base64url").toString()) as { exp: number; iat: number; nbf: number };
  const { exp, iat, nbf } = claims;
  const old = { ...claims, exp: exp - seconds, iat: iat - seconds, nbf: nbf - seconds };
  const text = `${head}.${Buffer.from(JSON.stringify(old)).toString("base64url")}`;
  const { servingKeyPath = "" } = rig.cluster.info;
  const key = createPrivateKey(readFileSync(join(dirname(servingKeyPath), "sa.key")));
  return `${text}.${createSign("RSA-SHA256").update(text).sign(key, "base64url")}`;
}

test("an expired token opens nothing, one signed again for now does", async () => {
  const token = await podToken(rig.cluster, serving);
  assert.equal((await ask(`Bearer ${outOfDate(token, 60)}`)).status, 200);
  await refused(outOfDate(token, 86_400), 401, "TokenExpired", /read it again from its file/);
});

test("pods that Berth did not put on a node of their namespace's deployment get nothing", async () => {
  const { cluster } = rig;
  // All but the hash by which its ReplicaSet would adopt it, and remove it as one too many.
  const { "pod-template-hash": _hash, ...copied } = serving.metadata.labels ?? {};
  const twin = { labels: copied };
  // Labels as on a serving pod prove nothing.
  const forged = await bound(await newPod(first, "forged", onNode("cpu-4"), twin));
  await refused(await podToken(cluster, forged), 403, "NodeNotDedicated", /is not held by any pool/);
  const waiting = await newPod(first, "waiting", { nodeSelector: { nowhere: "yes" } });
  await refused(await podToken(cluster, waiting), 403, "NotScheduled", /has no node yet/);
  const stranger = await bound(await newPod(second, "stranger", onNode("cpu-4")));
  await refused(await podToken(cluster, stranger), 403, "NodeNotDedicated", /is not held by any pool/);
  // An exempt namespace's pod may lie on a dedicated node; the model is none of its business.
  const nodeName = serving.spec.nodeName ?? "";
  const exporter = await bound(
    await newPod("kube-system", "exporter", { nodeName, tolerations: [{ operator: "Exists" }] }),
  );
  const answer = await ask(`Bearer ${await podToken(cluster, exporter)}`);
  assert.deepEqual([answer.status, answer.reason], [403, "OtherNamespace"]);
  for (const name of [first, "chat", serving.metadata.uid]) assert.ok(!answer.error.includes(name), answer.error);
  // Nor are the store's own pods': they would need no token of a tenant.
  const own = await newPod(namespace, "own", { nodeSelector: { nowhere: "yes" } });
  await refused(await podToken(cluster, own), 403, "NotScheduled", /has no node yet/);
});

test("each tenant's pod gets its own model, and none of the other's files", async () => {
  const manifests = [];
  for (const tenant of [first, second]) {
    const token = await podToken(rig.cluster, await rig.servingPod(tenant));
    const response = await fetch(`${url}/v1/manifest`, { headers: { authorization: `Bearer ${token}` } });
    manifests.push({ token, files: ((await response.json()) as { files: { sha256: string }[] }).files });
  }
  const [mine, theirs] = manifests;
  assert.ok(mine && theirs);
  for (const { sha256 } of theirs.files.filter((file) => !mine.files.some((own) => own.sha256 === file.sha256))) {
    const answer = await fetch(`${url}/v1/blobs/${sha256}`, { headers: { authorization: `Bearer ${mine.token}` } });
    assert.equal(answer.status, 404);
    assert.equal(((await answer.json()) as Answer).reason, "NotInManifest");
  }
});

test("a pod's label chooses among its deployment's revisions only", async (t) => {
  const path = apiPath("v1", "pods", { namespace: first, name: serving.metadata.name });
  const right = serving.metadata.labels?.["berth.dev/revision"];
  const other = (await rig.servingPod(second)).metadata.labels?.["berth.dev/revision"];
  t.after(() => rig.cluster.admin.patch(path, { metadata: { labels: { "berth.dev/revision": right } } }));
  for (const label of ["0000000000", other ?? "", null]) {
    await rig.cluster.admin.patch(path, { metadata: { labels: { "berth.dev/revision": label } } });
    await refused(await podToken(rig.cluster, serving), 403, "RevisionUnknown", /delete the pod/);
  }
});

test("a fetch with a wrong token says why and asks for nothing but a manifest", async (t) => {
  const run = startFetch(newFolder(t), {
    url,
    token: await podToken(rig.cluster, serving, ["vault"]),
    args: ["--patience-seconds", "2"],
  });
  const { code, message } = await run.done;
  assert.equal(code, 1);
  assert.match(message, /^WrongAudience: the store answers 401: the token is for another audience/);
});

test("while Kubernetes cannot be asked, callers are told to come again", async (t) => {
  await rig.cluster.apiserver.kill();
  t.after(() => rig.cluster.apiserver.start());
  const header = Buffer.from('{"alg":"RS256"}').toString("base64url");
  const claims = Buffer.from('{"aud":["berth-store"]}').toString("base64url");
  const answer = await ask(`Bearer ${header}.${claims}.c2ln`);
  assert.deepEqual([answer.status, answer.reason], [503, "KubernetesUnavailable"]);
});

test("a pod that is gone takes its token with it", async () => {
  const token = await podToken(rig.cluster, serving);
  assert.equal((await ask(`Bearer ${token}`)).status, 200);
  await rig.cluster.admin.remove(apiPath("v1", "pods", { namespace: first, name: serving.metadata.name }));
  await eventually(async () => (await ask(`Bearer ${token}`)).status !== 200, {
    what: "the token of the deleted pod opens nothing",
    deadlineMs: 120_000,
  });
  assert.match((await ask(`Bearer ${token}`)).reason, /^(TokenInvalid|PodGone)$/);
});
