// Architectures against the installed program's own registry, and what versions learn and drop.
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { vllmInstallation } from "../../../image/vllm.ts";
import {
  firstServed,
  lastServed,
  removedArchitectures,
  servedArchitectures,
} from "../../../operator/plan/model/architectures.ts";
import { fitOneNode } from "../../../operator/plan/sizing/fit.ts";

const served = new Set<string>(Object.values(servedArchitectures).flat());

/** Names of the registry's dict literals, by the literal's name. */
function registry(path: string): Map<string, string[]> {
  const found = new Map<string, string[]>();
  for (const [, name = "", body = ""] of readFileSync(path, "utf8").matchAll(
    /^(_[A-Z_]+)(?:: [^=\n]+)? = \{\n([\s\S]*?)^\}/gm,
  ))
    found.set(
      name,
      [...body.matchAll(/^ {4}"([A-Za-z0-9_.]+)":/gm)].map(([, key = ""]) => key),
    );
  return found;
}

function fitting(architecture: string, engineVersion: string): string {
  const gpu = { product: "NVIDIA H100", memory: "80Gi", count: 1, resourceName: "nvidia.com/gpu" };
  const model = { architecture, weightBytes: 1e9, contextLength: 2048, kvBytesPerToken: 1024 };
  const fit = fitOneNode(model, gpu, undefined, { engineVersion });
  return "problem" in fit ? `${fit.problem.reason}: ${fit.problem.message}` : "fits";
}

describe("architectures by version", () => {
  test("what a version dropped is not promised for it, and the message names the version that serves it", () => {
    assert.equal(fitting("MptForCausalLM", "0.28.1"), "fits");
    assert.match(
      fitting("MptForCausalLM", "v0.32.0-cu129"),
      /^ArchitectureUnsupported: vLLM 0\.32 no longer serves MptForCausalLM, .* 0\.28/,
    );
  });

  test("what a version does not know yet is not promised for it either", () => {
    assert.match(
      fitting("K2HorizonForCausalLM", "0.29.0"),
      /^ArchitectureUnsupported: .* does not serve K2HorizonForCausalLM yet, 0\.30/,
    );
    assert.equal(fitting("K2HorizonForCausalLM", "0.30.0"), "fits");
    assert.equal(fitting("LlamaForCausalLM", "0.28.0"), "fits");
  });

  test("each name of the tables by version is one that some version serves", () => {
    for (const name of [...Object.values(lastServed), ...Object.values(firstServed)].flat())
      assert.ok(served.has(name), name);
  });

  test("the lists are those of the installed program, but for what it dropped", (t) => {
    const installation = vllmInstallation();
    const path = installation && join(installation.sitePackagesDir, "vllm/model_executor/models/registry.py");
    if (!path || !existsSync(path)) return t.skip("vLLM's CPU build is not installed (make e2e-setup)");
    const dicts = registry(path);
    const own = [...dicts].filter(([name]) => !/PREVIOUSLY|OOT|BACKEND/.test(name)).flatMap(([, names]) => names);
    assert.ok(own.length > 300, String(own.length));
    assert.deepEqual(
      own.filter((name) => !served.has(name)),
      [],
    );
    const dropped = new Set(Object.values(lastServed).flat());
    assert.deepEqual(
      [...served].filter((name) => !own.includes(name) && !dropped.has(name)),
      [],
    );
    const removed = new Set([...dropped, ...Object.values(removedArchitectures).flat()]);
    assert.deepEqual(
      (dicts.get("_PREVIOUSLY_SUPPORTED_MODELS") ?? []).filter((name) => !removed.has(name)),
      [],
    );
  });
});
