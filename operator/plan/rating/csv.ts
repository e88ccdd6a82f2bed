/** CSV as RFC 4180 says. An empty cell is null; there are no empty texts. */
export type CsvRow = Readonly<Record<string, string | null>>;

export function csvText(names: readonly string[], rows: readonly CsvRow[]): string {
  const lines = [names, ...rows.map((row) => names.map((name) => row[name] ?? ""))];
  return lines.map((line) => `${line.map(quoted).join(",")}\r\n`).join("");
}

/**
 * Text that a spreadsheet takes for text: an apostrophe before what it would take for a formula (also after spaces and in full
 * width, as some do). For people's files only; files with rules of their own (FOCUS) hold values as they are.
 */
export function asPlainText(text: string): string {
  return /^\s*[=+\-@\t\r\n\uFF1D\uFF0B\uFF0D\uFF20]/.test(text) ? `'${text}` : text;
}

function quoted(text: string): string {
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

export interface Csv {
  readonly names: readonly string[];
  /** Cells of each row, as many as there were. */
  readonly rows: readonly (readonly string[])[];
}

/** Throws SyntaxError, naming the row, on a quote that does not end or stands where none may. */
export function parseCsv(text: string): Csv {
  const rows: string[][] = [];
  let row: string[] = [];
  let at = 0;
  while (at < text.length) {
    const { value, end } = cellAt(text, at, rows.length + 1);
    row.push(value);
    at = end;
    if (text[at] === ",") {
      at += 1;
      if (at < text.length) continue;
      row.push("");
    }
    at += text.startsWith("\r\n", at) ? 2 : 1;
    rows.push(row);
    row = [];
  }
  const [names = [], ...rest] = rows;
  return { names, rows: rest };
}

function cellAt(text: string, at: number, row: number): { readonly value: string; readonly end: number } {
  if (text[at] !== '"') {
    const length = text.slice(at, at + longestCell).search(/[,\r\n]/);
    const end = length === -1 ? text.length : at + length;
    return { value: text.slice(at, end), end };
  }
  let value = "";
  for (let from = at + 1; ;) {
    const quote = text.indexOf('"', from);
    if (quote === -1) throw new SyntaxError(`row ${String(row)}: a quote is opened and not closed`);
    value += text.slice(from, quote);
    const next = text[quote + 1];
    if (next !== '"') {
      if (next !== undefined && !",\r\n".includes(next))
        throw new SyntaxError(`row ${String(row)}: text follows a closing quote`);
      return { value, end: quote + 1 };
    }
    value += '"';
    from = quote + 2;
  }
}

/** Looked at for the end of a bare cell; a longer one would end the text. */
const longestCell = 1_000_000;
