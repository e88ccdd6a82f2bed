// The pod template: where it runs, what it may, and how it ends. What renders it anew: rollout.test.ts.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { planDeployment } from "../../../operator/plan/deployment/plan.ts";
import { REVISION_LABEL } from "../../../operator/plan/deployment/template.ts";
import type { PinnedTemplate } from "../../../operator/plan/deployment/seen.ts";
import { deploymentOf, nodeTypeOf, observed, poolOf, serving } from "./observed.ts";
import { described, writtenWorkload } from "./read.ts";

describe("the template", () => {
  const template = writtenWorkload(planDeployment(serving()))?.spec?.template as PinnedTemplate["podTemplate"];

  test("asks for the nodes of its own pool and nothing that a restricted namespace refuses", () => {
    const { spec } = template;
    assert.equal(spec["enableServiceLinks"], false);
    assert.equal(spec["automountServiceAccountToken"], false);
    const containers = [...(spec["initContainers"] as object[]), ...(spec["containers"] as object[])];
    for (const container of containers as { securityContext: unknown }[]) {
      assert.deepEqual(container.securityContext, {
        allowPrivilegeEscalation: false,
        capabilities: { drop: ["ALL"] },
        readOnlyRootFilesystem: true,
      });
    }
    const volumes = spec["volumes"] as Record<string, unknown>[];
    const kinds = ["emptyDir", "projected", "downwardAPI"];
    assert.ok(volumes.every((volume) => kinds.some((kind) => kind in volume)));
  });

  test("gives a replica up 30 s after its node went silent, and tolerates no other end of a node", () => {
    const tolerations = template.spec["tolerations"] as { key: string; effect?: string; tolerationSeconds?: number }[];
    const ends = tolerations.filter(({ key }) => key.startsWith("node.kubernetes.io/"));
    assert.deepEqual(
      ends.map(({ key, effect, tolerationSeconds }) => [key, effect, tolerationSeconds]),
      [
        ["node.kubernetes.io/not-ready", "NoExecute", 30],
        ["node.kubernetes.io/unreachable", "NoExecute", 30],
      ],
    );
  });

  test("takes a closed port for an end within 10 s, and a slow answer for none", () => {
    interface Probe {
      readonly periodSeconds: number;
      readonly timeoutSeconds: number;
      readonly failureThreshold: number;
    }
    const [engine] = template.spec["containers"] as { readinessProbe: Probe; livenessProbe: Probe }[];
    assert.ok(engine);
    const { readinessProbe, livenessProbe } = engine;
    assert.ok(readinessProbe.periodSeconds * readinessProbe.failureThreshold <= 10);
    assert.ok(readinessProbe.timeoutSeconds >= 10, "a busy server answers late");
    assert.ok(livenessProbe.periodSeconds * livenessProbe.failureThreshold >= 100, "it is restarted for silence only");
  });

  test("leaves requests in flight the whole drain but for the news to travel and the engine to end", () => {
    const { spec } = template;
    const [engine] = spec["containers"] as { args: string[]; lifecycle: { preStop: { sleep: { seconds: number } } } }[];
    const timeout = Number(engine?.args[engine.args.indexOf("--shutdown-timeout") + 1]);
    const preStop = engine?.lifecycle.preStop.sleep.seconds ?? 0;
    assert.equal(spec["terminationGracePeriodSeconds"], 600);
    assert.equal(preStop + timeout + 20, 600);
    assert.ok(preStop >= 10);
  });

  test("lets vLLM write what ended it where the kubelet finds it", () => {
    const { spec, metadata } = template;
    const containers = [...(spec["initContainers"] as object[]), ...(spec["containers"] as object[])];
    for (const container of containers as { terminationMessagePolicy: string }[])
      assert.equal(container.terminationMessagePolicy, "FallbackToLogsOnError");
    const logging = JSON.parse(metadata.annotations?.["berth.dev/engine-logging"] ?? "{}") as {
      loggers: Record<string, unknown>;
      handlers: { end: { filename: string } };
    };
    assert.equal(logging.handlers.end.filename, "/dev/termination-log");
    assert.deepEqual(Object.keys(logging.loggers), ["vllm", "vllm.v1.engine.core", "vllm.v1.executor"]);
  });

  test("carries a label that tells what runs", () => {
    assert.match(template.metadata.labels[REVISION_LABEL] ?? "", /^[0-9a-f]{10}$/);
  });

  test("is not made before the pool has a node", () => {
    const deployment = deploymentOf();
    const plan = planDeployment(observed({ deployment, pool: poolOf(deployment, 1, { claimed: 0, ready: 0 }) }));
    assert.deepEqual(described(plan), []);
    assert.equal(plan.status?.phase, "Creating");
  });
});

test("without the platform's leave no pool is made with a cache, and the message says who can change that", () => {
  const cache = { storageClassName: "node-local", size: "50Gi" };
  const seen = observed({ nodeType: nodeTypeOf({ cache }) });
  const refused = planDeployment(seen);
  const makesPool = (plan: typeof refused): boolean => described(plan).some((line) => line.includes("GPUNodePool"));
  assert.equal(makesPool(refused), false);
  const said = refused.status?.conditions?.map(({ reason, message }) => `${reason}: ${message}`).join("\n") ?? "";
  assert.match(said, /NodeCacheDisabled: node type l4 has a cache.*nodeCaches\.enabled/);
  assert.ok(makesPool(planDeployment({ ...seen, settings: { ...seen.settings, nodeCaches: true } })));
});
