// How the journey is told: a heading for each step, what was found beneath it, and the time that it took.
export interface Tour {
  /** A line beneath the heading of the step that runs. */
  say(line: string): void;
  /** Runs one step; what it throws is thrown on with the step's name. */
  step(number: number, title: string, work: () => Promise<void>): Promise<void>;
  line(text?: string): void;
  readonly startedAt: number;
}

const WIDTH = 118;

export function duration(ms: number): string {
  const seconds = ms / 1000;
  if (seconds < 100) return `${seconds.toFixed(1)} s`;
  return `${String(Math.floor(seconds / 60))} min ${String(Math.round(seconds % 60)).padStart(2, "0")} s`;
}

export function newTour(out: (text: string) => void = (text) => void process.stdout.write(text)): Tour {
  const startedAt = Date.now();
  const line = (text = ""): void => out(`${text}\n`);
  let stepAt = startedAt;
  const say = (text: string): void => {
    const seconds = ((Date.now() - stepAt) / 1000).toFixed(0).padStart(4);
    const [first = "", ...rest] = wrapped(text, WIDTH - 9);
    line(`  ${seconds}s  ${first}`);
    for (const more of rest) line(`         ${more}`);
  };
  return {
    say,
    line,
    startedAt,
    async step(number, title, work) {
      stepAt = Date.now();
      line();
      line(`${String(number).padStart(2)}  ${title}`);
      try {
        await work();
      } catch (error) {
        line(`    FAILED after ${duration(Date.now() - stepAt)}`);
        throw new Error(
          `step ${String(number)} (${title}): ${error instanceof Error ? error.message : String(error)}`,
          {
            cause: error,
          },
        );
      }
      line(`    ok, ${duration(Date.now() - stepAt)}`);
    },
  };
}

function wrapped(text: string, width: number): string[] {
  const lines: string[] = [];
  for (const word of text.split(" ")) {
    const last = lines.at(-1);
    if (last === undefined || last.length + word.length + 1 > width) lines.push(word);
    else lines[lines.length - 1] = `${last} ${word}`;
  }
  return lines;
}
