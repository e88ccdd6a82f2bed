// What a failed run leaves for whoever looks into it: the objects as they stood, and what Berth's own pods have said.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Stage } from "./stage.ts";
import { systemNamespace } from "./names.ts";

const kinds = "modeldeployments,gpunodepools,capacityclaims,models,pods,nodes,replicasets,poddisruptionbudgets,events";

/** Writes objects.yaml and one log for each container of Berth's namespace into the folder of logs; never throws. */
export async function keepRemains({ cluster, tour }: Stage): Promise<void> {
  const keep = async (name: string, args: readonly string[]): Promise<void> => {
    const { stdout, stderr } = await cluster.kubectl([...args]);
    writeFileSync(join(cluster.logDir, name), stdout || stderr);
  };
  try {
    await keep("objects.yaml", ["get", kinds, "-A", "-o", "yaml"]);
    const { stdout } = await cluster.kubectl(["get", "pods", "-n", systemNamespace, "-o", "name"]);
    for (const pod of stdout.split("\n").filter(Boolean))
      await keep(`${pod.replace("pod/", "")}.log`, ["logs", "-n", systemNamespace, pod, "--all-containers"]);
  } catch (error) {
    tour.line(`what was left could not be kept: ${String(error)}`);
  }
}
