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

/** Adds CEL rules to those that a schema node has already; structural.ts carries them into the CRD. */
export function rules<T extends z.ZodType>(schema: T, ...list: CelRule[]): T {
  const meta = schema.meta();
  const before = (meta?.["x-kubernetes-validations"] ?? []) as readonly CelRule[];
  return schema.meta({ ...meta, "x-kubernetes-validations": [...before, ...list] }) as T;
}

/**
 * A string of a given form, checked by CEL in place of a `pattern`, whose refusal would show the expression only.
 * `expression` is RE2 without quotes; anchors are its own business.
 */
export function matching<T extends z.ZodType>(schema: T, expression: string, message: string): T {
  return rules(schema, { rule: `self.matches(r'${expression}')`, message });
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

export const dnsLabel = matching(
  z.string().max(63),
  "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$",
  "must be the name of an object: lower-case letters, digits and '-', beginning and ending with a letter or digit",
);
export const dnsSubdomain = matching(
  z.string().max(253),
  "^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
  "must be the name of an object: lower-case letters, digits, '-' and '.', beginning and ending with a letter or digit",
);
/** Positive quantity of bytes: a number with an optional binary or decimal suffix. */
export const byteQuantity = matching(
  z.string().max(20),
  "^[1-9][0-9]*(\\.[0-9]{1,3})?(Ki|Mi|Gi|Ti|Pi|k|M|G|T|P)?$",
  "must be a positive number of bytes with a suffix such as Gi or G: write 80Gi, 500G or 1.5Ti",
);
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
export const labelValue = matching(
  z.string().max(63),
  "^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$",
  "must be usable as a label's value: letters, digits, '-', '_' and '.', beginning and ending with a letter or digit",
);
/** A label's value that says something: names of accounts and SKUs. */
export const labelName = matching(
  z.string().max(63),
  "^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$",
  "must be a name of letters, digits, '-', '_' and '.', beginning and ending with a letter or digit",
);

/** Key-value pairs of a user's own; the loose bound lets the rule speak before the server's own words. */
export const freeTags = rules(
  z
    .record(z.string(), z.string().max(128).describe("Value of one tag: at most 128 characters of any script."))
    .meta({ maxProperties: 64 }),
  { rule: "self.size() <= 16", message: "tags holds at most 16 entries: remove some" },
  {
    rule: "self.all(key, key.size() <= 63 && key.matches(r'^[A-Za-z0-9]([-A-Za-z0-9_./]*[A-Za-z0-9])?$'))",
    message: "keys of tags have at most 63 letters, digits, '-', '_', '.' and '/': write cost-centre or team/name",
  },
  {
    rule: "self.all(key, !self[key].matches(r'[\\x00-\\x1f\\x7f]'))",
    message: "values of tags must not contain control characters such as line breaks",
  },
);

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
