/** Arguments of the user's own: which of them may reach the engine. */

const ALLOWED: ReadonlySet<string> = new Set(["--enforce-eager"]);

/** Words of spec.engine.extraArgs in; the message about the first that is refused out. */
export function refusedArgument(extraArgs: readonly string[]): string | undefined {
  const refused = extraArgs.find((word) => !ALLOWED.has(word));
  return refused === undefined
    ? undefined
    : `spec.engine.extraArgs: ${JSON.stringify(refused.slice(0, 100))} is not one of the flags that may be set: ${[...ALLOWED].join(", ")}`;
}
