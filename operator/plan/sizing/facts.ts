/** What sizing knows of a model: fields of its status, whoever read them. */
import type { ModelStatus } from "../../api/model.ts";
import type { CacheLayers } from "./kv.ts";

/** Sizes of a model as its headers state them; a missing one means that it could not be known. */
export type ModelFacts = Pick<
  ModelStatus,
  | "architecture"
  | "weightBytes"
  | "kvBytesPerToken"
  | "contextLength"
  | "shape"
  | "weights"
  | "cache"
  | "quantization"
  | "effectiveBits"
  | "dtypes"
  | "task"
>;

type Entry = NonNullable<ModelStatus["cache"]>[number];

function layersOf(entry: Entry): CacheLayers {
  const { kind, layers, heads = 1, keySize = 0, valueSize = keySize, window = 0 } = entry;
  switch (kind) {
    case "Full":
      return { kind, layers, heads, keySize, valueSize };
    case "Sliding":
    case "Chunked":
    case "Cross":
      return { kind, layers, heads, keySize, valueSize, window };
    case "Latent":
      return {
        kind,
        layers,
        keySize,
        ...(entry.elementBytes === undefined ? {} : { elementBytes: entry.elementBytes }),
      };
    case "State": {
      const { convolution = 0, groups = 0, groupSize = 0, recurrent = 0, recurrentBytes = 2 } = entry;
      return { kind, layers, convolution, groups, groupSize, recurrent, recurrentBytes };
    }
  }
}

/** Layers that keep a cache; of a status written before there was a list, one run that costs the same per token. */
export function cacheLayersOf(facts: ModelFacts): readonly CacheLayers[] | undefined {
  if (facts.cache) return facts.cache.map(layersOf);
  if (facts.kvBytesPerToken === undefined) return undefined;
  if (facts.kvBytesPerToken === 0) return [];
  const heads = facts.shape?.keyValueHeads ?? 0;
  const bytes = facts.kvBytesPerToken / 2;
  if (heads === 0) return [{ kind: "Latent", layers: 1, keySize: bytes }];
  return [{ kind: "Full", layers: 1, heads, keySize: bytes / heads, valueSize: 0 }];
}
