/** What stands in quotes and numbers of a template's code, as Jinja's lexer reads them (jinja2/lexer.py). */

const controls: Readonly<Record<string, string>> = {
  a: "\u0007",
  b: "\b",
  f: "\f",
  n: "\n",
  r: "\r",
  t: "\t",
  v: "\v",
};
const ESCAPE = /\\(?:U([0-9a-fA-F]{8})|u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})|([0-7]{1,3})|([^]))/g;

/** Python's "unicode-escape", but for characters by their names, which nobody needs. */
function decoded(literal: string): string {
  return literal.replace(ESCAPE, (_, U?: string, u?: string, x?: string, octal?: string, char = "") => {
    const digits = U ?? u ?? x;
    const code = digits === undefined ? Number.parseInt(octal ?? "-1", 8) : Number.parseInt(digits, 16);
    if (code >= 0) return code > 0x10ffff ? "?" : String.fromCodePoint(code);
    return char === "\n" ? "" : (controls[char] ?? char);
  });
}

const LITERAL = /"(?:[^"\\]|\\[^])*"|'(?:[^'\\]|\\[^])*'/g;
/** What leaves two texts in quotes one: nothing, an operator that joins, brackets around either. */
const JOINT = /^[\s()]*(?:[~+][\s()]*)?$/;

/** Texts in quotes, those that are joined as one, and the code with each of them emptied. */
export function unquoted(code: string): {
  readonly bare: string;
  readonly words: readonly string[];
  /** True where a character is written by its name. */
  readonly hasNames: boolean;
} {
  const words: string[] = [];
  let [end, hasNames] = [-1, false];
  const bare = code.replace(LITERAL, (literal, at: number) => {
    const inner = literal.slice(1, -1);
    hasNames ||= /(?:^|[^\\])(?:\\\\)*\\N\{/.test(inner);
    const isJoined = end >= 0 && JOINT.test(code.slice(end, at));
    const before = isJoined ? (words.pop() ?? "") : "";
    words.push(before + decoded(inner));
    end = at + literal.length;
    return '""';
  });
  return { bare, words, hasNames };
}

/** Bases and exponents too. */
const NUMBER =
  /(?<![\w.])(?:0[xX][\da-fA-F_]+|0[oO][0-7_]+|0[bB][01_]+|\d[\d_]*(?:\.\d[\d_]*)?(?:[eE][+-]?\d[\d_]*)?)/g;

const numberOf = (digits: string): number => Number(digits.replaceAll("_", ""));

export const numbersIn = (code: string): number[] => [...code.matchAll(NUMBER)].map(([word]) => numberOf(word));

/** Whether nothing else stands there: what such code counts to can be told. */
export const isNumbersOnly = (code: string): boolean => /^[\s,+-]*$/.test(code.replace(NUMBER, ""));

/** The first character from `at` on that is none of `skipped`. */
function beyond(code: string, at: number, step: 1 | -1, skipped: string): string {
  let place = at;
  while (/\s/.test(code.charAt(place)) || (skipped !== "" && code.charAt(place) === skipped)) place += step;
  return code.charAt(place);
}

/** The product of all numbers that stand beside a `*`. */
export function productIn(code: string): number {
  let product = 1;
  for (const { 0: word, index } of code.matchAll(NUMBER)) {
    const isFactor = beyond(code, index - 1, -1, "(") === "*" || beyond(code, index + word.length, 1, ")") === "*";
    if (isFactor) product *= Math.max(1, numberOf(word));
  }
  return product;
}

const PERCENT = /%(?:\(\w*\))?[-+ #0]{0,8}(\d*)(?:\.(\d+))?[a-zA-Z]/g;
const BRACES = /\{[\w.[\]]*(?:![rsa])?:[^{}]?[<>=^]?[-+ ]?#?0?(\d*)[,_]?(?:\.(\d+))?[a-zA-Z%]?\}/g;

/** How many characters the fields of a format ask for at least. */
export function widthsIn(word: string): number {
  const found = [...word.matchAll(PERCENT), ...word.matchAll(BRACES)];
  return found.reduce((sum, [, width = "", precision = ""]) => sum + Number(width) + Number(precision), 0);
}

/** A text that is a number as a whole, which the filters int and float make one of. */
export function numberInWord(word: string): number {
  const [digits] = /^\s*[+-]?([\da-fA-F_.xXoO]{1,400}|\d+(?:\.\d+)?[eE]\+?\d+)\s*$/.exec(word) ?? [];
  const number = digits === undefined ? 0 : Math.abs(numberOf(digits));
  return Number.isNaN(number) ? 0 : number;
}
