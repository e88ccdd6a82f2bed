/**
 * Signatures beside manifests. Berth signs only a manifest whose every byte it computed itself: what somebody else put into the
 * bucket first is kept, and stays unsigned.
 */
import { envelope as envelopeSchema } from "../api/ledger.ts";
import type { Envelope } from "../api/ledger.ts";
import { canonicalBytes } from "../plan/metering/canonical.ts";
import { envelopeBytes, envelopeProblem } from "../plan/metering/dsse.ts";
import { sha256Hex } from "../plan/metering/identity.ts";
import { lineChunks, manifestBytes, manifestOf, newTally, usageLines } from "../plan/metering/segment.ts";
import { signatureKeyOf } from "../plan/metering/windows.ts";
import type { Ledger, ManifestSigner, TrustedKeys } from "../ports.ts";
import { TerminalError } from "../runtime/errors.ts";
import { headAt, readManifest, sealedKeys } from "./ledgerreads.ts";
import type { Head } from "./ledgerreads.ts";
import type { SealerDeps } from "./sealer.ts";
import { lateKnowledge } from "./sealing.ts";
import type { Knowledge } from "./sealing.ts";

/** Stores the envelope of a manifest that this process computed. "differs": another one was there, and was kept. */
export async function signManifest(
  ledger: Ledger,
  manifest: { readonly key: string; readonly bytes: Uint8Array },
  signer: ManifestSigner,
): Promise<"signed" | "differs"> {
  const key = signatureKeyOf(manifest.key);
  const ours = envelopeBytes(manifest.bytes, signer);
  const put = await ledger.putOnce(key, ours);
  const stored = await ledger.get(key);
  if (stored && Buffer.from(ours).equals(stored)) return "signed";
  if (put === "exists" && stored) return "differs";
  throw new TerminalError("LedgerObjectDamaged", `${key} does not hold the bytes that were written to it`);
}

/** Says so where another signature than ours lies beside something of ours. */
export function tellOfForeign(
  { metrics, log }: Pick<SealerDeps, "metrics" | "log">,
  key: string,
  outcome: string,
): void {
  if (outcome !== "differs") return;
  metrics.conflicts.inc();
  log.error({ key }, "ledger holds another signature than ours, kept what is stored");
}

/**
 * The head may lack its signature where a process died between the two. It gets one only if the cluster still gives the very
 * same bytes: nothing of a sealed window is forgotten before it is signed, so after a death it does.
 */
export async function completeHead(deps: SealerDeps, head: Head, knowledge: Knowledge): Promise<void> {
  const { ledger, log } = deps;
  const { signer } = knowledge;
  if (!signer || (await ledger.get(signatureKeyOf(head.key)))) return;
  const bytes = await computedManifest(deps, head, knowledge);
  if (!bytes) log.warn({ key: head.key }, "newest window stays unsigned: it is not computed anew");
  else tellOfForeign(deps, head.key, await signManifest(ledger, { key: head.key, bytes }, signer));
}

/** Bytes of the manifest at `at`, if what is known now still gives the ones that are stored. */
export async function computedManifest(
  deps: SealerDeps,
  at: Head,
  knowledge: Knowledge,
): Promise<Uint8Array | undefined> {
  const { ledger, clusterId } = deps;
  const window = { start: at.start, end: at.end };
  const before = (await sealedKeys(ledger, 0, at.start)).at(-1);
  const previous = before === undefined ? undefined : await headAt(ledger, before);
  const adjustments = await lateKnowledge(deps, knowledge, previous);
  const { manifest } = await readManifest(ledger, at.key);
  const sealed = knowledge.histories.byShard(manifest.shards).flatMap((own, shard) => {
    const tally = newTally();
    for (const lines of [usageLines(own, window, clusterId), adjustments?.[shard] ?? []])
      for (const _ of lineChunks(lines, tally.add));
    const result = tally.result();
    return result.lines > 0 ? [{ shard, tally: result }] : [];
  });
  const bytes = manifestBytes(manifestOf(window, sealed, { clusterId, shards: manifest.shards, previous }));
  return sha256Hex(bytes) === at.sha256 ? bytes : undefined;
}

/** Judges the signature beside one manifest by pinned keys alone; undefined where it is good. */
export async function signatureProblem(
  ledger: Ledger,
  manifest: { readonly key: string; readonly bytes: Uint8Array },
  trust: TrustedKeys,
): Promise<string | undefined> {
  const stored = await ledger.get(signatureKeyOf(manifest.key));
  if (!stored) return "is listed and cannot be read";
  try {
    const envelope = envelopeSchema.parse(JSON.parse(Buffer.from(stored).toString()));
    // Base64 and JSON have many spellings of one value: only the one that Berth writes is what Berth wrote.
    if (!Buffer.from(canonicalBytes(respelled(envelope))).equals(stored)) return "is not in canonical form";
    return envelopeProblem(envelope, manifest.bytes, trust);
  } catch {
    return "is no DSSE envelope of a manifest";
  }
}

function respelled({ payloadType, payload, signatures }: Envelope): Envelope {
  const again = (base64: string): string => Buffer.from(base64, "base64").toString("base64");
  return {
    payloadType,
    payload: again(payload),
    signatures: signatures.map(({ keyid, sig }) => ({ keyid, sig: again(sig) })),
  };
}
