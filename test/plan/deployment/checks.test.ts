// What keeps a deployment from getting capacity: one line a reason, and nothing is bought meanwhile.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { annotations, labels } from "../../../operator/api/keys.ts";
import type { Seen } from "../../../operator/plan/deployment/seen.ts";
import { planDeployment } from "../../../operator/plan/deployment/plan.ts";
import {
  DIGEST,
  NOON,
  OTHER_DIGEST,
  changed,
  condition,
  deploymentOf,
  importingModel,
  instant,
  modelOf,
  nodeTypeOf,
  observed,
  poolOf,
  serving,
} from "./observed.ts";
import { conditionOf, described, messageOf, writtenSize } from "./read.ts";

interface Case {
  readonly name: string;
  readonly seen: Partial<Seen>;
  readonly ready: string;
  readonly phase: string;
  readonly stalled: boolean;
  readonly says: RegExp;
}

const failedModel = modelOf({
  digest: undefined,
  revisions: [],
  conditions: [
    condition("Ready", "False", "AccessDenied", "S3 answered 403 AccessDenied"),
    condition("Stalled", "True", "AccessDenied"),
  ],
});
const licensed = modelOf({}, { license: { name: "llama3.1", url: "https://x.example/l", acceptanceRequired: true } });
const otherPool = poolOf(deploymentOf({}, { uid: "99999999-9999-4999-8999-999999999999" }), 1);

const blocked: readonly Case[] = [
  {
    name: "an engine version that is not on the list",
    seen: { deployment: deploymentOf({ engine: { version: "9.9.9" } }) },
    ready: "False EngineVersionNotOffered",
    phase: "Error",
    stalled: true,
    says: /9\.9\.9 .*: 0\.32\.0, 0\.31\.1$/,
  },
  {
    name: "a foreign billing account",
    seen: { deployment: deploymentOf({ billing: { account: "finance" } }) },
    ready: "False AccountNotAllowed",
    phase: "Error",
    stalled: true,
    says: /account finance is not allowed .*berth\.dev\/billing-accounts/,
  },
  {
    name: "an unknown node type",
    seen: { nodeType: undefined },
    ready: "False NodeTypeNotFound",
    phase: "Error",
    stalled: true,
    says: /node type l4 does not exist/,
  },
  {
    name: "a disabled node type",
    seen: { nodeType: nodeTypeOf({ disabled: true }) },
    ready: "False NodeTypeDisabled",
    phase: "Error",
    stalled: true,
    says: /l4 is disabled/,
  },
  {
    name: "a missing model",
    seen: { model: undefined },
    ready: "False ModelNotFound",
    phase: "Error",
    stalled: true,
    says: /Model llama does not exist/,
  },
  {
    name: "a revision that was never imported",
    seen: { deployment: deploymentOf({ model: { name: "llama", kind: "Model", revision: OTHER_DIGEST } }) },
    ready: "False RevisionNotFound",
    phase: "Error",
    stalled: true,
    says: /has no imported revision sha256:bbb/,
  },
  {
    name: "a model whose import was refused",
    seen: { model: failedModel },
    ready: "False ImportFailed",
    phase: "Error",
    stalled: true,
    says: /S3 answered 403 AccessDenied/,
  },
  {
    name: "a model that nobody has looked at yet",
    seen: { model: importingModel(false) },
    ready: "False Importing",
    phase: "Creating",
    stalled: false,
    says: /12 of 14 GB copied/,
  },
  {
    name: "a licence that waits for acceptance",
    seen: { model: licensed },
    ready: "False AcceptanceRequired",
    phase: "Error",
    stalled: true,
    says: /llama3\.1 \(https:\/\/x\.example\/l\): read it and set spec\.acceptLicense to llama3\.1$/,
  },
  {
    name: "the acceptance of another licence",
    seen: { model: licensed, deployment: deploymentOf({ acceptLicense: "llama3.2" }) },
    ready: "False AcceptanceRequired",
    phase: "Error",
    stalled: true,
    says: /, and spec\.acceptLicense names llama3\.2: read it and set spec\.acceptLicense to llama3\.1$/,
  },
  {
    name: "weights beyond the node's memory",
    seen: { model: modelOf({ weightBytes: 140e9 }) },
    ready: "False DoesNotFit",
    phase: "Error",
    stalled: true,
    says: /needs 14\d\.\d GB of weights, 1 × 22Gi \(NVIDIA L4\) gives \d+\.\d GB: no node type of the platform can/,
  },
  {
    name: "a context longer than the model's",
    seen: { deployment: deploymentOf({ contextLength: 9000 }) },
    ready: "False ContextTooLong",
    phase: "Error",
    stalled: true,
    says: /made for 8192/,
  },
  {
    name: "a full quota of the node type",
    seen: { nodeType: nodeTypeOf({ quota: { total: 4 } }), others: { total: 4, inNamespace: 0 } },
    ready: "False QuotaExceeded",
    phase: "Error",
    stalled: true,
    says: /4 nodes in total: others hold 4, this deployment wants 1/,
  },
  {
    name: "a full quota of the namespace",
    seen: { nodeType: nodeTypeOf({ quota: { perNamespace: 2 } }), others: { total: 9, inNamespace: 2 } },
    ready: "False QuotaExceeded",
    phase: "Error",
    stalled: true,
    says: /2 nodes for each namespace: others in team hold 2/,
  },
  {
    name: "the pool of an earlier deployment of that name",
    seen: { pool: otherPool },
    ready: "False PreviousPoolRemains",
    phase: "Creating",
    stalled: false,
    says: /of an earlier deployment of this name/,
  },
];

