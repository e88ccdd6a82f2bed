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

/** Largest template in bytes of UTF-8; the longest published ones have some 20 kB. */
export const MAX_TEMPLATE_BYTES = 256 * 1024;
/** In one field, and in files of their own: each is read twice at up to 100 ms. Published models have three. */
const MAX_TEMPLATES = 16;
/** jinja2/sandbox.py MAX_RANGE. */
const MAX_RANGE = 100_000;
const MAX_NESTED_LOOPS = 8;
/** Turns of loops over ranges inside of each other, and repetitions: written as numbers, no template needs more. */
const MAX_TURNS = 1_000_000;
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

/** Quoted words by themselves, and the code with each of them emptied. */
function unquoted(code: string): { readonly bare: string; readonly words: readonly string[] } {
  const words: string[] = [];
  const bare = code.replace(/"(?:[^"\\]|\\[^])*"|'(?:[^'\\]|\\[^])*'/g, (literal) => {
    words.push(literal.slice(1, -1));
    return '""';
  });
  return { bare, words };
}

const statement = (code: string): string => /^[-+]?\s*([a-z_]+)/.exec(code)?.[1] ?? "";
const loaders = new Set(["import", "from", "include", "extends"]);

/** Names that reach out of a template's values: the ladder of every known escape from Jinja. */
const escapes = /\b(mro|lipsum|func_globals|gi_frame|cr_frame|tb_frame|f_globals)\b/;

function faultIn({ kind, code }: Block): string | undefined {
  const name = kind === "{%" ? statement(code) : "";
  if (loaders.has(name)) return `loads another template (${name})`;
  const { bare, words } = unquoted(code);
  const hidden = /\.\s*(_\w*)/.exec(bare)?.[1] ?? /\b__\w+/.exec(bare)?.[0];
  if (hidden !== undefined) return `reads the private attribute ${printable(hidden)}`;
  // An escape in a quoted word would hide underscores: \x5f.
  const quotedName = words.find((word) => /__|\\x5f|\\u005f|\\137/i.test(word) && /^[\w\\]+$/.test(word));
  if (quotedName !== undefined) return `names the private attribute '${printable(quotedName)}'`;
  if (/\|\s*attr\b/.test(bare)) return "uses the filter attr";
  const escape = escapes.exec(bare)?.[1];
  if (escape !== undefined) return `names ${escape}`;
  if (/[\w)\]]\s*\*\*/.test(bare)) return "raises to a power, which can take all memory";
  const far = rangesIn(bare)
    .flatMap(numbersIn)
    .find((number) => number > MAX_RANGE);
  if (far !== undefined) return `counts to ${String(far)} (range allows ${String(MAX_RANGE)})`;
  const most = highest(numbersIn(bare), 0);
  if (most > MAX_TURNS) return `holds the number ${String(most)}, so often may nothing be repeated`;
  const factors = [...bare.matchAll(/\*\s*(?:\(\s*)?(\d[\d_]*)/g)].map(([, digits = ""]) => numberOf(digits));
  const times = factors.reduce((product, factor) => product * Math.max(1, factor), 1);
  return times > MAX_TURNS ? `repeats something ${String(times)} times` : undefined;
}

const numberOf = (digits: string): number => Number(digits.replaceAll("_", ""));
const numbersIn = (code: string): number[] => [...code.matchAll(/(?<![\w.])\d[\d_]*/g)].map(([word]) => numberOf(word));
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
  const ranges = rangesIn(unquoted(code).bare);
  const turns = ranges.map((range) => (/^[\s\d_,+-]*$/.test(range) ? highest(numbersIn(range), 1) : UNKNOWN_RANGE));
  return highest(turns, 1);
}

/** The most turns that loops over ranges inside of each other have, as far as it can be told. */
function mostTurns(blocks: readonly Block[]): number {
  const open: number[] = [];
  let most = 1;
  for (const { kind, code } of blocks) {
    const name = kind === "{%" ? statement(code) : "";
    if (name === "for") open.push(turnsOf(code) * (open.at(-1) ?? 1));
    else if (name === "endfor") open.pop();
    most = Math.max(most, open.at(-1) ?? 1);
  }
  return most;
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
  const blocks = blocksOf(template);
  if (!blocks) return unsafe(where, "has a block that does not end");
  for (const block of blocks) {
    const fault = faultIn(block);
    if (fault !== undefined) return unsafe(where, fault);
  }
  const deepest = loopsIn(blocks);
  if (deepest > MAX_NESTED_LOOPS) return unsafe(where, `nests ${String(deepest)} loops`);
  const turns = mostTurns(blocks);
  if (turns > MAX_TURNS) return unsafe(where, `turns loops inside of each other ${String(turns)} times`);
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
