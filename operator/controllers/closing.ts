/** Closing objects in the ledger: written before a pool's claims go, read by the sealer, removed once they are sealed. */
import { closing as closingSchema } from "../api/ledger.ts";
import type { Closing } from "../api/ledger.ts";
import { CLOSING_PREFIX, closingBody, closingKey } from "../plan/metering/closing.ts";
import type { ClosingInput } from "../plan/metering/closing.ts";
import type { Ledger } from "../ports.ts";
import { RetryError, TerminalError } from "../runtime/errors.ts";
import { CLOSINGS_LEASE, isNoted } from "./closingregister.ts";
import type { ClosingRegister } from "./closingregister.ts";

/**
 * Leaves a pool's times in the ledger; call it before the first claim or finalizer goes. "same": equal bytes were there.
 * "kept": other bytes were there, from an earlier pass that still saw every claim; they stay. In all three cases the
 * caller may go on. Throws the ledger's error (RetryError, TerminalError) where nothing is proven to be there, and
 * LedgerClosingForeign where what is there was not left by an earlier pass, which only `register` can tell.
 */
export async function putClosing(
  ledger: Ledger,
  input: ClosingInput,
  register?: ClosingRegister,
): Promise<"created" | "same" | "kept"> {
  const body = Buffer.from(closingBody(input));
  const poolUID = input.pool.metadata.uid ?? "";
  const key = closingKey(input.pool.spec.deploymentRef.uid, poolUID);
  const noted = await register?.note(ledger, poolUID, body);
  const outcome = await ledger.putOnce(key, body);
  const stored = await ledger.get(key);
  // Sealed and removed by another leader between the two requests: the next pass writes it anew.
  if (!stored) throw new RetryError(new Error(`${key} was written to the ledger and is not there`));
  if (body.equals(stored)) {
    // A sealer that removed an earlier one may have forgotten it in between.
    if (outcome === "created") await register?.note(ledger, poolUID, body);
    return outcome === "created" ? "created" : "same";
  }
  if (outcome === "created")
    throw new TerminalError("LedgerObjectDamaged", `${key} does not hold the bytes that were written to it`);
  if (noted && !isNoted(noted, poolUID, stored)) throw foreignClosing(key, "was not left by this operator");
  return "kept";
}

export function foreignClosing(key: string, what: string): TerminalError {
  const lease = `delete the Lease ${CLOSINGS_LEASE} in the operator's namespace, and what is there is taken as it is`;
  const remedy = `where the cluster was set back to an older state, or an older Berth ran in between, ${lease}; where nobody of yours left it, move it out of the ledger`;
  return new TerminalError("LedgerClosingForeign", `${key} in the ledger ${what}; nothing of it counts: ${remedy}`);
}

export interface StoredClosing {
  readonly key: string;
  /** As it is stored. */
  readonly body: Uint8Array;
  readonly closing: Closing;
}

/** Every closing object that was not consumed yet. */
export async function readClosings(ledger: Ledger): Promise<readonly StoredClosing[]> {
  const keys = (await ledger.list(CLOSING_PREFIX)).filter((key) => key.endsWith(".json"));
  const found = await inTurns(keys, 8, async (key) => ({ key, bytes: await ledger.get(key) }));
  return found.flatMap(({ key, bytes }) => {
    if (!bytes) return []; // consumed between list and get
    const parsed = closingSchema.safeParse(parseJson(bytes));
    if (parsed.success) return [{ key, body: bytes, closing: parsed.data }];
    const message = `${key} in the ledger is no closing object of Berth; windows are not sealed until it is restored or removed`;
    throw new TerminalError("LedgerObjectDamaged", message, { cause: parsed.error });
  });
}

function parseJson(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(Buffer.from(bytes).toString());
  } catch {
    return undefined;
  }
}

/** Runs over `items` with at most `width` at once; answers keep the order. */
export async function inTurns<T, R>(items: readonly T[], width: number, run: (item: T) => Promise<R>): Promise<R[]> {
  const answers: R[] = [];
  for (let from = 0; from < items.length; from += width) {
    answers.push(...(await Promise.all(items.slice(from, from + width).map(run))));
  }
  return answers;
}
