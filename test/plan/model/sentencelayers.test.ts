import assert from "node:assert/strict";
import { test } from "node:test";
import { layersProblem } from "../../../operator/plan/model/sentencelayers.ts";

const dense = { idx: 2, name: "2", path: "2_Dense", type: "sentence_transformers.models.Dense" };
const others = [
  { idx: 0, name: "0", path: "", type: "sentence_transformers.models.Transformer" },
  { idx: 1, name: "1", path: "1_Pooling", type: "sentence_transformers.models.Pooling" },
];

function judged(modules: unknown, paths: readonly string[], leftOut: readonly string[] = []): string {
  const files = paths.map((path) => ({ path, key: path, sizeBytes: 1, etag: "e" }));
  const problem = layersProblem({ files, leftOut }, new Map([["modules.json", JSON.stringify(modules)]]));
  return problem ? `${problem.reason}: ${problem.message}` : "taken";
}

test("a dense layer comes with its weights as safetensors, or the model not at all", () => {
  const whole = ["2_Dense/config.json", "2_Dense/model.safetensors"];
  assert.equal(judged([...others, dense], whole), "taken");
  for (const path of ["./2_Dense", "2_Dense/", "././2_Dense//"])
    assert.equal(judged([{ ...dense, path }], whole), "taken", path);
  assert.match(judged([{ ...dense, path: "/2_Dense" }], whole), /^WeightsMissing/);
  for (const path of [".", "./"])
    assert.equal(judged([{ ...dense, path }], ["config.json", "model.safetensors"]), "taken", path);
  assert.match(
    judged([...others, dense], ["2_Dense/config.json"], ["pytorch_model.bin", "2_Dense/pytorch_model.bin"]),
    /^UnsafeFormat: .*\(2_Dense\/pytorch_model\.bin\): take a copy that has 2_Dense\/model\.safetensors$/,
  );
  assert.match(judged([dense], whole.slice(1)), /^WeightsMissing: .* no 2_Dense\/config\.json: add it$/);
  assert.match(judged({ modules: [dense] }, []), /^WeightsMissing/);
  for (const type of ["pylate.models.Dense.Dense", "sentence_transformers.base.modules.dense.Dense"])
    assert.match(judged([{ ...dense, type }], []), /^WeightsMissing/, type);
});

test("other layers need no weights, and what is no list of layers says nothing", () => {
  for (const modules of [others, [], {}, null, "x", [7, null, []], [{ path: "2_Dense" }], [{ type: 7 }]])
    assert.equal(judged(modules, []), "taken", JSON.stringify(modules));
  assert.equal(layersProblem({ files: [], leftOut: [] }, new Map()), undefined);
});
