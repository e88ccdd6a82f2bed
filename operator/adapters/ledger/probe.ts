/** Proof at start that a store honours "only if absent": some accept the condition and overwrite all the same. */
import { randomUUID } from "node:crypto";

import type { PlainLedger } from "./compression.ts";
import { TerminalError } from "../../runtime/errors.ts";

/** Writes an object of its own twice, reads it back and removes it. Throws TerminalError where the second write won. */
export async function probeLedger(ledger: Omit<PlainLedger, "probe">): Promise<void> {
  const key = `probe/${randomUUID()}`;
  const [first, second] = [Buffer.from("first\n"), Buffer.from("second\n")];
  try {
    // "exists" on a fresh name means that the acknowledgement of this very write was lost: fine.
    await ledger.putOnce(key, first);
    const again = await ledger.putOnce(key, second);
    const stored = await ledger.get(key);
    if (again !== "exists" || !stored || !first.equals(stored)) {
      throw new TerminalError(
        "LedgerOverwrites",
        "the ledger's store accepted a second write under If-None-Match: *, so hours could be overwritten; use a store that honours conditional writes",
      );
    }
  } finally {
    await ledger.remove(key).catch(() => undefined); // a probe that is left behind costs some bytes, not truth
  }
}
