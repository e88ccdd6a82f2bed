// Every entry, with nothing but what it records: its matrix, and a deployment on every node type that the matrix allows.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { ControllerRevision } from "../../operator/api/kubernetes.ts";
import type { ClusterModel, ModelStatus } from "../../operator/api/model.ts";
import type { ModelDeployment } from "../../operator/api/modeldeployment.ts";
import type { NodeType } from "../../operator/api/nodetype.ts";
import { entries } from "../../operator/catalogue/index.ts";
import { clusterModelOf } from "../../operator/catalogue/offer.ts";
import { commonNodeTypes } from "../../operator/cli/inspectnodes.ts";
import { recordedOf, recordedStatus } from "../../operator/plan/catalogue/recorded.ts";
import { desiredPool } from "../../operator/plan/deployment/children.ts";
import { planDeployment } from "../../operator/plan/deployment/plan.ts";
import type { PinnedTemplate, Seen } from "../../operator/plan/deployment/seen.ts";
import { engineProfiles } from "../../operator/plan/engine/profile.ts";
import { parseWords } from "../../operator/plan/engine/words.ts";
import { nodeSupportOf } from "../../operator/plan/sizing/matrix.ts";
import { DIGEST, NOON, POOL_UID, condition, deploymentOf, instant, observed } from "../plan/deployment/observed.ts";
import { applied, conditionOf, described, messageOf } from "../plan/deployment/read.ts";

const nodeTypes = commonNodeTypes();
const recorded = recordedOf(entries);
const newest = engineProfiles.at(-1);
assert.ok(newest);

function live(name: string): ClusterModel {
  const entry = entries.find((one) => one.name === name);
  assert.ok(entry);
  const model = clusterModelOf(entry);
  return { ...model, metadata: { ...model.metadata, uid: "model-uid", generation: 1 } };
}

/** As the operator leaves an entry before any source has answered. */
function recordedModel(name: string): ClusterModel {
  const model = live(name);
  return { ...model, status: recordedStatus(model, recorded.get(name), NOON) as ModelStatus };
}

/** As if the import had found what the entry records. */
function imported(name: string): ClusterModel {
  const model = recordedModel(name);
  const revisions = [{ number: 1, digest: DIGEST, sizeBytes: 1, importedAt: instant(NOON) }];
  const conditions = [condition("Ready", "True", "Imported")];
  return { ...model, status: { ...model.status, recorded: undefined, digest: DIGEST, revisions, conditions } };
}

function seenWith(model: ClusterModel, type: NodeType, spec: Partial<ModelDeployment["spec"]> = {}): Seen {
  const { name } = model.metadata;
  const acceptLicense = model.spec.license?.name;
  const wanted = { model: { kind: "ClusterModel" as const, name }, nodeType: type.metadata.name };
  const deployment = deploymentOf({ ...wanted, ...(acceptLicense === undefined ? {} : { acceptLicense }), ...spec });
  return observed({ deployment, model, modelScope: "cluster", nodeType: type, nodeTypes });
}

function pinnedOf(seen: Seen): PinnedTemplate {
  assert.ok(seen.nodeType);
  const desired = desiredPool(seen.deployment, seen.nodeType, 1);
  const status = { claimed: 1, ready: 1, sizeLog: [], conditions: [condition("Ready", "True", "NodesReady")] };
  const pool = { ...desired, metadata: { ...desired.metadata, uid: POOL_UID }, status };
  const plan = planDeployment({ ...seen, pool });
  const revision = applied<ControllerRevision>(plan, "ControllerRevision");
  assert.ok(revision, messageOf(plan));
  return revision.data as PinnedTemplate;
}

