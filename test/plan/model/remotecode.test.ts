import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { entries } from "../../../operator/catalogue/index.ts";
import { inspectConfig } from "../../../operator/plan/model/inspect.ts";
import type { SourceKind } from "../../../operator/plan/model/listing.ts";

const llama = { architectures: ["LlamaForCausalLM"], model_type: "llama" };
const ownClasses = { AutoConfig: "configuration_x.XConfig", AutoModelForCausalLM: "modeling_x.XForCausalLM" };

function judged(kind: SourceKind, config: object, more: Readonly<Record<string, object>> = {}): string {
  const files = { "config.json": config, ...more };
  const texts = new Map(Object.entries(files).map(([path, json]) => [path, JSON.stringify(json)]));
  const problem = inspectConfig({ kind, files: [], leftOut: [] }, texts);
  return problem ? `${problem.reason}: ${problem.message}` : "taken";
}

describe("auto_map", () => {
  for (const { name, facts } of entries) {
    test(`refuses no entry of the catalogue on its way from the hub, but each from a bucket: ${name}`, () => {
      const config = { ...facts.config, auto_map: { ...ownClasses, AutoTokenizer: "Xenova/gpt-4o" } };
      assert.equal(judged("repository", config), "taken");
      assert.match(judged("bucket", config), /^CustomCode: config\.json names .* and remove auto_map$/);
    });
  }

  test("refuses a repository where the engine has nothing else to take", () => {
    const refused: readonly object[] = [
      { ...llama, model_type: "madeup", auto_map: ownClasses },
      { ...llama, model_type: "constructor", auto_map: ownClasses },
      { ...llama, model_type: undefined, auto_map: ownClasses },
      { ...llama, auto_map: { ...ownClasses, AutoProcessor: "processing_x.XProcessor" } },
      { ...llama, auto_map: { ...ownClasses, AutoImageProcessor: "processing_x.XProcessor" } },
      { ...llama, auto_map: { AutoConfig: "other/repository--configuration_x.XConfig" } },
      { ...llama, auto_map: { AutoTokenizer: ["other/repository--a.B", null] } },
      { ...llama, auto_map: { AutoConfig: 7 } },
      { ...llama, auto_map: [ownClasses] },
      { ...llama, auto_map: "configuration_x.XConfig" },
      { ...llama, text_config: { model_type: "llama", auto_map: ownClasses } },
      { ...llama, auto_map: ownClasses, trust_remote_code: true },
      { ...llama, auto_map: ownClasses, custom_pipelines: { text: { impl: "x.Y" } } },
    ];
    for (const config of refused) assert.match(judged("repository", config), /^CustomCode: /, JSON.stringify(config));
    const tokenizer = { "tokenizer_config.json": { auto_map: { AutoTokenizer: ["tokenization_x.X", null] } } };
    assert.match(
      judged("repository", llama, tokenizer),
      /^CustomCode: tokenizer_config\.json .* import a copy without auto_map from a bucket$/,
    );
    assert.match(judged("repository", llama, { "sub/config.json": { ...llama, auto_map: ownClasses } }), /^CustomCode/);
  });

  test("that names nothing refuses nothing, and null is told of as what it is", () => {
    for (const kind of ["bucket", "repository"] as const) {
      assert.equal(judged(kind, { ...llama, auto_map: {}, custom_pipelines: {} }), "taken");
      assert.match(judged(kind, { ...llama, auto_map: null }), /^CustomCode: config\.json has auto_map: null, which/);
    }
  });
});
