/**
 * Code of a model's own, by what its configurations name: none is ever run. A repository of a hub may name some that nobody
 * needs (docs/decisions/0033).
 */
import { isJson, parseJson } from "./config.ts";
import type { Json } from "./config.ts";
import type { SourceKind } from "./listing.ts";
import { knownModelTypes } from "./modeltypes.ts";
import { printable, refusal } from "./problem.ts";
import type { ModelProblem } from "./problem.ts";

const remedies: Readonly<Record<SourceKind, (key: string) => string>> = {
  bucket: (key) => `use a model whose architecture vLLM knows, and remove ${key}`,
  repository: (key) => `use a model that is read without it, or import a copy without ${key} from a bucket`,
};

const namesCode = (path: string, key: string, kind: SourceKind): ModelProblem =>
  refusal(
    "CustomCode",
    `${printable(path)} names code of its own (${key}): Berth runs no code of a model: ${remedies[kind](key)}`,
  );

/** Objects of a configuration at any depth; parseJson has bounded it. With recursion each would pay for its depth. */
function* placesIn(value: unknown): Generator<Json> {
  const ahead = [value];
  for (let at = ahead.pop(); at !== undefined; at = ahead.pop()) {
    if (isJson(at)) yield at;
    if (typeof at !== "object" || at === null) continue;
    for (const entry of Object.values(at)) if (typeof entry === "object" && entry !== null) ahead.push(entry);
  }
}

/** Classes that the engine has of its own for an architecture it serves; processors it may take from the model alone. */
const replacedClass = /^Auto(Config|Tokenizer|Model\w*)$/;

/** With "--" in it a reference leads to another repository, whose code is not known to be left out. */
function isOwnReference(reference: unknown): boolean {
  if (Array.isArray(reference)) return reference.every((one) => one === null || isOwnReference(one));
  return typeof reference === "string" && !reference.includes("--");
}

/** Whether all that the auto_map of config.json names has another in the engine, which takes that one. */
function isReplaced({ model_type: type, auto_map: map }: Json): boolean {
  if (typeof type !== "string" || !knownModelTypes.has(type) || !isJson(map)) return false;
  return Object.entries(map).every(([name, reference]) => replacedClass.test(name) && isOwnReference(reference));
}

const isEmpty = (value: unknown): boolean =>
  typeof value === "object" && value !== null && Object.keys(value).length === 0;

function codeAt(path: string, place: Json, kind: SourceKind): ModelProblem | undefined {
  for (const key of ["auto_map", "custom_pipelines"]) {
    if (!Object.hasOwn(place, key) || isEmpty(place[key])) continue;
    if (place[key] !== null) return namesCode(path, key, kind);
    // It names nothing, but transformers looks into it: TypeError where the model is to start.
    return refusal("CustomCode", `${printable(path)} has ${key}: null, which transformers cannot read: remove ${key}`);
  }
  const trust = place["trust_remote_code"];
  if (trust === undefined || trust === false || trust === null) return undefined;
  const remedy = remedies[kind]("trust_remote_code");
  return refusal(
    "CustomCode",
    `${printable(path)} asks for trust_remote_code: Berth runs no code of a model: ${remedy}`,
  );
}

/** The refusal of a configuration that names code of its own, or asks for its execution, at any depth. */
export function codeIn(path: string, config: unknown, kind: SourceKind): ModelProblem | undefined {
  const isOwn = kind === "repository" && path === "config.json";
  for (const place of placesIn(config)) {
    const isLeft = isOwn && place === config && isReplaced(place);
    const problem = codeAt(path, isLeft ? { ...place, auto_map: {} } : place, kind);
    if (problem) return problem;
  }
  return undefined;
}

/** Why a file is refused that may hold anything but code; what it holds is not Berth's business. */
export function codeProblem(path: string, text: string, kind: SourceKind): ModelProblem | undefined {
  const json = parseJson(path, text);
  if (!("value" in json)) return json;
  return json.value === undefined
    ? refusal("ConfigInvalid", `${printable(path)} is not JSON: mend it, or remove it`)
    : codeIn(path, json.value, kind);
}
