/** A sealed window with given records and no evidence, for tests of those who read the ledger. */
import type { UsageRecord } from "../../operator/api/ledger.ts";
import { sealWindow } from "../../operator/controllers/segments.ts";
import type { ChainHead } from "../../operator/plan/metering/segment.ts";
import type { Window } from "../../operator/plan/metering/windows.ts";
import type { Ledger } from "../../operator/ports.ts";

/** What the next window is chained to. */
export async function sealRecords(
  ledger: Ledger,
  window: Window,
  records: readonly UsageRecord[],
  previous?: ChainHead,
): Promise<ChainHead> {
  const sealing = { window, meters: [[]], adjustments: [records], clusterId: "c1", previous };
  const { manifest, manifestSha256 } = await sealWindow(ledger, sealing);
  return { end: window.end, sha256: manifestSha256, chains: manifest.chains };
}
