/**
 * What JSON.parse lets pass: keys that are given twice (the last would win here and the first elsewhere), nesting without end, and the
 * words NaN and Infinity, which Python writes and no JSON knows. One pass over the text, no recursion.
 */

export interface JsonFault {
  readonly what: "twice" | "deep" | "notFinite" | "many";
  /** Key of the outermost object in which it lies; absent at the very top. */
  readonly under: string | undefined;
  /** The repeated key, or the word. */
  readonly word: string;
}

interface Level {
  readonly keys: Set<string> | undefined;
  expectsKey: boolean;
}

/** End of the string literal that begins at `start`: the index behind its closing quote. */
function stringEnd(text: string, start: number): number {
  let at = start + 1;
  while (at < text.length && text[at] !== '"') at += text[at] === "\\" ? 2 : 1;
  return at + 1;
}

function keyOf(literal: string): string {
  if (!literal.includes("\\")) return literal.slice(1, -1);
  try {
    return JSON.parse(literal) as string;
  } catch {
    return literal;
  }
}

const notFinite = /-?(?:NaN|Infinity)/y;

/** First fault of a JSON text; undefined where there is none. Syntax is JSON.parse's business. */
export function jsonFault(text: string, maxDepth: number, maxValues = Infinity): JsonFault | undefined {
  const levels: Level[] = [];
  let under: string | undefined;
  let values = 0;
  for (let at = 0; at < text.length; at += 1) {
    const char = text[at];
    const level = levels.at(-1);
    if (char === '"') {
      const end = stringEnd(text, at);
      if (level?.expectsKey && level.keys) {
        const key = keyOf(text.slice(at, end));
        if (levels.length === 1) under = key;
        if (level.keys.has(key)) return { what: "twice", under, word: key };
        level.keys.add(key);
        level.expectsKey = false;
      }
      at = end - 1;
    } else if (char === "{" || char === "[") {
      values += 1;
      if (levels.length >= maxDepth) return { what: "deep", under, word: String(maxDepth) };
      levels.push({ keys: char === "{" ? new Set() : undefined, expectsKey: char === "{" });
    } else if (char === "}" || char === "]") levels.pop();
    else if (char === "," && level) {
      values += 1;
      if (values > maxValues) return { what: "many", under, word: String(maxValues) };
      level.expectsKey = level.keys !== undefined;
    } else if (char === "N" || char === "I") {
      notFinite.lastIndex = at;
      const word = notFinite.exec(text)?.[0];
      if (word !== undefined) return { what: "notFinite", under, word };
    }
  }
  return undefined;
}

/** Of a text that is put together anew: each costs memory of its own until they are joined. */
const MOST_PIECES = 16_384;

/** The text with NaN and Infinity outside of strings made null, as configurations of state-space models carry them. */
export function withoutNotFinite(text: string): string {
  const words = /-?\b(?:NaN|Infinity)\b/g;
  let clean = "";
  let pieces: string[] = [];
  let from = 0;
  // Strings are stepped over by hand: an expression would look from each quote of one that does not end to the end of the text.
  let quote = text.indexOf('"');
  for (let found = words.exec(text); found; found = words.exec(text)) {
    let stringsEnd = 0;
    while (quote >= 0 && quote < found.index) {
      stringsEnd = stringEnd(text, quote);
      quote = text.indexOf('"', stringsEnd);
    }
    if (stringsEnd > found.index) words.lastIndex = stringsEnd;
    else {
      pieces.push(text.slice(from, found.index), "null");
      from = words.lastIndex;
    }
    if (pieces.length < MOST_PIECES) continue;
    clean += pieces.join("");
    pieces = [];
  }
  return from === 0 ? text : clean + pieces.join("") + text.slice(from);
}
