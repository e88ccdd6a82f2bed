// The pinned template: what renders anew, what restarts nothing, and which revisions are believed.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { annotations, labels, taints } from "../../../operator/api/keys.ts";
import type { ControllerRevision } from "../../../operator/api/kubernetes.ts";
import type { ModelDeployment } from "../../../operator/api/modeldeployment.ts";
import { desiredService } from "../../../operator/plan/deployment/children.ts";
import { planDeployment } from "../../../operator/plan/deployment/plan.ts";
import { currentRevision } from "../../../operator/plan/deployment/revisions.ts";
import { renderPodTemplate } from "../../../operator/plan/deployment/template.ts";
import type { Renderer } from "../../../operator/plan/deployment/rollout.ts";
import type { PinnedTemplate, Seen } from "../../../operator/plan/deployment/seen.ts";
import { revisionName } from "../../../operator/plan/identity.ts";
import { OTHER_DIGEST, UID, changed, deploymentOf, modelOf, serving } from "./observed.ts";
import { applied, conditionOf, described, effective, messageOf, writes, writtenWorkload } from "./read.ts";

const POOL_OF_ANOTHER = "33333333-3333-4333-8333-333333333333";

function newRevision(seen: Seen, render: Renderer = renderPodTemplate): ControllerRevision | undefined {
  return applied<ControllerRevision>(planDeployment(seen, render), "ControllerRevision");
}

/** As if the plan's revision had been stored. */
function rolledOut(seen: Seen): Seen {
  const revision = newRevision(seen);
  assert.ok(revision);
  return { ...seen, revisions: [...seen.revisions, revision] };
}

function newDigest(): Seen["model"] {
  const importedAt = "2026-03-09T00:00:00Z";
  const entries = [
    ...(modelOf().status?.revisions ?? []),
    { number: 2, digest: OTHER_DIGEST, sizeBytes: 1, importedAt },
  ];
  return modelOf({ digest: OTHER_DIGEST, revisions: entries });
}

const changedRenderer: Renderer = (input) => {
  const { metadata, spec } = renderPodTemplate(input);
  return { metadata, spec: { ...spec, terminationGracePeriodSeconds: 999 } };
};

describe("a pinned template", () => {
  const same: readonly (readonly [string, Partial<ModelDeployment["spec"]>])[] = [
    ["replicas", { replicas: 4 }],
    ["suspend", { suspend: true }],
    ["deletionProtection", { deletionProtection: true }],
    ["billing", { billing: { tags: { project: "x" } } }],
    ["acceptLicense", { acceptLicense: "llama3.1" }],
  ];
  for (const [name, spec] of same) {
    test(`is kept when ${name} changes, even where Berth and the model are newer`, () => {
      const seen = changed(serving({}, { model: newDigest() }), spec);
      const plan = planDeployment(seen, changedRenderer);
      assert.equal(applied(plan, "ControllerRevision"), undefined);
      assert.deepEqual(writtenWorkload(plan)?.spec?.template, currentRevision(seen)?.pinned.podTemplate);
    });
  }

  const other: readonly (readonly [string, (seen: Seen) => Seen])[] = [
    ["the model", (seen) => changed(seen, { model: { name: "mistral", kind: "Model" } })],
    ["the context length", (seen) => changed(seen, { contextLength: 4096 })],
    ["the engine", (seen) => changed(seen, { engine: { version: "0.31.1" } })],
    ["an argument", (seen) => changed(seen, { engine: { extraArgs: ["--enforce-eager"] } })],
    ["an environment variable", (seen) => changed(seen, { engine: { env: [{ name: "NCCL_DEBUG", value: "INFO" }] } })],
    ["a parser", (seen) => changed(seen, { engine: { toolCallParser: "hermes" } })],
    ["the bits", (seen) => changed(seen, { quantization: { bits: 8 } })],
    ["the pinned digest", (seen) => changed(seen, { model: { name: "llama", kind: "Model", revision: OTHER_DIGEST } })],
    ["the annotation berth.dev/rollout", (seen) => changed(seen, {}, { annotations: { [annotations.rollout]: "1" } })],
  ];
  for (const [name, change] of other) {
    test(`is rendered anew when ${name} changes, with the model's newest revision`, () => {
      const seen = change(serving({}, { model: newDigest() }));
      const revision = newRevision(seen);
      assert.equal(revision?.revision, 2);
      assert.equal((revision?.data as PinnedTemplate).model.digest, OTHER_DIGEST);
      const plan = planDeployment(seen);
      assert.equal(conditionOf(plan, "Ready"), "False Updating");
      assert.equal(plan.status?.phase, "Updating");
    });
  }

  test("of another engine version is rendered by that version's profile and runs its image", () => {
    const older = { engine: { version: "0.31.1", extraArgs: ["--enable-batch-sharded-sampling"] } };
    const seen = changed(serving({}, { model: newDigest() }), older);
    const pinned = newRevision(seen)?.data as PinnedTemplate;
    assert.equal(pinned.engine.image, seen.settings.engineImages.find(({ version }) => version === "0.31.1")?.image);
    assert.ok(pinned.engine.args.includes("--enable-batch-sharded-sampling"));
    const newer = changed(seen, { engine: { version: "0.32.0", extraArgs: ["--custom-histogram-buckets", "{}"] } });
    assert.ok((newRevision(newer)?.data as PinnedTemplate).engine.args.includes("--custom-histogram-buckets"));
    const unknown = changed(seen, { engine: { version: "0.31.1", extraArgs: ["--custom-histogram-buckets", "{}"] } });
    assert.equal(newRevision(unknown), undefined);
    assert.match(messageOf(planDeployment(unknown)), /--custom-histogram-buckets.* is no flag of vLLM 0\.31\.0/);
  });

  test("is not touched by a newer Berth, and its pods neither", () => {
    const seen = serving();
    assert.deepEqual(effective(planDeployment(seen, changedRenderer), seen), []);
  });

  test("is rendered anew going back and forth: A, B, A", () => {
    const first = serving();
    const second = rolledOut(changed(first, { contextLength: 4096 }));
    const third = changed(second, { contextLength: undefined });
    assert.equal(newRevision(third)?.revision, 3);
  });

  test("is rendered from whatever the last spec says when it is changed twice quickly", () => {
    const seen = changed(changed(serving(), { contextLength: 4096 }), { contextLength: undefined });
    assert.deepEqual(effective(planDeployment(seen), seen), []);
  });

  test("whose revision was deleted by hand is stored again and restarts nothing", () => {
    const seen: Seen = { ...serving(), revisions: [] };
    const plan = planDeployment(seen);
    assert.deepEqual(effective(plan, seen), [`create ControllerRevision team/${revisionName(UID, 1)}`]);
    assert.equal(conditionOf(plan, "Ready"), "True Serving");
  });

  test("does not depend on fields that a later version adds with a default", () => {
    const seen = serving();
    const engine = { ...seen.deployment.spec.engine, extraArgs: [] };
    assert.equal(newRevision(changed(seen, { engine })), undefined);
  });
});

