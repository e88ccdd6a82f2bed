// The API server away in the middle of a roll-out: does the process live, how long until all have converged, how many conflicts.
import { setTimeout as wait } from "node:timers/promises";
import { apiPath } from "../cluster/client.ts";
import type { ControlPlane } from "../cluster/controlplane.ts";
import { eventually } from "../cluster/eventually.ts";
import { print, say } from "./figures.ts";
import {
  applyAtOnce,
  deploymentsPath,
  installBerth,
  ownerName,
  readyOperator,
  stagePlane,
  watchReady,
} from "./stage.ts";

const COUNT = 100;

export async function outage(seconds: number): Promise<void> {
  const label = `outage.${seconds}s`;
  say(`${label}: starting a control plane`);
  const cp = await stagePlane();
  try {
    await installBerth(cp);
    const operator = await readyOperator(cp, COUNT);
    const pid = operator.pid();
    const stop = new AbortController();
    const ready = watchReady(cp, deploymentsPath("bench"), ({ metadata }) => metadata.name, stop.signal);
    const podsReady = watchReady(cp, apiPath("v1", "pods", { namespace: "bench" }), ownerName, stop.signal);
    await applyAtOnce(cp, COUNT);
    await eventually(() => Promise.resolve(ready.size >= COUNT / 4), {
      what: "a quarter of the deployments Ready",
      deadlineMs: 120_000,
      logDir: cp.logDir,
    });
    const mark = await cp.audit.mark();
    say(`${label}: the API server goes away with ${ready.size} of ${COUNT} Ready`);
    const back = await away(cp, seconds);
    const workloadsAt = await waitFor(cp, "all workloads made after the outage", async () => {
      const { items } = await cp.admin.list(apiPath("apps/v1", "deployments", { namespace: "bench" }));
      return items.length === COUNT;
    });
    await waitFor(cp, "all deployments Ready after the outage", () => Promise.resolve(ready.size === COUNT));
    const since = (at: number): number => Math.max(0, at - back) / 1000;
    const lags = [...ready].map(([name, at]) => since(at) - since(podsReady.get(name) ?? back));
    const converged = since(Math.max(...ready.values()));
    const lastPod = since(Math.max(...podsReady.values()));
    const wanted = { unit: "s", limit: 30, against: "wanted at most" };
    print({ name: `${label}.workloads-made`, value: since(workloadsAt), ...wanted });
    print({ name: `${label}.converged`, value: converged, ...wanted });
    const others = "the last pod was Ready: Kubernetes' own controllers and kwok back off, too";
    print({ name: `${label}.converged-beside-pods`, value: converged, unit: "s", limit: lastPod, against: others });
    print({ name: `${label}.ready-lag-max`, value: Math.max(...lags), unit: "s" });
    const made = await cp.audit.since(mark, { user: /berth-operator$/, codes: (code) => code === 409 });
    print({ name: `${label}.conflicts-per-deployment`, value: made.length / COUNT, unit: "409 answers" });
    print({ name: `${label}.survived`, value: operator.pid() === pid ? 1 : 0, unit: "of 1 process" });
    stop.abort();
    await operator.stop();
  } finally {
    await cp.stop();
  }
}

/** Kills the API server, starts it again after so long; answers when it was back. */
async function away(cp: ControlPlane, seconds: number): Promise<number> {
  await cp.apiserver.kill();
  await wait(seconds * 1000);
  await cp.apiserver.start();
  const back = performance.now();
  // Elsewhere these two lose their Leases in such a time, end and are started again; here they would back off for a minute.
  await Promise.all([cp.controllerManager.restart(), cp.scheduler.restart()]);
  return back;
}

async function waitFor(cp: ControlPlane, what: string, done: () => Promise<boolean>): Promise<number> {
  await eventually(done, { what, deadlineMs: 300_000, logDir: cp.logDir });
  return performance.now();
}
