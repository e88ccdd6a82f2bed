/**
 * A cluster played in memory around the real plan: pool controller, workload controller, kubelet and user each take one
 * small step at a time, in any order. Pure of clocks; invariants are checked after every step.
 */
import assert from "node:assert/strict";
import type { GPUNodePool } from "../../../operator/api/gpunodepool.ts";
import { labels } from "../../../operator/api/keys.ts";
import type { ControllerRevision, Pod, Workload } from "../../../operator/api/kubernetes.ts";
import type { ModelDeployment } from "../../../operator/api/modeldeployment.ts";
import { planDeployment } from "../../../operator/plan/deployment/plan.ts";
import { REVISION_LABEL } from "../../../operator/plan/deployment/template.ts";
import { sizeIsLogged } from "../../../operator/plan/deployment/size.ts";
import type { PinnedTemplate, Seen } from "../../../operator/plan/deployment/seen.ts";
import type { Write } from "../../../operator/plan/plan.ts";
import { POOL_UID, condition, instant } from "./observed.ts";
import { effective } from "./read.ts";

type Mutable = { -readonly [K in keyof Seen]: Seen[K] };

const GRACE_SECONDS = 150;

export class World {
  readonly seen: Mutable;
  readonly log: string[] = [];
  gone = false;
  #serial = 0;

  constructor(start: Seen) {
    this.seen = { ...start };
  }

  /** One pass of the real plan, carried out. True when it changed something. */
  plan(): boolean {
    if (this.gone) return false;
    const plan = planDeployment(this.seen);
    const lines = effective(plan, this.seen);
    for (const write of plan.steps.flat()) this.#apply(write);
    if (lines.length > 0) this.#say(`${lines.join(", ")} - ${plan.because}`);
    const before = this.seen.deployment.status;
    if (plan.status && !this.gone) this.seen.deployment = { ...this.seen.deployment, status: plan.status };
    if (plan.status && plan.status.phase !== before?.phase) this.#say(`phase ${plan.status.phase}`);
    this.check();
    return lines.length > 0 || JSON.stringify(before) !== JSON.stringify(plan.status ?? before);
  }

  /** The pool controller: logs the size, claims or releases one node. */
  pool(): boolean {
    const { pool, pods } = this.seen;
    if (!pool) return false;
    const claimed = pool.status?.claimed ?? 0;
    if (pool.metadata.deletionTimestamp) {
      if (pods.some(isBound)) return false;
      this.seen.pool = undefined;
      this.#say("pool: released");
      return true;
    }
    const { size, account, tags } = pool.spec;
    const log = pool.status?.sizeLog ?? [];
    const logged = sizeIsLogged(this.seen);
    const busy = pods.filter(isBound).length;
    const next = claimed < size ? claimed + 1 : Math.max(size, claimed > busy ? claimed - 1 : claimed);
    if (logged && next === claimed) return false;
    const sizeLog = logged ? log : [...log, { since: instant(this.seen.now), size, account, tags }];
    const ready = next >= size;
    const conditions = [condition("Ready", ready ? "True" : "False", ready ? "NodesReady" : "Provisioning")];
    this.seen.pool = { ...pool, status: { claimed: next, ready: next, sizeLog, conditions } };
    if (next !== claimed) this.#say(`pool: ${next} nodes`);
    this.check();
    return true;
  }

  /** Deployment and ReplicaSet controllers with maxSurge 0 and maxUnavailable 1: one pod made or taken. */
  workload(): boolean {
    const { workload, pods } = this.seen;
    const wanted = workload?.spec?.replicas ?? 0;
    const template = workload?.spec?.template as PinnedTemplate["podTemplate"] | undefined;
    const revision = template?.metadata.labels[REVISION_LABEL];
    const staying = pods.filter(({ metadata }) => !metadata.deletionTimestamp);
    const isOld = ({ metadata }: Pod): boolean => metadata.labels?.[REVISION_LABEL] !== revision;
    const old = staying.filter(isOld);
    const surplus = [...old, ...staying.filter((pod) => !isOld(pod))].slice(0, Math.max(0, staying.length - wanted));
    const available = staying.filter(isReady).length;
    const replaced = old.find((pod) => !isReady(pod) || available >= wanted);
    const victim = surplus[0] ?? replaced;
    if (victim) return this.#endPod(victim, GRACE_SECONDS);
    if (staying.length >= wanted) return false;
    this.#makePod(revision ?? "");
    return true;
  }

  /** Scheduler and kubelet: binds a pod, makes it ready, or lets one go. */
  kubelet(): boolean {
    const { pods, pool } = this.seen;
    const leaving = pods.find(({ metadata }) => metadata.deletionTimestamp);
    if (leaving) {
      this.seen.pods = pods.filter((pod) => pod !== leaving);
      return true;
    }
    const unbound = pods.find((pod) => !isBound(pod));
    if (unbound && pods.filter(isBound).length < (pool?.status?.claimed ?? 0)) {
      return this.#replace(unbound, { ...unbound, spec: { nodeName: "node" } });
    }
    const starting = pods.find((pod) => isBound(pod) && !isReady(pod));
    if (!starting) return false;
    const status = { phase: "Running", conditions: [{ type: "Ready", status: "True" }] };
    return this.#replace(starting, { ...starting, status });
  }