describe("a changed spec whose template cannot be rendered", () => {
  test("leaves the former pods serving and names the reason", () => {
    const seen = changed(serving(), { contextLength: 9000 });
    const plan = planDeployment(seen);
    assert.deepEqual(effective(plan, seen), []);
    assert.equal(conditionOf(plan, "Ready"), "False ContextTooLong");
    assert.match(messageOf(plan), /2 replicas run the former spec: .*made for 8192/);
    assert.equal(plan.status?.readyReplicas, 2);
  });

  test("waits for the other model's import while the former serves", () => {
    const seen = { ...changed(serving(), { model: { name: "new", kind: "Model" } }), model: undefined };
    const plan = planDeployment(seen);
    assert.deepEqual(effective(plan, seen), []);
    assert.equal(conditionOf(plan, "Ready"), "False ModelNotFound");
  });
});

describe("revisions", () => {
  test("keep the last three, and the current one whatever its number", () => {
    let seen = serving();
    for (const contextLength of [4096, 2048, 1024, 512]) seen = rolledOut(changed(seen, { contextLength }));
    const gone = described(planDeployment(seen)).filter((line) => line.startsWith("delete"));
    assert.deepEqual(
      gone,
      [2, 1].map((number) => `delete ControllerRevision team/${revisionName(UID, number)}`),
    );
  });

  const forged: readonly (readonly [string, (revision: ControllerRevision) => ControllerRevision])[] = [
    ["in another namespace", (one) => ({ ...one, metadata: { ...one.metadata, namespace: "evil" } })],
    ["that the deployment does not control", (one) => ({ ...one, metadata: { ...one.metadata, ownerReferences: [] } })],
    ["under another name", (one) => ({ ...one, metadata: { ...one.metadata, name: "mine" } })],
    ["without content", (one) => ({ ...one, data: undefined })],
    ["with content of another form", (one) => ({ ...one, data: { inputsHash: 1, podTemplate: [] } })],
    ["that selects another pool's nodes", (one) => withSpec(one, { nodeSelector: { [labels.pool]: POOL_OF_ANOTHER } })],
    ["that selects no pool", (one) => withSpec(one, { nodeSelector: {} })],
    ["that names a node", (one) => withSpec(one, { nodeName: "node-of-another" })],
    ["that tolerates every taint", (one) => withSpec(one, { tolerations: [{ operator: "Exists" }] })],
    [
      "that tolerates the dedicated taint of any pool",
      (one) => withSpec(one, { tolerations: [{ key: taints.dedicated, operator: "Exists" }] }),
    ],
    [
      "that tolerates another pool's taint",
      (one) => withSpec(one, { tolerations: [{ key: taints.dedicated, operator: "Equal", value: POOL_OF_ANOTHER }] }),
    ],
  ];
  for (const [name, forge] of forged) {
    test(`${name} are not believed`, () => {
      const seen = serving();
      const [genuine] = seen.revisions;
      assert.ok(genuine);
      const higher = { ...genuine, revision: 7, metadata: { ...genuine.metadata, name: revisionName(UID, 7) } };
      const plan = planDeployment({ ...seen, revisions: [genuine, forge(higher)] });
      assert.deepEqual(effective(plan, seen), []);
    });
  }
});

