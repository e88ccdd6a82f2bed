/** Facts of a catalogue entry before its source was asked: what the entry records of config.json, read as inspection would read it. */
import { findCondition, mergeConditions } from "../../api/conditions.ts";
import type { ClusterModel, ModelStatus } from "../../api/model.ts";
import { cacheOf } from "../model/cache.ts";
import { architectureOf, contextLengthOf, quantizationOf, ropeTypeOf, taskOf, type Json } from "../model/config.ts";
import type { ModelFacts } from "../model/inspect.ts";
import { shapeOf } from "../model/shape.ts";
import { kvBytesPerToken } from "../sizing/kv.ts";

/** What of an entry is needed here (operator/catalogue/schema.ts has all of it). */
export interface RecordedEntry {
  readonly name: string;
  /** Tokens, as published. */
  readonly contextLength: number;
  readonly tasks: readonly string[];
  /** Fields of config.json, and bytes. */
  readonly facts: { readonly config: Json; readonly weightBytes: number };
}

/** Facts by the entry's name. */
export function recordedOf(entries: readonly RecordedEntry[]): ReadonlyMap<string, ModelFacts> {
  return new Map(
    entries.flatMap((entry) => {
      const facts = recordedFacts(entry);
      return facts ? [[entry.name, facts] as const] : [];
    }),
  );
}

/** What inspection replaces. Parts of the weights are not recorded, so quantization at load is reckoned more carefully. */
function recordedFacts({ contextLength, tasks, facts: recorded }: RecordedEntry): ModelFacts | undefined {
  const { config, weightBytes } = recorded;
  const architecture = architectureOf(config);
  if (typeof architecture !== "string") return undefined;
  const task = taskOf(architecture, tasks.includes("embedding"));
  const shape = shapeOf(config, []);
  const cache = cacheOf(architecture, task, config, shape);
  const facts: ModelFacts = {
    recorded: true,
    weightBytes,
    architecture,
    task,
    quantization: quantizationOf(config),
    contextLength: contextLengthOf(config, task) ?? contextLength,
    ropeScaling: ropeTypeOf(config),
    kvBytesPerToken: cache && kvBytesPerToken(cache),
    ...(Object.keys(shape).length > 0 ? { shape } : {}),
    cache: cache && [...cache],
  };
  return Object.fromEntries(Object.entries(facts).filter(([, value]) => value !== undefined));
}

/** The status of an entry that nobody has inspected; undefined where there is nothing to say. */
export function recordedStatus(
  live: ClusterModel,
  facts: ModelFacts | undefined,
  now: number,
): Partial<ModelStatus> | undefined {
  const { status, metadata } = live;
  if (!facts || metadata.deletionTimestamp || (status?.weightBytes !== undefined && status.recorded !== true))
    return undefined;
  if (findCondition(status?.conditions, "Ready")) return facts;
  const message = "the sizes are those that the catalogue records; the source was not asked yet";
  const conditions = mergeConditions(
    status?.conditions,
    [{ type: "Ready", status: "False", reason: "Recorded", message }],
    { now, generation: metadata.generation ?? 0 },
  );
  return { ...facts, phase: "Preparing", conditions };
}
