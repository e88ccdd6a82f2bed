/**
 * Executes a plan: its steps one after another, then the status, then the events. Decides nothing.
 * The status is written even when a write failed, so that the user sees why nothing happens.
 */
import { annotations, fieldManagers } from "../api/keys.ts";
import type { Plan, Write } from "../plan/plan.ts";
import type { EventRecorder, KubeObject, KubeWriter, Resource, Store } from "../ports.ts";
import { newApplier, type Applier } from "../runtime/apply.ts";

/** Stores by resource, so that an apply can be skipped where the live object already is what is wanted. */
export type StoreOf = <T extends KubeObject>(resource: Resource<T>) => Store<T> | undefined;

export interface PlanExecutor {
  /** Runs one step after another; the first failing step ends the round. */
  write(steps: Plan<unknown>["steps"]): Promise<void>;
  /** Patches what differs of the status; `live` must be as new as the cache. */
  status<T extends KubeObject & { readonly status?: object }>(
    resource: Resource<T>,
    live: T,
    status: object,
  ): Promise<boolean>;
  emit(about: KubeObject, resource: Resource, plan: Pick<Plan<unknown>, "events">): void;
}

export function newPlanExecutor(deps: {
  readonly writer: KubeWriter;
  readonly storeOf: StoreOf;
  readonly events: EventRecorder;
}): PlanExecutor {
  const applier = newApplier({
    writer: deps.writer,
    hashAnnotation: annotations.appliedHash,
    manager: fieldManagers.operator,
  });
  return {
    async write(steps) {
      for (const step of steps) {
        const results = await Promise.allSettled(step.map((write) => execute(write, deps, applier)));
        const failed = results.find((result) => result.status === "rejected");
        if (failed) throw failed.reason;
      }
    },
    async status(resource, live, status) {
      const { wrote } = await applier.patchStatusIfChanged(resource, live, status, { manager: fieldManagers.status });
      return wrote;
    },
    emit(about, { kind, group, version }, plan) {
      const named = { ...about, kind, apiVersion: group === "" ? version : `${group}/${version}` };
      for (const event of plan.events) deps.events.emit(named, event);
    },
  };
}

async function execute(
  write: Write,
  deps: { readonly writer: KubeWriter; readonly storeOf: StoreOf },
  applier: Applier,
): Promise<void> {
  const { writer, storeOf } = deps;
  switch (write.op) {
    case "apply": {
      const { namespace, name } = write.object.metadata;
      const live = write.always ? undefined : storeOf(write.resource)?.get(namespace, name);
      await applier.apply(write.resource, write.object, live, { force: write.force ?? true, manager: write.manager });
      return;
    }
    case "create":
      await writer.create(write.resource, write.object, { manager: write.manager });
      return;
    case "patch":
      await writer.mergePatch(write.resource, write.namespace, write.name, write.body, {
        manager: write.manager,
        subresource: write.subresource,
      });
      return;
    case "delete": {
      const { resource, namespace, name, uid, gracePeriodSeconds, propagationPolicy } = write;
      await writer.remove(resource, namespace, name, { uid, gracePeriodSeconds, propagationPolicy });
      return;
    }
  }
}
