/** JSON lines in a folder: one file a batch, named by what it holds, so that a second delivery writes nothing twice. */
import { createHash } from "node:crypto";

import type { UsageRecord } from "../../api/ledger.ts";
import type { Ledger, SinkTarget, SinkWindow } from "../../ports.ts";

/** `folder` writes once and durably (the directory ledger does). */
export function newFileSink(
  folder: Pick<Ledger, "putOnce">,
  linesOf: (records: readonly UsageRecord[], window: SinkWindow) => string,
): SinkTarget<UsageRecord> {
  return {
    async deliver(records, window) {
      const body = linesOf(records, window);
      const [first] = records;
      if (!first) return { accepted: true };
      const digest = createHash("sha256").update(body).digest("hex").slice(0, 16);
      const [day = "", time = ""] = first.windowStart.split("T");
      await folder.putOnce(`dt=${day}/hr=${time.replace(/[:Z]/g, "")}-${digest}.ndjson`, Buffer.from(body));
      return { accepted: true };
    },
    close: () => undefined,
  };
}
