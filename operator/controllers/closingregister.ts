/**
 * What Berth left in the ledger for pools that go, as digests in the cluster: whoever can write to the bucket cannot write here, so
 * that nothing counts there which somebody else has put. A Lease of its own, an annotation an object: writers never meet.
 */
import { annotations, fieldManagers } from "../api/keys.ts";
import { sha256Hex } from "../plan/metering/identity.ts";
import type { KubeObject, KubeReader, KubeWriter, Ledger } from "../ports.ts";
import { ConflictError, RetryError } from "../runtime/errors.ts";
import { headLeases } from "./clusterhead.ts";
import { CLOSING_PREFIX, poolOfClosing } from "../plan/metering/closing.ts";

export const CLOSINGS_LEASE = "berth-ledger-closings";

/** What an annotation's name leaves beside the UID of a pool: 104 bits. */
const DIGEST_DIGITS = 26;
/** All annotations of an object share 256 KiB; an entry takes some 100 bytes. */
const MOST_ENTRIES = 2_000;

export interface ClosingRegister {
  /** Takes the ledger as it is where nothing was ever kept; on the leader only. */
  read(ledger: Ledger): Promise<Noted>;
  /** For readers: undefined where nothing was ever kept. */
  peek(): Promise<Noted | undefined>;
  /** Before the object is put, and once it is. Throws RetryError where too many wait for being sealed. */
  note(ledger: Ledger, poolUID: string, body: Uint8Array): Promise<Noted>;
  /**
   * Once the objects are removed. `noted` was read before they were: where anything was noted since, perhaps anew for one that was
   * removed and is put again, nothing is forgotten, and a later pass finds it idle.
   */
  forget(noted: Noted, poolUIDs: ReadonlySet<string>): Promise<void>;
}

/** What closing objects may be. */
export interface Noted {
  /** A pool's UID and a digest of what may lie there for it; several where passes died there, each with other knowledge. */
  readonly entries: ReadonlySet<string>;
  readonly version: string | undefined;
}

function entryOf(poolUID: string, body: Uint8Array): string {
  return `${poolUID}.${sha256Hex(body).slice(0, DIGEST_DIGITS)}`;
}

export function isNoted(noted: Noted, poolUID: string, body: Uint8Array): boolean {
  return noted.entries.has(entryOf(poolUID, body));
}

/** Pools that entries are of. */
export function notedPools({ entries }: Noted): ReadonlySet<string> {
  return new Set([...entries].map(poolOfEntry));
}

/** What a name of an annotation may hold beside the digest: UIDs do, and nothing else is ours. */
const POOL_UID = /^[A-Za-z0-9][A-Za-z0-9_-]{0,35}$/;

interface RegisterDeps {
  readonly kube: Pick<KubeReader, "read"> & Pick<KubeWriter, "create" | "mergePatch">;
  readonly namespace: string;
}

type Patch = Readonly<Record<string, string | null>>;

export function newClosingRegister({ kube, namespace }: RegisterDeps): ClosingRegister {
  const by = { manager: fieldManagers.operator };
  const patch = (changed: Patch, resourceVersion?: string): Promise<KubeObject> => {
    const metadata = { annotations: changed, ...(resourceVersion !== undefined && { resourceVersion }) };
    return kube.mergePatch(headLeases, namespace, CLOSINGS_LEASE, { metadata }, by);
  };

  /** An older build kept none, and somebody may have deleted it: what lies there then counts, as it did before. */
  async function begin(ledger: Ledger): Promise<Noted> {
    const found: Record<string, string> = {};
    const keys = (await ledger.list(CLOSING_PREFIX)).filter((key) => POOL_UID.test(poolOfClosing(key) ?? ""));
    for (const key of keys.slice(0, MOST_ENTRIES)) {
      const body = await ledger.get(key);
      if (body) found[annotations.closingOf + entryOf(poolOfClosing(key) ?? "", body)] = "";
    }
    try {
      const metadata = { name: CLOSINGS_LEASE, namespace, annotations: found };
      return notedOf(await kube.create(headLeases, { metadata }, by));
    } catch (error) {
      if (error instanceof ConflictError) throw new RetryError(error);
      throw error;
    }
  }

  async function read(ledger: Ledger): Promise<Noted> {
    const kept = await kube.read(headLeases, namespace, CLOSINGS_LEASE);
    return kept ? notedOf(kept) : begin(ledger);
  }

  return {
    read,
    async peek() {
      const kept = await kube.read(headLeases, namespace, CLOSINGS_LEASE);
      return kept && notedOf(kept);
    },
    async note(ledger, poolUID, body) {
      const noted = await read(ledger);
      if (!isNoted(noted, poolUID, body) && noted.entries.size >= MOST_ENTRIES) {
        const waiting = `${String(noted.entries.size)} closing records wait for being sealed`;
        throw new RetryError(new Error(`${waiting}: the Ledger's conditions say why`));
      }
      // Another value each time: whoever forgets what was read before must meet a conflict.
      return notedOf(await patch({ [annotations.closingOf + entryOf(poolUID, body)]: noted.version ?? "" }));
    },
    async forget({ entries, version }, poolUIDs) {
      const gone = [...entries].filter((entry) => poolUIDs.has(poolOfEntry(entry)));
      if (gone.length === 0) return;
      const changed = Object.fromEntries(gone.map((entry) => [annotations.closingOf + entry, null]));
      await patch(changed, version).catch((error: unknown) => {
        if (!(error instanceof ConflictError)) throw error;
      });
    },
  };
}

function poolOfEntry(entry: string): string {
  return entry.slice(0, entry.lastIndexOf("."));
}

function notedOf({ metadata }: KubeObject): Noted {
  const names = Object.keys(metadata.annotations ?? {}).filter((name) => name.startsWith(annotations.closingOf));
  const entries = new Set(names.map((name) => name.slice(annotations.closingOf.length)));
  return { entries, version: metadata.resourceVersion };
}
