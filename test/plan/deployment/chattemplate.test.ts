// Parsers and chat template of a deployment: what inspection shows is what is rendered; a template of the Model's own is a file of the pod.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { ControllerRevision } from "../../../operator/api/kubernetes.ts";
import { planDeployment } from "../../../operator/plan/deployment/plan.ts";
import type { PinnedTemplate, Seen } from "../../../operator/plan/deployment/seen.ts";
import { reportOf } from "../../../operator/plan/sizing/report.ts";
import { deploymentOf, modelOf, nodeTypeOf, observed, poolOf } from "./observed.ts";
import { applied, conditionOf, messageOf } from "./read.ts";

function pinnedOf(difference: Partial<Seen>): PinnedTemplate {
  const deployment = deploymentOf(difference.deployment?.spec);
  const plan = planDeployment(observed({ deployment, pool: poolOf(deployment, 1), ...difference }));
  const revision = applied<ControllerRevision>(plan, "ControllerRevision");
  assert.ok(revision, messageOf(plan));
  return revision.data as PinnedTemplate;
}

function valueOf(args: readonly string[], flag: string): string | undefined {
  return args.includes(flag) ? args[args.indexOf(flag) + 1] : undefined;
}

const parsers = { toolCallParser: "qwen3_coder", because: "the chat template writes as Qwen 3 Coder does" };

describe("parsers", () => {
  test("that berth inspect shows are those that a deployment renders", () => {
    const model = modelOf({ architecture: "LlamaForCausalLM", parsers });
    const { args } = pinnedOf({ model }).engine;
    const { recommendation } = reportOf({
      facts: model.status ?? {},
      nodeTypes: [nodeTypeOf()],
      wish: { engineVersion: "0.32.0" },
      servedName: "chat",
      modelPath: "/model",
    });
    const shown = recommendation?.command.flatMap(({ words }) => words) ?? [];
    assert.equal(valueOf(args, "--tool-call-parser"), "qwen3_coder");
    assert.deepEqual(args, shown);
  });

  test("of a ClusterModel's recommendation go before those of its template, and spec.engine before both", () => {
    const own = modelOf({ parsers });
    const recommended = { toolCallParser: "hermes", reasoningParser: "qwen3" };
    const model = { ...own, spec: { ...own.spec, import: "OnDemand" as const, recommended } };
    const { args } = pinnedOf({ model }).engine;
    assert.equal(valueOf(args, "--tool-call-parser"), "hermes");
    assert.equal(valueOf(args, "--reasoning-parser"), "qwen3");
    const engine = { toolCallParser: "pythonic", reasoningParser: "none" };
    const chosen = pinnedOf({ model, deployment: deploymentOf({ engine }) }).engine.args;
    assert.equal(valueOf(chosen, "--tool-call-parser"), "pythonic");
    assert.equal(valueOf(chosen, "--reasoning-parser"), undefined);
  });
});

describe("a Model's own chat template", () => {
  const chatTemplate = "{% for m in messages %}{{ m.content }}{% endfor %}\n{# größer #}";

  test("is a file of the pod, named by --chat-template, and decides the parsers", () => {
    const { podTemplate, engine } = pinnedOf({ model: modelOf({ parsers }, { chatTemplate }) });
    assert.equal(valueOf(engine.args, "--chat-template"), "/etc/berth/chat_template.jinja");
    assert.equal(valueOf(engine.args, "--tool-call-parser"), undefined);
    assert.equal(podTemplate.metadata.annotations?.["berth.dev/chat-template"], chatTemplate);
    const volumes = JSON.stringify(podTemplate.spec["volumes"]);
    assert.match(
      volumes,
      /"path":"chat_template\.jinja","fieldRef":\{"fieldPath":"metadata\.annotations\['berth\.dev\/chat-template'\]"/,
    );
  });

  test("adds nothing where there is none", () => {
    const { podTemplate, engine } = pinnedOf({});
    assert.ok(!engine.args.includes("--chat-template"));
    assert.ok(!JSON.stringify(podTemplate).includes("chat-template"));
  });

  test("that would leave the sandbox keeps the deployment from capacity", () => {
    const model = modelOf({}, { chatTemplate: "{{ x.__class__ }}" });
    const plan = planDeployment(observed({ model }));
    assert.equal(conditionOf(plan, "Ready"), "False EngineArgumentRefused");
    assert.match(
      messageOf(plan),
      /the model's spec\.chatTemplate reads the private attribute __class__: correct it there/,
    );
  });
});
