import assert from "node:assert/strict";
import { test } from "node:test";
import type { GPUNodePool } from "../../../operator/api/gpunodepool.ts";
import { fieldManagers } from "../../../operator/api/keys.ts";
import type { ModelDeployment } from "../../../operator/api/modeldeployment.ts";
import { historyOfPool } from "../../../operator/plan/metering/history.ts";
import { secondsOf } from "../../../operator/plan/metering/windows.ts";
import { instant, pool } from "../../controllers/meteringobjects.ts";

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

test("a size that was written counts from then on, also before the pool's log holds it", () => {
  const logged = pool({ deployment: "chat", sizes: [["10:00:00", 1]] });
  const managedFields = [{ manager: fieldManagers.size, time: instant("10:59:58") }];
  const written = (size: number): GPUNodePool => ({
    ...logged,
    metadata: { ...logged.metadata, managedFields },
    spec: { ...logged.spec, size },
  });
  const stepsOf = (one: GPUNodePool) => historyOfPool(one, undefined, []).steps.map(({ since, size }) => [since, size]);
  const first = [secondsOf(instant("10:00:00")), 1];
  for (const size of [0, 2]) assert.deepEqual(stepsOf(written(size)), [first, [secondsOf(instant("10:59:58")), size]]);
  assert.deepEqual(stepsOf(written(1)), [first], "what the log says already is no step");
  assert.deepEqual(stepsOf({ ...logged, spec: { ...logged.spec, size: 2 } }), [first], "nobody says since when");
  const fresh: GPUNodePool = { ...written(2), status: undefined };
  assert.deepEqual(stepsOf(fresh), [[secondsOf(instant("10:59:58")), 2]]);
});
