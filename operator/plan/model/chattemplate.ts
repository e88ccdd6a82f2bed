/**
 * Chat templates are programs of the model's author that the engine runs for each request, in Jinja's immutable sandbox
 * (transformers, chat_template_utils.py `_compile_jinja_template`). Refused is what that sandbox refuses at run time
 * (jinja2/sandbox.py: private attributes, other templates, endless ranges) and what was used to break out of engines that
 * lacked it (`attr`, `__class__`, `mro`). Read only, never rendered here.
 */
import type { Json } from "./config.ts";
import { isJson } from "./config.ts";
import { printable, refusal } from "./problem.ts";
import type { ModelProblem } from "./problem.ts";
import { isNumbersOnly, numberInWord, numbersIn, productIn, unquoted, widthsIn } from "./templatewords.ts";

/** Largest template in bytes of UTF-8; the longest published ones have some 20 kB. */
export const MAX_TEMPLATE_BYTES = 256 * 1024;
/** In one field, and in files of their own: each is read twice at up to 100 ms. Published models have three. */
const MAX_TEMPLATES = 16;
/** jinja2/sandbox.py MAX_RANGE. */
const MAX_RANGE = 100_000;
const MAX_NESTED_LOOPS = 8;
/** Turns of loops over ranges inside of each other, and repetitions: written as numbers, no template needs more. */
const MAX_TURNS = 1_000_000;
/** Characters that repetitions and widths of formats write in all. */
const MAX_WRITTEN = 16_000_000;
/** What a range counts for whose end no number says. */
const UNKNOWN_RANGE = 1_000;

/** Whether a file of a model is a template by itself. */
export function isTemplatePath(path: string): boolean {
  return path === "chat_template.jinja" || /^additional_chat_templates\/[^/]+\.jinja$/.test(path);
}

/** Place of a template that the Model itself carries. */
export const SPEC_TEMPLATE = "spec.chatTemplate";

const unsafe = (where: string, what: string): ModelProblem => {
  const remedy = where.endsWith(SPEC_TEMPLATE) ? "correct it there" : "correct the template in the source";
  return refusal("ChatTemplateUnsafe", `the chat template in ${printable(where)} ${what}: ${remedy}`);
};

interface Block {
  readonly kind: "{{" | "{%";
  readonly code: string;
}

const ends = { "{{": "}}", "{%": "%}", "{#": "#}" } as const;
type Opening = keyof typeof ends;

/** End of a block's code: its closing mark outside of quotes and brackets, as Jinja's own lexer finds it; -1 where there is none. */
function endOf(text: string, from: number, close: string): number {
  const isComment = close === "#}";
  let quote = "";
  let open = 0;
  for (let at = from; at < text.length; at += 1) {
    const char = text.charAt(at);
    if (quote !== "") {
      if (char === "\\") at += 1;
      else if (char === quote) quote = "";
    } else if (!isComment && (char === '"' || char === "'")) quote = char;
    else if (open === 0 && text.startsWith(close, at)) return at;
    else if (!isComment && "([{".includes(char)) open += 1;
    else if (!isComment && ")]}".includes(char)) open -= 1;
  }
  return -1;
}

/** Python has white space that JavaScript does not, and the other way round: a block would begin or end at another place. */
const asPythonSees = (text: string): string =>
  text.replace(/[\p{Cc}\ufeff]/gu, (char) =>
    /[^\p{Cc}]/u.test(char) ? "\u200b" : pythonBlanks.has(char) ? " " : char,
  );
const pythonBlanks = new Set(["\u001c", "\u001d", "\u001e", "\u001f", "\u0085"]);