  user(change: (deployment: ModelDeployment) => Partial<ModelDeployment["spec"]>, what: string): void {
    const { deployment } = this.seen;
    const generation = (deployment.metadata.generation ?? 0) + 1;
    const spec = { ...deployment.spec, ...change(deployment) };
    if (spec.replicas !== deployment.spec.replicas) this.seen.replicasSetAt = this.seen.now;
    this.seen.deployment = { ...deployment, spec, metadata: { ...deployment.metadata, generation } };
    this.#say(`user: ${what}`);
  }

  delete(): void {
    const { deployment, now } = this.seen;
    this.seen.deployment = {
      ...deployment,
      metadata: { ...deployment.metadata, deletionTimestamp: instant(now) },
    };
    this.#say("user: delete");
  }

  wait(ms: number): void {
    this.seen.now += ms;
  }

  check(): void {
    const { pool, pods, workload } = this.seen;
    const bound = pods.filter(isBound).length;
    assert.ok(bound <= (pool?.status?.claimed ?? 0), `${bound} bound pods on ${pool?.status?.claimed ?? 0} nodes`);
    if (!pool || this.gone) return;
    assert.ok((workload?.spec?.replicas ?? 0) <= pool.spec.size, "the workload never exceeds the pool");
    assert.ok(bound <= pool.spec.size || pool.metadata.deletionTimestamp, "no node is given back under a pod");
  }

  #apply(write: Write): void {
    if (write.op === "delete") return this.#remove(write);
    if (write.op === "patch") {
      const { finalizers } = (write.body as { metadata: { finalizers?: string[] } }).metadata;
      if (!finalizers) return;
      const { deployment } = this.seen;
      this.seen.deployment = { ...deployment, metadata: { ...deployment.metadata, finalizers } };
      this.gone = finalizers.length === 0 && deployment.metadata.deletionTimestamp !== undefined;
      return;
    }
    const { kind } = write.resource;
    if (kind === "GPUNodePool") this.#applyPool(write.object as GPUNodePool);
    if (kind === "Deployment") this.seen.workload = write.object as Workload;
    if (kind === "ControllerRevision")
      this.seen.revisions = [...this.seen.revisions, write.object as ControllerRevision];
  }

  #applyPool(wanted: GPUNodePool): void {
    const uid = this.seen.pool?.metadata.uid ?? POOL_UID;
    this.seen.pool = { ...wanted, metadata: { ...wanted.metadata, uid }, status: this.seen.pool?.status };
  }

  #remove({ resource, name }: Extract<Write, { op: "delete" }>): void {
    const { pool } = this.seen;
    if (resource.kind === "Deployment") this.seen.workload = undefined;
    if (resource.kind === "Pod") this.seen.pods = this.seen.pods.filter(({ metadata }) => metadata.name !== name);
    if (resource.kind === "ControllerRevision")
      this.seen.revisions = this.seen.revisions.filter(({ metadata }) => metadata.name !== name);
    if (resource.kind !== "GPUNodePool" || !pool) return;
    this.seen.pool = { ...pool, metadata: { ...pool.metadata, deletionTimestamp: instant(this.seen.now) } };
  }

  #makePod(revision: string): void {
    const name = `pod-${this.#serial++}`;
    const { uid } = this.seen.deployment.metadata;
    const metadata = {
      name,
      namespace: "team",
      labels: { [labels.deploymentUID]: uid ?? "", [REVISION_LABEL]: revision },
    };
    this.seen.pods = [...this.seen.pods, { metadata, status: { phase: "Pending" } }];
    this.#say(`workload: makes ${name}`);
  }

  #endPod(pod: Pod, graceSeconds: number): boolean {
    const deletionTimestamp = instant(this.seen.now + graceSeconds * 1000);
    const metadata = { ...pod.metadata, deletionTimestamp, deletionGracePeriodSeconds: graceSeconds };
    this.#say(`workload: ends ${pod.metadata.name}`);
    return this.#replace(pod, { ...pod, metadata });
  }

  #replace(old: Pod, pod: Pod): boolean {
    this.seen.pods = this.seen.pods.map((one) => (one === old ? pod : one));
    this.check();
    return true;
  }

  #say(line: string): void {
    this.log.push(line);
  }
}

function isBound(pod: Pod): boolean {
  return pod.spec?.nodeName !== undefined;
}

function isReady(pod: Pod): boolean {
  return pod.status?.conditions?.some(({ type, status }) => type === "Ready" && status === "True") ?? false;
}
