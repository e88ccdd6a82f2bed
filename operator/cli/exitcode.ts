/** Runs a command with these arguments and answers with its exit code: its own, or 2 for wrong flags. */
import { CommanderError, type Command } from "commander";
import { hideKeys } from "./hiddenkeys.ts";

interface Streams {
  readonly write: (text: string) => void;
  readonly complain?: ((text: string) => void) | undefined;
}

export async function exitCodeOf(
  command: (end: (code: number) => void) => Command,
  args: readonly string[],
  io: Streams,
): Promise<number> {
  let code = 0;
  const asked = command((ended) => (code = ended)).exitOverride();
  hideKeys(asked);
  asked.configureOutput({ writeOut: io.write, writeErr: (text) => io.complain?.(text) });
  try {
    await asked.parseAsync([...args], { from: "user" });
    return code;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
    throw error;
  }
}
