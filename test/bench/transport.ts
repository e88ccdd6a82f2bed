// CPU per API call: the runtime's transport beside client-node's own request path, same server, same object, 8 in flight.
import { CoreV1Api, KubeConfig } from "@kubernetes/client-node";
import { namespaces } from "../../operator/api/kubernetes.ts";
import { startControlPlane } from "../cluster/controlplane.ts";
import { inFlight, print, say } from "./figures.ts";
import { adminClient } from "./plainloop.ts";

const CALLS = 3000;

/** Milliseconds of this process's CPU for one call. */
async function cpuPerCall(call: () => Promise<unknown>): Promise<number> {
  const many = (count: number): Promise<void> =>
    inFlight(Array.from({ length: count }), 8, async () => void (await call()));
  await many(300);
  const before = process.cpuUsage();
  await many(CALLS);
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1000 / CALLS;
}

export async function transport(): Promise<void> {
  say("transport: starting a control plane");
  const cp = await startControlPlane({ controllers: false });
  try {
    const { client, close } = await adminClient(cp);
    const ours = await cpuPerCall(() => client.read(namespaces, undefined, "default"));
    await close();
    const config = new KubeConfig();
    config.loadFromFile(cp.adminKubeconfigPath);
    const core = config.makeApiClient(CoreV1Api);
    const theirs = await cpuPerCall(() => core.readNamespace({ name: "default" }));
    print({
      name: "transport.cpu-per-call",
      value: ours,
      unit: "ms",
      limit: theirs,
      against: "client-node 2.0.1, same run",
    });
  } finally {
    await cp.stop();
  }
}
