/**
 * Words of a command line to settings, by the grammar of vLLM's parser (vllm/utils/argparse_utils.py over argparse):
 * abbreviations that fit one flag, underscores for dashes, --no-, `=`, short aliases, -O3, dotted JSON keys.
 * Stricter than the parser where it guesses: what is not understood without doubt is refused, and what is understood is
 * rendered anew in full names, so that the engine sees nothing that was not judged.
 */
import { classOf } from "./classes.ts";
import { jsonLists, jsonPolicies } from "./limits.ts";
import type { EngineProfile, Flag } from "./profile.ts";
import { removedFlags } from "./profile.ts";

/** JSON as parsed. */
export type Plain = string | number | boolean | null | readonly Plain[] | { readonly [key: string]: Plain };

export interface Setting {
  /** Full name. */
  readonly flag: string;
  /** true and false for a switch; words for a list; JSON where the flag takes JSON; else one word. */
  readonly value: Plain;
  /** Where it stands in the words, for messages. */
  readonly word: string;
}

export type Parsed = { readonly settings: readonly Setting[] } | { readonly problem: string };

/** Bytes of one word that may reach the process; a JSON of the flags that are allowed is far smaller. */
const LONGEST_WORD = 2_048;

class Refusal extends Error {}

/** Words in, settings out in their order, or the sentence about the first word that is not understood. */
export function parseWords(words: readonly string[], profile: EngineProfile): Parsed {
  try {
    return { settings: new Reading(words, profile).settings() };
  } catch (error) {
    if (error instanceof Refusal) return { problem: error.message };
    throw error;
  }
}

interface Name {
  readonly flag: string;
  readonly entry: Flag;
  readonly negated: boolean;
}

class Reading {
  readonly #words: readonly string[];
  readonly #profile: EngineProfile;
  #at = 0;

  constructor(words: readonly string[], profile: EngineProfile) {
    this.#words = words;
    this.#profile = profile;
  }

  settings(): Setting[] {
    this.#words.forEach(checkWord);
    const found: Setting[] = [];
    while (this.#at < this.#words.length) found.push(this.#next());
    return found;
  }

  #next(): Setting {
    const word = this.#words[this.#at++] ?? "";
    if (!word.startsWith("-") || word === "-" || word === "--")
      throw new Refusal(`${shown(word)} is no flag and belongs to none before it`);
    const level = /^-O=?(.*)$/.exec(word);
    if (level) return this.#optimization(word, level[1] ?? "");
    const equals = word.indexOf("=");
    const head = equals < 0 ? word : word.slice(0, equals);
    const attached = equals < 0 ? undefined : word.slice(equals + 1);
    return head.startsWith("--") ? this.#long(word, head, attached) : this.#short(word, head, attached);
  }

  #optimization(word: string, attached: string): Setting {
    return { flag: "--optimization-level", value: attached === "" ? this.#take(word) : attached, word };
  }

  #long(word: string, head: string, attached: string | undefined): Setting {
    const dot = head.indexOf(".");
    if (dot >= 0) return this.#dotted(word, head.slice(0, dot), head.slice(dot + 1), attached);
    return this.#setting(word, resolve(head.replaceAll("_", "-"), this.#profile), attached);
  }

  /** -tp 2, -tp=2, -tp2; only whole aliases, never a part of one. */
  #short(word: string, head: string, attached: string | undefined): Setting {
    const glued = /^(-[a-z]+)(\d.*)$/.exec(head);
    const dot = head.indexOf(".");
    if (dot >= 0) return this.#dotted(word, head.slice(0, dot), head.slice(dot + 1), attached);
    const name =
      aliasOf(head, this.#profile) ?? (glued?.[1] === undefined ? undefined : aliasOf(glued[1], this.#profile));
    if (!name) throw new Refusal(`${shown(word)} is no flag of vLLM ${this.#profile.version}`);
    return this.#setting(word, name, attached ?? (aliasOf(head, this.#profile) ? undefined : glued?.[2]));
  }

  #setting(word: string, { flag, entry, negated }: Name, attached: string | undefined): Setting {
    if (entry.kind === "flag") {
      if (attached !== undefined)
        throw new Refusal(
          `${flag} is a switch and takes no value: write ${flag} or ${entry.negation ?? "leave it out"}`,
        );
      return { flag, value: !negated, word };
    }
    if (entry.kind === "list") return { flag, value: this.#list(word, attached).map((item) => item), word };
    const text = attached ?? (entry.kind === "optional" && !this.#hasValue() ? "" : this.#take(word));
    return { flag, value: valueOf(flag, entry, text), word };
  }

  #dotted(word: string, head: string, path: string, attached: string | undefined): Setting {
    const { flag } = resolve(head.replaceAll("_", "-"), this.#profile);
    const text = attached ?? this.#take(word);
    const isList = path.endsWith("+");
    const keys = (isList ? path.slice(0, -1) : path).split(".");
    if (keys.some((key) => !/^[A-Za-z][A-Za-z0-9_]{0,63}$/.test(key)))
      throw new Refusal(`${shown(word)} is no path of keys: write ${flag}.key value`);
    const inner: Plain = isList ? text.split(",") : loose(text);
    return { flag, value: keys.reduceRight<Plain>((value, key) => ({ [key]: value }), inner), word: `${flag}.${path}` };
  }

  #hasValue(): boolean {
    const next = this.#words[this.#at];
    return next !== undefined && (!next.startsWith("-") || next === "-1");
  }

  #take(word: string): string {
    if (!this.#hasValue()) throw new Refusal(`${shown(word)} lacks its value`);
    return this.#words[this.#at++] ?? "";
  }

  #list(word: string, attached: string | undefined): string[] {
    if (attached !== undefined) return [attached];
    const items = [this.#take(word)];
    while (this.#hasValue()) items.push(this.#take(word));
    return items;
  }
}

