/** Why a model cannot be imported, as data. */
import type { ModelReason } from "../../api/reasons.ts";

export interface ModelProblem {
  readonly reason: ModelReason;
  /** Sentence for people: what is wrong, where, and what to do. Never carries a secret. */
  readonly message: string;
  /** True where waiting may help; false where only a change of the Model, its source or its Secret does. */
  readonly retryable: boolean;
}

/** A refusal: looked at again only slowly, or when something changes. */
export function refusal(reason: ModelReason, message: string): ModelProblem {
  return { reason, message, retryable: false };
}

export function isProblem(value: object): value is ModelProblem {
  return "reason" in value && "retryable" in value;
}

/** `a, b, c and 4 more`: names in messages stay bounded and printable. */
export function some(names: readonly string[], shown = 3): string {
  const head = names.slice(0, shown).map(printable).join(", ");
  return names.length > shown ? `${head} and ${String(names.length - shown)} more` : head;
}

const MOST_SHOWN = 120;
const codeOf = (char: string): string => `\\u${(char.codePointAt(0) ?? 0).toString(16).padStart(4, "0")}`;

/** A hostile name made fit for a message: JSON escapes, also for what cannot be seen or turns text around; at most 120 characters. */
export function printable(name: string): string {
  // No character becomes less than one, and a name may have 48 MiB of them.
  const escaped = JSON.stringify(name.slice(0, MOST_SHOWN + 1))
    .slice(1, -1)
    .replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, codeOf);
  return escaped.length > MOST_SHOWN ? `${escaped.slice(0, MOST_SHOWN - 3)}...` : escaped;
}
