/** A signed ledger with all that lies in one: shards, adjustments and pointers to them, a day's root, a checkpoint of a day that is gone. */
import type { MeteredObjects } from "../../operator/controllers/facts.ts";
import { planRetention, retain } from "../../operator/controllers/retention.ts";
import { secondsOf } from "../../operator/plan/metering/windows.ts";
import type { Ledger, ManifestSigner } from "../../operator/ports.ts";
import { claim, pool } from "./meteringobjects.ts";
import { sealerAt } from "./sealerrig.ts";

/** "21T22:00:00" → claims and pools around the builders' one day. */
const on = (time: string): string => `2026-11-${time}Z`;

function aClaim(deployment: string, claimed: string, released?: string): MeteredObjects["claims"][number] {
  const at = (time: string) => ({ time: on(time), evidence: "Node/metadata.managedFields[berth-claim].time" });
  const { status: _none, ...rest } = claim({ id: `c-${deployment}`, deployment });
  return {
    ...rest,
    status: { claimedAt: at(claimed), readyAt: at(claimed), ...(released && { releasedAt: at(released) }) },
  };
}

function aPool(deployment: string, since: string, deleted?: string): MeteredObjects["pools"][number] {
  const { metadata, ...rest } = pool({ deployment, sizes: [] });
  return {
    ...rest,
    metadata: { ...metadata, ...(deleted && { deletionTimestamp: on(deleted) }) },
    status: { sizeLog: [{ since: on(since), size: 1, account: "team-a" }] },
  };
}

/** Hours of three days in two shards; two of them adjusted; the first day is gone behind a checkpoint, the second one has a root. */
export async function sealThreeDays(ledger: Ledger, signer: ManifestSigner, begin = "21T22:00:00"): Promise<void> {
  const pass = (at: string, pools: MeteredObjects["pools"], claims: MeteredObjects["claims"]) =>
    sealerAt({ ledger, at: on(at), signer, shards: 2, objects: { deployments: [], pools, claims } }).sealer.pass();
  const [chat, late, next] = [aPool("chat", begin), aPool("late", "22T00:10:00"), aPool("next", "22T23:30:00")];
  await pass("22T02:06:00", [chat, late], [aClaim("chat", begin)]);
  const over = [aPool("chat", begin, "22T03:20:00"), aPool("late", "22T00:10:00", "22T03:10:00")];
  const ended = [aClaim("chat", begin, "22T03:21:00"), aClaim("late", "22T00:30:00", "22T03:15:00")];
  await pass("22T04:06:00", over, ended);
  await pass("23T01:06:00", [...over, next], [...ended, aClaim("next", "22T23:31:00")]);
  const plan = await planRetention(ledger, { before: secondsOf(on("22T00:00:00")), sinks: [], ignored: [] });
  await retain(ledger, plan, signer);
}
