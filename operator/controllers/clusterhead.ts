/**
 * The ledger's head, kept in the cluster: whoever can write to the bucket cannot write here. A Lease, since the operator may write
 * those in its own namespace already; its annotations are all that is used of it.
 */
import { annotations, fieldManagers } from "../api/keys.ts";
import type { KubeObject, KubeReader, KubeWriter, Resource } from "../ports.ts";
import { ConflictError, RetryError } from "../runtime/errors.ts";

export interface KeptHead {
  /** Key of the newest manifest that this operator sealed. */
  readonly key: string;
  /** SHA-256 of its stored bytes. */
  readonly sha256: string;
  readonly windowEnd: string;
}

export interface HeadKeeper {
  /** A quorum read; undefined where none was ever kept. */
  read(): Promise<KeptHead | undefined>;
  /** Throws RetryError where another process wrote one since read(). */
  write(head: KeptHead): Promise<void>;
}

export const HEAD_LEASE = "berth-ledger-head";

export const headLeases: Resource = {
  group: "coordination.k8s.io",
  version: "v1",
  plural: "leases",
  kind: "Lease",
  namespaced: true,
};

export function keptHeadOf(object: KubeObject | undefined): KeptHead | undefined {
  const found = object?.metadata.annotations ?? {};
  const [key, sha256] = [found[annotations.ledgerHeadKey], found[annotations.ledgerHead]];
  if (!key || !sha256) return undefined;
  return { key, sha256, windowEnd: found[annotations.ledgerSealedThrough] ?? "" };
}

export function newHeadKeeper(deps: {
  readonly kube: Pick<KubeReader, "read"> & Pick<KubeWriter, "create" | "mergePatch">;
  readonly namespace: string;
}): HeadKeeper {
  const { kube, namespace } = deps;
  let version: string | undefined;
  return {
    async read() {
      const found = await kube.read(headLeases, namespace, HEAD_LEASE);
      version = found?.metadata.resourceVersion;
      return keptHeadOf(found);
    },
    async write({ key, sha256, windowEnd }) {
      const metadata = {
        annotations: {
          [annotations.ledgerHeadKey]: key,
          [annotations.ledgerHead]: sha256,
          [annotations.ledgerSealedThrough]: windowEnd,
        },
      };
      try {
        const by = { manager: fieldManagers.operator };
        const body = { metadata: { ...metadata, name: HEAD_LEASE, namespace } };
        const stored =
          version === undefined
            ? await kube.create(headLeases, body, by)
            : await kube.mergePatch(headLeases, namespace, HEAD_LEASE, withVersion(metadata, version), by);
        version = stored.metadata.resourceVersion;
      } catch (error) {
        if (error instanceof ConflictError) throw new RetryError(error);
        throw error;
      }
    },
  };
}

/** So that a process which was leader once cannot put an older head in place of a newer one. */
function withVersion(metadata: object, resourceVersion: string): object {
  return { metadata: { ...metadata, resourceVersion } };
}
