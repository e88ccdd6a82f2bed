// What tests of ModelDeployments wait for and read.
import { eventually } from "../cluster/eventually.ts";
import type { Tenant } from "./stage.ts";

export const reasonOf = (
  seen: { status?: { conditions?: readonly { type: string; reason: string }[] } },
  type = "Ready",
) => seen.status?.conditions?.find((condition) => condition.type === type)?.reason;

export async function gone(at: Tenant, path: string): Promise<void> {
  await eventually(async () => (await at.find(path)) === undefined, { what: `${path} is gone` });
}

export async function free(at: Tenant): Promise<void> {
  const held = "berth.node-restriction.kubernetes.io/pool";
  await eventually(async () => (await at.nodes()).every(({ metadata }) => !metadata.labels?.[held]), {
    what: "every node is given back",
  });
}
