// Tool-call and reasoning parsers by family.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { knownTo, parserProblem, parsersOf, recommendedParsers } from "../../../operator/plan/engine/parsers.ts";
import { engineProfiles } from "../../../operator/plan/engine/profile.ts";

const newest = engineProfiles.at(-1);
assert.ok(newest);
const profile = newest;

describe("parsers", () => {
  const byTemplate: readonly (readonly [template: string, tool: string])[] = [
    ["{{tools}}<tool_call>\n<function=x></function></tool_call>", "qwen3_coder"],
    ['{{tools}}<tool_call>{"name": ..}</tool_call>', "hermes"],
    ["{{tools}}[TOOL_CALLS]", "mistral"],
    ["{{tools}}<|python_tag|> Environment: ipython", "llama3_json"],
    ["<｜tool▁calls▁begin｜>function<｜tool▁sep｜>x\n```json\n", "deepseek_v3"],
    ["<｜tool▁calls▁begin｜>x<｜tool▁sep｜>{}", "deepseek_v31"],
    ["<|channel|>commentary<|call|>", "openai"],
    ["<|tool_calls_section_begin|>", "kimi_k2"],
    ["<arg_key>", "glm45"],
  ];
  for (const [template, tool] of byTemplate)
    test(`${tool} by the chat template`, () =>
      assert.equal(knownTo(profile, parsersOf({ chatTemplate: template })).toolCallParser, tool));

  test("by the architecture where no template is known", () => {
    assert.deepEqual(parsersOf({ architecture: "GptOssForCausalLM" }), {
      toolCallParser: "openai",
      reasoningParser: "openai_gptoss",
      because: "GptOssForCausalLM is of the family gpt-oss",
    });
  });

  test("none where families share the class, or where the template knows no tools", () => {
    for (const architecture of [
      "LlamaForCausalLM",
      "DeepseekV3ForCausalLM",
      "Qwen2ForCausalLM",
      undefined,
      "__proto__",
    ])
      assert.deepEqual(Object.keys(parsersOf({ architecture })), ["because"], architecture);
    assert.deepEqual(parsersOf({ architecture: "Qwen3ForCausalLM", chatTemplate: "{{ messages }}" }), {
      because: "the chat template has no tools",
    });
  });

  test("that the version lacks are left out", () => {
    const wanted = { toolCallParser: "klingon", reasoningParser: "qwen3", because: "x" };
    assert.deepEqual(knownTo(profile, wanted), { reasoningParser: "qwen3", because: "x" });
  });

  test("are the ClusterModel's, else those of the Model's own template, else what inspection found, else the architecture's", () => {
    const inspected = { toolCallParser: "hermes", because: "the chat template writes as Hermes and Qwen does" };
    const architecture = "GptOssForCausalLM";
    const chatTemplate = "{{tools}}[TOOL_CALLS]";
    const of = (sources: Parameters<typeof recommendedParsers>[0]): string | undefined =>
      recommendedParsers(sources).toolCallParser;
    const recommended = { toolCallParser: "pythonic" };
    assert.equal(of({ recommended, chatTemplate, inspected, architecture }), "pythonic");
    assert.equal(of({ recommended: {}, chatTemplate, inspected, architecture }), "mistral");
    assert.equal(of({ inspected, architecture }), "hermes");
    assert.equal(of({ inspected: { because: "the chat template has no tools" }, architecture }), undefined);
    assert.equal(of({ architecture }), "openai");
    const half = recommendedParsers({ recommended: { reasoningParser: "qwen3" }, inspected });
    assert.deepEqual(half, {
      toolCallParser: "hermes",
      reasoningParser: "qwen3",
      because: "the ClusterModel recommends it",
    });
  });

  test("that are named exist in each version that has a profile", () => {
    for (const { version, toolParsers, reasoningParsers } of engineProfiles) {
      for (const name of ["hermes", "mistral", "llama3_json", "openai", "qwen3_coder", "glm45", "kimi_k2"])
        assert.ok(toolParsers.includes(name), `${version} ${name}`);
      for (const name of ["qwen3", "deepseek_r1", "openai_gptoss", "glm45"])
        assert.ok(reasoningParsers.includes(name), `${version} ${name}`);
    }
  });

  test("of the user's are checked", () => {
    assert.equal(parserProblem("toolCallParser", "none", profile), undefined);
    assert.equal(parserProblem("reasoningParser", "qwen3", profile), undefined);
    assert.match(parserProblem("reasoningParser", "hermes", profile) ?? "", /is not one that vLLM 0\.32\.0 has/);
  });
});
