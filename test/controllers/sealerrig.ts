/** A sealer over any ledger with a history of one day, writes to the cluster noted instead of made, and a ledger that dies. */
import { Registry } from "prom-client";

import type { HeadKeeper } from "../../operator/controllers/clusterhead.ts";
import type { ClosingRegister } from "../../operator/controllers/closingregister.ts";
import type { MeteredObjects } from "../../operator/controllers/facts.ts";
import { newCapacitySeries } from "../../operator/controllers/capacityseries.ts";
import { newLedgerMetrics } from "../../operator/controllers/ledgermetrics.ts";
import { newSealer } from "../../operator/controllers/sealer.ts";
import type { SealerDeps } from "../../operator/controllers/sealer.ts";
import type { Ledger, Log, ManifestSigner } from "../../operator/ports.ts";
import { newManualClock } from "../runtime/manualclock.ts";
import type { World } from "../replay/world.ts";
import { CLUSTER, claim, deployment, epochMs, pool } from "./meteringobjects.ts";

const log: Log = { debug() {}, info() {}, warn() {}, error() {}, child: () => log };

/** chat runs on from 10:12; gone is deleted at 11:20 and has left its closing object; nothing happens from 12:00 to 15:00. */
export const running: MeteredObjects = {
  deployments: [deployment("chat")],
  pools: [
    pool({
      deployment: "chat",
      sizes: [
        ["10:12:00", 1],
        ["11:30:00", 2],
      ],
    }),
  ],
  claims: [
    claim({ id: "n1", deployment: "chat", claimed: "10:14:20" }),
    claim({ id: "n2", deployment: "chat", claimed: "11:33:00", released: "11:50:00" }),
    claim({ id: "intended", deployment: "chat" }),
  ],
};
export const gone = {
  deployment: deployment("gone", "11:20:00"),
  pool: pool({ deployment: "gone", sizes: [["09:59:30", 1]], deleted: "11:21:00" }),
  claims: [claim({ id: "n9", deployment: "gone", claimed: "09:59:50", released: "11:23:00" })],
  clusterId: CLUSTER,
};

export interface Setup {
  readonly ledger: Ledger;
  readonly at: string;
  readonly objects?: MeteredObjects;
  readonly windowSeconds?: number;
  readonly caughtUp?: boolean;
  readonly signer?: ManifestSigner;
  readonly shards?: number;
  readonly clusterId?: string;
  readonly headKeeper?: HeadKeeper;
  readonly noteSealed?: (end: number) => void;
  readonly register?: ClosingRegister;
  /** Read anew at each look, and written to, in place of `objects`. */
  readonly world?: Pick<World, "objects" | "kube">;
}

export function sealerAt({
  ledger,
  at,
  objects = running,
  windowSeconds = 3600,
  caughtUp = true,
  signer,
  shards,
  clusterId = CLUSTER,
  headKeeper,
  noteSealed,
  register,
  world,
}: Setup) {
  const writes: string[] = [];
  const registry = new Registry();
  const metrics = newLedgerMetrics(registry);
  const counters = newCapacitySeries();
  metrics.followCapacity(counters.values);
  const clock = newManualClock(at.includes("T") ? Date.parse(at) : epochMs(at));
  const deps: SealerDeps = {
    ledger,
    kube: world?.kube ?? {
      mergePatch: async (resource, _namespace, name, body) => {
        writes.push(`patch ${resource.kind} ${name} ${JSON.stringify(body)}`);
        return { metadata: { name } } as never;
      },
      remove: async (resource, _namespace, name) => void writes.push(`delete ${resource.kind} ${name}`),
    },
    clock,
    log,
    metrics,
    counters,
    clusterId,
    windowSeconds,
    sealGraceSeconds: 300,
    sealSpreadSeconds: 0,
    freshObjects: async () => world?.objects() ?? objects,
    ...(signer && { signer: async () => signer }),
    ...(shards !== undefined && { shards }),
    ...(headKeeper && { headKeeper }),
    ...(noteSealed && { noteSealed }),
    ...(register && { register }),
    caughtUp: () => caughtUp,
  };
  return { sealer: newSealer(deps), writes, registry, clock };
}

export async function dump(ledger: Ledger): Promise<Record<string, string>> {
  const keys = [...(await ledger.list("v1/")), ...(await ledger.list("closing/"))];
  const bodies = await Promise.all(keys.map(async (key) => Buffer.from((await ledger.get(key)) ?? []).toString()));
  return Object.fromEntries(keys.map((key, i) => [key, bodies[i] ?? ""]));
}

async function refused(): Promise<never> {
  throw new Error("connection refused");
}

export const awayLedger: Ledger = {
  list: refused,
  get: refused,
  read: refused,
  putOnce: refused,
  remove: refused,
  probe: refused,
};

/** Dies before or after its n-th request; nothing that comes later gets through. */
export function dyingAt(ledger: Ledger, n: number, when: "before" | "after") {
  let count = 0;
  const state = { died: false };
  const guard = async <T>(run: () => Promise<T>): Promise<T> => {
    count += 1;
    const mine = count === n;
    if (state.died || (mine && when === "before")) {
      state.died = true;
      throw new Error("killed");
    }
    const answer = await run();
    if (mine) {
      state.died = true;
      throw new Error("killed");
    }
    return answer;
  };
  const dying: Ledger = {
    putOnce: (key, body) => guard(() => ledger.putOnce(key, body)),
    get: (key) => guard(() => ledger.get(key)),
    read: (key) => guard(() => ledger.read(key)),
    list: (prefix, options) => guard(() => ledger.list(prefix, options)),
    remove: (key) => guard(() => ledger.remove(key)),
    probe: () => guard(() => ledger.probe()),
  };
  return { ledger: dying, state };
}
