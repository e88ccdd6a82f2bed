// After each fault the cache equals a fresh list, and whoever only listens to changes knows every object that exists.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { TestContext } from "node:test";

import type { ReflectorOptions } from "../../operator/runtime/reflector.ts";
import { eventually } from "../cluster/eventually.ts";
import { startApiProxy } from "../cluster/faultproxy.ts";
import type { FaultProxy, FaultRule, SeenRequest } from "../cluster/faultproxy.ts";
import { ownCluster, requires, testCluster } from "../cluster/session.ts";
import { startTcpProxy } from "../cluster/tcpproxy.ts";
import type { ConfigMap } from "./rig.ts";
import { change, converged, isList, isWatch, newScene } from "./scene.ts";
import type { Scene } from "./scene.ts";

/** Runs one fault between two rounds of changes. */
async function survives(
  t: TestContext,
  fault: (proxy: FaultProxy, scene: Scene) => Promise<void> | void,
  options: Partial<ReflectorOptions<ConfigMap>> = {},
): Promise<Scene | undefined> {
  if (!(await requires(t, "server-restart"))) return undefined;
  const cluster = await testCluster();
  const proxy = await startApiProxy(cluster);
  const scene = await newScene(t, cluster, proxy.url, options);
  t.after(() => proxy.close());
  await change(scene, "before");
  scene.reflector.start();
  await scene.reflector.synced;
  await converged(scene);
  await fault(proxy, scene);
  await change(scene, "during");
  await converged(scene);
  proxy.clear();
  await change(scene, "after");
  await converged(scene);
  return scene;
}

/** Ends the open watch after the rules for the next requests are in place. */
function inject(proxy: FaultProxy, ...rules: FaultRule[]): void {
  for (const rule of rules) proxy.add(rule);
  proxy.resetOpen();
}

describe("reflector through faults", { concurrency: 6 }, () => {
  test("a reset of the open watch", async (t) => {
    await survives(t, (proxy) => proxy.resetOpen());
  });

  test("503 on the next watches", async (t) => {
    await survives(t, (proxy) => inject(proxy, { match: isWatch, times: 2, fault: { kind: "status", code: 503 } }));
  });

  test("resets of the next watches", async (t) => {
    await survives(t, (proxy) => inject(proxy, { match: isWatch, times: 2, fault: { kind: "reset" } }));
  });

  test("429 with Retry-After is waited out", async (t) => {
    const watchedMs: number[] = [];
    const scene = await survives(t, (proxy) => {
      const observer = (request: SeenRequest): boolean => {
        if (request.isWatch) watchedMs.push(performance.now());
        return false;
      };
      proxy.add({ match: observer, fault: { kind: "reset" } });
      inject(proxy, { match: isWatch, times: 1, fault: { kind: "status", code: 429, retryAfterSeconds: 3 } });
    });
    if (!scene) return;
    const [refusedMs = 0, againMs = 0] = watchedMs;
    assert.ok(againMs - refusedMs >= 2_990, `asked again after ${(againMs - refusedMs).toFixed(0)} ms`);
  });

  test("410 on the watch, then 503 and a reset on the lists that follow", async (t) => {
    const scene = await survives(t, (proxy) =>
      inject(
        proxy,
        { match: isWatch, times: 1, fault: { kind: "status", code: 410 } },
        { match: isList, times: 1, fault: { kind: "status", code: 503 } },
        { match: isList, times: 1, fault: { kind: "reset" } },
      ),
    );
    if (scene) assert.ok(scene.rig.log.lines.every((line) => line.level !== "error"));
  });

  test("an ERROR event of code 410 inside the stream", async (t) => {
    const scene = await survives(t, (proxy) =>
      inject(proxy, { match: isWatch, times: 1, fault: { kind: "gone-event" } }),
    );
    if (!scene) return;
    const lists = await scene.rig.metrics.relists.get();
    assert.equal(lists.values[0]?.value, 2, "one relist");
  });

  test("a stream that is cut in the middle of an event, again and again", async (t) => {
    await survives(t, (proxy) => {
      inject(
        proxy,
        ...[1, 150, 700, 1_000].map((afterBytes) => ({
          match: isWatch,
          times: 1,
          fault: { kind: "cut", afterBytes } as const,
        })),
      );
    });
  });

  test("a watch that falls silent with its connection open", async (t) => {
    const silent = { match: isWatch, times: 1, fault: { kind: "stall-after", afterBytes: 300 } } as const;
    await survives(t, (proxy) => inject(proxy, silent), { silenceMs: 2_000 });
  });

  test("a watch that is never answered", async (t) => {
    const stalled = { match: isWatch, times: 1, fault: { kind: "stall" } } as const;
    await survives(t, (proxy) => inject(proxy, stalled), { silenceMs: 2_000 });
  });

  test("a half-open network", async (t) => {
    if (!(await requires(t, "server-restart"))) return;
    const cluster = await testCluster();
    const proxy = await startTcpProxy({ port: Number(new URL(cluster.url).port) });
    const url = `https://127.0.0.1:${proxy.port}`;
    const scene = await newScene(t, cluster, url, { silenceMs: 2_000 });
    t.after(() => proxy.close());
    scene.reflector.start();
    await scene.reflector.synced;
    await proxy.set({ kind: "stall" });
    await change(scene, "during");
    await proxy.set({ kind: "reset" });
    await proxy.set({ kind: "none" });
    await converged(scene);
  });

  test("a first list that fails again and again", async (t) => {
    if (!(await requires(t, "server-restart"))) return;
    const cluster = await testCluster();
    const proxy = await startApiProxy(cluster);
    const scene = await newScene(t, cluster, proxy.url);
    t.after(() => proxy.close());
    await change(scene, "before");
    proxy.add({ match: isList, times: 1, fault: { kind: "status", code: 500 } });
    proxy.add({ match: isList, times: 1, fault: { kind: "reset" } });
    proxy.add({ match: isList, times: 1, fault: { kind: "cut", afterBytes: 90 } });
    scene.reflector.start();
    await scene.reflector.synced;
    await converged(scene);
  });
});

