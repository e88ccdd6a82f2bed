// vLLM's metrics under the names that the docs name; no prompt in any log; no request on the bill; a deleted deployment gives its node back.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { taints } from "../../../operator/api/keys.ts";
import { repoDir } from "../../cluster/paths.ts";
import { filesBelow } from "../../models/upload.ts";
import { eventually } from "../../cluster/eventually.ts";
import { chat, embed, systemNamespace, team } from "../names.ts";
import { deleteDeployment, heldNodes, leaderPod, paths, podUrl, serviceUrl, servingPods } from "../objects.ts";
import type { NodeObject, RunningPod } from "../objects.ts";
import { ask, embedding, stream } from "../requests.ts";
import type { Stage } from "../stage.ts";
import { trafficIsNotBilled } from "../usage.ts";

/** Words that stand nowhere else. */
const secret = "marzipan-quokka-1729";

/** Names of vLLM's series that our docs mention. */
function documentedNames(): string[] {
  const docs = filesBelow(join(repoDir, "docs")).filter((path) => path.endsWith(".md"));
  const text = [...docs.map((path) => join(repoDir, "docs", path)), join(repoDir, "README.md")].map((path) =>
    readFileSync(path, "utf8"),
  );
  return [...new Set(text.join("\n").match(/vllm:[a-z0-9_]+/g) ?? [])];
}

async function metricsAreThere(stage: Stage): Promise<void> {
  const text = await ask(`${await serviceUrl(stage, chat)}/metrics`);
  const names = documentedNames();
  if (names.length === 0) throw new Error("the docs name no series of vLLM");
  const missing = names.filter((name) => !text.includes(`\n${name}{`) && !text.includes(`\n${name}_bucket{`));
  if (missing.length > 0) throw new Error(`vLLM's /metrics lacks what the docs name: ${missing.join(", ")}`);
  stage.tour.say(`/metrics of vLLM holds the ${String(names.length)} series that the docs name: ${names.join(", ")}`);
}

async function startupsAreMeasured(stage: Stage): Promise<void> {
  const { items } = await stage.cluster.admin.list<RunningPod>(paths.pods(systemNamespace));
  const leader = await leaderPod(stage);
  const pod = items.find(({ metadata }) => metadata.name === leader);
  const text = await ask(`${await podUrl(stage, pod, 8080)}/metrics`);
  const counts = [...text.matchAll(/^berth_replica_startup_seconds_count\{phase="(\w+)"\} (\d+)$/gm)];
  const told = counts.map(([, phase, count]) => `${phase ?? ""} ${count ?? ""}`);
  if (counts.length !== 4 || counts.some(([, , count]) => count !== "2"))
    throw new Error(`berth_replica_startup_seconds counts ${told.join(", ")}, not two starts in four phases`);
  stage.tour.say(
    "/metrics of the leader: berth_replica_startup_seconds counts each of the two starts once, in four phases",
  );
}

async function promptsAreInNoLog(stage: Stage): Promise<void> {
  await embedding(await serviceUrl(stage, embed), embed, `${secret} in an embedding`);
  await stream(await serviceUrl(stage, chat), chat, { prompt: `${secret} in a chat`, maxTokens: 4 });
  let lines = 0;
  for (const namespace of [team, systemNamespace]) {
    const { items } = await stage.cluster.admin.list<RunningPod>(paths.pods(namespace));
    for (const { metadata } of items) {
      const args = ["logs", "-n", namespace, metadata.name, "--all-containers"];
      const { code, stdout, stderr } = await stage.cluster.kubectl(args);
      if (code !== 0) throw new Error(`kubectl logs ${metadata.name}: ${stderr.trim()}`);
      if (stdout.includes(secret)) throw new Error(`the log of ${namespace}/${metadata.name} holds a prompt`);
      lines += stdout.split("\n").length;
    }
  }
  const { logDir } = stage.cluster;
  const files = filesBelow(logDir).filter((path) => path.endsWith(".log"));
  for (const path of files) {
    const text = readFileSync(join(logDir, path), "utf8");
    if (text.includes(secret)) throw new Error(`${path} of the control plane and the nodes holds a prompt`);
    lines += text.split("\n").length;
  }
  stage.tour.say(
    `nothing of two prompts stands in the ${String(lines)} lines that all pods${stage.real.nodes.length > 0 ? ", nodes and the control plane" : ""} have logged`,
  );
}

export async function observe(stage: Stage): Promise<void> {
  await metricsAreThere(stage);
  await startupsAreMeasured(stage);
  await promptsAreInNoLog(stage);
  await trafficIsNotBilled(stage, chat);
  const [pod] = await servingPods(stage, embed);
  const node = pod?.spec.nodeName ?? "";
  await deleteDeployment(stage, embed);
  await eventually(async () => (await heldNodes(stage)).every(({ metadata }) => metadata.name !== node), {
    what: `${node} is free`,
    deadlineMs: 30_000,
  });
  const { spec } = await stage.cluster.admin.get<NodeObject>(paths.node(node));
  if (spec.taints?.some(({ key }) => key === taints.dedicated)) throw new Error(`${node} is free and keeps our taint`);
  stage.tour.say(`kubectl delete modeldeployment ${embed}: ${node} is free again`);
}
