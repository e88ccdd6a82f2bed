/**
 * Leader election on a coordination.k8s.io/v1 Lease, client-go's algorithm: the holder renews, the others take over when
 * they have not seen the record change for a lease duration by their own monotonic clock. No fence: whoever was leader may
 * still have writes under way. An API server that is away only pauses the work, since nobody could take the Lease either.
 */
import type { Clock, Log } from "../ports.ts";
import { apiVersionOf, asObject, pathOf } from "./client.ts";
import { pause } from "./clock.ts";
import { ApiError, messageOf } from "./errors.ts";
import { leases, type LeaseObject } from "./leases.ts";
import type { RuntimeMetrics } from "./metrics.ts";
import type { Call, Transport } from "./transport.ts";

export interface LeaderOptions {
  readonly namespace: string;
  readonly name: string;
  /** Unique per process, e.g. pod name and a UUID. */
  readonly identity: string;
  /** Defaults 15,000 / 10,000 / 2,000 ms as in client-go. */
  readonly leaseDurationMs?: number;
  readonly renewDeadlineMs?: number;
  readonly retryPeriodMs?: number;
}

export interface LeaderCallbacks {
  /** The Lease is ours: begin to work. Called once. */
  readonly onStarted: () => void;
  /** No renewal for the renew deadline: all work pauses. */
  readonly onPaused: () => void;
  /** The Lease was renewed under its old version: nobody else was leader in between. */
  readonly onResumed: () => void;
  /** Somebody else holds it: the process has to end. Called at most once, and nothing is called after it. */
  readonly onLost: (holder: string) => void;
}

export interface LeaderDeps {
  readonly transport: Transport;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: RuntimeMetrics;
}

export interface Leader {
  start(): void;
  readonly isLeader: boolean;
  /**
   * The Lease was ours and may be another's by now: not renewed within the renew deadline by this very moment, which a process
   * that was frozen notices before any of its timers runs.
   */
  readonly isOverdue: boolean;
  /** Gives the Lease up, if it is ours, so that the next one need not wait. Never throws. */
  stop(): Promise<void>;
}

type State = "follower" | "leader" | "paused" | "lost" | "stopped";

const jitterFactor = 1.2;

/** Makes an elector; no request before start(). */
export function newLeader(options: LeaderOptions, deps: LeaderDeps, callbacks: LeaderCallbacks): Leader {
  return new LeaseElector(options, deps, callbacks);
}

class LeaseElector implements Leader {
  readonly #options: Required<LeaderOptions>;
  readonly #deps: LeaderDeps;
  readonly #callbacks: LeaderCallbacks;
  readonly #log: Log;
  readonly #stopping = new AbortController();
  #state: State = "follower";
  #running: Promise<void> | undefined;
  /** The record as last seen, and when it was first seen like that. */
  #seen: LeaseObject | undefined;
  #seenSinceMs = 0;
  #renewedMs = 0;
  #acquireTime = "";
  #cancelDeadline = (): void => undefined;

  constructor(options: LeaderOptions, deps: LeaderDeps, callbacks: LeaderCallbacks) {
    this.#options = { leaseDurationMs: 15_000, renewDeadlineMs: 10_000, retryPeriodMs: 2_000, ...options };
    this.#deps = deps;
    this.#callbacks = callbacks;
    this.#log = deps.log.child({ lease: options.name });
    deps.metrics.leaderStatus.set({ name: options.name }, 0);
    deps.metrics.leaderSlowpath.inc({ name: options.name }, 0);
  }

  get isLeader(): boolean {
    return this.#state === "leader";
  }

