// A platform that pins keys, on the real control plane: chart → template → the pod's own fetch → condition, and the way out.
import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { chmodSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { apiPath } from "../cluster/client.ts";
import type { KubeObject } from "../cluster/client.ts";
import { eventually } from "../cluster/eventually.ts";
import { playAnnotation } from "../cluster/stages.ts";
import { filesBelow } from "../models/upload.ts";
import { first, largeModel, newFolder, podToken, startFetch, startStoreRig } from "./storerig.ts";
import type { FetchProcess, Pod, StoreRig } from "./storerig.ts";

const api = "berth.dev/v1alpha1";
const newKey = () => {
  const { privateKey, publicKey } = generateKeyPairSync("ed25519");
  const text = (key: typeof privateKey, type: "pkcs8" | "spki") => key.export({ type: type as never, format: "pem" });
  return { privatePem: text(privateKey, "pkcs8").toString(), publicPem: text(publicKey, "spki").toString() };
};
const key = newKey();
const next = newKey();

let rig: StoreRig;
const ending: (() => unknown)[] = [];
before(
  async () => {
    const signing = { privatePem: key.privatePem, publicPems: [next.publicPem, key.publicPem] };
    rig = await startStoreRig({ after: (work) => void ending.unshift(work as () => unknown) }, "file", largeModel, {
      signing,
    });
  },
  { timeout: 240_000 },
);
after(async () => {
  for (const work of ending) await work();
});

interface Deployed extends KubeObject {
  readonly status: {
    readonly model?: { readonly digest: string; readonly revision: number };
    readonly conditions: readonly { type: string; status: string; reason: string; message: string }[];
  };
}

const deploymentPath = apiPath(api, "modeldeployments", { namespace: first, name: "chat" });
const deployed = (): Promise<Deployed> => rig.cluster.admin.get<Deployed>(deploymentPath);

/** The flags of the pod's own init step that say what it believes. */
function trustArgs(pod: Pod): readonly string[] {
  const [step] = pod.spec["initContainers"] as { args: string[] }[];
  const args = step?.args ?? [];
  return ["--trusted-keys", "--digest"].flatMap((flag) => [flag, args[args.indexOf(flag) + 1] ?? ""]);
}

async function fetchAs(t: Parameters<typeof newFolder>[0], pod: Pod, url: string): Promise<FetchProcess> {
  const token = await podToken(rig.cluster, pod);
  return startFetch(newFolder(t), { url, token, args: trustArgs(pod) });
}

/** The kubelet's part: kwok runs no init step. */
async function playEnd(pod: Pod, message: string): Promise<void> {
  const { admin } = rig.cluster;
  const at = apiPath("v1", "pods", { namespace: first, name: pod.metadata.name });
  await admin.patch(at, { metadata: { annotations: { [playAnnotation]: "manual" } } });
  const container = { image: "x", imageID: "", ready: false, restartCount: 0 };
  const terminated = { exitCode: 4, reason: "Error", message };
  await admin.patch(`${at}/status`, {
    status: {
      conditions: [{ type: "Ready", status: "False", lastTransitionTime: new Date().toISOString() }],
      initContainerStatuses: [{ ...container, name: "fetch", state: { terminated } }],
      containerStatuses: [{ ...container, name: "vllm", state: { waiting: {} } }],
    },
  });
}

test("a pod is told the keys and its digest, and takes the signed model", async (t) => {
  const store = await rig.startStore();
  const pod = await rig.servingPod(first);
  const bare = (pem: string): string => pem.split("\n")[1] ?? "";
  const { status } = await deployed();
  assert.deepEqual(trustArgs(pod), [
    "--trusted-keys",
    `${bare(next.publicPem)},${bare(key.publicPem)}`,
    "--digest",
    status.model?.digest,
  ]);
  const run = await fetchAs(t, pod, store.urls["store"] ?? "");
  const { code, message } = await run.done;
  assert.equal(code, 0, message);
  assert.deepEqual(filesBelow(run.into), filesBelow(largeModel));
});

test("a spoilt signature is told by the deployment; importing anew mends it", { timeout: 240_000 }, async (t) => {
  const { admin } = rig.cluster;
  const pod = await rig.servingPod(first);
  const model = (await deployed()).status.model;
  // Both tenants' models are signed; the one of the large model is found by what it signs.
  const signatures = filesBelow(rig.storeDir).filter((path) => path.includes("/.berth/signatures/"));
  const payload = (path: string): string =>
    Buffer.from(
      (JSON.parse(readFileSync(join(rig.storeDir, path), "utf8")) as { payload: string }).payload,
      "base64",
    ).toString();
  const signature = join(rig.storeDir, signatures.find((path) => payload(path).includes(model?.digest ?? "?")) ?? "");
  const envelope = JSON.parse(readFileSync(signature, "utf8")) as { signatures: { keyid: string; sig: string }[] };
  const spoilt = [{ ...envelope.signatures[0], sig: Buffer.alloc(64).toString("base64") }];
  chmodSync(signature, 0o644);
  writeFileSync(signature, JSON.stringify({ ...envelope, signatures: spoilt }));
  // What a role has read once it keeps: one that comes later finds what stands there now.
  const { urls } = await rig.startStore();
  const { code: ended, message: told } = await (await fetchAs(t, pod, urls["store"] ?? "")).done;
  assert.equal(ended, 4, told);
  assert.match(told, /holds a signature that is not its key's/);
  await playEnd(pod, told);
  const stalled = await eventually(
    async () => {
      const { conditions } = (await deployed()).status;
      return conditions.find(({ type, reason }) => type === "Stalled" && reason === "SignatureInvalid");
    },
    { what: "the deployment says that its model is refused", deadlineMs: 30_000 },
  );
  assert.match(stalled.message, new RegExp(`^pod ${pod.metadata.name} refuses Model model: the manifest of sha256:`));
  assert.equal(
    stalled.message,
    `pod ${pod.metadata.name} refuses Model model: ${told.replace("SignatureInvalid: ", "")}`,
  );

  const modelPath = apiPath(api, "models", { namespace: first, name: "model" });
  await admin.patch(modelPath, { metadata: { annotations: { "berth.dev/reimport": "now" } } });
  await eventually(
    async () => {
      const { status } = await admin.get<KubeObject & { status: { revisions: { number: number }[] } }>(modelPath);
      return status.revisions.some(({ number }) => number > (model?.revision ?? 0));
    },
    { what: "the model is imported anew", deadlineMs: 60_000 },
  );
  await admin.patch(deploymentPath, { metadata: { annotations: { "berth.dev/rollout": "mended" } } });
  const fresh = await eventually(
    async () => {
      const found = await rig.servingPod(first);
      return found.metadata.uid === pod.metadata.uid ? undefined : found;
    },
    { what: "a pod of the new template has its node", deadlineMs: 90_000 },
  );
  const store = await rig.startStore();
  const { code, message } = await (await fetchAs(t, fresh, store.urls["store"] ?? "")).done;
  assert.equal(code, 0, message);
  await eventually(
    async () => (await deployed()).status.conditions.some(({ type, status }) => type === "Ready" && status === "True"),
    { what: "it serves again", deadlineMs: 60_000 },
  );
});
