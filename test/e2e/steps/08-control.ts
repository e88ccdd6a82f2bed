// The control plane in trouble: the leading operator killed with its node, the API server restarted. Serving sees nothing.
import { eventually } from "../../cluster/eventually.ts";
import { chat, models, systemNamespace } from "../names.ts";
import { ensureServing, leaderLease, leaderPod, paths, serviceUrl, servingState } from "../objects.ts";
import type { RunningPod } from "../objects.ts";
import { noneFailed, startTraffic } from "../requests.ts";
import type { Stage } from "../stage.ts";
import { oneLeads, untilInstalled } from "./01-install.ts";
import { chatContext } from "./03-serve.ts";
import { killContainer } from "./07-crash.ts";

async function killLeader(stage: Stage): Promise<void> {
  const { tour, cluster, real } = stage;
  const leader = await leaderPod(stage);
  const { items } = await cluster.admin.list<RunningPod>(paths.pods(systemNamespace));
  const pod = items.find(({ metadata }) => metadata.name === leader);
  const container = pod?.status.containerStatuses?.[0] as { containerID?: string } | undefined;
  if (!pod) throw new Error(`the leader ${leader} is no pod`);
  const node = real.node(pod.spec.nodeName);
  const transitions = (await leaderLease(stage)).spec.leaseTransitions ?? 0;
  const killedAt = Date.now();
  await killContainer(stage, pod, container?.containerID);
  await node.killKubeletAndContainerd();
  tour.say(`the leader ${leader} got SIGKILL, then kubelet and containerd of ${node.name}`);
  const next = await eventually(
    async () => {
      const lease = await leaderLease(stage);
      const [holder = ""] = (lease.spec.holderIdentity ?? "").split("_");
      return (lease.spec.leaseTransitions ?? 0) > transitions && holder !== leader ? holder : undefined;
    },
    { what: "the standby leads", deadlineMs: 60_000, recheckMs: 200, logDir: cluster.logDir },
  );
  tour.say(`${next} leads ${((Date.now() - killedAt) / 1000).toFixed(1)} s later`);
  await node.revive();
  await untilInstalled(stage, 120_000);
  await oneLeads(stage);
}

async function restartApiServer(stage: Stage): Promise<void> {
  const at = Date.now();
  await stage.real.controlPlane?.apiserver.restart();
  stage.tour.say(`the API server was restarted, away for ${((Date.now() - at) / 1000).toFixed(1)} s`);
  await untilInstalled(stage, 120_000);
  await oneLeads(stage);
}

export async function control(stage: Stage): Promise<void> {
  await ensureServing(stage, chat, { model: models.llama, replicas: 2, contextLength: chatContext });
  const before = JSON.stringify(await servingState(stage, chat));
  const traffic = startTraffic(await serviceUrl(stage, chat), chat);
  await killLeader(stage);
  await restartApiServer(stage);
  const report = await traffic.stop();
  noneFailed(report, "while the control plane was in trouble");
  const after = JSON.stringify(await servingState(stage, chat));
  if (after !== before) throw new Error(`serving pods changed from ${before} to ${after}`);
  stage.tour.say(`${String(report.sent)} requests, none failed; no serving pod restarted or was replaced`);
}