  get isOverdue(): boolean {
    if (this.#state !== "leader") return this.#state === "paused" || this.#state === "lost";
    return this.#deps.clock.monotonicMs() - this.#renewedMs > this.#options.renewDeadlineMs;
  }

  start(): void {
    this.#running ??= this.#run();
  }

  async stop(): Promise<void> {
    const held = this.#state === "leader" || this.#state === "paused";
    this.#cancelDeadline();
    this.#stopping.abort(new Error("the elector stops"));
    await this.#running;
    if (this.#state === "lost") return;
    this.#enter("stopped");
    if (held) await this.#release();
    this.#cancelDeadline();
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping;
    const { retryPeriodMs } = this.#options;
    while (!signal.aborted && this.#state !== "lost") {
      try {
        await (this.#state === "follower" ? this.#acquire() : this.#renew());
      } catch (error) {
        this.#log.debug({ error: messageOf(error) }, "lease request failed");
      }
      const jitter = this.#state === "follower" ? 1 + Math.random() * jitterFactor : 1;
      if (!this.#over()) await pause(this.#deps.clock, retryPeriodMs * jitter, signal);
    }
  }

  #over(): boolean {
    return this.#state === "lost";
  }

  /** Runs from renewal to renewal, so that it passes also while a request hangs. */
  #armDeadline(): void {
    this.#cancelDeadline();
    const { clock } = this.#deps;
    const leftMs = this.#renewedMs + this.#options.renewDeadlineMs - clock.monotonicMs();
    this.#cancelDeadline = clock.after(leftMs, () => {
      if (this.#state !== "leader" || this.#stopping.signal.aborted) return;
      this.#enter("paused");
      this.#log.warn({}, "lease could not be renewed in time: work pauses");
      this.#callbacks.onPaused();
    });
  }

  async #acquire(): Promise<void> {
    const seen = await this.#read();
    if (!seen) {
      await this.#write("POST", this.#record(undefined));
    } else {
      this.#observe(seen);
      const holder = seen.spec?.holderIdentity ?? "";
      if (holder !== "" && holder !== this.#options.identity && !this.#expired(seen)) return;
      await this.#write("PUT", this.#record(seen));
    }
    if (this.#stopping.signal.aborted) return;
    this.#enter("leader");
    this.#log.info({ identity: this.#options.identity }, "lease acquired");
    this.#callbacks.onStarted();
  }

  /** Renews under the version last seen: a conflict means that somebody wrote, and only a read tells who. */
  async #renew(): Promise<void> {
    try {
      await this.#write("PUT", this.#record(this.#seen));
    } catch (error) {
      if (!(error instanceof ApiError) || (error.status !== 409 && error.status !== 404)) throw error;
      this.#deps.metrics.leaderSlowpath.inc({ name: this.#options.name });
      await this.#renewSlowly();
    }
    if (this.#state !== "paused" || this.#stopping.signal.aborted) return;
    this.#enter("leader");
    this.#log.info({}, "lease renewed: work goes on");
    this.#callbacks.onResumed();
  }

  async #renewSlowly(): Promise<void> {
    const seen = await this.#read();
    const holder = seen?.spec?.holderIdentity ?? "";
    if (seen && holder === this.#options.identity) {
      this.#observe(seen);
      await this.#write("PUT", this.#record(seen));
      return;
    }
    // Deleted or emptied Leases count as lost, too: another may have held and released it meanwhile.
    this.#enter("lost");
    this.#cancelDeadline();
    this.#log.error({ holder }, "lease lost");
    this.#callbacks.onLost(holder);
  }

  /** By the time since *we* saw this record, never by comparing its timestamps with our clock. */
  #expired(seen: LeaseObject): boolean {
    const durationMs = (seen.spec?.leaseDurationSeconds ?? 0) * 1000;
    return this.#deps.clock.monotonicMs() - this.#seenSinceMs > durationMs;
  }

  #observe(seen: LeaseObject): void {
    if (this.#seen?.metadata.resourceVersion !== seen.metadata.resourceVersion) {
      this.#seenSinceMs = this.#deps.clock.monotonicMs();
    }
    this.#seen = seen;
  }

  #record(seen: LeaseObject | undefined): LeaseObject {
    const { namespace, name, identity, leaseDurationMs } = this.#options;
    const now = microTime(this.#deps.clock.now());
    const mine = seen?.spec?.holderIdentity === identity;
    const transitions = seen?.spec?.leaseTransitions ?? 0;
    if (!mine) this.#acquireTime = now;
    return {
      apiVersion: apiVersionOf(leases),
      kind: leases.kind,
      metadata: seen?.metadata ?? { namespace, name },
      spec: {
        ...seen?.spec,
        holderIdentity: identity,
        leaseDurationSeconds: Math.max(1, Math.ceil(leaseDurationMs / 1000)),
        acquireTime: mine ? (seen.spec.acquireTime ?? now) : this.#acquireTime,
        renewTime: now,
        leaseTransitions: seen && !mine ? transitions + 1 : transitions,
      },
    };
  }

  async #read(): Promise<LeaseObject | undefined> {
    const { namespace, name } = this.#options;
    try {
      return asObject(await this.#send({ method: "GET", path: pathOf(leases, namespace, name) }), leases);
    } catch (error) {
      if (error instanceof ApiError && error.status === 404) return undefined;
      throw error;
    }
  }

  async #write(method: "POST" | "PUT", record: LeaseObject): Promise<void> {
    const { namespace, name } = this.#options;
    const sentMs = this.#deps.clock.monotonicMs();
    const path = pathOf(leases, namespace, method === "PUT" ? name : undefined);
    const answer = await this.#send({ method, path, contentType: "application/json", body: JSON.stringify(record) });
    this.#observe(asObject(answer, leases));
    // Counted from when it was sent: the server's clock started no later than its answer did.
    this.#renewedMs = sentMs;
    this.#armDeadline();
  }

  #send(call: Call): Promise<unknown> {
    const timeoutMs = Math.max(1_000, this.#options.renewDeadlineMs / 2);
    const signal = this.#state === "stopped" ? undefined : this.#stopping.signal;
    return this.#deps.transport.request({ ...call, lane: "lease", timeoutMs, signal });
  }

  /** As client-go's ReleaseOnCancel: an empty holder and a duration of one second. */
  async #release(): Promise<void> {
    const seen = this.#seen;
    if (!seen) return;
    const record = this.#record(seen);
    const spec = { ...record.spec, holderIdentity: "", leaseDurationSeconds: 1 };
    try {
      await this.#write("PUT", { ...record, spec });
      this.#log.info({}, "lease released");
    } catch (error) {
      this.#log.warn({ error: messageOf(error) }, "lease could not be released");
    }
  }

  #enter(state: State): void {
    this.#state = state;
    this.#deps.metrics.leaderStatus.set({ name: this.#options.name }, state === "leader" ? 1 : 0);
  }
}

/** metav1.MicroTime: exactly six digits after the second. */
export function microTime(epochMs: number): string {
  return new Date(epochMs).toISOString().replace("Z", "000Z");
}
