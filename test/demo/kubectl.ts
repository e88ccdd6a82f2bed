// Commands of the demo: shown as somebody would type them, run as they are, and their output shown.
import type { CommandOptions, CommandResult } from "../cluster/cluster.ts";
import type { Demo } from "./chapter.ts";

/** Runs kubectl; a failure ends the demo with kubectl's own words. */
export async function kubectl(
  { cluster }: Demo,
  args: readonly string[],
  options: CommandOptions = {},
): Promise<string> {
  const { code, stdout, stderr } = await cluster.kubectl(args, options);
  if (code !== 0) throw new Error(`kubectl ${args.join(" ")} failed: ${(stderr || stdout).trim()}`);
  return stdout;
}

/** Shows the command, runs it, shows its output. */
export async function show(demo: Demo, args: readonly string[], options: CommandOptions = {}): Promise<void> {
  demo.screen.command(`kubectl ${args.join(" ")}`);
  demo.screen.output(await kubectl(demo, args, options));
}

/** Shows several commands with their outputs; they run side by side. */
export async function showAll(demo: Demo, commands: readonly (readonly string[])[]): Promise<void> {
  const outputs = await Promise.all(commands.map((args) => kubectl(demo, args)));
  commands.forEach((args, at) => {
    demo.screen.command(`kubectl ${args.join(" ")}`);
    demo.screen.output(outputs[at] ?? "");
  });
}

/** Runs kubectl as somebody who is expected to be refused; returns the refusal, throws where there was none. */
export async function refused(demo: Demo, args: readonly string[], options: CommandOptions): Promise<string> {
  const { code, stdout, stderr }: CommandResult = await demo.cluster.kubectl(args, options);
  if (code === 0) throw new Error(`kubectl ${args.join(" ")} should have been refused, but: ${stdout.trim()}`);
  return stderr.trim();
}
