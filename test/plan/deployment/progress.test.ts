// How long a rollout may take before Kubernetes calls it failed.
import assert from "node:assert/strict";
import { test } from "node:test";
import { planDeployment } from "../../../operator/plan/deployment/plan.ts";
import { currentRevision } from "../../../operator/plan/deployment/revisions.ts";
import type { PinnedTemplate, Seen } from "../../../operator/plan/deployment/seen.ts";
import { deploymentOf, observed, poolOf, serving } from "./observed.ts";
import { writtenWorkload } from "./read.ts";

test("a workload's rollout is not called failed while a large model is on its way, and a template of before keeps its hour", () => {
  const deadlineOf = (seen: Seen): number | undefined =>
    (writtenWorkload(planDeployment(seen))?.spec as { progressDeadlineSeconds?: number } | undefined)
      ?.progressDeadlineSeconds;
  const deployment = deploymentOf();
  const seen = observed({ deployment, pool: poolOf(deployment, 1) });
  // 14 GB: 900 s for images, 2 × (112 + 60) s over the network, 2 × (70 + 300) s from the disk to the first answer.
  assert.equal(deadlineOf(seen), 900 + 344 + 740);
  const steady = serving();
  const [stored] = steady.revisions;
  assert.ok(stored);
  const { progressDeadlineSeconds: _, ...before } = stored.data as PinnedTemplate;
  const older = { ...steady, workload: undefined, revisions: [{ ...stored, data: before }] };
  assert.equal(deadlineOf(older), 3600);
  const forged = { ...steady, revisions: [{ ...stored, data: { ...before, progressDeadlineSeconds: "soon" } }] };
  assert.equal(currentRevision(forged), undefined);
});
