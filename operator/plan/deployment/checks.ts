/**
 * Checks before money: each names one thing that keeps a deployment from getting capacity, cheap and final reasons first.
 * A blocked deployment buys nothing new; what it already has goes on.
 */
import { annotations } from "../../api/keys.ts";
import { findCondition } from "../../api/conditions.ts";
import { chooseImage } from "../engine/args.ts";
import { refusedVariable } from "../engine/environment.ts";
import { extraArguments, wishesOf } from "../engine/extra.ts";
import { engineLine } from "../engine/render.ts";
import type { Problem } from "../plan.ts";
import { fitOneNode, type Fit, type FitOptions } from "../sizing/fit.ts";
import { insteadOf } from "../sizing/proposal.ts";
import { engineInputOf } from "./engineinput.ts";
import { ownPool, type Seen } from "./seen.ts";

export type Check = (seen: Seen) => Problem | undefined;

export const nodeTypeExists: Check = ({ nodeType, deployment }) =>
  nodeType
    ? undefined
    : {
        reason: "NodeTypeNotFound",
        message: `node type ${deployment.spec.nodeType} does not exist: kubectl get nodetypes.berth.dev lists those that do`,
      };

export const nodeTypeIsEnabled: Check = ({ nodeType }) =>
  nodeType?.spec.disabled
    ? {
        reason: "NodeTypeDisabled",
        message: `node type ${nodeType.metadata.name} is disabled by the platform: use another one`,
      }
    : undefined;

/** Pools keep the shape that they were made with; without the platform's leave none is made with a cache. */
export const cacheIsAllowed: Check = ({ nodeType, settings }) =>
  nodeType?.spec.cache && !settings.nodeCaches
    ? {
        reason: "NodeCacheDisabled",
        message: `node type ${nodeType.metadata.name} has a cache, which this installation does not allow: its administrator sets the chart's nodeCaches.enabled, or takes spec.cache off the node type`,
      }
    : undefined;

export const engineIsOffered: Check = ({ deployment, settings }) => {
  const wanted = deployment.spec.engine.version;
  if (chooseImage(settings.engineImages, wanted)) return undefined;
  const offered = settings.engineImages.map((entry) => entry.version).join(", ") || "none";
  return {
    reason: "EngineVersionNotOffered",
    message: `spec.engine.version ${wanted ?? "(default)"} is not in the administrator's list of engine images: ${offered}`,
  };
};

/** Before the model is known: what no model could change. */
export const argumentsAreAllowed: Check = ({ deployment, settings }) => {
  const { version: wanted, extraArgs = [], env = [] } = deployment.spec.engine;
  const version = chooseImage(settings.engineImages, wanted)?.version ?? "";
  const extra = extraArguments(extraArgs, version);
  if ("problem" in extra) return extra.problem;
  const variable = refusedVariable(env, version);
  return variable === undefined ? undefined : { reason: "EngineVariableRefused", message: variable };
};

/** With the numbers that the context was computed with. */
export const argumentsFitThePlan: Check = (seen) => {
  const fit = fitOf(seen);
  const input = fit && "capacity" in fit ? engineInputOf(seen, fit, 1) : undefined;
  const rendered = input && engineLine(input);
  return rendered && "problem" in rendered ? rendered.problem : undefined;
};

export const accountIsAllowed: Check = ({ deployment, namespace }) => {
  const account = deployment.spec.billing.account;
  if (account === undefined || account === deployment.metadata.namespace) return undefined;
  const allowed = (namespace?.metadata.annotations?.[annotations.billingAccounts] ?? "")
    .split(",")
    .map((name) => name.trim());
  if (allowed.includes(account)) return undefined;
  return {
    reason: "AccountNotAllowed",
    message: `spec.billing.account ${account} is not allowed for namespace ${deployment.metadata.namespace}: an administrator allows it with the annotation ${annotations.billingAccounts} on the namespace`,
  };
};

/** The model was inspected: its sizes are known, though its files may still be on their way. */
export const modelIsKnown: Check = (seen) => {
  const problem = modelProblem(seen);
  if (problem && problem.reason !== "Importing") return problem;
  return seen.model?.status?.weightBytes === undefined ? problem : undefined;
};

/** The catalogue's own numbers suffice to refuse, not to buy: a node is bought for a model whose source has answered. */
export const modelIsInspected: Check = (seen) =>
  seen.model?.status?.recorded === true ? modelProblem(seen) : undefined;

/** By name, so that a deployment which moves on to another model has accepted nothing but what it names. */
export const licenseIsAccepted: Check = ({ model, deployment }) => {
  const license = model?.spec.license;
  const { acceptLicense: accepted } = deployment.spec;
  if (!license?.acceptanceRequired || accepted === license.name) return undefined;
  const instead = typeof accepted === "string" ? `, and spec.acceptLicense names ${accepted}` : "";
  return {
    reason: "AcceptanceRequired",
    message: `model ${model?.metadata.name} comes under the licence ${license.name}${license.url ? ` (${license.url})` : ""}${instead}: read it and set spec.acceptLicense to ${license.name}`,
  };
};

