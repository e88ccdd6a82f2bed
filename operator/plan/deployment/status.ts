/** The whole status from one snapshot: conditions first, Ready from them, the phase from both. Nothing is remembered. */
import { mergeConditions, findCondition, type WantedCondition } from "../../api/conditions.ts";
import type { Condition } from "../../api/schema.ts";
import type { ModelDeploymentStatus } from "../../api/modeldeployment.ts";
import type { PlannedEvent, Problem } from "../plan.ts";
import { licenseIsAccepted, modelProblem } from "./checks.ts";
import { endpointOf, selectorText } from "./children.ts";
import { podFacts, type PodFacts } from "./podfacts.ts";
import type { Rollout } from "./rollout.ts";
import { ownPool, type Seen } from "./seen.ts";
import { wantedNodes, type Sizes } from "./size.ts";

/** Reasons that only a human or a change of a spec can help with. */
const STALLING = new Set([
  "NodeTypeNotFound",
  "NodeTypeDisabled",
  "EngineVersionNotOffered",
  "AccountNotAllowed",
  "AcceptanceRequired",
  "DoesNotFit",
  "ContextTooLong",
  "ModelNotFound",
  "RevisionNotFound",
  "ImportFailed",
  "QuotaExceeded",
  "NameTaken",
  "KarpenterNotInstalled",
  "StaticCapacityNotActing",
]);

export interface StatusInput {
  readonly seen: Seen;
  readonly blocked: Problem | undefined;
  readonly sizes: Sizes;
  readonly rollout: Rollout;
}

export function statusOf(input: StatusInput): ModelDeploymentStatus {
  const { seen, rollout } = input;
  const { deployment } = seen;
  const facts = podFacts(seen.pods, rollout.revision?.number);
  const conditions = conditionsOf(input, facts);
  const pinned = rollout.revision?.pinned;
  return {
    observedGeneration: deployment.metadata.generation ?? 0,
    phase: phaseOf(input, facts, conditions),
    replicas: facts.replicas,
    readyReplicas: facts.ready,
    updatedReplicas: facts.updated,
    selector: selectorText(deployment),
    endpoint: endpointOf(deployment),
    ...(pinned ? { model: { digest: pinned.model.digest, revision: pinned.model.revision } } : {}),
    ...(pinned ? { engine: { image: pinned.engine.image, args: [...pinned.engine.args] } } : {}),
    ...(pinned ? { capacity: pinned.capacity } : {}),
    conditions: mergeConditions(deployment.status?.conditions, conditions, {
      now: seen.now,
      generation: deployment.metadata.generation ?? 0,
    }),
  };
}

function conditionsOf(input: StatusInput, facts: PodFacts): WantedCondition[] {
  const parts = [
    licenseCondition(input.seen),
    modelCondition(input),
    capacityCondition(input),
    servingCondition(input, facts),
  ];
  const failing = parts.find((part) => part.status !== "True");
  const ready: WantedCondition = failing
    ? { ...failing, type: "Ready", status: failing.status }
    : {
        type: "Ready",
        status: "True",
        reason: "Serving",
        message: `${facts.ready} of ${wantedNodes(input.seen)} replicas answer at ${endpointOf(input.seen.deployment)}`,
      };
  const stalled = failing !== undefined && STALLING.has(failing.reason);
  const suspended = failing?.reason === "Suspended";
  const transient: WantedCondition[] =
    failing === undefined || suspended
      ? []
      : [{ ...failing, type: stalled ? "Stalled" : "Reconciling", status: "True" }];
  return [...parts, ...transient, ready];
}

function licenseCondition(seen: Seen): WantedCondition {
  const type = "LicenseAccepted";
  const problem = licenseIsAccepted(seen);
  if (problem) return { type, status: "False", ...problem };
  if (!seen.model)
    return {
      type,
      status: "True",
      reason: "NotRequired",
      message: "no model is known that asks for acceptance of a licence",
    };
  const license = seen.model.spec.license;
  return license?.acceptanceRequired
    ? {
        type,
        status: "True",
        reason: "Accepted",
        message: `the licence ${license.name} was accepted with spec.acceptLicense`,
      }
    : { type, status: "True", reason: "NotRequired", message: "the model asks for no acceptance of a licence" };
}

function modelCondition({ seen, rollout }: StatusInput): WantedCondition {
  const type = "ModelReady";
  const { name, kind } = seen.deployment.spec.model;
  const problem = modelProblem(seen);
  const serving = rollout.revision !== undefined && !rollout.isStale && !rollout.isNew;
  // A model that goes away must not take a serving deployment with it: the template is pinned, the condition says so.
  if (problem && serving) {
    return {
      type,
      status: "True",
      reason: problem.reason === "ModelNotFound" ? "ModelDeleted" : "Pinned",
      message: `serving goes on with revision ${rollout.revision?.pinned.model.digest}; but: ${problem.message}`,
    };
  }
  if (problem) return { type, status: "False", ...problem };
  if (seen.model?.metadata.deletionTimestamp) {
    return {
      type,
      status: "True",
      reason: "ModelBeingDeleted",
      message: `${kind} ${name} is being deleted and stays until this deployment does not need it any more`,
    };
  }
  return {
    type,
    status: "True",
    reason: "Imported",
    message: `${kind} ${name} is imported, digest ${rollout.revision?.pinned.model.digest ?? seen.model?.status?.digest}`,
  };
}

