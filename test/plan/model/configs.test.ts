// Real public models: what config.json tells, against numbers that model cards and the engine itself state. Each file names its sources.
import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { cacheOf } from "../../../operator/plan/model/cache.ts";
import { architectureOf } from "../../../operator/plan/model/config.ts";
import { shapeOf } from "../../../operator/plan/model/shape.ts";
import { cachePlan } from "../../../operator/plan/sizing/kv.ts";
import { releaseOf } from "../../../operator/plan/sizing/release.ts";
import { counted } from "../sizing/parameters.ts";
import { allReports } from "../sizing/reported.ts";

interface Recorded {
  readonly model: string;
  readonly source: readonly string[];
  readonly config: Readonly<Record<string, unknown>>;
  /** By the model card. */
  readonly parameters?: number;
  /** Bytes of the published checkpoint, by a catalogue that is not ours. */
  readonly weightBytes?: number;
  /** What the engine said that one sequence needs. */
  readonly kvNeeds?: readonly {
    readonly tokens: number;
    readonly gib: number;
    readonly tensorParallel: number;
    readonly vllmVersion: string;
  }[];
}

const folder = join(import.meta.dirname, "configs");
const recorded = readdirSync(folder)
  .filter((name) => name.endsWith(".json"))
  .map((name) => JSON.parse(readFileSync(join(folder, name), "utf8")) as Recorded);

const cacheOfConfig = ({ config }: Recorded) => {
  const architecture = architectureOf(config);
  return typeof architecture === "string" ? cacheOf(architecture, "Generate", config, shapeOf(config, [])) : undefined;
};

/** Gemma's recorded configuration is that of its text alone, MiniLM is stored in 32 bits. */
const withoutEncoder = /gemma-3|MiniLM/;

/** Bytes of a checkpoint in 16 bits, counted from its configuration. */
function plainBytes({ model, config }: Recorded): number | undefined {
  const own = "quantization_config" in config || withoutEncoder.test(model) ? undefined : counted(config);
  return own && (own.matrices + own.embedding + own.vision) * 2;
}

/** Families whose cache has rules of its own that are not known here: no context is promised for them. */
const unknown = /DeepSeek-V4|MiniMax-M3|MiMo-V2|gemma-4-E2B|Step-3\.7/;

describe("real configurations", () => {
  test("there are at least 40, each with its source", () => {
    assert.ok(recorded.length >= 40);
    for (const { model, source } of recorded)
      assert.ok(
        source.every((url) => url.startsWith("https://")),
        model,
      );
  });

  test("each tells what its layers keep, or belongs to a family that is named as unknown", () => {
    const open = recorded.filter((one) => cacheOfConfig(one) === undefined).map(({ model }) => model);
    assert.deepEqual(
      open.filter((model) => !unknown.test(model)),
      [],
    );
  });

  for (const one of recorded) {
    const said = one.parameters;
    const own = said === undefined ? undefined : counted(one.config);
    if (said === undefined || !own) continue;
    test(`${one.model}: parameters as its card says`, () => {
      const all = own.matrices + own.embedding + own.vision;
      assert.ok(Math.abs(all / said - 1) < 0.06, `counted ${String(all)}, the card says ${String(said)}`);
    });
  }

  for (const one of recorded) {
    const own = plainBytes(one);
    if (one.weightBytes === undefined || own === undefined) continue;
    const published = one.weightBytes;
    test(`${one.model}: ${String(published)} bytes of weights, as published`, () => {
      // The files hold headers, norms and biases too, those of Qwen3.5 and later also the layers of their drafter.
      assert.ok(own <= published && own >= 0.97 * published, `counted ${String(own)}`);
    });
  }

  test("weights, parameters or bytes of a token of at least 40 models are held to numbers that are not ours", () => {
    const logs = new Set(
      allReports().flatMap(({ availableKvGiB, config }) => (availableKvGiB === undefined ? [] : (config ?? []))),
    );
    const held = recorded.filter(
      (one) =>
        (one.parameters !== undefined && counted(one.config) !== undefined) ||
        (one.weightBytes !== undefined && plainBytes(one) !== undefined) ||
        one.kvNeeds !== undefined ||
        logs.has(`${one.model.replace("/", "__")}.json`),
    );
    assert.ok(held.length >= 40, String(held.length));
  });

  for (const one of recorded) {
    for (const { tokens, gib, tensorParallel, vllmVersion } of one.kvNeeds ?? []) {
      test(`${one.model}: ${String(tokens)} tokens need ${String(gib)} GiB, as vLLM ${vllmVersion} said`, () => {
        // The report about gpt-oss states its batch of 1,024 tokens; full attention does not depend on it.
        const options = { tensorParallel, elementBytes: 2, batchedTokens: 1024, release: releaseOf(vllmVersion) };
        const plan = cachePlan(cacheOfConfig(one) ?? [], options);
        assert.equal((((plan?.blocksFor(tokens) ?? 0) * (plan?.blockBytes ?? 0)) / 2 ** 30).toFixed(1), gib.toFixed(1));
      });
    }
  }
});
