/** Layers of sentence-transformers beside the model itself: each has a folder, which modules.json names. */
import { isJson, parseJson } from "./config.ts";
import type { Json } from "./config.ts";
import type { Listing } from "./listing.ts";
import { printable, refusal } from "./problem.ts";
import type { ModelProblem } from "./problem.ts";

const MODULES_PATH = "modules.json";

/** Types by vLLM 0.28 to 0.32 (transformers_utils/config.py try_get_dense_modules): of these it applies the weights. */
const denseTypes = new Set([
  "sentence_transformers.models.Dense",
  "sentence_transformers.base.modules.dense.Dense",
  "pylate.models.Dense.Dense",
]);

/** A list, or one in a field, as vLLM reads both. */
function modulesOf(text: string): readonly Json[] {
  const json = parseJson(MODULES_PATH, text);
  const value = "value" in json ? json.value : undefined;
  const list = isJson(value) ? value["modules"] : value;
  return Array.isArray(list) ? list.filter(isJson) : [];
}

/** As the engine, which joins paths, finds it: `./2_Dense/` is `2_Dense`, and one from the root on is nowhere. */
function prefixOf(folder: string): string {
  if (folder.startsWith("/")) return `${folder}/`;
  const parts = folder.split("/").filter((part) => part !== "" && part !== ".");
  return parts.map((part) => `${part}/`).join("");
}

/**
 * A dense layer whose weights are not there is passed by without a word, and every vector is another one (vLLM
 * model_executor/models/adapters.py _load_st_projector): repositories have them as a pickle that is left out.
 */
export function layersProblem(
  listing: Pick<Listing, "files" | "leftOut">,
  texts: ReadonlyMap<string, string>,
): ModelProblem | undefined {
  const paths = new Set(listing.files.map(({ path }) => path));
  for (const { type, path: folder } of modulesOf(texts.get(MODULES_PATH) ?? "null")) {
    if (typeof type !== "string" || !denseTypes.has(type)) continue;
    const within = typeof folder === "string" ? prefixOf(folder) : "";
    const missing = [`${within}config.json`, `${within}model.safetensors`].find((path) => !paths.has(path));
    if (missing === undefined) continue;
    const pickle = listing.leftOut.find((path) => path === `${within}pytorch_model.bin`);
    const what = `${MODULES_PATH} names a dense layer, without which every vector is another one`;
    if (pickle !== undefined)
      return refusal(
        "UnsafeFormat",
        `${what}, but its weights are there only in a format that can run code when loaded (${printable(pickle)}): take a copy that has ${printable(missing)}`,
      );
    return refusal("WeightsMissing", `${what}, but there is no ${printable(missing)}: add it`);
  }
  return undefined;
}