describe("reflector and a server that dies", () => {
  test("killed and restarted, frozen, and compacted while away", async (t) => {
    if (!(await requires(t, "server-restart"))) return;
    const cluster = await ownCluster(t, { controllers: false });
    const scene = await newScene(t, cluster, cluster.url, { silenceMs: 5_000 });
    await change(scene, "before");
    scene.reflector.start();
    await scene.reflector.synced;
    await t.test("killed", async () => {
      await cluster.apiserver.kill();
      await cluster.apiserver.start();
      await change(scene, "killed");
      await converged(scene, 60_000);
    });
    await t.test("frozen longer than its silence", async () => {
      cluster.apiserver.freeze();
      const failures = (): Promise<number> =>
        scene.rig.metrics.watchFailures.get().then((metric) => metric.values[0]?.value ?? 0);
      const before = await failures();
      await eventually(async () => (await failures()) > before, { what: "the silence is noticed" });
      cluster.apiserver.thaw();
      await change(scene, "frozen");
      await converged(scene, 60_000);
    });
    await t.test("compacted: a real 410", async () => {
      const proxy = await startApiProxy(cluster);
      const late = await newScene(t, cluster, proxy.url);
      t.after(() => proxy.close());
      await change(late, "before");
      late.reflector.start();
      await late.reflector.synced;
      const away = proxy.add({ fault: { kind: "reset" } });
      proxy.resetOpen();
      await change(late, "away");
      await cluster.compactEtcd();
      // The watch cache would still know: a restarted server has to ask etcd.
      await cluster.apiserver.restart();
      await change(late, "restarted");
      away.remove();
      await converged(late, 60_000);
      const lists = await late.rig.metrics.relists.get();
      assert.ok((lists.values[0]?.value ?? 0) >= 2, "the 410 led to a new list");
    });
  });
});
