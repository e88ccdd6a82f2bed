// Text that fits: cutting, wrapping, durations, and columns.

/** What stands before every line below a heading. */
export const indent = "   ";

/** Cuts a line that is too long, and shows that it was cut. */
export function fit(text: string, width: number): string {
  return text.length <= width ? text : `${text.slice(0, width - 1)}…`;
}

/** Words in lines of at most `width`; a longer word stands alone. A list's entries are not broken, blanks in them or not. */
export function wrap(text: string | readonly string[], width: number): string[] {
  const lines: string[] = [];
  let line = "";
  for (const word of typeof text === "string" ? text.trim().split(/\s+/) : text) {
    if (line !== "" && line.length + 1 + word.length > width) {
      lines.push(line);
      line = word;
    } else line = line === "" ? word : `${line} ${word}`;
  }
  return [...lines, line];
}

/** `5.2 s`, `1 min 05 s`. */
export function duration(ms: number): string {
  if (ms < 59_950) return `${(ms / 1000).toFixed(1)} s`;
  const seconds = Math.round(ms / 1000);
  return `${String(Math.floor(seconds / 60))} min ${String(seconds % 60).padStart(2, "0")} s`;
}

/** Cells in aligned columns; those of the columns named in `numbers` stand to the right. */
export function columns(rows: readonly (readonly string[])[], numbers: readonly number[] = []): string {
  const count = Math.max(...rows.map((row) => row.length));
  const widths = Array.from({ length: count }, (_, at) => Math.max(...rows.map((row) => (row[at] ?? "").length)));
  const cell = (text: string, at: number): string =>
    numbers.includes(at) ? text.padStart(widths[at] ?? 0) : text.padEnd(widths[at] ?? 0);
  return rows.map((row) => row.map(cell).join("   ").trimEnd()).join("\n");
}

/** `91.6 MB`, in decimal megabytes. */
export function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`;
}

/** At most `width` characters, cut in the middle: the ends of generated names tell them apart. */
export function squeezed(text: string, width: number): string {
  if (text.length <= width) return text;
  const tail = Math.floor((width - 1) / 2);
  return `${text.slice(0, width - 1 - tail)}…${text.slice(text.length - tail)}`;
}

const leastName = 13;

/**
 * A table of kubectl in at most `width` columns: the names in front are shortened first, then columns at the right end
 * left out. What is no table comes back as it is.
 */
export function fitTable(text: string, width: number): string {
  const lines = text.trimEnd().split("\n");
  const starts = [...(lines[0] ?? "").matchAll(/\S+( \S+)*/g)].map(({ index }) => index);
  if (lines.length < 2 || lines.every((line) => line.length <= width)) return lines.join("\n");
  const rows = lines.map((line) => starts.map((start, at) => line.slice(start, starts[at + 1]).trim()));
  const widths = starts.map((_, at) => Math.max(...rows.map((row) => (row[at] ?? "").length)));
  for (let count = starts.length; count > 1; count -= 1) {
    const room = width - widths.slice(1, count).reduce((all, next) => all + next + 3, 0);
    if (room < Math.min(leastName, widths[0] ?? 0)) continue;
    return columns(rows.map(([name = "", ...rest]) => [squeezed(name, room), ...rest.slice(0, count - 1)]));
  }
  return lines.join("\n");
}
