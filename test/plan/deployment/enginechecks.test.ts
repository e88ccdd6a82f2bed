// What of spec.engine keeps a deployment from getting capacity.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { ModelDeployment } from "../../../operator/api/modeldeployment.ts";
import { planDeployment } from "../../../operator/plan/deployment/plan.ts";
import { deploymentOf, modelOf, observed } from "./observed.ts";
import { conditionOf, described, messageOf } from "./read.ts";

const blocked: readonly (readonly [
  what: string,
  spec: Partial<ModelDeployment["spec"]>,
  reason: string,
  says: RegExp,
])[] = [
  [
    "an argument that may not be set",
    { engine: { extraArgs: ["--trust-remote-code"] } },
    "EngineArgumentRefused",
    /--trust-remote-code may not be set: it loads code/,
  ],
  [
    "an argument that Berth derives",
    { engine: { extraArgs: ["--max_model_len=9"] } },
    "EngineArgumentConflict",
    /--max-model-len .*set by Berth: set spec\.contextLength/,
  ],
  [
    "more sequences than were planned for",
    { engine: { extraArgs: ["--max-num-seqs", "99999"] } },
    "EngineArgumentConflict",
    /--max-num-seqs is 99999, but the memory was planned for \d+/,
  ],
  [
    "a parser that the version lacks",
    { engine: { toolCallParser: "klingon" } },
    "EngineArgumentRefused",
    /toolCallParser klingon is not one that vLLM 0\.32\.0 has: .*hermes/,
  ],
  [
    "an environment variable that may not be set",
    { engine: { env: [{ name: "LD_PRELOAD", value: "/x.so" }] } },
    "EngineVariableRefused",
    /LD_PRELOAD.*code/,
  ],
];

describe("before money, of the engine", () => {
  for (const [what, spec, reason, says] of blocked) {
    test(`${what}: no node, ${reason}`, () => {
      const plan = planDeployment(observed({ deployment: deploymentOf(spec) }));
      assert.deepEqual(described(plan), []);
      assert.equal(conditionOf(plan, "Ready"), `False ${reason}`);
      assert.equal(conditionOf(plan, "Stalled"), `True ${reason}`);
      assert.match(messageOf(plan), says);
    });
  }
});

test("an architecture that the version no longer serves: no node, and the version that does is named", () => {
  const plan = planDeployment(
    observed({ deployment: deploymentOf(), model: modelOf({ architecture: "MptForCausalLM" }) }),
  );
  assert.deepEqual(described(plan), []);
  assert.equal(conditionOf(plan, "Ready"), "False ArchitectureUnsupported");
  assert.equal(conditionOf(plan, "Stalled"), "True ArchitectureUnsupported");
  assert.match(messageOf(plan), /no longer serves MptForCausalLM, the last version that does is 0\.28/);
});

describe("the plan of the memory", () => {
  const capacityOf = (extraArgs: string[], model = modelOf()): number => {
    const plan = planDeployment(observed({ deployment: deploymentOf({ engine: { extraArgs } }), model }));
    return plan.status?.capacity?.kvCacheTokens ?? 0;
  };

  test("reads an 8-bit cache and the absence of graphs from the user's arguments", () => {
    const plain = capacityOf([]);
    const short = capacityOf(["--kv-cache-dtype", "fp8"]);
    assert.ok(short > 1.9 * plain && short <= 2 * plain + 32, `${short} tokens of 8 bits where ${plain} of 16 fit`);
    assert.ok(capacityOf(["--enforce-eager"]) > plain);
    assert.equal(capacityOf(["--kv-cache-dtype", "bfloat16"]), plain);
  });

  test("takes an 8-bit latent cache for one of 16 bits: its layout is another", () => {
    const cache = [{ kind: "Latent" as const, layers: 30, keySize: 576 }];
    const latent = modelOf({ cache });
    assert.equal(capacityOf(["--kv-cache-dtype", "fp8"], latent), capacityOf([], latent));
    assert.ok(capacityOf([], latent) > 0);
  });
});
