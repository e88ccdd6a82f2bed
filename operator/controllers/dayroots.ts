/** The root of a UTC day over all of its windows, once nothing more can begin in it. */
import { DAY_SCHEMA, envelope as envelopeSchema } from "../api/ledger.ts";
import type { DayRoot, Manifest } from "../api/ledger.ts";
import { canonicalBytes } from "../plan/metering/canonical.ts";
import { addQuantities } from "../plan/metering/fold.ts";
import { sha256Hex } from "../plan/metering/identity.ts";
import { dayRootKey, secondsOf, signatureKeyOf } from "../plan/metering/windows.ts";
import type { Ledger, ManifestSigner } from "../ports.ts";
import { inTurns } from "./closing.ts";
import { readManifest, sealedKeys } from "./ledgerreads.ts";
import type { SealerDeps } from "./sealer.ts";
import { signManifest, tellOfForeign } from "./signatures.ts";

/** What was written by this process need not be looked for again. */
const written = new WeakMap<Ledger, Set<string>>();

/** Idempotent; the same windows give the same bytes. */
export async function ensureDayRoot(deps: SealerDeps, day: string, signer: ManifestSigner | undefined): Promise<void> {
  const { ledger, log, metrics } = deps;
  const known = written.get(ledger) ?? new Set();
  written.set(ledger, known);
  if (known.has(day)) return;
  const start = secondsOf(`${day}T00:00:00Z`);
  const keys = await sealedKeys(ledger, start, start + 86_400);
  const manifests = await inTurns(keys, 8, (one) => readManifest(ledger, one));
  const root = dayRootOf(day, manifests);
  if (root) {
    const [key, ours] = [dayRootKey(day), canonicalBytes(root)];
    await ledger.putOnce(key, ours);
    const stored = await ledger.get(key);
    if (!stored || !Buffer.from(ours).equals(stored)) {
      metrics.conflicts.inc();
      log.error({ key }, "ledger holds another root of the day than its windows give, kept what is stored");
    } else if (signer && !(await isSigned(ledger, key, ours)))
      tellOfForeign(deps, key, await signManifest(ledger, { key, bytes: ours }, signer));
  }
  known.add(day);
}

/** By whatever key: one that was changed since signs the root of a day no more than its windows. */
async function isSigned(ledger: Ledger, key: string, root: Uint8Array): Promise<boolean> {
  const stored = await ledger.get(signatureKeyOf(key));
  const found = stored && envelopeSchema.safeParse(parsedJson(stored));
  return found?.success === true && Buffer.from(found.data.payload, "base64").equals(root);
}

function parsedJson(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(Buffer.from(bytes).toString());
  } catch {
    return undefined;
  }
}

/** `manifests` of the day's windows in the order of time, with the digests of their stored bytes. */
export function dayRootOf(
  day: string,
  manifests: readonly { readonly manifest: Manifest; readonly sha256: string }[],
): DayRoot | undefined {
  const last = manifests.at(-1);
  if (!last) return undefined;
  const lines = manifests.map(({ manifest, sha256 }) => `${manifest.windowStart} ${sha256}\n`).join("");
  return {
    schema: DAY_SCHEMA,
    cluster: last.manifest.cluster,
    day,
    windows: manifests.length,
    records: manifests.reduce((sum, { manifest }) => sum + manifest.records, 0),
    totals: addQuantities(manifests.map(({ manifest }) => manifest.totals)),
    root: sha256Hex(Buffer.from(lines)),
    lastManifestSha256: last.sha256,
  };
}
