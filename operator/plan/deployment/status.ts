/** The whole status from one snapshot: conditions first, Ready from them, the phase from both. Nothing is remembered. */
import { mergeConditions, findCondition, type WantedCondition } from "../../api/conditions.ts";
import type { Condition } from "../../api/schema.ts";
import type { ModelDeploymentStatus } from "../../api/modeldeployment.ts";
import type { PlannedEvent, Problem } from "../plan.ts";
import { fitOf, licenseIsAccepted, modelProblem } from "./checks.ts";
import { endpointOf, selectorText } from "./children.ts";
import type { PodFacts } from "./podfacts.ts";
import type { Rollout } from "./rollout.ts";
import { fetchWords } from "./fetchwords.ts";
import { ownPool, type Seen } from "./seen.ts";
import { wantedNodes, type Sizes } from "./size.ts";

/** Reasons that only a human or a change of a spec can help with. */
const STALLING = new Set([
  "NodeTypeNotFound",
  "NodeTypeDisabled",
  "NodeCacheDisabled",
  "EngineVersionNotOffered",
  "EngineArgumentRefused",
  "EngineArgumentConflict",
  "EngineVariableRefused",
  "AccountNotAllowed",
  "AcceptanceRequired",
  "ArchitectureUnsupported",
  "DoesNotFit",
  "ContextTooLong",
  "ModelNotFound",
  "RevisionNotFound",
  "ImportFailed",
  "SignatureInvalid",
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
  readonly facts: PodFacts;
}

/** Fields that do not apply are there with undefined, so that an earlier value goes away. */
export function statusOf(input: StatusInput): ModelDeploymentStatus {
  const { seen, rollout, facts } = input;
  const { deployment } = seen;
  const conditions = conditionsOf(input);
  const pinned = rollout.revision?.pinned;
  return {
    observedGeneration: deployment.metadata.generation ?? 0,
    phase: phaseOf(input, conditions),
    replicas: facts.replicas,
    readyReplicas: facts.ready,
    updatedReplicas: facts.updated,
    selector: selectorText(deployment),
    endpoint: endpointOf(deployment),
    model: pinned && { digest: pinned.model.digest, revision: pinned.model.revision },
    engine: pinned && { image: pinned.engine.image, args: [...pinned.engine.args] },
    capacity: pinned?.capacity ?? capacityOf(seen),
    conditions: mergeConditions(deployment.status?.conditions, conditions, {
      now: seen.now,
      generation: deployment.metadata.generation ?? 0,
    }),
  };
}

/** Before there is a template: what it will promise. */
function capacityOf(seen: Seen): ModelDeploymentStatus["capacity"] {
  const fit = fitOf(seen);
  return fit && "capacity" in fit ? fit.capacity : undefined;
}

function conditionsOf(input: StatusInput): WantedCondition[] {
  const parts = [
    licenseCondition(input.seen),
    modelCondition(input),
    capacityCondition(input),
    servingCondition(input),
  ];
  const failing = parts.filter((part) => part.status !== "True");
  // What waits for somebody goes before what passes by itself, else nobody would act before the latter is over.
  const main = failing.find(({ reason }) => STALLING.has(reason)) ?? failing[0];
  if (!main) return [...parts, { type: "Ready", status: "True", reason: "Serving", message: servingMessage(input) }];
  const ready: WantedCondition = { ...main, type: "Ready" };
  if (main.reason === "Suspended") return [...parts, ready];
  const transient = STALLING.has(main.reason) ? "Stalled" : "Reconciling";
  return [...parts, { ...main, type: transient, status: "True" }, ready];
}

function servingMessage({ seen, sizes, facts }: StatusInput): string {
  const shrinking = sizes.holding ? `; ${sizes.holding.message}` : "";
  return `${facts.ready} of ${wantedNodes(seen)} replicas answer at ${endpointOf(seen.deployment)}${shrinking}`;
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
  const not = ({ reason, message }: Problem): WantedCondition => ({ type, status: "False", reason, message });
  if (seen.deployment.spec.suspend) return not(suspension(seen, sizes));
  if (sizes.holding && !GIVING_BACK.has(sizes.holding.reason)) return not(sizes.holding);
  if (!pool) return not(blocked ?? { reason: "Provisioning", message: "the node pool is being made" });
  const want = wantedNodes(seen);
  const ready = pool.status?.ready ?? 0;
  const message = `${ready} of ${want} nodes are ready`;
  if (ready >= want && pool.spec.size >= want) return { type, status: "True", reason: "NodesReady", message };
  const words = findCondition(pool.status?.conditions, "Ready");
  return not(words && words.status !== "True" ? words : { reason: "Provisioning", message });
}

/** Reasons of a pool that is larger than wanted: nothing is missing. */
const GIVING_BACK = new Set(["ShrinkStabilizing", "Draining"]);

function suspension(seen: Seen, { holding }: Sizes): Problem {
  const pool = ownPool(seen);
  const claimed = pool?.status?.claimed ?? 0;
  if (holding) return holding;
  if (pool && (pool.spec.size > 0 || claimed > 0))
    return { reason: "Draining", message: `${claimed} nodes are being released` };
  return { reason: "Suspended", message: "spec.suspend is true: no node is held, nothing is billed" };
}

function servingCondition({ seen, blocked, rollout, facts }: StatusInput): WantedCondition {
  const type = "Serving";
  const want = wantedNodes(seen);
  const not = (reason: string, message: string): WantedCondition => ({ type, status: "False", reason, message });
  if (want === 0)
    return not(
      "Suspended",
      facts.replicas > 0 ? `${facts.replicas} pods finish their requests` : "spec.suspend is true: no replica runs",
    );
  const failure = facts.failure ?? refusal(seen);
  if (failure && facts.updatedReady < want) return not(failure.reason, failure.message);
  // A new template is stored together with the workload, when the first node is there.
  if (rollout.revision === undefined || (rollout.isNew && facts.staying === 0 && !ownPool(seen)?.status?.claimed))
    return not(
      blocked && STALLING.has(blocked.reason) ? blocked.reason : "WaitingForTemplate",
      blocked?.message ?? "the first template is rendered when model and nodes are known",
    );
  if (rollout.isStale) {
    const problem = blocked ?? modelProblem(seen);
    const words = problem?.message ?? "the new template cannot be rendered yet";
    return not(problem?.reason ?? "Updating", `${facts.ready} replicas run the former spec: ${words}`);
  }
  const message = `${facts.updatedReady} of ${want} replicas answer with the newest template${fetchWords(facts.fetching)}`;
  if (facts.updated < facts.staying) return not("Updating", message);
  if (facts.updatedReady < want) return not("PodsStarting", message);
  return { type, status: "True", reason: "AllReplicasServing", message: `${facts.ready} of ${want} replicas answer` };
}

/** Why the ReplicaSet cannot make a pod, in the API server's words: a ResourceQuota, pod security, another admission policy. */
function refusal({ workload }: Seen): Problem | undefined {
  const failure = workload?.status?.conditions?.find(({ type }) => type === "ReplicaFailure");
  if (failure?.status !== "True") return undefined;
  return { reason: "PodsRefused", message: failure.message ?? "the API server takes no pod of this deployment" };
}

function phaseOf(
  { seen, rollout, facts, sizes }: StatusInput,
  conditions: readonly WantedCondition[],
): ModelDeploymentStatus["phase"] {
  const is = (type: string): WantedCondition | undefined => conditions.find((condition) => condition.type === type);
  const givingBack = sizes.holding !== undefined && GIVING_BACK.has(sizes.holding.reason);
  if (is("Ready")?.status === "True") return givingBack ? "Scaling" : "Ready";
  if (is("CapacityReady")?.reason === "Suspended") return "Suspended";
  if (is("Stalled") || FAILING.has(is("Serving")?.reason ?? "")) return "Error";
  if (facts.updated < facts.staying || (rollout.isStale && facts.staying > 0)) return "Updating";
  if (facts.ready > 0 || seen.deployment.spec.suspend) return "Scaling";
  return is("CapacityReady")?.status === "True" && rollout.revision ? "Deploying" : "Creating";
}

const FAILING = new Set(["PodFailing", "PodsRefused"]);

/**
 * One event when Ready takes another status or reason, since it repeats what stands in the way; and one when the model of
 * a deployment that goes on serving changes its state. None in steady state.
 */
export function transitions(before: readonly Condition[] | undefined, after: readonly Condition[]): PlannedEvent[] {
  return after.flatMap((next) => {
    const old = findCondition(before, next.type);
    if (old && old.status === next.status && old.reason === next.reason) return [];
    const { type, status, reason, message } = next;
    const isPinned = type === "ModelReady" && status === "True" && reason !== "Imported";
    if (type !== "Ready" && !isPinned) return [];
    const isBad = status !== "True" ? STALLING.has(reason) || WARNING.has(reason) : isPinned;
    return [{ type: isBad ? "Warning" : "Normal", reason, message }];
  });
}

const WARNING = new Set(["PodFailing", "PodsRefused", "PodUnschedulable", "OutOfStock", "NodeLost", "ProviderError"]);
