/** Capacity that was held and cannot be proven: told once each, as a metric, a line in the log and an event. */
import { Counter } from "prom-client";
import type { Registry } from "prom-client";
import type { EventRecorder, KubeObject, Log, Resource } from "../ports.ts";

export const UNPROVEN = "UnprovenCapacity";

const causes = ["sizes", "pool", "claim", "restored", "unseen"] as const;

export interface Unprovable {
  /** docs/metering.md says what each means. */
  readonly cause: (typeof causes)[number];
  /** What it is about: one alarm for each cause and key. */
  readonly key: string;
  readonly message: string;
  readonly about?: KubeObject;
  readonly resource?: Resource;
}

export type Unproven = (what: Unprovable) => void;

export function newUnproven(deps: {
  readonly registry: Registry;
  readonly log: Log;
  readonly events: EventRecorder;
}): Unproven {
  const counter = new Counter({
    name: "berth_capacity_unproven_total",
    help: "Times at which capacity was held and could not be proven any more, by cause; nothing is billed for it",
    labelNames: ["cause"] as const,
    registers: [deps.registry],
  });
  for (const cause of causes) counter.inc({ cause }, 0);
  const told = new Set<string>();
  return ({ cause, key, message, about, resource }) => {
    if (told.has(`${cause} ${key}`)) return;
    told.add(`${cause} ${key}`);
    counter.inc({ cause });
    deps.log.error({ cause, key, remedy: message }, "capacity cannot be proven");
    if (!about || !resource) return;
    const { kind, group, version } = resource;
    const apiVersion = group === "" ? version : `${group}/${version}`;
    deps.events.emit({ ...about, kind, apiVersion }, { type: "Warning", reason: UNPROVEN, message });
  };
}
