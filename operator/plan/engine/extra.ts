/** Arguments of the user's own: which of them may reach the engine, and what they amount to. */
import type { EngineWishes, ModelFacts } from "../sizing/fit.ts";
import { classOf } from "./classes.ts";
import { jsonPolicies, wrongValue } from "./limits.ts";
import { beyondPlan, type Planned } from "./planned.ts";
import { profileOf, noProfile, type EngineProfile } from "./profile.ts";
import { parseWords, type Plain, type Setting } from "./words.ts";

export interface ArgumentProblem {
  /** Refused: forbidden, unknown or malformed. Conflict: Berth derives it, or it exceeds what was planned for. */
  readonly reason: "EngineArgumentRefused" | "EngineArgumentConflict";
  readonly message: string;
}

/** What the user's words amount to: one value for each flag, the last one given. */
export type Extra = { readonly values: ReadonlyMap<string, Plain> } | { readonly problem: ArgumentProblem };

/**
 * spec.engine.extraArgs judged for one engine version. `planned` holds the bounds that the context was computed with,
 * where they are known already.
 */
export function extraArguments(words: readonly string[], version: string, planned: Planned = {}): Extra {
  const profile = profileOf(version);
  if (words.length === 0) return { values: new Map() };
  if (!profile) return refused(noProfile(version));
  const parsed = parseWords(words, profile);
  if ("problem" in parsed) return refused(`spec.engine.extraArgs: ${parsed.problem}`);
  for (const setting of parsed.settings) {
    const problem = judge(setting, profile);
    if (problem) return { problem };
  }
  const all = merged(parsed.settings);
  const beyond = "values" in all ? beyondPlan(all.values, planned) : undefined;
  return beyond === undefined ? all : { problem: conflict(`spec.engine.extraArgs: ${beyond}`) };
}

/** What arguments that were taken change of the plan: an 8-bit cache, no graphs. A latent cache has layouts of its own in 8 bits: planned at 16. */
export function wishesOf(words: readonly string[], version: string, facts: Pick<ModelFacts, "cache">): EngineWishes {
  const extra = extraArguments(words, version);
  if ("problem" in extra) return {};
  const isLatent = facts.cache?.some(({ kind }) => kind === "Latent") === true;
  const isShort = String(extra.values.get("--kv-cache-dtype") ?? "").startsWith("fp8") && !isLatent;
  return {
    ...(isShort ? { cacheElementBytes: 1 as const } : {}),
    ...(extra.values.get("--enforce-eager") === true ? { enforceEager: true } : {}),
  };
}

function judge({ flag, value, word }: Setting, profile: EngineProfile): ArgumentProblem | undefined {
  const named = word.startsWith(flag) ? flag : `${flag} (written ${JSON.stringify(word.slice(0, 80))})`;
  const found = classOf(flag);
  if (found.kind === "owned") return conflict(`spec.engine.extraArgs: ${named} is set by Berth: ${found.instead}`);
  if (found.kind === "forbidden")
    return refused(`spec.engine.extraArgs: ${named} may not be set: ${found.because}`).problem;
  if (word.startsWith(`${flag}.`) && !(flag in jsonPolicies))
    return refused(`spec.engine.extraArgs: ${flag} takes no keys in vLLM ${profile.version}`).problem;
  const wrong = wrongValue(flag, value);
  return wrong === undefined ? undefined : refused(`spec.engine.extraArgs: ${named} ${wrong}`).problem;
}

/** Later wins; dotted keys of one flag come together. A flag given as a whole and by keys is refused: the parser would drop one of the two. */
function merged(settings: readonly Setting[]): Extra {
  const values = new Map<string, Plain>();
  const dotted = new Set<string>();
  for (const { flag, value, word } of settings) {
    const isDotted = word.startsWith(`${flag}.`);
    if (values.has(flag) && dotted.has(flag) !== isDotted)
      return refused(`spec.engine.extraArgs: ${flag} is given both as JSON and by keys: write one of the two`);
    if (isDotted) dotted.add(flag);
    values.set(flag, isDotted ? deepMerge(values.get(flag) ?? {}, value) : value);
  }
  return { values };
}

function deepMerge(before: Plain, after: Plain): Plain {
  if (!isObject(before) || !isObject(after)) return after;
  const keys = [...new Set([...Object.keys(before), ...Object.keys(after)])];
  return Object.fromEntries(
    keys.map((key): [string, Plain] => {
      const [old, fresh] = [before[key], after[key]];
      return [key, old === undefined ? (fresh ?? null) : fresh === undefined ? old : deepMerge(old, fresh)];
    }),
  );
}

function isObject(value: Plain): value is { readonly [key: string]: Plain } {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function refused(message: string): { readonly problem: ArgumentProblem } {
  return { problem: { reason: "EngineArgumentRefused", message } };
}

function conflict(message: string): ArgumentProblem {
  return { reason: "EngineArgumentConflict", message };
}
