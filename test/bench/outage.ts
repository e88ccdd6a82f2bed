// The API server away in the middle of a roll-out: does the process live, how long until all have converged, how many conflicts.
import { setTimeout as wait } from "node:timers/promises";
import { apiPath } from "../cluster/client.ts";
import { eventually } from "../cluster/eventually.ts";
import { inFlight, print, say } from "./figures.ts";
import {
  WIDTH,
  addFleet,
  addModel,
  deployment,
  deploymentsPath,
  installBerth,
  nodeType,
  stagePlane,
  startOperator,
  watchReady,
} from "./stage.ts";

const COUNT = 100;

export async function outage(seconds: number): Promise<void> {
  const label = `outage.${seconds}s`;
  say(`${label}: starting a control plane`);
  const cp = await stagePlane();
  try {
    await installBerth(cp);
    await addFleet(cp, "berth", COUNT);
    await cp.admin.create(apiPath("berth.dev/v1alpha1", "nodetypes"), nodeType("berth"));
    await addModel(cp, "bench");
    const operator = await startOperator(cp);
    await operator.ready();
    const pid = operator.pid();
    const stop = new AbortController();
    const ready = watchReady(cp, deploymentsPath("bench"), ({ metadata }) => metadata.name, stop.signal);
    const names = Array.from({ length: COUNT }, (_none, index) => `d${index}`);
    await inFlight(
      names,
      WIDTH,
      async (name) => void (await cp.admin.create(deploymentsPath("bench"), deployment("bench", name, "berth"))),
    );
    await eventually(() => Promise.resolve(ready.size >= COUNT / 4), {
      what: "a quarter of the deployments Ready",
      deadlineMs: 120_000,
      logDir: cp.logDir,
    });
    const mark = await cp.audit.mark();
    say(`${label}: the API server goes away with ${ready.size} of ${COUNT} Ready`);
    await cp.apiserver.kill();
    await wait(seconds * 1000);
    await cp.apiserver.start();
    const back = performance.now();
    const allReady = async (): Promise<boolean> =>
      (await cp.admin.list(deploymentsPath("bench"))).items.filter(({ status }) => status?.["phase"] === "Ready")
        .length === COUNT;
    await eventually(allReady, {
      what: "all deployments Ready after the outage",
      deadlineMs: 300_000,
      logDir: cp.logDir,
    });
    print({ name: `${label}.converged`, value: (performance.now() - back) / 1000, unit: "s", limit: 30 });
    const made = await cp.audit.since(mark, { user: /berth-operator$/, codes: (code) => code === 409 });
    print({ name: `${label}.conflicts-per-deployment`, value: made.length / COUNT, unit: "409 answers" });
    print({ name: `${label}.survived`, value: operator.pid() === pid ? 1 : 0, unit: "of 1 process" });
    stop.abort();
    await operator.stop();
  } finally {
    await cp.stop();
  }
}
