/** The chart's pre-delete hook as a command: one connection, one pass, an exit code. Part of the composition root. */
import { setTimeout as wait } from "node:timers/promises";
import type { CommonConfig } from "./config.ts";
import { runUninstallCheck } from "./controllers/uninstall.ts";
import { newBase } from "./process.ts";

export async function uninstallCheck(
  config: CommonConfig,
  env: Readonly<Record<string, string | undefined>>,
  { release, revision, force }: { readonly release: string; readonly revision?: string; readonly force: boolean },
): Promise<number> {
  const base = await newBase("uninstall-check", config, env);
  try {
    return await runUninstallCheck({
      client: base.kube,
      namespace: config.namespace,
      release,
      revision,
      force,
      out: (line) => process.stdout.write(`${line}\n`),
      wait: (ms) => wait(ms),
    });
  } finally {
    await base.events.stop();
    await base.transport.close();
  }
}
