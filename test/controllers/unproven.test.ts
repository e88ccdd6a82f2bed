/** What cannot be proven is told once each: a metric by cause, a line in the log, an event on the object where there is one. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Registry } from "prom-client";

import { gpuNodePools } from "../../operator/api/resources.ts";
import { UNPROVEN, newUnproven } from "../../operator/controllers/unproven.ts";
import { newMemoryLog } from "../runtime/rig.ts";
import { pool } from "./meteringobjects.ts";

test("each loss counts once by its cause, however often it is seen", async () => {
  const registry = new Registry();
  const told: string[] = [];
  const events = {
    emit: (about: { kind: string; metadata: { name: string } }, { type, reason }: { type: string; reason: string }) =>
      void told.push(`${type} ${reason} ${about.kind}/${about.metadata.name}`),
  };
  const unproven = newUnproven({ registry, log: newMemoryLog(), events });
  const about = pool({ deployment: "chat", sizes: [["10:00:00", 1]] });
  const sizes = {
    cause: "sizes",
    key: "pool-chat",
    message: "sizes were lost",
    about,
    resource: gpuNodePools,
  } as const;
  for (let seen = 0; seen < 3; seen += 1) unproven(sizes);
  unproven({ ...sizes, key: "pool-other" });
  unproven({ cause: "unseen", key: "nodeclaim-1", message: "gone before it was recorded" });
  const counted = [...(await registry.metrics()).matchAll(/^berth_capacity_unproven_total\{cause="(\w+)"\} (\d+)$/gm)];
  assert.deepEqual(Object.fromEntries(counted.map(([, cause, value]) => [cause, Number(value)])), {
    ...{ sizes: 2, unseen: 1 },
    ...{ pool: 0, claim: 0, restored: 0 },
  });
  assert.deepEqual(told, [`Warning ${UNPROVEN} GPUNodePool/chat`, `Warning ${UNPROVEN} GPUNodePool/chat`]);
});