describe("an entry without a hub", () => {
  for (const { name, weightLoad } of entries.map(({ name, facts }) => ({ name, weightLoad: facts.weightBytes }))) {
    test(`${name} renders on every node type that its matrix allows`, () => {
      const model = imported(name);
      const rows = nodeSupportOf(model.status ?? {}, nodeTypes, { engineVersion: "0.32.0" });
      let allowed = 0;
      for (const { nodeType, quantizations } of rows) {
        const type = nodeTypes.find(({ metadata }) => metadata.name === nodeType);
        assert.ok(type);
        for (const { bits, maxContextLength, ...row } of quantizations) {
          if (!row.allowed) {
            assert.ok((row.reason ?? "") !== "", `${nodeType} at ${bits} bits says why not`);
            continue;
          }
          allowed += 1;
          const { engine, capacity, podTemplate } = pinnedOf(seenWith(model, type, { quantization: { bits } }));
          assert.equal(capacity.contextLength, maxContextLength, `${nodeType} at ${bits} bits`);
          assert.ok("settings" in parseWords(engine.args.slice(1), newest), engine.args.join(" "));
          assert.equal(engine.args[engine.args.indexOf("--max-model-len") + 1], String(maxContextLength));
          assert.ok(JSON.stringify(podTemplate.spec).includes(type.spec.gpu.resourceName));
        }
      }
      assert.ok(allowed > 0, `no node type serves ${name} with ${weightLoad} bytes: ${JSON.stringify(rows[0])}`);
    });
  }

  test("recommends parsers that every version of the engine has, and a deployment takes them", () => {
    for (const { name, tools, reasoningParser } of entries) {
      for (const { version, toolParsers, reasoningParsers } of engineProfiles) {
        if (tools.parser !== undefined) assert.ok(toolParsers.includes(tools.parser), `${name}, ${version}`);
        if (reasoningParser !== undefined) assert.ok(reasoningParsers.includes(reasoningParser), `${name}, ${version}`);
      }
      const model = imported(name);
      const { status } = model;
      if (status?.task !== "Generate") continue;
      const rows = nodeSupportOf(status, nodeTypes, { engineVersion: "0.32.0" });
      const fits = rows.find(({ quantizations }) => quantizations.some((row) => row.allowed && row.bits === 16));
      const type = nodeTypes.find(({ metadata }) => metadata.name === fits?.nodeType);
      if (!type) continue;
      const { args } = pinnedOf(seenWith(model, type)).engine;
      const value = (flag: string): string | undefined =>
        args.includes(flag) ? args[args.indexOf(flag) + 1] : undefined;
      if (tools.parser !== undefined) assert.equal(value("--tool-call-parser"), tools.parser, name);
      if (reasoningParser !== undefined) assert.equal(value("--reasoning-parser"), reasoningParser, name);
    }
  });
});

describe("before the hub has answered", () => {
  const l4 = nodeTypes.find(({ metadata }) => metadata.name === "l4-1");
  const h100 = nodeTypes.find(({ metadata }) => metadata.name === "h100-1");
  assert.ok(l4 && h100);

  test("what cannot fit is refused by the recorded sizes, with the numbers", () => {
    const plan = planDeployment(seenWith(recordedModel("llama-3-3-70b-instruct"), l4));
    assert.deepEqual(described(plan), []);
    assert.equal(conditionOf(plan, "Ready"), "False DoesNotFit");
    assert.match(messageOf(plan), /needs 14\d\.\d GB of weights.*use node type/);
  });

  test("what fits buys no node: the source may never answer", () => {
    const plan = planDeployment(seenWith(recordedModel("llama-3-1-8b-instruct"), h100));
    assert.deepEqual(described(plan), []);
    assert.equal(conditionOf(plan, "Ready"), "False Importing");
    assert.match(messageOf(plan), /not imported yet: Recorded: the sizes are those that the catalogue records/);
  });

  test("a licence that is not accepted is named, and no node is bought, whatever the hub says", () => {
    for (const { name, license } of entries.filter((entry) => entry.license.acceptanceRequired)) {
      for (const model of [recordedModel(name), imported(name)]) {
        for (const acceptLicense of [undefined, "another"]) {
          const plan = planDeployment(seenWith(model, h100, { acceptLicense }));
          assert.deepEqual(described(plan), [], name);
          assert.equal(conditionOf(plan, "Ready"), "False AcceptanceRequired", name);
          assert.ok(messageOf(plan).includes(license.id) && messageOf(plan).includes(license.url), messageOf(plan));
        }
      }
    }
  });

  test("inspection's facts are not touched, and nothing is written of what goes away", () => {
    const inspected = live("phi-4");
    const own = { ...inspected, status: { weightBytes: 1 } };
    assert.equal(recordedStatus(own, recorded.get("phi-4"), NOON), undefined);
    const going = { ...inspected, metadata: { ...inspected.metadata, deletionTimestamp: instant(NOON) } };
    assert.equal(recordedStatus(going, recorded.get("phi-4"), NOON), undefined);
    const failed = { ...inspected, status: { conditions: [condition("Ready", "False", "SourceUnreachable")] } };
    assert.equal(recordedStatus(failed, recorded.get("phi-4"), NOON)?.conditions, undefined);
  });
});
