/** Building blocks of the kinds' zod schemas: Kubernetes' own notions, each with its bounds. */
import { z } from "zod";

/** One CEL rule; `message` tells the user what to write instead. */
export interface CelRule {
  readonly rule: string;
  readonly message: string;
  readonly fieldPath?: string;
  readonly reason?: string;
  readonly optionalOldSelf?: boolean;
}

/** Attaches CEL rules to a schema node; crd.ts carries them into the CRD. */
export function rules<T extends z.ZodType>(schema: T, ...list: CelRule[]): T {
  return schema.meta({ ...schema.meta(), "x-kubernetes-validations": list }) as T;
}

/** Marks a list as keyed map, so that server-side apply merges it by key. */
export function mapList<T extends z.ZodType>(schema: T, ...keys: string[]): T {
  return schema.meta({ ...schema.meta(), "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": keys }) as T;
}

export function atomicList<T extends z.ZodType>(schema: T): T {
  return schema.meta({ ...schema.meta(), "x-kubernetes-list-type": "atomic" }) as T;
}

export const IMMUTABLE = (field: string, remedy: string): CelRule => ({
  rule: "self == oldSelf",
  message: `${field} cannot be changed: ${remedy}`,
});

export const dnsLabel = z
  .string()
  .min(1)
  .max(63)
  .regex(/^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/);
export const dnsSubdomain = z
  .string()
  .min(1)
  .max(253)
  .regex(/^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/);
/** Positive quantity of bytes: integers with an optional binary or decimal suffix. */
export const byteQuantity = z
  .string()
  .min(1)
  .max(20)
  .regex(/^[1-9][0-9]*(\.[0-9]{1,3})?(Ki|Mi|Gi|Ti|Pi|k|M|G|T|P)?$/);
export const uid = z
  .string()
  .min(1)
  .max(63)
  .regex(/^[0-9a-zA-Z-]+$/);
export const sha256Digest = z
  .string()
  .regex(/^sha256:[0-9a-f]{64}$/)
  .max(71);
/** RFC 3339 instant in UTC with seconds, as the API server writes it. */
export const instant = z.string().max(32).meta({ format: "date-time" });
export const labelValue = z
  .string()
  .max(63)
  .regex(/^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$/);

export const condition = z
  .object({
    type: z.string().max(316).describe("Aspect that the condition speaks of, for example Ready or CapacityReady."),
    status: z.enum(["True", "False", "Unknown"]).describe("Whether the aspect holds now: True, False or Unknown."),
    reason: z
      .string()
      .min(1)
      .max(1024)
      .describe("One word from the closed set in docs/conditions.md, for programs to act on."),
    message: z.string().max(32768).describe("Sentence for people that names the real blocker and what to do next."),
    lastTransitionTime: instant.describe("Instant at which the status last flipped, by the operator's clock."),
    observedGeneration: z
      .int()
      .min(0)
      .optional()
      .describe("Generation of the spec that this condition was computed from."),
  })
  .describe("One observation about the object in the standard shape of Kubernetes conditions.");

export const conditions = mapList(
  z.array(condition).max(16).describe("Current observations; Ready summarises the others and is always present."),
  "type",
);
export type Condition = z.infer<typeof condition>;