const openings = /\{\{|\{%|\{#/g;
const rawEnd = /\{%[-+]?\s*endraw\s*[-+]?%\}/g;

/** The code of a template without its text and comments; undefined where a block does not end. */
function blocksOf(text: string): readonly Block[] | undefined {
  const blocks: Block[] = [];
  let at = 0;
  for (;;) {
    openings.lastIndex = at;
    const found = openings.exec(text);
    if (!found) return blocks;
    const kind = found[0] as Opening;
    const end = endOf(text, found.index + 2, ends[kind]);
    if (end < 0) return undefined;
    const code = text.slice(found.index + 2, end);
    at = end + 2;
    if (kind === "{#") continue;
    blocks.push({ kind, code });
    if (kind === "{%" && /^[-+]?\s*raw\b/.test(code)) {
      rawEnd.lastIndex = at;
      const close = rawEnd.exec(text);
      if (!close) return undefined;
      at = close.index + close[0].length;
    }
  }
}

const statement = (code: string): string => /^[-+]?\s*([a-z_]+)/.exec(code)?.[1] ?? "";
const loaders = new Set(["import", "from", "include", "extends"]);

/** Names that reach out of a template's values: the ladder of every known escape from Jinja. */
const escapes = /\b(mro|lipsum|func_globals|gi_frame|cr_frame|tb_frame|f_globals)\b/;

function faultIn({ kind, code }: Block): string | undefined {
  const name = kind === "{%" ? statement(code) : "";
  if (loaders.has(name)) return `loads another template (${name})`;
  const { bare, words, hasNames } = unquoted(code);
  if (hasNames) return "writes a character by its name (\\N)";
  return reachIn(name, bare, words) ?? excessIn(bare, words);
}

const FIELD = /\{([\w.[\]]*)(?:![rsa])?(?::[^{}]*)?\}/g;

/** A name that begins with two underscores, a path to one, or a format that reads one. */
const isPrivate = (word: string): boolean =>
  word.includes("__") &&
  (/^[\w.,]+$/.test(word) || [...word.matchAll(FIELD)].some(([, path = ""]) => path.includes("__")));

/** What leads out of a template's values. */
function reachIn(name: string, bare: string, words: readonly string[]): string | undefined {
  const hidden = /\.\s*(_\w*)/.exec(bare)?.[1] ?? /\b__\w+/.exec(bare)?.[0];
  if (hidden !== undefined) return `reads the private attribute ${printable(hidden)}`;
  const quotedName = words.find(isPrivate);
  if (quotedName !== undefined) return `names the private attribute '${printable(quotedName)}'`;
  const maps = /\|\s*map\b/.test(bare);
  if (/\|\s*attr\b/.test(bare) || (name === "filter" && /\battr\b/.test(bare)) || (maps && words.includes("attr")))
    return "uses the filter attr";
  const isComputed = maps && /\|\s*map\s*\((?!\s*(?:""\s*[,)]|attribute\b|default\b|\)))/.test(bare);
  if (isComputed) return "maps by a filter whose name is computed";
  const escape = escapes.exec(bare)?.[1] ?? words.find((word) => escapes.exec(word)?.[0] === word);
  if (escape !== undefined) return `names ${escape}`;
  return /(?<![\w.])range\b(?!\s*[(=])/.test(bare) ? "names range without calling it" : undefined;
}

/** Whether digits in quotes can count there: elsewhere they are identifiers, dates and alphabets. */
const makesNumbers = (bare: string, words: readonly string[]): boolean =>
  /\*|\|\s*(?:int|float)\b/.test(bare) ||
  (/\|\s*map\b/.test(bare) && words.some((word) => word === "int" || word === "float"));

/** What counts or repeats beyond all need. */
function excessIn(bare: string, words: readonly string[]): string | undefined {
  if (/[\w)\]]\s*\*\*/.test(bare)) return "raises to a power, which can take all memory";
  const far = rangesIn(bare)
    .flatMap(numbersIn)
    .find((number) => number > MAX_RANGE);
  if (far !== undefined) return `counts to ${String(far)} (range allows ${String(MAX_RANGE)})`;
  const quoted = makesNumbers(bare, words) ? words.map(numberInWord) : [];
  const most = highest([...numbersIn(bare), ...quoted], 0);
  if (most > MAX_TURNS) return `holds the number ${String(most)}, so often may nothing be repeated`;
  const wide = highest(words.map(widthsIn), 0);
  if (wide > MAX_TURNS) return `asks for ${String(wide)} characters in one format`;
  const times = productIn(bare);
  return times > MAX_TURNS ? `repeats something ${String(times)} times` : undefined;
}

/** Templates may hold more numbers than a call takes arguments. */
const highest = (numbers: readonly number[], least: number): number =>
  numbers.reduce((most, number) => Math.max(most, number), least);

/** What stands between the brackets of ranges, up to the first that closes; each character is looked at once. */
function rangesIn(code: string): string[] {
  const begins = /\brange\s*\(/g;
  const ranges: string[] = [];
  while (begins.test(code)) {
    const end = code.indexOf(")", begins.lastIndex);
    if (end < 0) break;
    ranges.push(code.slice(begins.lastIndex, end));
    begins.lastIndex = end + 1;
  }
  return ranges;
}

/** How often a loop turns, as far as its range says; loops over anything else follow the request's length. */
function turnsOf(code: string): number {
  const { bare } = unquoted(code);
  const turns = rangesIn(bare).map((range) => (isNumbersOnly(range) ? highest(numbersIn(range), 1) : UNKNOWN_RANGE));
  return highest(turns, productIn(bare));
}

/** The most turns that loops have inside of each other, and the characters that repetitions and formats write, as far as it can be told. */
function reckoned(blocks: readonly Block[]): { readonly turns: number; readonly written: number } {
  const open: number[] = [];
  let [turns, written] = [1, 0];
  for (const { kind, code } of blocks) {
    const name = kind === "{%" ? statement(code) : "";
    if (name === "for") open.push(turnsOf(code) * (open.at(-1) ?? 1));
    else if (name === "endfor") open.pop();
    turns = Math.max(turns, open.at(-1) ?? 1);
    if (!/[*%{]/.test(code)) continue;
    const { bare, words } = unquoted(code);
    const times = name === "for" ? 1 : productIn(bare);
    const wide = words.reduce((sum, word) => sum + widthsIn(word), 0);
    written += (wide + (times > 1 ? times : 0)) * (open.at(-1) ?? 1);
  }
  return { turns, written };
}

/** Which macros each macro calls whatever its arguments are: outside of conditions and loops. */
function certainCalls(blocks: readonly Block[]): ReadonlyMap<string, ReadonlySet<string>> {
  const calls = new Map<string, Set<string>>();
  let current = "";
  let depth = 0;
  for (const { kind, code } of blocks) {
    const name = kind === "{%" ? statement(code) : "";
    if (name === "macro") [current, depth] = [/macro\s+(\w+)/.exec(code)?.[1] ?? "", 0];
    else if (name === "endmacro") current = "";
    else if (name === "if" || name === "for") depth += 1;
    else if (name === "endif" || name === "endfor") depth -= 1;
    const { bare } = unquoted(code);
    // A condition may also stand within an expression, and decide there.
    if (current === "" || name === "macro" || depth > 0 || /\b(if|and|or)\b/.test(bare)) continue;
    const called = calls.get(current) ?? new Set();
    for (const [, word = ""] of bare.matchAll(/(?<![\w.])([A-Za-z]\w*)\s*\(/g)) called.add(word);
    calls.set(current, called);
  }
  return calls;
}

/** A macro that always comes back to itself, or to one that does: what is left once each whose calls all end is taken away. */
function endlessMacro(blocks: readonly Block[]): string | undefined {
  const calls = certainCalls(blocks);
  const callers = new Map<string, string[]>([...calls.keys()].map((name) => [name, []]));
  const open = new Map<string, number>();
  for (const [name, called] of calls) {
    const macros = [...called].filter((word) => calls.has(word));
    open.set(name, macros.length);
    for (const macro of macros) callers.get(macro)?.push(name);
  }
  const ended = [...open.keys()].filter((name) => open.get(name) === 0);
  for (const name of ended) {
    open.delete(name);
    for (const caller of callers.get(name) ?? []) {
      const left = (open.get(caller) ?? 0) - 1;
      open.set(caller, left);
      if (left === 0) ended.push(caller);
    }
  }
  const [endless] = open.keys();
  return endless;
}

function loopsIn(blocks: readonly Block[]): number {
  let depth = 0;
  let deepest = 0;
  for (const { kind, code } of blocks) {
    const name = kind === "{%" ? statement(code) : "";
    if (name === "for") deepest = Math.max(deepest, (depth += 1));
    else if (name === "endfor") depth -= 1;
  }
  return deepest;
}

/** Why a template is refused, if it is. `where` names the file, or the file and its field. */
export function templateProblem(where: string, template: string): ModelProblem | undefined {
  const bytes = new TextEncoder().encode(template).length;
  if (bytes > MAX_TEMPLATE_BYTES)
    return unsafe(where, `has ${String(bytes)} bytes, more than the ${String(MAX_TEMPLATE_BYTES)} that are allowed`);
  const blocks = blocksOf(asPythonSees(template));
  if (!blocks) return unsafe(where, "has a block that does not end");
  for (const block of blocks) {
    const fault = faultIn(block);
    if (fault !== undefined) return unsafe(where, fault);
  }
  const deepest = loopsIn(blocks);
  if (deepest > MAX_NESTED_LOOPS) return unsafe(where, `nests ${String(deepest)} loops`);
  const { turns, written } = reckoned(blocks);
  if (turns > MAX_TURNS) return unsafe(where, `turns loops inside of each other ${String(turns)} times`);
  if (written > MAX_WRITTEN) return unsafe(where, `writes ${String(written)} characters by repetition`);
  const endless = endlessMacro(blocks);
  return endless === undefined ? undefined : unsafe(where, `has a macro that never ends (${printable(endless)})`);
}

/** Templates in a configuration's field: a text, or a list of {name, template}. */
function fieldTemplates(field: unknown): readonly string[] {
  if (typeof field === "string") return [field];
  if (isJson(field)) return Object.values(field).filter((value) => typeof value === "string");
  if (!Array.isArray(field)) return [];
  return field.filter(isJson).flatMap(({ template }) => (typeof template === "string" ? [template] : []));
}

/** Refusal of more templates than a model has, in one field or as files. */
export function tooManyTemplates(where: string, count: number): ModelProblem | undefined {
  if (count <= MAX_TEMPLATES) return undefined;
  const what = `${printable(where)} holds ${String(count)} chat templates, more than the ${String(MAX_TEMPLATES)} that are read`;
  return refusal("ChatTemplateUnsafe", `${what}: remove those that nobody asks for`);
}

/** Refusal of the first template of a configuration that may not run. */
export function templatesProblem(path: string, config: Json): ModelProblem | undefined {
  const templates = fieldTemplates(config["chat_template"]);
  const many = tooManyTemplates(path, templates.length);
  if (many) return many;
  for (const template of templates) {
    const problem = templateProblem(path, template);
    if (problem) return problem;
  }
  return undefined;
}