function withSpec(revision: ControllerRevision, difference: object): ControllerRevision {
  const data = revision.data as PinnedTemplate;
  const spec = { ...data.podTemplate.spec, ...difference };
  return { ...revision, data: { ...data, podTemplate: { ...data.podTemplate, spec } } };
}

describe("the Service", () => {
  const forced = (seen: Seen): unknown => {
    const write = writes(planDeployment(seen)).find(({ resource }) => resource.kind === "Service");
    return write?.op === "apply" && write.force;
  };

  test("of somebody else is never taken by force", () => {
    assert.equal(forced(serving()), false);
    assert.equal(forced(serving({}, { service: { metadata: { name: "chat", namespace: "team" } } })), false);
  });

  test("that is ours is restored whoever edited it", () => {
    const service = desiredService(deploymentOf());
    assert.equal(forced(serving({}, { service })), true);
  });
});

describe("keys that the platform pins", () => {
  const keys = ["MCowBQYDK2VwAyEAfirst", "MCowBQYDK2VwAyEAsecond"];
  const trusting = (seen: Seen, trustedModelKeys: readonly string[]): Seen => ({
    ...seen,
    settings: { ...seen.settings, trustedModelKeys },
  });
  const templateOf = (seen: Seen): PinnedTemplate => newRevision(changed(seen, { contextLength: 2048 }))?.data as PinnedTemplate; // prettier-ignore
  const fetchArgs = (seen: Seen): readonly string[] =>
    (templateOf(seen).podTemplate.spec["initContainers"] as { args: string[] }[])[0]?.args ?? [];

  test("are told to new pods with the digest that they must find, and restart none", () => {
    const seen = trusting(serving(), keys);
    assert.equal(newRevision(seen), undefined);
    const { model } = templateOf(seen);
    assert.deepEqual(fetchArgs(seen), [
      "fetch",
      "--store",
      seen.settings.storeService,
      "--trusted-keys",
      keys.join(","),
      "--digest",
      model.digest,
      "--into",
      "/model",
    ]);
  });

  test("leave every byte of a template as it was where there are none", () => {
    const before = JSON.stringify(templateOf(serving()));
    assert.equal(JSON.stringify(templateOf(trusting(serving(), []))), before);
    assert.ok(!before.includes("--trusted-keys") && !before.includes("--digest"));
    assert.notEqual(JSON.stringify(templateOf(trusting(serving(), keys))), before);
  });
});

describe("the way to the object storage", () => {
  const redirected = (origin: string): Seen => {
    const storeRedirect = { origin, cidrs: ["10.1.0.0/16", "2001:db8::/32"] };
    const seen = serving();
    return { ...seen, settings: { ...seen.settings, storeRedirect } };
  };
  const egress = (seen: Seen): object[] =>
    applied<{ spec: { egress: object[] } }>(planDeployment(seen), "NetworkPolicy")?.spec.egress ?? [];

  test("is opened for exactly the networks that the platform names, at the storage's port", () => {
    const before = egress(serving());
    assert.equal(before.length, 2);
    const to = [{ ipBlock: { cidr: "10.1.0.0/16" } }, { ipBlock: { cidr: "2001:db8::/32" } }];
    for (const [origin, port] of [
      ["https://s3.example.org", 443],
      ["http://s3.example.org", 80],
      ["http://minio.storage:9000", 9000],
    ] as const)
      assert.deepEqual(egress(redirected(origin)), [...before, { to, ports: [{ protocol: "TCP", port }] }], origin);
  });

  test("is told to new pods and restarts none", () => {
    const seen = redirected("https://s3.example.org");
    assert.equal(newRevision(seen), undefined);
    const changes = changed(seen, { contextLength: 2048 });
    const spec = (newRevision(changes)?.data as PinnedTemplate).podTemplate.spec["initContainers"] as {
      args: string[];
    }[];
    const store = seen.settings.storeService;
    assert.deepEqual(spec[0]?.args, [
      "fetch",
      "--store",
      store,
      "--redirect-origin",
      "https://s3.example.org",
      "--into",
      "/model",
    ]);
  });
});
