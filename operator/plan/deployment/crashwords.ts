/**
 * What a container said before it ended, out of its termination message (at most 4 KiB that it wrote itself, or the last
 * 2 KiB of its log): Python tracebacks end in the error, and vLLM wraps the telling one in others that name no cause.
 */

/** `ValueError: text`, `torch.OutOfMemoryError: text`, `vllm serve: error: text`; log prefixes before it are allowed. */
const ERROR_LINE = /(?:^|[\s\]|])((?:[A-Za-z_][\w.]*)?(?:Error|Exception|Exit|Interrupt)|[\w. -]*\berror): (\S.*)$/;

/** Errors of processes that only saw another one fail: vLLM's core.py, core_client.py, multiproc_executor.py of 0.32.0. */
const WRAPPERS = [
  /Engine core initialization failed/,
  /See (?:root cause|stack trace)/,
  /WorkerProc initialization failed/,
  /EngineCore encountered an issue/,
  /Executor failed/,
  /^terminated$/,
];

/** Longest excerpt that a condition carries. */
const MOST_CHARACTERS = 1000;

/** The last line that names a cause, with the lines that belong to it; undefined where nothing does. */
export function crashWords(message: string | undefined): string | undefined {
  const lines = (message ?? "").split(/\r?\n/).map((line) => line.trimEnd());
  let wrapper: string | undefined;
  for (let index = lines.length - 1; index >= 0; index--) {
    const [, kind = "", text = ""] = ERROR_LINE.exec(lines[index] ?? "") ?? [];
    if (text === "") continue;
    const words = shorten(`${kind.trim()}: ${text}${continuation(lines, index)}`);
    if (!WRAPPERS.some((pattern) => pattern.test(text))) return words;
    wrapper ??= words;
  }
  return wrapper;
}

/** Lines of the same message: those of a pydantic error are indented, and end before the next record or traceback. */
function continuation(lines: readonly string[], index: number): string {
  const more: string[] = [];
  for (const line of lines.slice(index + 1, index + 5)) {
    if (!/^\s+\S/.test(line) || /^\s+(?:File "|\^|~|raise |return )/.test(line)) break;
    more.push(line.trim());
  }
  return more.length > 0 ? ` ${more.join(" ")}` : "";
}

function shorten(text: string): string {
  return text.length > MOST_CHARACTERS ? `${text.slice(0, MOST_CHARACTERS - 1)}…` : text;
}

/** How a container ended, in the words of a person; the signal's name for an end by signal (128 + number). */
export function endingOf(exitCode: number | undefined, reason: string | undefined): string {
  if (reason === "OOMKilled") return `killed for using more memory than it may (exit code ${exitCode ?? "unknown"})`;
  if (exitCode === 137) return "killed (exit code 137, SIGKILL)";
  if (exitCode === 143) return "ended by SIGTERM (exit code 143)";
  const name = reason && reason !== "Error" && reason !== "Completed" ? ` (${reason})` : "";
  return `ended with exit code ${exitCode ?? "unknown"}${name}`;
}
