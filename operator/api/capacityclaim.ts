/** CapacityClaim: one node's time in one pool, from claimed to released; the basis of metering. Schema and types. */
import { z } from "zod";
import type { KubeObject, ObjectMeta } from "../ports.ts";
import { IMMUTABLE, dnsLabel, dnsSubdomain, instant, rules, uid } from "./schema.ts";

export const capacityClaimSpec = rules(
  z.object({
    deploymentUID: uid.describe("UID of the ModelDeployment that the node is dedicated to."),
    deploymentName: dnsLabel.describe("Name of that ModelDeployment, for people."),
    namespace: dnsLabel.describe("Namespace of that ModelDeployment."),
    namespaceUID: uid.optional().describe("UID of that namespace, since its name may be used again."),
    poolUID: uid.describe("UID of the GPUNodePool that holds the node."),
    sku: z.string().min(1).max(63).describe("Name under which the node's hours are recorded."),
    gpus: z.int().min(1).max(16).describe("Number of GPUs of the node."),
    providerRef: rules(
      z.object({
        provider: z.enum(["static", "karpenter"]).describe("Provider that the node came from."),
        kind: z.enum(["Node", "NodeClaim"]).describe("Kind of the object whose times are the evidence."),
        name: dnsSubdomain.describe("Name of that object."),
        uid: uid.describe("UID of that object, since its name may be used again."),
      }),
      {
        rule: "(self.provider == 'static') == (self.kind == 'Node')",
        message: "provider static holds a Node and provider karpenter a NodeClaim: correct kind",
      },
    ).describe("The object at the provider that stands for the node."),
  }),
  IMMUTABLE("spec", "a claim is a record of what happened"),
).describe("Which node is held by whom; it never changes.");

const evidence = z.object({
  time: instant.describe("The instant, by the clock of the server that wrote the evidence."),
  evidence: z.string().min(1).max(512).describe("Object and field that the instant was read from."),
  estimated: z
    .boolean()
    .optional()
    .describe("True where only the last proof of life was left, in the customer's favour."),
});

/** Money hangs on these: nobody changes them afterwards; one that is removed is read from its evidence again. */
const writtenOnce = (field: string): ReturnType<typeof evidence.optional> =>
  rules(evidence, IMMUTABLE(`status.${field}`, "an instant of the record is written once")).optional();

export const capacityClaimStatus = z
  .object({
    claimedAt: writtenOnce("claimedAt").describe("When the node began to belong to the pool."),
    readyAt: writtenOnce("readyAt").describe(
      "When the node was first Ready with all GPUs while it belonged to the pool.",
    ),
    releasedAt: writtenOnce("releasedAt").describe("When the node stopped belonging to the pool."),
    lastSeenAt: instant.optional().describe("Last proof of life of the node, refreshed once per sealed window."),
    sealedThrough: instant.optional().describe("End of the last sealed window that contains this claim's seconds."),
    unreadyThrough: instant
      .optional()
      .describe("End of the last window that was sealed while it was not known that the node had been ready."),
  })
  .describe("The claim's times with their evidence; written by Berth alone.");

export type ClaimEvidence = z.infer<typeof evidence>;
export type CapacityClaimSpec = z.infer<typeof capacityClaimSpec>;
export type CapacityClaimStatus = z.infer<typeof capacityClaimStatus>;
export interface CapacityClaim extends KubeObject {
  readonly metadata: ObjectMeta;
  readonly spec: CapacityClaimSpec;
  readonly status?: CapacityClaimStatus;
}