function checkWord(word: string): void {
  if (/\p{Cc}/u.test(word)) throw new Refusal(`${shown(word)} holds a control character such as a line break`);
  // Expanded after this judgement, a variable's value could be a flag of its own.
  if (/\$[($]/.test(word))
    throw new Refusal(`${shown(word)} holds $(…) or $$, which Kubernetes would replace before the engine sees it`);
  if (Buffer.byteLength(word) > LONGEST_WORD) throw new Refusal(`${shown(word)} is longer than ${LONGEST_WORD} bytes`);
}

/** A long name without dots, dashes already in place. */
function resolve(name: string, profile: EngineProfile): Name {
  const exactly = aliasOf(name, profile);
  if (exactly) return exactly;
  const fitting =
    name.startsWith("--") && name.length > 2
      ? optionStrings(profile).filter(([option]) => option.startsWith(name))
      : [];
  const [first] = fitting;
  if (!first) throw new Refusal(unknown(name, profile));
  const flags = new Set(fitting.map(([option]) => option));
  if (flags.size > 1)
    throw new Refusal(`${shown(name)} can mean ${[...flags].slice(0, 5).join(", ")}: write the full name`);
  return first[1];
}

function unknown(name: string, { version }: EngineProfile): string {
  const instead = removedFlags[name] ?? removedFlags[name.replace(/^--no-/, "--")];
  return instead === undefined
    ? `${shown(name)} is no flag of vLLM ${version}`
    : `${name} is no longer a flag of vLLM ${version}: ${instead}`;
}

const optionCache = new WeakMap<EngineProfile, readonly (readonly [string, Name])[]>();

function optionStrings(profile: EngineProfile): readonly (readonly [option: string, Name])[] {
  const known = optionCache.get(profile);
  if (known) return known;
  const made = Object.entries(profile.flags).flatMap(([flag, entry]): (readonly [string, Name])[] => [
    [flag, { flag, entry, negated: false }],
    ...(entry.aliases ?? []).map((alias): [string, Name] => [alias, { flag, entry, negated: false }]),
    ...(entry.negation === undefined ? [] : [[entry.negation, { flag, entry, negated: true }] as const]),
  ]);
  optionCache.set(profile, made);
  return made;
}

function aliasOf(name: string, profile: EngineProfile): Name | undefined {
  return optionStrings(profile).find(([option]) => option === name)?.[1];
}

const NUMBERS: Readonly<Record<string, RegExp>> = {
  int: /^-?\d{1,12}$/,
  float: /^\d{1,9}(\.\d{1,9})?$/,
  human: /^\d{1,12}(\.\d{1,6}[kmgt]|[kKmMgGtT])?$/,
};

function valueOf(flag: string, entry: Flag, text: string): Plain {
  if (text.startsWith("-") && text !== "-1")
    throw new Refusal(`${flag} has the value ${shown(text)}, which begins like a flag`);
  if (text.startsWith("{") && text.includes('"__proto__"')) throw new Refusal(`${flag} holds the key "__proto__"`);
  // The value of a flag that may not be set does not matter.
  if (classOf(flag).kind !== "allowed") return text;
  const form = NUMBERS[entry.kind];
  if (form && !form.test(text)) throw new Refusal(`${flag} is a number, not ${shown(text)}`);
  if (entry.choices && !entry.choices.includes(text))
    throw new Refusal(`${flag} is one of ${entry.choices.join(", ")}, not ${shown(text)}`);
  if (entry.kind === "human") return exact(text);
  if (flag in jsonPolicies)
    return jsonOf(
      flag,
      text,
      (value) => typeof value === "object" && value !== null && !Array.isArray(value),
      "object",
    );
  if (jsonLists.has(flag))
    return jsonOf(
      flag,
      text,
      (value) => Array.isArray(value) && value.every((item) => typeof item === "string"),
      "list of strings",
    );
  return text;
}

const POWERS = "kmgt";

/** The exact integer behind a readable one: 8k is 8000, 8K is 8192, as the parser has it. */
function exact(text: string): string {
  const suffix = text.at(-1) ?? "";
  const power = POWERS.indexOf(suffix.toLowerCase()) + 1;
  if (power === 0) return String(Number(text));
  const base = POWERS.includes(suffix) ? 1000 : 1024;
  return String(Math.trunc(Number(text.slice(0, -1)) * base ** power));
}

function jsonOf(flag: string, text: string, isRight: (value: unknown) => boolean, what: string): Plain {
  let value: Plain;
  try {
    value = JSON.parse(text) as Plain;
  } catch {
    throw new Refusal(`${flag} is a JSON ${what}, not ${shown(text)}`);
  }
  if (!isRight(value)) throw new Refusal(`${flag} is a JSON ${what}, not ${shown(text)}`);
  if (depthOf(value) > 6) throw new Refusal(`${flag} holds JSON nested deeper than 6`);
  return value;
}

function depthOf(value: Plain): number {
  if (typeof value !== "object" || value === null) return 0;
  const inner = Array.isArray(value) ? value : Object.values(value as Readonly<Record<string, Plain>>);
  return 1 + Math.max(0, ...inner.map(depthOf));
}

/** A dotted key's value: JSON if it is some, else the word itself, as the parser does. */
function loose(text: string): Plain {
  if (text.includes("__proto__")) throw new Refusal(`${shown(text)} holds the key "__proto__"`);
  try {
    const value = JSON.parse(text) as Plain;
    return depthOf(value) > 6 ? text : value;
  } catch {
    return text;
  }
}

function shown(word: string): string {
  return JSON.stringify(word.length > 80 ? `${word.slice(0, 80)}…` : word);
}
