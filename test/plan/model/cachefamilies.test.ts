// Families whose layers keep something else than their neighbours' keys suggest; bytes of a token by the arithmetic of the model's own code.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { cacheOf } from "../../../operator/plan/model/cache.ts";
import { architectureOf, taskOf } from "../../../operator/plan/model/config.ts";
import { shapeOf } from "../../../operator/plan/model/shape.ts";
import type { CacheLayers } from "../../../operator/plan/sizing/kv.ts";
import { kvBytesPerToken } from "../../../operator/plan/sizing/kv.ts";
import { longCat, miniCpm3, step35, superNemotron, zamba2 } from "../sizing/familyconfigs.ts";

type Config = Readonly<Record<string, unknown>>;

function cacheFor(config: Config): readonly CacheLayers[] | undefined {
  const architecture = architectureOf(config);
  assert.ok(typeof architecture === "string", JSON.stringify(architecture));
  return cacheOf(architecture, taskOf(architecture, false), config, shapeOf(config, []));
}

const bytesOf = (config: Config): number | undefined => {
  const cache = cacheFor(config);
  return cache && kvBytesPerToken(cache);
};

const recorded = (name: string): Config =>
  (JSON.parse(readFileSync(join(import.meta.dirname, "configs", `${name}.json`), "utf8")) as { config: Config }).config;

describe("families with rules of their own", () => {
  test("MiniCPM 3 compresses its keys, but the engine keeps them expanded and padded: 62 × 40 heads × 2 × 96 numbers", () => {
    assert.equal(bytesOf(miniCpm3), 62 * 40 * 2 * 96 * 2);
  });

  test("another family with compressed keys is unknown, not taken for latent attention", () => {
    assert.equal(bytesOf({ ...miniCpm3, model_type: "somebody" }), undefined);
  });

  test("LongCat's layers attend twice: 2 × 28 latent vectors of 576 numbers", () => {
    assert.equal(bytesOf(longCat), 2 * 28 * 576 * 2);
  });

  test("Nemotron Super keeps nothing in blocks that do not attend", () => {
    assert.equal(bytesOf(superNemotron), 3 * 8 * 2 * 128 * 2);
  });

  test("MiMo V2: 9 layers of 4 heads see everything, 39 of 8 heads a window of 128; values are smaller than keys", () => {
    assert.equal(bytesOf(recorded("XiaomiMiMo__MiMo-V2-Flash")), (9 * 4 + 39 * 8) * (192 + 128) * 2);
  });

  test("Step 3.5: window layers have heads of their own", () => {
    assert.deepEqual(cacheFor(step35), [
      { kind: "Full", layers: 2, heads: 8, keySize: 128, valueSize: 128 },
      { kind: "Sliding", layers: 4, heads: 4, keySize: 64, valueSize: 64, window: 512 },
    ]);
  });

  test("Zamba 2 keeps a state in every layer and attends in some", () => {
    assert.deepEqual(
      cacheFor(zamba2)?.map(({ kind, layers }) => [kind, layers]),
      [
        ["Full", 2],
        ["State", 6],
      ],
    );
  });

  test("EXAONE 4 without a list of layers: three windows to one, though the file writes the pattern as letters", () => {
    const exaone = {
      architectures: ["Exaone4ForCausalLM"], model_type: "exaone4", num_hidden_layers: 64, hidden_size: 5120, num_attention_heads: 40,
      num_key_value_heads: 8, head_dim: 128, sliding_window: 4096, sliding_window_pattern: "LLLG",
    }; // prettier-ignore
    assert.deepEqual(
      cacheFor(exaone)?.map(({ kind, layers }) => [kind, layers]),
      [
        ["Full", 16],
        ["Sliding", 48],
      ],
    );
    assert.deepEqual(
      cacheFor({ ...exaone, sliding_window: null })?.map(({ kind, layers }) => [kind, layers]),
      [["Full", 64]],
    );
  });

  for (const architecture of [
    "Qwen4ExpForCausalLM",
    "Glm5NextForCausalLM",
    "HYV4ForCausalLM",
    "DeepseekV41ForCausalLM",
  ]) {
    test(`${architecture}: served, but its cache was not read and is not guessed`, () => {
      const config = { architectures: [architecture], model_type: "new", num_hidden_layers: 4, hidden_size: 512 };
      assert.equal(bytesOf({ ...config, num_attention_heads: 4, num_key_value_heads: 4 }), undefined);
    });
  }
});