describe("before money", () => {
  for (const { name, seen: difference, ready, phase, stalled, says } of blocked) {
    test(`${name}: no node, ${ready}`, () => {
      const plan = planDeployment(observed(difference));
      assert.deepEqual(described(plan), []);
      assert.equal(conditionOf(plan, "Ready"), ready);
      assert.equal(conditionOf(plan, stalled ? "Stalled" : "Reconciling"), ready.replace("False", "True"));
      assert.equal(conditionOf(plan, stalled ? "Reconciling" : "Stalled"), undefined);
      assert.equal(plan.status?.phase, phase);
      assert.match(messageOf(plan), says);
      assert.deepEqual(
        plan.events.map(({ type, reason }) => `${type} ${reason}`),
        [`${stalled ? "Warning" : "Normal"} ${ready.replace("False ", "")}`],
      );
    });
  }

  test("a model that is still being copied holds no node back: both take their time", () => {
    const plan = planDeployment(observed({ model: importingModel() }));
    assert.deepEqual(described(plan), ["apply GPUNodePool team/chat"]);
    assert.equal(conditionOf(plan, "Ready"), "False Importing");
    assert.equal(conditionOf(plan, "CapacityReady"), "False Provisioning");
  });

  test("what needs a human is said before what passes by itself", () => {
    const plan = planDeployment(observed({ model: importingModel(), nodeType: undefined }));
    assert.equal(conditionOf(plan, "ModelReady"), "False Importing");
    assert.equal(conditionOf(plan, "Ready"), "False NodeTypeNotFound");
  });

  test("an accepted licence, an allowed account and room in the quota let it begin", () => {
    const plan = planDeployment(
      observed({
        deployment: deploymentOf({ acceptLicense: "llama3.1", billing: { account: "finance" } }),
        model: licensed,
        namespace: {
          metadata: { name: "team", uid: "n", annotations: { [annotations.billingAccounts]: "ops, finance" } },
        },
        nodeType: nodeTypeOf({ quota: { total: 5, perNamespace: 1 } }),
        others: { total: 4, inNamespace: 0 },
      }),
    );
    assert.equal(writtenSize(plan), 1);
    assert.equal(conditionOf(plan, "LicenseAccepted"), "True Accepted");
  });
});

describe("a deployment of this very moment", () => {
  const born = (agoMs: number) => ({ deployment: deploymentOf({}, { creationTimestamp: instant(NOON - agoMs) }) });

  for (const difference of [{ nodeType: undefined }, { model: undefined }]) {
    const [missing] = Object.keys(difference);
    test(`may have a ${missing} that is only late`, () => {
      const plan = planDeployment(observed({ ...born(1000), ...difference }));
      assert.equal(plan.status, undefined);
      assert.deepEqual(plan.events, []);
      assert.equal(plan.requeueAfterMs, 500);
    });

    test(`is told of a missing ${missing} a moment later, and whatever the clocks say`, () => {
      for (const agoMs of [2000, -60_000]) {
        const plan = planDeployment(observed({ ...born(agoMs), ...difference }));
        assert.equal(plan.status?.phase, "Error");
      }
    });
  }
});

