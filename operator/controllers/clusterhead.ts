/**
 * The ledger's head, kept in the cluster: whoever can write to the bucket cannot write here. A Lease, since the operator may write
 * those in its own namespace already; its annotations are all that is used of it.
 */
import { annotations, fieldManagers } from "../api/keys.ts";
import type { KubeObject, KubeReader, KubeWriter, Resource } from "../ports.ts";
import { ConflictError, RetryError } from "../runtime/errors.ts";
import { leases } from "../runtime/leases.ts";

export interface KeptManifest {
  readonly key: string;
  /** SHA-256 of its bytes. */
  readonly sha256: string;
}

/** The newest manifest that this operator sealed. */
export interface KeptHead extends KeptManifest {
  readonly windowEnd: string;
}

export interface FoundHead extends KeptHead {
  /**
   * Manifests after the head that a process of ours was about to put. Several, where one falls asleep there and another one,
   * which knows something else, dies there: either may be in the ledger in the end.
   */
  readonly announced: readonly KeptManifest[];
  /** The newest one of a ledger that was taken as it is: nobody asks how it and those before it hang together. */
  readonly adopted?: KeptManifest;
}

export interface HeadKeeper {
  /** A quorum read; undefined where none was ever kept. */
  read(): Promise<FoundHead | undefined>;
  /** Before a manifest is put; throws RetryError as write() does. No request where it is announced already. */
  announce(manifest: KeptManifest): Promise<void>;
  /** Throws RetryError where another process wrote one since read(). */
  write(head: KeptHead): Promise<void>;
  /** As write(), of a ledger that is taken as it is. */
  adopt(head: KeptHead): Promise<void>;
}

export const HEAD_LEASE = "berth-ledger-head";

export const headLeases: Resource = leases;

export function keptHeadOf(object: KubeObject | undefined): FoundHead | undefined {
  const found = object?.metadata.annotations ?? {};
  const [key, sha256] = [found[annotations.ledgerHeadKey], found[annotations.ledgerHead]];
  if (!key || !sha256) return undefined;
  const [adopted] = manifestsIn(object, annotations.ledgerAdopted);
  const windowEnd = found[annotations.ledgerSealedThrough] ?? "";
  return { key, sha256, windowEnd, announced: announcedOf(object), ...(adopted && { adopted }) };
}

function announcedOf(object: KubeObject | undefined): KeptManifest[] {
  return manifestsIn(object, annotations.ledgerAnnounced);
}

function manifestsIn(object: KubeObject | undefined, annotation: string): KeptManifest[] {
  const lines = object?.metadata.annotations?.[annotation]?.split("\n") ?? [];
  return lines.flatMap((line) => {
    const [key, sha256] = line.split(" ");
    return key && sha256 ? [{ key, sha256 }] : [];
  });
}

function textOf(manifests: readonly KeptManifest[]): string {
  return manifests.map(({ key, sha256 }) => `${key} ${sha256}`).join("\n");
}

/** More are only there where pass after pass dies in the same place, each time with other knowledge. */
const mostAnnounced = 16;

interface HeadKeeperDeps {
  readonly kube: Pick<KubeReader, "read"> & Pick<KubeWriter, "create" | "mergePatch">;
  readonly namespace: string;
}

type Annotations = Readonly<Record<string, string>>;

export function newHeadKeeper(deps: HeadKeeperDeps): HeadKeeper {
  const { kube, namespace } = deps;
  let version: string | undefined;
  let announced: readonly KeptManifest[] = [];
  const annotate = async (changed: Annotations): Promise<void> => {
    version = await annotated(deps, changed, version);
  };
  const keep = async ({ key, sha256, windowEnd }: KeptHead, more: Annotations = {}): Promise<void> => {
    // What lies at the head or before it is not asked for any more.
    const left = announced.filter((one) => one.key > key);
    await annotate({
      [annotations.ledgerHeadKey]: key,
      [annotations.ledgerHead]: sha256,
      [annotations.ledgerSealedThrough]: windowEnd,
      [annotations.ledgerAnnounced]: textOf(left),
      ...more,
    });
    announced = left;
  };
  return {
    async read() {
      const found = await kube.read(headLeases, namespace, HEAD_LEASE);
      version = found?.metadata.resourceVersion;
      announced = announcedOf(found);
      return keptHeadOf(found);
    },
    async announce({ key, sha256 }) {
      if (announced.some((one) => one.key === key && one.sha256 === sha256)) return;
      const next = [{ key, sha256 }, ...announced].slice(0, mostAnnounced);
      await annotate({ [annotations.ledgerAnnounced]: textOf(next) });
      announced = next;
    },
    write: (head) => keep(head),
    adopt: (head) => keep(head, { [annotations.ledgerAdopted]: textOf([head]) }),
  };
}

/** The version afterwards. Under the one that was read: what another process wrote since is never lost. */
async function annotated(
  { kube, namespace }: HeadKeeperDeps,
  changed: Annotations,
  version: string | undefined,
): Promise<string | undefined> {
  const metadata = { annotations: changed };
  const by = { manager: fieldManagers.operator };
  try {
    const stored =
      version === undefined
        ? await kube.create(headLeases, { metadata: { ...metadata, name: HEAD_LEASE, namespace } }, by)
        : await kube.mergePatch(headLeases, namespace, HEAD_LEASE, withVersion(metadata, version), by);
    return stored.metadata.resourceVersion;
  } catch (error) {
    if (error instanceof ConflictError) throw new RetryError(error);
    throw error;
  }
}

/** So that a process which was leader once cannot put an older head in place of a newer one. */
function withVersion(metadata: object, resourceVersion: string): object {
  return { metadata: { ...metadata, resourceVersion } };
}
