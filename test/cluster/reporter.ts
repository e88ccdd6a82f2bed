// Reporter of `make test`: node's own spec reporter, with the share of the slowest test files before its closing lines.
import { relative } from "node:path";
import { Readable } from "node:stream";
import type { TestEvent } from "node:test/reporters";
import { spec } from "node:test/reporters";
import { repoDir } from "./paths.ts";

const slowestShown = 8;

interface FileTime {
  readonly file: string;
  readonly ms: number;
}

function shares(times: readonly FileTime[]): string {
  const allMs = times.reduce((sum, { ms }) => sum + ms, 0);
  const lines = [...times]
    .sort((a, b) => b.ms - a.ms)
    .slice(0, slowestShown)
    .map(({ file, ms }) => {
      const share = `${((100 * ms) / allMs).toFixed(0)} %`;
      return `  ${share.padStart(5)} ${`${(ms / 1000).toFixed(1)} s`.padStart(9)}  ${relative(repoDir, file)}`;
    });
  const title = `slowest of ${String(times.length)} test files (share of ${(allMs / 1000).toFixed(0)} s of work):`;
  return ["", title, ...lines, ""].join("\n") + "\n";
}

/** Passes all events on and puts the shares before the closing lines (root diagnostics, of which `tests N` is the first). */
async function* withShares(events: AsyncIterable<TestEvent>): AsyncGenerator<TestEvent> {
  const times: FileTime[] = [];
  for await (const event of events) {
    if (event.type === "test:summary" && event.data.file) {
      times.push({ file: event.data.file, ms: event.data.duration_ms });
    }
    if (event.type === "test:diagnostic" && /^tests \d+$/.test(event.data.message) && times.length > 0) {
      yield { type: "test:stdout", data: { file: "", message: shares(times) } };
    }
    yield event;
  }
}

/** What `node --test --test-reporter` wants: a generator of text, as the module's default export. */
async function* report(events: AsyncIterable<TestEvent>): AsyncGenerator<unknown> {
  yield* Readable.from(withShares(events)).pipe(new spec());
}

export { report as default };