describe("a serving deployment that becomes blocked", () => {
  const cases: readonly (readonly [string, Partial<Seen>])[] = [
    ["its node type is deleted", { nodeType: undefined }],
    ["its node type is disabled", { nodeType: nodeTypeOf({ disabled: true }) }],
    ["its quota shrinks", { nodeType: nodeTypeOf({ quota: { total: 1 } }) }],
    ["its model is deleted", { model: undefined }],
    ["its model cannot be imported any more", { model: failedModel }],
  ];
  for (const [name, difference] of cases) {
    test(`keeps its nodes and pods when ${name}`, () => {
      const plan = planDeployment(serving({}, difference));
      assert.equal(plan.status?.phase, "Ready");
      assert.equal(conditionOf(plan, "Ready"), "True Serving");
      assert.ok(!described(plan).some((line) => line.startsWith("delete") || line.includes("GPUNodePool")));
    });

    test(`gets no further node when ${name}`, () => {
      const plan = planDeployment(changed(serving({}, difference), { replicas: 3 }));
      assert.equal(writtenSize(plan), undefined);
      assert.match(conditionOf(plan, "Ready") ?? "", /^False (NodeType|Quota|Model|ImportFailed)/);
    });
  }

  test("says why a node stands idle that was taken before the spec became impossible", () => {
    const deployment = deploymentOf({ contextLength: 9000 });
    const plan = planDeployment(observed({ deployment, pool: poolOf(deployment, 1) }));
    assert.equal(conditionOf(plan, "Ready"), "False ContextTooLong");
    assert.equal(plan.status?.phase, "Error");
  });

  test("says that its model is gone, once", () => {
    const seen = serving({}, { model: undefined });
    const plan = planDeployment(seen);
    assert.equal(conditionOf(plan, "ModelReady"), "True ModelDeleted");
    assert.match(messageOf(plan, "ModelReady"), new RegExp(`serving goes on with revision ${DIGEST}`));
    assert.deepEqual(
      plan.events.map(({ type, reason }) => `${type} ${reason}`),
      ["Warning ModelDeleted"],
    );
    const next = planDeployment({ ...seen, deployment: { ...seen.deployment, status: plan.status } });
    assert.deepEqual(next.events, []);
  });

  test("says that its model is being deleted and stays", () => {
    const { metadata, ...model } = modelOf();
    const deleted = { ...model, metadata: { ...metadata, deletionTimestamp: "2026-03-10T12:00:00Z" } };
    const plan = planDeployment(serving({}, { model: deleted }));
    assert.equal(conditionOf(plan, "ModelReady"), "True ModelBeingDeleted");
    assert.equal(conditionOf(plan, "Ready"), "True Serving");
  });

  test("serves the pinned revision although the model's newer state has a problem", () => {
    const plan = planDeployment(serving({}, { model: failedModel }));
    assert.equal(conditionOf(plan, "ModelReady"), "True Pinned");
  });

  test("books on its old account while a new one is not allowed, and says so", () => {
    const seen = changed(serving(), { billing: { account: "finance" } });
    const plan = planDeployment(seen);
    assert.equal(writtenSize(plan), undefined);
    assert.equal(conditionOf(plan, "CapacityReady"), "False AccountNotAllowed");
  });
});

describe("deletion protection", () => {
  const marked = { metadata: { name: "team", uid: "n", labels: { [labels.deletionProtected]: "true" } } };
  const protecting = deploymentOf({ deletionProtection: true });
  const isGoing = deploymentOf({ deletionProtection: true }, { deletionTimestamp: "2026-03-10T11:00:00Z" });
  const cases: readonly (readonly [string, Partial<Seen>, string | null | undefined])[] = [
    ["marks the namespace", { deployment: protecting }, "true"],
    ["leaves a marked namespace alone", { deployment: protecting, namespace: marked }, undefined],
    ["takes the mark off when nobody is protected", { namespace: marked }, null],
    ["keeps the mark for others", { namespace: marked, othersProtected: true }, undefined],
    ["takes the mark off when the last one is deleted nevertheless", { deployment: isGoing, namespace: marked }, null],
  ];
  for (const [name, difference, value] of cases) {
    test(name, () => {
      const plan = planDeployment(observed(difference));
      const patch = plan.steps.flat().find(({ resource }) => resource.kind === "Namespace");
      const body = value === undefined ? undefined : { metadata: { labels: { [labels.deletionProtected]: value } } };
      assert.deepEqual(patch && "body" in patch ? patch.body : undefined, body);
    });
  }
});
