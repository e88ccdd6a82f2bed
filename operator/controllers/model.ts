/**
 * Models and ClusterModels: decides what is owed, and starts and stops the work. One reconciler for both kinds; its keys are
 * `Model/<namespace>/<name>` and `ClusterModel//<name>`, as deployments name them.
 */
import { clusterModels, models } from "../api/resources.ts";
import type { ModelDeployment } from "../api/modeldeployment.ts";
import { decideModel } from "../plan/model/plan.ts";
import type { Attempt, Delays, ModelDecision, ModelSnapshot, Purpose } from "../plan/model/plan.ts";
import type { Log, Outcome, Resource } from "../ports.ts";
import { messageOf } from "../runtime/errors.ts";
import { keyOf } from "../runtime/store.ts";
import { modelKeyOf } from "./modeldeployment.ts";
import { workOn } from "./modelimport.ts";
import type { ImportDeps, ImportEnd } from "./modelimport.ts";
import type { HeldLease, ModelLeases } from "./modellease.ts";
import { modelOf, modelUsers, type ModelStores } from "./modelusers.ts";
import { newStatusWriter } from "./modelstatus.ts";
import type { AnyModel } from "./modelstatus.ts";

export interface ModelDeps extends ImportDeps {
  readonly stores: ModelStores;
  readonly leases: ModelLeases;
  readonly delays: Delays;
  readonly log: Log;
  /** Makes the queue look at a key again. */
  readonly enqueue: (key: string) => void;
}

export interface ModelReconciler {
  reconcile(key: string, log: Log): Promise<Outcome>;
  /** Ends all running work and gives its Leases back. */
  stop(): Promise<void>;
}

interface Run {
  readonly generation: number;
  readonly purpose: Purpose;
  readonly stop: AbortController;
  readonly ended: Promise<void>;
}

interface Target {
  readonly key: string;
  readonly resource: Resource<AnyModel>;
  readonly model: AnyModel;
}

/** Key of a model as the queue and the deployments' index name it. */
export function modelKey(kind: "Model" | "ClusterModel", object: AnyModel): string {
  return kind === "Model" ? `Model/${keyOf(object)}` : `ClusterModel//${object.metadata.name}`;
}

/** Model keys that a change of a deployment may concern: the one it names now and the one it named before. */
export function modelKeysOf(object: ModelDeployment, old: ModelDeployment | undefined): string[] {
  return [...new Set([modelKeyOf(object), ...(old ? [modelKeyOf(old)] : [])])];
}

function find(stores: ModelStores, key: string): Target | undefined {
  const model = modelOf(stores, key);
  if (!model) return undefined;
  const resource = key.startsWith("ClusterModel/") ? clusterModels : models;
  return { key, model, resource: resource as Resource<AnyModel> };
}

export function newModelReconciler(deps: ModelDeps): ModelReconciler {
  const { stores, clock } = deps;
  const runs = new Map<string, Run>();
  const attempts = new Map<string, Attempt>();
  let stopping = false;

  function forgetGone(): void {
    for (const uid of attempts.keys()) {
      if (!stores.models.byUid(uid) && !stores.clusterModels.byUid(uid)) attempts.delete(uid);
    }
  }

  function observe(target: Target): ModelSnapshot {
    const uid = target.model.metadata.uid ?? "";
    // First seen counts as a look without failure: an old refusal is re-checked after its delay, not at each start.
    if (attempts.size > 100 + 2 * (stores.models.size + stores.clusterModels.size)) forgetGone();
    if (!attempts.has(uid)) attempts.set(uid, { endedAt: clock.now(), failures: 0 });
    return {
      model: target.model,
      now: clock.now(),
      users: modelUsers(stores, target.key, target.model),
      running: runs.get(uid),
      lastAttempt: attempts.get(uid),
      delays: deps.delays,
    };
  }

  async function execute(
    target: Target,
    purpose: Purpose,
    lease: HeldLease,
    stop: AbortController,
  ): Promise<ImportEnd> {
    const { resource, model } = target;
    const { namespace, name, uid = "" } = model.metadata;
    const signal = AbortSignal.any([stop.signal, lease.lost]);
    try {
      return await workOn(deps, { resource, namespace, name, uid, purpose, signal });
    } catch (error) {
      deps.log.warn({ model: target.key, error: messageOf(error) }, "import was interrupted");
      return "failed";
    } finally {
      await lease.release();
    }
  }

  function begin(target: Target, purpose: Purpose, lease: HeldLease): void {
    const { uid = "", generation = 0 } = target.model.metadata;
    const stop = new AbortController();
    const work = async (): Promise<void> => {
      const end = await execute(target, purpose, lease, stop);
      const failures = attempts.get(uid)?.failures ?? 0;
      attempts.set(uid, { endedAt: clock.now(), failures: end === "failed" ? failures + 1 : 0 });
      runs.delete(uid);
      if (!stopping) deps.enqueue(target.key);
    };
    runs.set(uid, { generation, purpose, stop, ended: work() });
  }

  async function start(target: Target, purpose: Purpose, log: Log): Promise<Outcome> {
    const { uid = "" } = target.model.metadata;
    const lease = await deps.leases.claim(uid);
    if ("waitMs" in lease) return { requeueAfterMs: lease.waitMs };
    if (stopping) {
      await lease.release();
      return {};
    }
    log.info({ purpose }, "work on a model begins");
    begin(target, purpose, lease);
    return {};
  }

  /** Says who uses a model that is to be deleted. Every importer may say it: the words are the same, and equal ones cost nothing. */
  async function hold(target: Target, by: readonly string[]): Promise<Outcome> {
    const { resource, model } = target;
    const writer = newStatusWriter(deps, resource, model, model.metadata.generation ?? 0);
    await writer.write({ kind: "inUse", by });
    return {};
  }

  async function act(target: Target, decision: ModelDecision, log: Log): Promise<Outcome> {
    switch (decision.do) {
      case "nothing":
        return decision.requeueAfterMs === undefined ? {} : { requeueAfterMs: decision.requeueAfterMs };
      case "stop":
        runs.get(target.model.metadata.uid ?? "")?.stop.abort();
        return {};
      case "hold":
        return hold(target, decision.by);
      case "start":
        return start(target, decision.purpose, log);
    }
  }

  return {
    async reconcile(key, log) {
      const target = find(stores, key);
      if (!target || stopping) return {};
      return act(target, decideModel(observe(target)), log);
    },
    async stop() {
      stopping = true;
      for (const run of runs.values()) run.stop.abort();
      await Promise.all([...runs.values()].map((run) => run.ended));
    },
  };
}
