// What the demo writes: headings, commands with their output, and rows that move while something happens. On a terminal
// rows are redrawn in place; elsewhere each milestone is a line of its own. Nothing is wider than the terminal.
import { newBoard } from "./board.ts";
import type { Board } from "./board.ts";
import { duration, fit, fitTable, indent, wrap } from "./text.ts";

/** The part of a writable stream that the screen needs. */
export interface Output {
  write(text: string): boolean;
  readonly isTTY?: boolean;
  readonly columns?: number;
}

export interface Screen {
  readonly width: number;
  line(text?: string): void;
  /** Starts a chapter; shows the time since the demo began. */
  heading(number: number, title: string): void;
  /** One or two sentences in plain words, wrapped. */
  say(text: string): void;
  /** A command as somebody would type it; a line break in it goes on below. */
  command(text: string): void;
  /** What a command printed; tables that are too wide lose columns at their right end. */
  output(text: string): void;
  /** A piece of a manifest or a long command line, wrapped; a list's entries are not broken. */
  quote(text: string | readonly string[]): void;
  /** An error message in its own words, wrapped. */
  refusal(text: string): void;
  board(): Board;
  /** Ends the story: an open board stands still, and whoever still writes is not heard. */
  stop(): void;
  /** A line that is written also after `stop()`. */
  last(text: string): void;
}

export interface Paint {
  readonly bold: (text: string) => string;
  readonly dim: (text: string) => string;
  readonly green: (text: string) => string;
  readonly red: (text: string) => string;
  readonly cyan: (text: string) => string;
}

function newPaint(colours: boolean): Paint {
  const sgr = (on: number, off: number) => (text: string) =>
    colours ? `\u001b[${String(on)}m${text}\u001b[${String(off)}m` : text;
  return { bold: sgr(1, 22), dim: sgr(2, 22), green: sgr(32, 39), red: sgr(31, 39), cyan: sgr(36, 39) };
}

/** `live` redraws rows in place; `startedAt` is what headings count from. */
export function newScreen(out: Output, options: { live: boolean; colours: boolean; startedAt: number }): Screen {
  const { live, colours, startedAt } = options;
  const paint = newPaint(colours);
  const width = Math.max(60, Math.min(100, out.columns ?? 80));
  const last = (text: string): void => void out.write(`${text}\n`);
  let stopped = false;
  const line = (text = ""): void => {
    if (!stopped) last(text);
  };
  const inner = width - indent.length;
  let board: Board | undefined;
  return {
    width,
    line,
    heading: (number, title) => {
      const clock = duration(Date.now() - startedAt);
      const rule = "─".repeat(Math.max(1, width - title.length - clock.length - 6));
      line();
      line(`${paint.cyan(paint.bold(`${String(number)}  ${title}`))} ${paint.dim(`${rule} ${clock}`)}`);
    },
    say: (text) => wrap(text, inner).forEach((each) => line(indent + each)),
    command: (text) => {
      for (const each of `$ ${text}`.split("\n")) line(`${indent}${paint.bold(fit(each, inner))}`);
    },
    output: (text) => {
      for (const each of fitTable(text, inner).split("\n")) line(indent + fit(each, inner));
    },
    quote: (text) => wrap(text, inner - 2).forEach((each) => line(`${indent}  ${paint.cyan(each)}`)),
    refusal: (text) => wrap(text, inner - 2).forEach((each) => line(`${indent}${paint.red("│")} ${each}`)),
    board: () => {
      board = newBoard({ out, live, paint, width });
      if (stopped) board.close();
      return board;
    },
    stop: () => {
      board?.close();
      stopped = true;
    },
    last,
  };
}
