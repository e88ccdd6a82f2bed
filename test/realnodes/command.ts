// Short commands whose failure is an exception with the command's own words.
import { run } from "../cluster/cluster.ts";

/** Runs a program to its end and returns what it printed. Throws where it fails. */
export async function command(name: string, args: readonly string[], timeoutMs = 60_000): Promise<string> {
  const { code, stdout, stderr } = await run(name, args, { timeoutMs });
  if (code !== 0) throw new Error(`${name} ${args.join(" ")} failed (${String(code)}): ${(stderr || stdout).trim()}`);
  return stdout;
}
