/** What a key may look like: it becomes a file name, so nothing may climb out of the ledger's folder. */
import { TerminalError } from "../../runtime/errors.ts";

const segment = /^[A-Za-z0-9_=][A-Za-z0-9._=-]*$/;

/** Throws TerminalError for a key that is not made of plain relative segments. */
export function checkKey(key: string): string {
  if (key.length > 512 || !key.split("/").every((part) => segment.test(part))) {
    throw new TerminalError("LedgerKeyInvalid", `not a key of the ledger: ${JSON.stringify(key.slice(0, 80))}`);
  }
  return key;
}
