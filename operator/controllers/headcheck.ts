/** Is the ledger's newest window the one that this cluster sealed last? Asked before anything is sealed after it. */
import { canonicalJson } from "../plan/metering/canonical.ts";
import { envelopeBytes } from "../plan/metering/dsse.ts";
import { instantOfSeconds, signatureKeyOf } from "../plan/metering/windows.ts";
import { sha256Hex } from "../plan/metering/identity.ts";
import type { Ledger, ManifestSigner } from "../ports.ts";
import { RetryError, TerminalError } from "../runtime/errors.ts";
import { HEAD_LEASE } from "./clusterhead.ts";
import type { FoundHead, KeptHead, KeptManifest } from "./clusterhead.ts";
import { headAt, readManifest, sealedKeys } from "./ledgerreads.ts";
import type { Head } from "./ledgerreads.ts";
import type { SealerDeps } from "./sealer.ts";
import type { Knowledge } from "./sealing.ts";
import { computedManifest } from "./signatures.ts";

/** What the pass begins with. */
export interface ReadHeads {
  /** The newest window of the ledger. */
  readonly head: Head | undefined;
  /** What the cluster kept before the ledger was read. */
  readonly kept: FoundHead | undefined;
}

/** The Lease first: what another leader seals in between is then in the ledger and not yet in the Lease, never the other way round. */
export async function readHeads(
  { headKeeper }: SealerDeps,
  findHead: () => Promise<Head | undefined>,
): Promise<ReadHeads> {
  const kept = await headKeeper?.read();
  return { kept, head: await findHead() };
}

/**
 * The newest window that is ours, as it was read: what the next one follows. Throws TerminalError where the ledger lacks the kept
 * head, holds another one in its place, or has windows after it that none of our processes announced or signed and that what is
 * known does not give. Those after it that are ours were sealed by a process that died before it could say so; what became known
 * since does not matter where it had announced them. RetryError where the Lease was written since it was read: what is not in it was
 * sealed by another leader.
 */
export async function checkHead(deps: SealerDeps, heads: ReadHeads, knowledge: Knowledge): Promise<Head | undefined> {
  const { headKeeper, metrics } = deps;
  if (!headKeeper) return heads.head;
  try {
    const ours = await compare(deps, heads, knowledge);
    metrics.headMismatch.set(0);
    return ours;
  } catch (error) {
    if (!(error instanceof TerminalError) || error.reason !== "LedgerHeadForeign") throw error;
    if (!isSame(await headKeeper.read(), heads.kept))
      throw new RetryError(new Error(`another process wrote the Lease ${HEAD_LEASE} meanwhile`));
    metrics.headMismatch.set(1);
    throw error;
  }
}

function isSame(a: FoundHead | undefined, b: FoundHead | undefined): boolean {
  return canonicalJson(a ?? null) === canonicalJson(b ?? null);
}

async function compare(deps: SealerDeps, { head, kept }: ReadHeads, knowledge: Knowledge): Promise<Head | undefined> {
  const { headKeeper, ledger, log } = deps;
  if (!kept) {
    if (!head) return undefined;
    const { manifest } = await readManifest(ledger, head.key);
    if (manifest.cluster !== deps.clusterId) throw ofAnother(head.key, manifest.cluster, deps.clusterId);
    log.warn(
      { key: head.key, sha256: head.sha256 },
      "no head is kept in the cluster yet: the ledger is taken as it is",
    );
    await headKeeper?.adopt(keptHead(head));
    return head;
  }
  if (head?.key === kept.key && head.sha256 === kept.sha256) return head;
  if (!head || head.key < kept.key) throw foreign(kept.key, "is gone: the newest windows were cut off");
  const stored = await ledger.get(kept.key);
  if (!stored) throw foreign(kept.key, "is gone, though later windows are there");
  if (sha256Hex(stored) !== kept.sha256) throw foreign(kept.key, `was rewritten: it is not ${kept.sha256} any more`);
  let ours = await headAt(ledger, kept.key);
  for (const key of await sealedKeys(ledger, ours.start + 1, Infinity)) {
    const next = await headAt(ledger, key);
    if (!isAnnounced(kept, next) && !(await isOurs(deps, next, knowledge)))
      throw foreign(key, "was not sealed by this operator: it was put in");
    ours = next;
  }
  // What was listed before may be gone again: only what was judged is kept.
  if (ours.key !== kept.key) await keepHead(deps, ours);
  return ours;
}

async function isOurs(deps: SealerDeps, head: Head, knowledge: Knowledge): Promise<boolean> {
  const { signer } = knowledge;
  if (signer && (await isSigned(deps.ledger, head.key, signer))) return true;
  return (await computedManifest(deps, head, knowledge)) !== undefined;
}

export function isAnnounced({ announced }: FoundHead, { key, sha256 }: KeptManifest): boolean {
  return announced.some((one) => one.key === key && one.sha256 === sha256);
}

/** Does the very signature lie beside the manifest that this key gives? */
export async function isSigned(ledger: Ledger, key: string, signer: ManifestSigner): Promise<boolean> {
  const [bytes, signature] = [await ledger.get(key), await ledger.get(signatureKeyOf(key))];
  return bytes !== undefined && signature !== undefined && Buffer.from(envelopeBytes(bytes, signer)).equals(signature);
}

/** After each sealed window, before anything of it is forgotten. */
export async function keepHead({ headKeeper }: SealerDeps, head: Head): Promise<void> {
  await headKeeper?.write(keptHead(head));
}

function keptHead({ key, sha256, end }: Head): KeptHead {
  return { key, sha256, windowEnd: instantOfSeconds(end) };
}

function foreign(key: string, what: string): TerminalError {
  const remedy = `run berth ledger verify and restore the ledger; to take it as it is, delete the Lease ${HEAD_LEASE} in the operator's namespace`;
  return new TerminalError("LedgerHeadForeign", `${key} in the ledger ${what}; nothing is sealed: ${remedy}`);
}

/** Its hours would be taken for this cluster's, and what its pools left behind would be billed and removed. */
function ofAnother(key: string, cluster: string, own: string): TerminalError {
  const remedy = "give each cluster a place of its own (the chart's ledger.url), and this one a fresh one";
  return new TerminalError(
    "LedgerClusterForeign",
    `${key} in the ledger belongs to the cluster ${cluster}, this is ${own}; nothing is sealed: ${remedy}`,
  );
}
