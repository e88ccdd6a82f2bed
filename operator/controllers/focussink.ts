/**
 * The sink of FOCUS files: a window's records become one file of charges under a name of their own. A file that is there with
 * other charges is never replaced: it may have been imported already.
 */
import type { UsageRecord } from "../api/ledger.ts";
import type { PriceList } from "../api/pricelist.ts";
import { pinnedPrices } from "../api/sinks.ts";
import { canonicalBytes, canonicalJson } from "../plan/metering/canonical.ts";
import { sha256Hex } from "../plan/metering/identity.ts";
import type { Charge } from "../plan/rating/focus.ts";
import { focusFileKey, pricesKey } from "../plan/sinks/keys.ts";
import type { Ledger, SinkTarget } from "../ports.ts";
import { RetryError } from "../runtime/errors.ts";
import { newRatingBook } from "./ratingbook.ts";
import type { SealedWindows } from "./vouched.ts";

export interface FocusSinkDeps {
  readonly name: string;
  readonly ledger: Ledger;
  readonly windows: SealedWindows;
  /** The same object while its text is the same. Throws RetryError with what is wrong with it. */
  readonly prices: () => Promise<PriceList>;
  readonly folder: Pick<Ledger, "putOnce" | "get">;
  readonly csvOf: (charges: readonly Charge[]) => string;
}

export function newFocusTarget(deps: FocusSinkDeps): SinkTarget<UsageRecord> {
  const rate = newRatingBook(deps.ledger, deps.windows);
  return {
    async deliver(records, window) {
      const list = await deps.prices();
      const charges = await rate(records, window, list);
      for (const version of new Set(charges.map(({ line }) => line.priceVersion))) await pin(deps, list, version);
      const key = focusFileKey(window);
      const body = Buffer.from(deps.csvOf(charges));
      const isNew = (await deps.folder.putOnce(key, body)) === "created";
      if (!isNew && sha256Hex((await deps.folder.get(key)) ?? Buffer.alloc(0)) !== sha256Hex(body)) {
        const why = "another cluster or sink may write to this folder, or provider, region or version were changed";
        throw new RetryError(
          new Error(`${key} is there with other charges and stays: ${why}; give the sink a new folder`),
        );
      }
      return { accepted: true };
    },
    close: () => undefined,
  };
}

/** Versions are appended, never edited: what was charged by one could not be told from the list any more. */
async function pin({ ledger, name }: FocusSinkDeps, list: PriceList, versionName: string): Promise<void> {
  const version = list.versions.find((one) => one.version === versionName);
  if (!version) return;
  const { validFrom, prices } = version;
  const sha256 = sha256Hex(Buffer.from(canonicalJson({ currency: list.currency, validFrom, prices })));
  const pinned = pinnedPrices.parse({
    schema: "berth.dev/sink-prices.v1",
    sink: name,
    priceList: list.name,
    version: versionName,
    sha256,
  });
  const key = pricesKey(name, list.name, versionName);
  if ((await ledger.putOnce(key, canonicalBytes(pinned))) === "created") return;
  const stored = pinnedPrices.parse(JSON.parse(Buffer.from((await ledger.get(key)) ?? []).toString()));
  if (stored.sha256 === sha256) return;
  const what = `version ${versionName} of price list ${list.name} was edited after hours were charged by it`;
  throw new RetryError(new Error(`${what}: restore it, and append a version with the new prices`));
}
