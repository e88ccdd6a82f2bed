// Reports found after the rules of the cache were written and never used to change them: cache memory → tokens alone, since none states
// all of model, GPU, version, utilization and length (those that do are in reports.json). The versions are those of the threads, but for
// the first, which names none: 0.9.2 is assumed of its date, 22 July 2025. Batches of 8,192 tokens and cached prefixes are assumed of
// all; they matter to the last two alone, which have states.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { cacheOf } from "../../../operator/plan/model/cache.ts";
import { shapeOf } from "../../../operator/plan/model/shape.ts";
import { cachePlan, cacheSize } from "../../../operator/plan/sizing/kv.ts";
import { releaseOf } from "../../../operator/plan/sizing/release.ts";

/** Address, configuration, tensor parallelism, bytes of a cached number, GiB of cache on each GPU, length, version, tokens. */
const found = [
  ["https://github.com/vllm-project/vllm/issues/21348", "Qwen__Qwen3-235B-A22B-FP8", 4, 2, 8.11, 40_960, "0.9.2", 178_880],
  ["https://github.com/eugr/spark-vllm-docker/issues/396", "MiniMaxAI__MiniMax-M2.7", 2, 2, 28.74, 196_608, "0.29.1", 240_816],
  ["https://github.com/mitchross/talos-argocd-proxmox/pull/1995", "Qwen__Qwen3.8-27B", 2, 1, 4.99, 131_072, "0.28.0", 302_921],
  ["https://github.com/noonghunna/club-3090/issues/612", "Qwen__Qwen3.6-35B-A3B", 1, 1, 5.98, 131_072, "0.24.0", 567_978],
] as const; // prettier-ignore

describe("reports that were held out", () => {
  for (const [url, name, tensorParallel, elementBytes, gib, length, version, tokens] of found) {
    test(`${name}: ${String(gib)} GiB hold ${String(tokens)} tokens (${url})`, () => {
      const path = join(import.meta.dirname, "../model/configs", `${name}.json`);
      const { config } = JSON.parse(readFileSync(path, "utf8")) as { config: Readonly<Record<string, unknown>> };
      const [architecture = ""] = config["architectures"] as readonly string[];
      const release = releaseOf(version);
      const options = { tensorParallel, elementBytes, batchedTokens: 8192, release, prefixCaching: true };
      const plan = cachePlan(cacheOf(architecture, "Generate", config, shapeOf(config, [])) ?? [], options);
      assert.ok(plan);
      const own = cacheSize(plan, gib * 2 ** 30, length, release).reportedTokens;
      assert.ok(Math.abs(own / tokens - 1) < 0.05, String(own));
    });
  }
});
