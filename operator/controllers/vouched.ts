/** Sealed windows for those who send them on: all that lie in the ledger, or only those that this cluster vouches for. */
import type { Manifest } from "../api/ledger.ts";
import { startOfManifestKey } from "../plan/metering/windows.ts";
import type { Ledger } from "../ports.ts";
import { RetryError } from "../runtime/errors.ts";
import { inTurns } from "./closing.ts";
import { HEAD_LEASE } from "./clusterhead.ts";
import type { FoundHead, KeptManifest } from "./clusterhead.ts";
import { readManifest, readSealed, sealedKeys } from "./ledgerreads.ts";
import type { ReadWindow } from "./ledgerreads.ts";

export interface SealedWindows {
  /** Keys of the manifests of windows that begin in [from, to) seconds, in the order of time. */
  keys(from: number, to: number): Promise<readonly string[]>;
  /** Each segment's digest is checked against the manifest. */
  read(key: string): Promise<ReadWindow>;
}

/** For a ledger that nobody but its reader can write to. */
export function windowsAsTheyLie(ledger: Ledger): SealedWindows {
  return { keys: (from, to) => sealedKeys(ledger, from, to), read: (key) => readSealed(ledger, key) };
}

interface Vouched {
  readonly head: FoundHead;
  /** Windows that begin before, in seconds, were not looked at. */
  readonly from: number;
  /** By key: SHA-256 of the manifest. */
  readonly digests: Digests;
}

type Digests = ReadonlyMap<string, string>;

/**
 * Only windows up to the head that the cluster keeps, each the one that the next is chained to. Newer ones are left out: they become
 * ours once the sealer has found them to be. Throws RetryError where the chain is broken between `from` and the head.
 */
export function newVouchedWindows(ledger: Ledger, readHead: () => Promise<FoundHead | undefined>): SealedWindows {
  let known: Vouched | undefined;
  async function digestsFrom(from: number): Promise<Digests> {
    const head = await readHead();
    if (!head) return new Map();
    const isKnown = known && from >= known.from && isSame(known.head, head) && isSame(known.head.adopted, head.adopted);
    if (!isKnown) known = { head, from, digests: await followed(ledger, { head, from }, known) };
    return known?.digests ?? new Map();
  }
  return {
    async keys(from, to) {
      const digests = await digestsFrom(from);
      const listed = new Set(await sealedKeys(ledger, from, to));
      const [oldest = "~"] = listed;
      const lost = [...digests.keys()].find((key) => key > oldest && isIn(key, from, to) && !listed.has(key));
      if (lost !== undefined) throw unvouched(lost, "is gone");
      return [...listed].filter((key) => digests.has(key));
    },
    async read(key) {
      const digest = known?.digests.get(key) ?? (await digestsFrom(startOfManifestKey(key) ?? 0)).get(key);
      if (digest === undefined) throw unvouched(key, "is not known to be sealed by this operator");
      const sealed = await readSealed(ledger, key);
      if (sealed.sha256 !== digest) throw unvouched(key, "was rewritten");
      return sealed;
    },
  };
}

function isIn(key: string, from: number, to: number): boolean {
  const start = startOfManifestKey(key) ?? -1;
  return start >= from && start < to;
}

const isSame = (a: KeptManifest | undefined, b: KeptManifest | undefined): boolean =>
  a?.key === b?.key && a?.sha256 === b?.sha256;

interface Following {
  readonly head: FoundHead;
  readonly from: number;
}

/** From the head backwards: to windows that were found to be ours before, else to `from`. */
async function followed(ledger: Ledger, { head, from }: Following, known: Vouched | undefined): Promise<Digests> {
  if (known && known.from <= from && isSame(known.head.adopted, head.adopted)) {
    const newer = await followedTo(ledger, { head, from: startOfManifestKey(known.head.key) ?? from });
    if (newer.get(known.head.key) === known.head.sha256) return new Map([...known.digests, ...newer]);
  }
  return followedTo(ledger, { head, from });
}

const readAtOnce = 8;

async function followedTo(ledger: Ledger, { head, from }: Following): Promise<Digests> {
  const digests = new Map<string, string>();
  if ((startOfManifestKey(head.key) ?? -1) < from) return digests;
  const keys = (await sealedKeys(ledger, from, Infinity)).filter((key) => key <= head.key).toReversed();
  if (keys[0] !== head.key) throw unvouched(head.key, "is gone");
  let next: Link | undefined;
  let isAdopted = false;
  const read = async (key: string): Promise<Link> => ({ key, ...(await readManifest(ledger, key)) });
  for (let at = 0; at < keys.length; at += readAtOnce) {
    for (const link of await inTurns(keys.slice(at, at + readAtOnce), readAtOnce, read)) {
      if (!next && link.sha256 !== head.sha256) throw unvouched(link.key, "was rewritten");
      if (next && !isAdopted && !isFollowedBy(link, next.manifest)) throw unvouched(link.key, brokenBefore(next.key));
      isAdopted ||= isSame(head.adopted, link);
      digests.set(link.key, link.sha256);
      next = link;
    }
  }
  return digests;
}

interface Link extends KeptManifest {
  readonly manifest: Manifest;
}

const brokenBefore = (next: string): string =>
  `is not the window that ${next} follows: it was put in or rewritten, or one between them is gone`;

function isFollowedBy({ manifest, sha256 }: Link, next: Manifest): boolean {
  const { previousManifestSha256, previousWindowEnd } = next;
  // Older builds wrote no digest.
  return previousManifestSha256 === undefined
    ? previousWindowEnd === manifest.windowEnd
    : previousManifestSha256 === sha256;
}

function unvouched(key: string, what: string): RetryError {
  const remedy = `run berth ledger verify and restore the ledger; to take it as it is, delete the Lease ${HEAD_LEASE} in the operator's namespace`;
  return new RetryError(new Error(`${key} in the ledger ${what}; nothing from there on is delivered: ${remedy}`));
}
