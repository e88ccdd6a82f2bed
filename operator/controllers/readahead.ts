/** Reading a known list of segments ahead of whoever goes through it in order, so that fetching and decompressing run beside the checks. */
import type { Ledger } from "../ports.ts";

/** An hour of some 15,000 deployments in one shard; what is longer is decompressed when it is its turn, a piece at a time. */
const wholeUpToBytes = 32 * 2 ** 20;
const ahead = 2;

/** read() of one of `keys` begins the reads of those that follow it; any other key is read as it is. */
export function readingAhead(ledger: Pick<Ledger, "read">, keys: readonly string[]): Pick<Ledger, "read"> {
  const places = new Map(keys.map((key, at) => [key, at]));
  const begun = new Map<number, ReturnType<Ledger["read"]>>();
  const begin = (at: number): ReturnType<Ledger["read"]> | undefined => {
    const key = keys[at];
    if (key === undefined) return undefined;
    const known = begun.get(at);
    if (known) return known;
    const reading = ledger.read(key, { wholeUpToBytes });
    // Whoever takes it hears of it.
    reading.catch(() => undefined);
    begun.set(at, reading);
    return reading;
  };
  return {
    async read(key) {
      const at = places.get(key);
      if (at === undefined) return ledger.read(key, { wholeUpToBytes });
      const reading = begin(at);
      for (const one of begun.keys()) if (one <= at) begun.delete(one);
      for (let next = at + 1; next <= at + ahead; next += 1) begin(next)?.catch(() => undefined);
      return reading;
    },
  };
}