function capacityCondition({ seen, blocked, sizes }: StatusInput): WantedCondition {
  const type = "CapacityReady";
  const pool = ownPool(seen);
  if (seen.deployment.spec.suspend && (!pool || (pool.spec.size === 0 && (pool.status?.claimed ?? 0) === 0))) {
    return {
      type,
      status: "False",
      reason: "Suspended",
      message: "spec.suspend is true: no node is held, nothing is billed",
    };
  }
  if (sizes.holding && sizes.holding.reason !== "ShrinkStabilizing" && sizes.holding.reason !== "Draining")
    return { type, status: "False", ...sizes.holding };
  if (!pool)
    return {
      type,
      status: "False",
      ...(blocked ?? { reason: "Provisioning", message: "the node pool is being made" }),
    };
  const poolReady = findCondition(pool.status?.conditions, "Ready");
  const want = wantedNodes(seen);
  const ready = pool.status?.ready ?? 0;
  if (ready >= want && sizes.poolSize >= want && !seen.deployment.spec.suspend) {
    return {
      type,
      status: "True",
      reason: "NodesReady",
      message: sizes.holding?.message ?? `${ready} of ${want} nodes are ready`,
    };
  }
  const words =
    poolReady && poolReady.status !== "True"
      ? poolReady
      : { reason: "Provisioning", message: `${ready} of ${want} nodes are ready` };
  return {
    type,
    status: "False",
    reason: sizes.holding?.reason ?? words.reason,
    message: sizes.holding?.message ?? words.message,
  };
}

function servingCondition({ seen, blocked, rollout }: StatusInput, facts: PodFacts): WantedCondition {
  const type = "Serving";
  const want = wantedNodes(seen);
  const not = (reason: string, message: string): WantedCondition => ({ type, status: "False", reason, message });
  if (want === 0)
    return not(
      "Suspended",
      facts.replicas > 0 ? `${facts.replicas} pods finish their requests` : "spec.suspend is true: no replica runs",
    );
  if (facts.failure && facts.updatedReady < want) return not(facts.failure.reason, facts.failure.message);
  if (rollout.revision === undefined)
    return not(
      "WaitingForTemplate",
      blocked?.message ?? "the first template is rendered when model and nodes are known",
    );
  if (rollout.isStale)
    return not(
      "Updating",
      `${facts.ready} replicas run the former spec: ${blocked?.message ?? modelProblem(seen)?.message ?? "the new template cannot be rendered yet"}`,
    );
  if (facts.updatedReady < want || facts.updated < facts.replicas) {
    return not(
      facts.updated < facts.replicas && facts.ready > 0 ? "Updating" : "PodsStarting",
      `${facts.updatedReady} of ${want} replicas answer with the newest template`,
    );
  }
  return { type, status: "True", reason: "AllReplicasServing", message: `${facts.ready} of ${want} replicas answer` };
}

function phaseOf(
  { seen, rollout }: StatusInput,
  facts: PodFacts,
  conditions: readonly WantedCondition[],
): ModelDeploymentStatus["phase"] {
  const is = (type: string): WantedCondition | undefined => conditions.find((condition) => condition.type === type);
  if (seen.deployment.metadata.deletionTimestamp) return "Deleting";
  if (is("Ready")?.status === "True") return "Ready";
  if (is("CapacityReady")?.reason === "Suspended") return "Suspended";
  if (is("Stalled") || is("Serving")?.reason === "PodFailing") return "Error";
  if (is("Serving")?.reason === "Updating") return "Updating";
  if (facts.ready > 0 || seen.deployment.spec.suspend) return "Scaling";
  return is("CapacityReady")?.status === "True" && rollout.revision ? "Deploying" : "Creating";
}

/** One event for each condition that flips or changes its reason; none for those that are born True, none in steady state. */
export function transitions(before: readonly Condition[] | undefined, after: readonly Condition[]): PlannedEvent[] {
  return after.flatMap((next) => {
    if (next.type === "Ready" || next.type === "Reconciling" || next.type === "Stalled") return [];
    const old = findCondition(before, next.type);
    const same = old ? old.status === next.status && old.reason === next.reason : next.status === "True";
    if (same) return [];
    return [
      {
        type: STALLING.has(next.reason) || next.reason === "PodFailing" ? "Warning" : "Normal",
        reason: next.reason,
        message: next.message,
      },
    ];
  });
}
