/**
 * What a plan is: writes as data, in order, with the status that goes with them. Pure; knows no kind.
 */
import type { KubeObject, Resource } from "../ports.ts";

/** One request to the API server, decided but not made. */
export type Write =
  | {
      readonly op: "apply";
      readonly resource: Resource;
      readonly object: KubeObject;
      readonly manager: string;
      readonly force?: boolean;
      /** Sent even where the object already is what is wanted: it is the server's note of who applied when that is needed. */
      readonly always?: boolean;
    }
  | { readonly op: "create"; readonly resource: Resource; readonly object: KubeObject; readonly manager: string }
  | {
      readonly op: "patch";
      readonly resource: Resource;
      readonly namespace?: string;
      readonly name: string;
      /** JSON merge patch; carries metadata.resourceVersion where a lost update would cost something. */
      readonly body: object;
      readonly manager: string;
      readonly subresource?: "status";
    }
  | {
      readonly op: "delete";
      readonly resource: Resource;
      readonly namespace?: string;
      readonly name: string;
      readonly uid?: string;
      readonly gracePeriodSeconds?: number;
      readonly propagationPolicy?: "Foreground" | "Background";
    };

export interface PlannedEvent {
  readonly type: "Normal" | "Warning";
  readonly reason: string;
  readonly message: string;
}

/** Same snapshot in, same plan out. */
export interface Plan<Status> {
  /** Steps run one after another; the writes of one step run side by side. A failing step ends the round. */
  readonly steps: readonly (readonly Write[])[];
  /** Whole desired status; only differences are sent. undefined: leave it alone. */
  readonly status: Status | undefined;
  readonly events: readonly PlannedEvent[];
  /** Look again after this long even if nothing happens. */
  readonly requeueAfterMs?: number;
  /** Why this plan, in a few words, for logs. */
  readonly because: string;
}

/** A reason why something cannot go on, for a condition. */
export interface Problem {
  readonly reason: string;
  readonly message: string;
}

/** One line a write, for logs and golden tests. */
export function describeWrite(write: Write): string {
  const { name, namespace } = write.op === "apply" || write.op === "create" ? write.object.metadata : write;
  const where = namespace ? `${namespace}/${name}` : name;
  return `${write.op} ${write.resource.kind} ${where}`;
}
