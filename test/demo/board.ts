// Rows that move while something happens: a mark, a label, what is going on, and the time that it took.
import type { Output, Paint } from "./screen.ts";
import { duration, fit, indent } from "./text.ts";

export interface Row {
  /** What is going on now. A `milestone` is printed also where rows cannot move, once for each text. */
  say(text: string, milestone?: boolean): void;
  /** Ends the row: its time stands still. */
  done(text?: string): void;
}

export interface Board {
  /** Adds a row below the others; its time begins now. */
  row(label: string): Row;
  /** Runs something under a row of its own; what `run` returns last under `say` stands there. */
  during<T>(label: string, run: (row: Row) => Promise<T>): Promise<T>;
  /** Draws the rows for the last time; those that are not done are marked as failed. */
  close(): void;
}

interface RowState {
  readonly label: string;
  readonly startedAt: number;
  text: string;
  announced: string;
  endedMs?: number;
}

interface BoardSettings {
  readonly out: Output;
  readonly live: boolean;
  readonly paint: Paint;
  readonly width: number;
}

const frames = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"] as const;
const labelWidth = 16;
const timeWidth = 9;

function draw(state: RowState, mark: string, { paint, width }: BoardSettings): string {
  const textWidth = width - indent.length - 2 - labelWidth - 1 - timeWidth;
  const time = duration(state.endedMs ?? Date.now() - state.startedAt).padStart(timeWidth);
  const text = fit(state.text, textWidth).padEnd(textWidth);
  return `${indent}${mark} ${state.label.padEnd(labelWidth)} ${text}${paint.dim(time)}`;
}

export function newBoard(settings: BoardSettings): Board {
  const { out, live, paint } = settings;
  const rows: RowState[] = [];
  let drawn = 0;
  let frame = 0;
  let closed = false;

  const markOf = (state: RowState): string => {
    if (state.endedMs !== undefined) return paint.green("✓");
    return closed ? paint.red("✗") : paint.cyan(frames[frame % frames.length] ?? "");
  };
  const redraw = (): void => {
    frame += 1;
    const up = drawn > 0 ? `\u001b[${String(drawn)}A` : "\u001b[?25l";
    out.write(up + rows.map((state) => `\r\u001b[2K${draw(state, markOf(state), settings)}\n`).join(""));
    drawn = rows.length;
  };
  const announce = (state: RowState, mark: string): void => {
    if (!live && !closed) out.write(`${draw(state, mark, settings).trimEnd()}\n`);
  };
  const timer = live ? setInterval(redraw, 100) : undefined;

  const row = (label: string): Row => {
    const state: RowState = { label, startedAt: Date.now(), text: "", announced: "" };
    rows.push(state);
    return {
      say: (text, milestone = false) => {
        state.text = text;
        if (!milestone || state.endedMs !== undefined || state.announced === text) return;
        state.announced = text;
        announce(state, "·");
      },
      done: (text = state.text) => {
        if (state.endedMs !== undefined) return;
        state.text = text;
        state.endedMs = Date.now() - state.startedAt;
        announce(state, "✓");
      },
    };
  };
  const close = (): void => {
    if (closed) return;
    clearInterval(timer);
    if (!live) rows.filter(({ endedMs }) => endedMs === undefined).forEach((state) => announce(state, "✗"));
    closed = true;
    if (!live || rows.length === 0) return;
    redraw();
    out.write("\u001b[?25h");
  };
  return {
    row,
    during: async (label, run) => {
      const own = row(label);
      const result = await run(own);
      own.done();
      return result;
    },
    close,
  };
}

/** Shows a board while `run` works; its rows stay on the screen, whatever the outcome. */
export async function withBoard<T>(board: Board, run: (board: Board) => Promise<T>): Promise<T> {
  try {
    return await run(board);
  } finally {
    board.close();
  }
}
