/** Commander's errors hold arguments as they were given: whoever puts a key into a URL shall not find it in a log. */
import type { Command } from "commander";
import { withoutKeys } from "../adapters/storageurl.ts";

/** Of a command and all below it: what `addCommand` brought inherits nothing. */
export function hideKeys(command: Command): void {
  command.configureOutput({
    outputError: (text, write) => {
      write(withoutKeys(text));
    },
  });
  for (const below of command.commands) hideKeys(below);
}
