// Servers that have not started get no drain, and are ended before their workload is lowered, replaced or removed.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { Pod } from "../../../operator/api/kubernetes.ts";
import { planDeployment } from "../../../operator/plan/deployment/plan.ts";
import type { Seen } from "../../../operator/plan/deployment/seen.ts";
import { NOON, changed, leaving, serving } from "./observed.ts";
import { described } from "./read.ts";

/** The pods of `serving()`, of which those named have not passed their startup probe. */
function starting(seen: Seen, ...names: string[]): Seen {
  const pods = seen.pods.map((pod): Pod => {
    const started = !names.includes(pod.metadata.name);
    return { ...pod, status: { ...pod.status, containerStatuses: [{ name: "vllm", ready: started, started }] } };
  });
  return { ...seen, pods };
}

function deleted(seen: Seen): Seen {
  const { deployment } = seen;
  const metadata = { ...deployment.metadata, deletionTimestamp: "2026-03-10T11:59:00Z" };
  return { ...seen, deployment: { ...deployment, metadata } };
}

/** Pods that the plan deletes, with their grace. */
function ended(seen: Seen): string[] {
  return planDeployment(seen)
    .steps.flat()
    .flatMap((write) =>
      write.op === "delete" && write.resource.kind === "Pod"
        ? [`${write.name} ${String(write.gracePeriodSeconds)} s`]
        : [],
    );
}

describe("a server that has not started", () => {
  const fewer = (seen: Seen): Seen => ({ ...changed(seen, { replicas: 1 }), replicasSetAt: NOON - 900_000 });

  test("is ended before the workload of a deleted deployment goes", () => {
    const plan = planDeployment(deleted(starting(serving(), "pod-0")));
    assert.deepEqual(described(plan), ["delete Pod team/pod-0", "delete Deployment team/chat-11111111"]);
    assert.deepEqual(ended(deleted(starting(serving(), "pod-0"))), ["pod-0 2 s"]);
  });

  test("goes first when the workload is lowered, and only as many as it loses", () => {
    assert.deepEqual(ended(fewer(starting(serving(), "pod-1"))), ["pod-1 2 s"]);
    assert.deepEqual(ended(fewer(starting(serving(), "pod-0", "pod-1"))), ["pod-0 2 s"]);
    assert.deepEqual(ended(fewer(starting(serving()))), [], "servers that started keep their drain");
  });

  test("does not stand in the way of the template that mends it", () => {
    const mended = changed(starting(serving(), "pod-0"), { contextLength: 4096 });
    assert.deepEqual(ended(mended), ["pod-0 2 s"]);
  });

  test("is left alone while it is wanted", () => {
    assert.deepEqual(ended(starting(serving(), "pod-0", "pod-1")), []);
  });

  test("is not ended a second time", () => {
    const seen = deleted(starting(serving(), "pod-0"));
    const pods = seen.pods.map((pod) => ({
      ...pod,
      metadata: { ...pod.metadata, ...leaving(pod.metadata.name, 1000) },
    }));
    assert.deepEqual(ended({ ...seen, pods }), []);
  });
});