/** A refusal for size names what of the platform would do. */
export const modelFits: Check = (seen) => {
  const fit = fitOf(seen);
  if (!fit || !("problem" in fit)) return undefined;
  const facts = seen.model?.status;
  if (fit.problem.reason !== "DoesNotFit" || facts?.weightBytes === undefined) return fit.problem;
  const { contextLength } = seen.deployment.spec;
  const instead = insteadOf(seen.nodeType, facts, seen.nodeTypes, { contextLength, ...fitOptions(seen) });
  const advised = fitOf(seen, { instead });
  return advised && "problem" in advised ? advised.problem : fit.problem;
};

/** Capacity of one replica by the node's pinned shape, or by the node type's before there is a pool. */
export function fitOf(seen: Seen, more: FitOptions = {}): Fit | undefined {
  const gpu = ownPool(seen)?.spec.template.gpu ?? seen.nodeType?.spec.gpu;
  const facts = seen.model?.status;
  if (!gpu || !facts) return undefined;
  return fitOneNode(facts, gpu, seen.deployment.spec.contextLength, { ...fitOptions(seen), ...more });
}

function fitOptions({ deployment, settings, model }: Seen): FitOptions {
  const { quantization, engine } = deployment.spec;
  const engineVersion = chooseImage(settings.engineImages, engine.version)?.version;
  const bits = quantization?.bits;
  const wishes = wishesOf(engine.extraArgs ?? [], engineVersion ?? "", model?.status ?? {});
  return {
    ...(Object.keys(wishes).length > 0 ? { engine: wishes } : {}),
    ...(bits === undefined ? {} : { bits }),
    ...(engineVersion === undefined ? {} : { engineVersion }),
  };
}

/** What is wrong with the model itself, as ModelReady says it; undefined when a complete revision can be served. */
export function modelProblem({ model, deployment }: Seen): Problem | undefined {
  const { kind, name, revision } = deployment.spec.model;
  if (!model)
    return { reason: "ModelNotFound", message: `${kind} ${name} does not exist: create it, or correct spec.model` };
  if (revision !== undefined && !model.status?.revisions?.some((entry) => entry.digest === revision)) {
    return {
      reason: "RevisionNotFound",
      message: `${kind} ${name} has no imported revision ${revision}: take one of its status.revisions, or leave spec.model.revision out`,
    };
  }
  if (model.status?.digest !== undefined) return undefined;
  const ready = findCondition(model.status?.conditions, "Ready");
  const words = ready ? `${ready.reason}: ${ready.message}` : "the importer has not looked at it yet";
  if (findCondition(model.status?.conditions, "Stalled")?.status === "True")
    return { reason: "ImportFailed", message: `${kind} ${name} cannot be imported: ${words}` };
  return { reason: "Importing", message: `${kind} ${name} is not imported yet: ${words}` };
}

export const quotaHolds = (seen: Seen, size: number): Problem | undefined => {
  const quota = seen.nodeType?.spec.quota;
  const type = seen.nodeType?.metadata.name;
  const { total, inNamespace } = seen.others;
  if (quota?.total !== undefined && total + size > quota.total) {
    return {
      reason: "QuotaExceeded",
      message: `the quota of node type ${type} is ${quota.total} nodes in total: others hold ${total}, this deployment wants ${size}`,
    };
  }
  if (quota?.perNamespace !== undefined && inNamespace + size > quota.perNamespace) {
    return {
      reason: "QuotaExceeded",
      message: `the quota of node type ${type} is ${quota.perNamespace} nodes for each namespace: others in ${seen.deployment.metadata.namespace} hold ${inNamespace}, this deployment wants ${size}`,
    };
  }
  return undefined;
};

export const poolNameIsFree: Check = (seen) =>
  seen.pool && !ownPool(seen)
    ? {
        reason: "PreviousPoolRemains",
        message: `pool ${seen.pool.metadata.name} of an earlier deployment of this name is still being released: waiting for it`,
      }
    : undefined;

export const beforeCapacity: readonly Check[] = [
  engineIsOffered,
  argumentsAreAllowed,
  accountIsAllowed,
  nodeTypeExists,
  cacheIsAllowed,
  modelIsKnown,
  licenseIsAccepted,
  modelFits,
  argumentsFitThePlan,
  modelIsInspected,
  poolNameIsFree,
];

export function firstProblem(checks: readonly Check[], seen: Seen): Problem | undefined {
  for (const check of checks) {
    const problem = check(seen);
    if (problem) return problem;
  }
  return undefined;
}
