/**
 * One Lease per import, so that of several importers only one works on a model. Expiry is judged by how long this process
 * has seen the Lease unchanged, never by another machine's clock. It is no fence: what keeps a double import harmless is
 * the store's If-None-Match and the digests.
 */
import type { Clock, KubeReader, KubeWriter, Log } from "../ports.ts";
import { fieldManagers } from "../api/keys.ts";
import { ConflictError, isAlreadyExists, messageOf } from "../runtime/errors.ts";
import { microTime } from "../runtime/leader.ts";
import { leases, type LeaseObject } from "../runtime/leases.ts";

export interface LeaseDeps {
  readonly kube: KubeReader & KubeWriter;
  readonly clock: Clock;
  readonly log: Log;
  /** Namespace of the Leases: the importer's own. */
  readonly namespace: string;
  readonly identity: string;
  /** 15,000 ms by default. */
  readonly durationMs?: number;
}

export interface HeldLease {
  /** Aborts when somebody else has taken the Lease. */
  readonly lost: AbortSignal;
  release(): Promise<void>;
}

export interface ModelLeases {
  /** The Lease, or for how long to wait before asking again. */
  claim(modelUID: string): Promise<HeldLease | { readonly waitMs: number }>;
}

/** Name of a model's Lease; UIDs are valid names. */
export function leaseName(modelUID: string): string {
  return `berth-import-${modelUID}`;
}

export function newModelLeases(deps: LeaseDeps): ModelLeases {
  const { kube, clock, namespace, identity, durationMs = 15_000 } = deps;
  const renewEveryMs = durationMs / 3;
  // Two requests may hang before anybody else may take the Lease.
  const options = { manager: fieldManagers.importer, timeoutMs: renewEveryMs };
  const seen = new Map<string, { readonly version: string; readonly sinceMs: number }>();
  const record = () => ({
    holderIdentity: identity,
    leaseDurationSeconds: Math.max(1, Math.round(durationMs / 1000)),
    renewTime: microTime(clock.now()),
  });

  async function create(name: string): Promise<LeaseObject | undefined> {
    const now = microTime(clock.now());
    const spec = { ...record(), acquireTime: now };
    const body: LeaseObject = {
      apiVersion: "coordination.k8s.io/v1",
      kind: "Lease",
      metadata: { name, namespace },
      spec,
    };
    try {
      return await kube.create(leases, body, options);
    } catch (error) {
      if (isAlreadyExists(error)) return undefined;
      throw error;
    }
  }

  const overwrite = (name: string, resourceVersion: string | undefined): Promise<LeaseObject> =>
    kube.mergePatch(leases, namespace, name, { metadata: { resourceVersion }, spec: record() }, options);

  /** A Lease whose holder has been silent for its whole duration, as this process has seen it, is taken. */
  async function takeOver(name: string): Promise<LeaseObject | { waitMs: number }> {
    const current = await kube.read(leases, namespace, name, options);
    if (!current) {
      seen.delete(name);
      return { waitMs: 0 };
    }
    const version = current.metadata.resourceVersion ?? "";
    const before = seen.get(name);
    const nowMs = clock.monotonicMs();
    const sinceMs = before?.version === version ? before.sinceMs : nowMs;
    seen.set(name, { version, sinceMs });
    const holder = current.spec?.holderIdentity ?? "";
    const leftMs = durationMs - (nowMs - sinceMs);
    if (holder !== "" && holder !== identity && leftMs > 0) return { waitMs: Math.max(100, leftMs) };
    try {
      return await overwrite(name, version);
    } catch (error) {
      if (error instanceof ConflictError) return { waitMs: renewEveryMs };
      throw error;
    }
  }

  /** Under its newest version: the answer to a renewal may have been lost, or somebody has put a label onto it. */
  async function readOurs(name: string): Promise<LeaseObject | undefined> {
    const current = await kube.read(leases, namespace, name, options);
    return current?.spec?.holderIdentity === identity ? current : undefined;
  }

  /** undefined where it is not ours any more: a conflict means that somebody wrote, and only a read tells who. */
  async function renewed(name: string, version: string | undefined): Promise<LeaseObject | undefined> {
    try {
      return await overwrite(name, version);
    } catch (error) {
      if (!(error instanceof ConflictError)) throw error;
      const current = await readOurs(name);
      return current && (await overwrite(name, current.metadata.resourceVersion));
    }
  }

  async function giveBack(name: string, version: string | undefined): Promise<void> {
    try {
      await kube.remove(leases, namespace, name, { resourceVersion: version });
    } catch (error) {
      if (!(error instanceof ConflictError)) throw error;
      const current = await readOurs(name);
      if (current) await kube.remove(leases, namespace, name, { resourceVersion: current.metadata.resourceVersion });
    }
  }

  function hold(name: string, first: LeaseObject): HeldLease {
    const lost = new AbortController();
    const version = { current: first.metadata.resourceVersion };
    let released = false;
    let renewing: Promise<void> = Promise.resolve();
    let cancel = (): void => undefined;
    const renew = async (): Promise<void> => {
      const startedMs = clock.monotonicMs();
      try {
        const ours = await renewed(name, version.current);
        if (ours) version.current = ours.metadata.resourceVersion;
        else lost.abort();
      } catch (error) {
        // An API server that is away lets nobody else take the Lease either: the work goes on.
        deps.log.warn({ lease: name, error: messageOf(error) }, "import lease could not be renewed");
      }
      // Counted from when it was sent, so that one that hung does not delay the next.
      if (!released && !lost.signal.aborted) schedule(renewEveryMs - (clock.monotonicMs() - startedMs));
    };
    const schedule = (afterMs: number): void => {
      cancel = clock.after(Math.max(0, afterMs), () => {
        renewing = renew();
      });
    };
    schedule(renewEveryMs);
    return {
      lost: lost.signal,
      async release() {
        released = true;
        cancel();
        await renewing;
        seen.delete(name);
        if (lost.signal.aborted) return;
        await giveBack(name, version.current).catch((error: unknown) => {
          deps.log.warn({ lease: name, error: messageOf(error) }, "import lease could not be given back");
        });
      },
    };
  }

  return {
    async claim(modelUID) {
      const name = leaseName(modelUID);
      // A Lease that somebody was seen to hold is read first: trying to create it again would be refused each time.
      const lease = (seen.has(name) ? undefined : await create(name)) ?? (await takeOver(name));
      if ("waitMs" in lease) return lease;
      return hold(name, lease);
    },
  };
}
