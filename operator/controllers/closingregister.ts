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
  /** What closing objects may be. Takes the ledger as it is where nothing was ever kept. */
  read(ledger: Ledger): Promise<Noted>;
  /** Before the object is put. Throws RetryError where too many wait for being sealed. */
  note(ledger: Ledger, poolUID: string, body: Uint8Array): Promise<Noted>;
  /** Once the objects are removed. */
  forget(poolUIDs: readonly string[]): Promise<void>;
}

/** A pool's UID and a digest of what may lie there for it; several where passes died there, each with other knowledge. */
export type Noted = ReadonlySet<string>;

function entryOf(poolUID: string, body: Uint8Array): string {
  return `${poolUID}.${sha256Hex(body).slice(0, DIGEST_DIGITS)}`;
}

export function isNoted(noted: Noted, poolUID: string, body: Uint8Array): boolean {
  return noted.has(entryOf(poolUID, body));
}

interface RegisterDeps {
  readonly kube: Pick<KubeReader, "read"> & Pick<KubeWriter, "create" | "mergePatch">;
  readonly namespace: string;
}

type Patch = Readonly<Record<string, string | null>>;

export function newClosingRegister({ kube, namespace }: RegisterDeps): ClosingRegister {
  const by = { manager: fieldManagers.operator };
  const patch = (changed: Patch): Promise<KubeObject> =>
    kube.mergePatch(headLeases, namespace, CLOSINGS_LEASE, { metadata: { annotations: changed } }, by);

  /** An older build kept none, and somebody may have deleted it: what lies there then counts, as it did before. */
  async function begin(ledger: Ledger): Promise<Noted> {
    const found: Record<string, string> = {};
    for (const key of await ledger.list(CLOSING_PREFIX)) {
      const poolUID = poolOfClosing(key);
      const body = poolUID === undefined ? undefined : await ledger.get(key);
      if (poolUID !== undefined && body) found[annotations.closingOf + entryOf(poolUID, body)] = "";
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
    async note(ledger, poolUID, body) {
      const noted = await read(ledger);
      if (isNoted(noted, poolUID, body)) return noted;
      if (noted.size >= MOST_ENTRIES) {
        const waiting = `${String(noted.size)} closing records wait for being sealed`;
        throw new RetryError(new Error(`${waiting}: the Ledger's conditions say why`));
      }
      return notedOf(await patch({ [annotations.closingOf + entryOf(poolUID, body)]: "" }));
    },
    async forget(poolUIDs) {
      const kept = await kube.read(headLeases, namespace, CLOSINGS_LEASE);
      const gone = new Set(poolUIDs);
      const entries = kept ? [...notedOf(kept)].filter((entry) => gone.has(poolOfEntry(entry))) : [];
      if (entries.length > 0)
        await patch(Object.fromEntries(entries.map((entry) => [annotations.closingOf + entry, null])));
    },
  };
}

function poolOfEntry(entry: string): string {
  return entry.slice(0, entry.lastIndexOf("."));
}

function notedOf({ metadata }: KubeObject): Noted {
  const names = Object.keys(metadata.annotations ?? {}).filter((name) => name.startsWith(annotations.closingOf));
  return new Set(names.map((name) => name.slice(annotations.closingOf.length)));
}
