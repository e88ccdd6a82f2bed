/**
 * One life of an operator's metering over a real S3 server: the sealer and what leaves a pool's closing object. Every request and
 * every write to the cluster is a step, at which it may be killed, or its answer lost. Its proxy is its own: what a dead one still
 * sends reaches nobody.
 */
import { Registry } from "prom-client";

import { openLedger } from "../../operator/adapters/ledger/open.ts";
import { putClosing } from "../../operator/controllers/closing.ts";
import { newHeadKeeper } from "../../operator/controllers/clusterhead.ts";
import { newLedgerMetrics } from "../../operator/controllers/ledgermetrics.ts";
import { newSealer } from "../../operator/controllers/sealer.ts";
import type { Ledger, Log, ManifestSigner } from "../../operator/ports.ts";
import { startFaultProxy } from "../cluster/faultproxy.ts";
import type { FaultProxy } from "../cluster/faultproxy.ts";
import type { S3Server } from "../cluster/s3.ts";
import { CLUSTER } from "../controllers/meteringobjects.ts";
import type { ManualClock } from "../runtime/manualclock.ts";
import type { World, WorldKube } from "./world.ts";

/** Where, when and over what a history is replayed. */
export interface Scene {
  readonly s3: S3Server;
  /** Folder in the bucket "ledger". */
  readonly place: string;
  readonly world: World;
  readonly clock: ManualClock;
  readonly signer: ManifestSigner;
  readonly shards: number;
  readonly windowSeconds: number;
  readonly graceSeconds: number;
}

/** Runs a step when its time has come. */
export type Turn = <T>(step: () => Promise<T>) => Promise<T>;

export interface Life {
  /** "killed" as soon as it is dead, whatever of it is under way. Rejects where a pass fails. */
  pass(): Promise<"done" | "killed">;
  /** From now on, counted from 1: it dies at that step, which takes effect or does not. */
  doom(step: number, effect: boolean): void;
  /** Of these steps it never hears, though each takes effect. Writes to the cluster are left out. */
  deafen(steps: readonly number[]): void;
  /** Steps so far. */
  readonly steps: number;
  readonly unheard: number;
  /** Objects that were found with other bytes than its own. */
  conflicts(): Promise<number>;
  end(): Promise<void>;
}

export function ledgerAt({ s3, place }: Pick<Scene, "s3" | "place">, endpoint = s3.endpoint): Ledger {
  const { region, accessKeyId, secretAccessKey } = s3;
  return openLedger({ url: `s3://ledger/${place}`, endpoint, region, credentials: { accessKeyId, secretAccessKey } });
}

const silent: Log = { debug() {}, info() {}, warn() {}, error() {}, child: () => silent };

export async function beginLife(scene: Scene, turn: Turn = (step) => step()): Promise<Life> {
  const { world, signer, clock, shards, windowSeconds, graceSeconds } = scene;
  const proxy = await startFaultProxy({ target: scene.s3.endpoint, dialect: "s3" });
  const steps = new Steps(proxy);
  const ledger = inTurn(ledgerAt(scene, proxy.url), turn);
  const kube = guarded(world.kube, (step) => turn(() => steps.write(step)));
  const registry = new Registry();
  const sealer = newSealer({
    ...{ ledger, kube, clock, log: silent, shards, windowSeconds, clusterId: CLUSTER },
    ...{ sealGraceSeconds: graceSeconds, sealSpreadSeconds: 0, metrics: newLedgerMetrics(registry) },
    signer: async () => signer,
    headKeeper: newHeadKeeper({ kube, namespace: "berth-system" }),
    freshObjects: async () => world.objects(),
    caughtUp: () => true,
  });
  const run = async (): Promise<"done"> => {
    for (const pool of world.leaving()) {
      await leaveBehind(ledger, world, pool);
      world.leave(pool);
    }
    await sealer.pass();
    return "done";
  };
  return {
    pass: () => Promise.race([steps.death, run()]),
    doom: (step, effect) => steps.doom(step, effect),
    deafen: (deaf) => steps.deafen(deaf),
    get steps() {
      return steps.count;
    },
    get unheard() {
      return steps.unheard;
    },
    conflicts: async () =>
      Number(/^berth_ledger_conflicts_total (\d+)$/m.exec(await registry.metrics())?.[1] ?? Number.NaN),
    end: () => proxy.close(),
  };
}

async function leaveBehind(ledger: Ledger, world: World, pool: ReturnType<World["leaving"]>[number]): Promise<void> {
  const { claims, deployments } = world.objects();
  await putClosing(ledger, {
    deployment: deployments.find(({ metadata }) => metadata.uid === pool.spec.deploymentRef.uid),
    pool,
    claims: claims.filter(({ spec }) => spec.poolUID === pool.metadata.uid),
    clusterId: CLUSTER,
  });
}

class Steps {
  count = 0;
  unheard = 0;
  readonly death: Promise<"killed">;
  #die: () => void = () => undefined;
  #dead = false;
  #doom: { readonly step: number; readonly effect: boolean } | undefined;
  #deaf: ReadonlySet<number> = new Set();
  #verdict: "pass" | "reset" | "lost" = "pass";

  constructor(proxy: FaultProxy) {
    this.death = new Promise((resolve) => {
      this.#die = () => {
        this.#dead = true;
        resolve("killed");
      };
    });
    // The first rule is asked once a request, and judges it.
    proxy.add({ match: () => this.#judge() === "reset", fault: { kind: "reset" } });
    proxy.add({ match: () => this.#verdict === "lost", fault: { kind: "lose-answer" } });
  }

  doom(step: number, effect: boolean): void {
    this.#doom = { step: this.count + step, effect };
  }

  deafen(steps: readonly number[]): void {
    this.#deaf = new Set(steps.map((step) => this.count + step));
  }

  #judge(): "pass" | "reset" | "lost" {
    return (this.#verdict = this.#judged());
  }

  #judged(): "pass" | "reset" | "lost" {
    if (this.#dead) return "reset";
    this.count += 1;
    if (this.count === this.#doom?.step) {
      this.#die();
      return this.#doom.effect ? "lost" : "reset";
    }
    if (!this.#deaf.has(this.count)) return "pass";
    this.unheard += 1;
    return "lost";
  }

  /** A write to the cluster. */
  async write<T>(step: () => Promise<T>): Promise<T> {
    if (this.#dead) throw new Error("killed");
    this.count += 1;
    if (this.count !== this.#doom?.step) return step();
    if (this.#doom.effect) await step();
    this.#die();
    throw new Error("killed");
  }
}

function guarded(kube: WorldKube, step: Turn): WorldKube {
  return {
    read: (...given) => kube.read(...given),
    create: (...given) => step(() => kube.create(...given)) as never,
    mergePatch: (...given) => step(() => kube.mergePatch(...given)) as never,
    remove: (...given) => step(() => kube.remove(...given)),
  };
}

function inTurn(ledger: Ledger, turn: Turn): Ledger {
  return {
    putOnce: (key, body) => turn(() => ledger.putOnce(key, body)),
    get: (key) => turn(() => ledger.get(key)),
    read: (key, options) => turn(() => ledger.read(key, options)),
    list: (prefix, options) => turn(() => ledger.list(prefix, options)),
    remove: (key) => turn(() => ledger.remove(key)),
    probe: () => turn(() => ledger.probe()),
  };
}
