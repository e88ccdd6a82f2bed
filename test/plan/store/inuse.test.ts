// What clusters need of their store, out of lists that people make.
import assert from "node:assert/strict";
import { test } from "node:test";
import { planFences, unjudgedModels } from "../../../operator/plan/store/garbage.ts";
import { inUseOf } from "../../../operator/plan/store/inuse.ts";
import { inventoryOf } from "../../../operator/plan/store/inventory.ts";

const object = (kind: string, name: string, rest = {}, namespace?: string) => ({
  apiVersion: kind.startsWith("Model") || kind === "ClusterModel" ? "berth.dev/v1alpha1" : "v1",
  kind,
  metadata: { name, uid: `${name}-uid`, ...(namespace === undefined ? {} : { namespace }) },
  ...rest,
});
const digest = `sha256:${"a".repeat(64)}`;
const items = [
  object("Namespace", "team"),
  object("Lease", "berth-import-busy-uid"),
  object("Model", "chat", { status: { revisions: [{ number: 4, digest }] } }, "team"),
  object("ClusterModel", "shared"),
  object("ModelDeployment", "serve", { spec: { model: { revision: digest } } }, "team"),
  object("ControllerRevision", "r", { data: { model: { path: "models/team-uid/old-uid/12" } } }, "team"),
];
const printed = (list: readonly unknown[]) => ({ text: JSON.stringify({ kind: "List", items: list }), isWhole: false });

test("what a cluster uses is read from kubectl's lists: statuses, pinned templates, digests, Leases", () => {
  const inUse = inUseOf([printed(items)]);
  assert.ok(typeof inUse !== "string", String(inUse));
  assert.deepEqual([...(inUse.models ?? [])], ["models/team-uid/chat-uid/", "models/cluster/shared-uid/"]);
  assert.deepEqual([...inUse.revisions], ["models/team-uid/chat-uid/4/", "models/team-uid/old-uid/12/"]);
  assert.deepEqual([[...inUse.digests], [...inUse.importing]], [[digest], ["busy-uid"]]);
});

test("a namespace is its own cluster's: two clusters that share a store and a name keep both their models", () => {
  const listOf = (cluster: string) =>
    printed([
      { apiVersion: "v1", kind: "Namespace", metadata: { name: "default", uid: `ns-${cluster}` } },
      object("Lease", "leader"),
      object("ControllerRevision", "plugin"),
      object("Model", `chat-${cluster}`, { status: { revisions: [{ number: 1, digest }] } }, "default"),
    ]);
  const inUse = inUseOf([listOf("a"), listOf("b")]);
  assert.ok(typeof inUse !== "string", String(inUse));
  const models = ["models/ns-a/chat-a-uid/", "models/ns-b/chat-b-uid/"];
  assert.deepEqual([...(inUse.models ?? [])], models);
  const revisions = models.map((folder) => `${folder}1/`);
  assert.deepEqual([...inUse.revisions], revisions);
});

test("a list that cannot be relied upon is refused in words", () => {
  const without = (kind: string) => printed(items.filter((item) => item.kind !== kind));
  const noDeployments = printed(items.filter(({ kind }) => !/^(ModelDeployment|ControllerRevision)$/.test(kind)));
  const cases: readonly (readonly [{ text: string; isWhole: boolean }, RegExp])[] = [
    [{ text: "no json", isWhole: false }, /is no JSON: make it with kubectl get/],
    [without("Namespace"), /holds no Namespace/],
    [without("Lease"), /holds no Lease/],
    [without("ControllerRevision"), /holds no ControllerRevision/],
    [noDeployments, /holds no ControllerRevision/],
    [printed(items.filter(({ kind }) => !/Model$/.test(kind))), /everything would be garbage/],
    [printed(items.map((item) => (item.kind === "Namespace" ? object("Namespace", "other") : item))), /namespace team of a Model is not in the list/],
  ]; // prettier-ignore
  for (const [list, words] of cases) assert.match(String(inUseOf([list])), words);
  assert.ok(typeof inUseOf([{ ...noDeployments, isWhole: true }]) !== "string", "the cluster has none");
});

test("what kubectl could not list looks as if there were none: then no model of that kind counts as gone", () => {
  const without = (kind: string) => printed(items.filter((item) => item.kind !== kind));
  const folders = ["models/cluster/other/", "models/team-uid/other/"];
  const read = { kind: "damaged" } as const;
  const objects = folders.map((folder) => ({ key: `${folder}1/MANIFEST.json`, sizeBytes: 1, modifiedAtMs: 0 }));
  const inventory = inventoryOf(objects, [], new Map(folders.map((folder) => [`${folder}1/`, read])));
  const judged = (...lists: Parameters<typeof inUseOf>[0]) => {
    const inUse = inUseOf(lists);
    assert.ok(typeof inUse !== "string", String(inUse));
    const fences = planFences(inventory, inUse, { now: 2, olderThanMs: 1 });
    return {
      given: fences.map(({ folder }) => folder.slice(0, -2)).sort(),
      unjudged: unjudgedModels(inventory, inUse).map(({ folder }) => folder),
    };
  };
  const [cluster, namespaced] = folders;
  assert.deepEqual(judged(printed(items)), { given: folders, unjudged: [] });
  assert.deepEqual(judged(without("ClusterModel")), { given: [namespaced], unjudged: [cluster] });
  assert.deepEqual(judged(without("Model")), { given: [cluster], unjudged: [namespaced] });
  assert.deepEqual(judged(printed(items), without("ClusterModel")), { given: [namespaced], unjudged: [cluster] });
  assert.deepEqual(judged({ ...without("ClusterModel"), isWhole: true }), { given: folders, unjudged: [] });
});

test("a list without deployments may lack them: then a model that exists loses no revision, and is named", () => {
  const folder = "models/team-uid/chat-uid/";
  const complete = (hex: string) => {
    const manifest = { digest: `sha256:${hex.repeat(64)}`, files: [] };
    return { kind: "manifest", manifest, textSha256: hex, record: undefined } as const;
  };
  const read = new Map(["a", "b", "c"].map((hex, at) => [`${folder}${String(at + 3)}/`, complete(hex)]));
  const gone = "models/team-uid/gone-uid/1/";
  read.set(gone, complete("d"));
  const objects = [...read.keys()].map((at) => ({ key: `${at}MANIFEST.json`, sizeBytes: 1, modifiedAtMs: 0 }));
  const inventory = inventoryOf(objects, [], read);
  const judged = (...lists: Parameters<typeof inUseOf>[0]) => {
    const inUse = inUseOf(lists);
    assert.ok(typeof inUse !== "string", String(inUse));
    return {
      given: planFences(inventory, inUse, { now: 2, olderThanMs: 1 }).map(({ folder: at }) => at),
      unjudged: unjudgedModels(inventory, inUse),
    };
  };
  const some = items.map((item) => (item.kind === "Model" ? object("Model", "chat", {}, "team") : item));
  const none = printed(some.filter(({ kind }) => kind !== "ModelDeployment"));
  const unjudged = [{ folder, lacks: "ModelDeployment" }];
  assert.deepEqual(judged(printed(some)), { given: [`${folder}4/`, gone], unjudged: [] });
  assert.deepEqual(judged(none), { given: [gone], unjudged });
  assert.deepEqual(judged(printed(some), none), judged(none));
  assert.deepEqual(judged({ ...none, isWhole: true }), { given: [`${folder}3/`, `${folder}4/`, gone], unjudged: [] });
});
