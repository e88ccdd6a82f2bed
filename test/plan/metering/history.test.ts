import assert from "node:assert/strict";
import { test } from "node:test";
import type { GPUNodePool } from "../../../operator/api/gpunodepool.ts";
import type { ModelDeployment } from "../../../operator/api/modeldeployment.ts";
import { historyOfPool } from "../../../operator/plan/metering/history.ts";

test("a pool deleted by hand stays ended when its deployment is deleted later", () => {
  const template = { sku: "l4", gpu: { count: 1 } };
  const spec = { deploymentRef: { name: "d", uid: "u" }, template };
  const at = (minute: number): string => `2026-01-01T10:${minute}:00Z`;
  const pool = { metadata: { name: "p", deletionTimestamp: at(10) }, spec } as unknown as GPUNodePool;
  const later = { metadata: { name: "d", deletionTimestamp: at(25) } } as ModelDeployment;
  const living = { metadata: { name: "d" } } as ModelDeployment;
  const end = Date.parse(at(10)) / 1000;
  assert.deepEqual(
    [living, later, undefined].map((deployment) => historyOfPool(pool, deployment, []).endedAt),
    [end, end, end],
  );
});
