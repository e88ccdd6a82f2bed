/**
 * Verify mode, for a store that takes "only if absent" and overwrites all the same: each object is looked for before it is written.
 * That keeps one writer from overwriting what is there; two at the same moment are only noticed when both read back.
 */
import { TerminalError } from "../../runtime/errors.ts";
import type { ConditionalLedger, PlainLedger } from "./compression.ts";

/**
 * Learns from its own probe() which kind of store it is. Until then it is careful, since closing objects are written before the probe
 * ends, unless the kind of store itself leaves no doubt.
 */
export function withVerifyMode(store: PlainLedger, { isConditional = false } = {}): ConditionalLedger {
  let conditional = isConditional;
  return {
    ...store,
    async putOnce(key, body) {
      if (!conditional && (await store.get(key))) return "exists";
      return store.putOnce(key, body);
    },
    async probe() {
      try {
        await store.probe();
        conditional = true;
      } catch (error) {
        if (!(error instanceof TerminalError) || error.reason !== "LedgerOverwrites") throw error;
        conditional = false;
      }
      return { conditional };
    },
  };
}
