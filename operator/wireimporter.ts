/** Composition root of the importer role. */
import type { ImporterConfig } from "./config.ts";
import { startImporter } from "./importer.ts";
import { listen } from "./listeners.ts";
import { newBase, type Running } from "./process.ts";
import type { Reflector } from "./runtime/reflector.ts";

export async function startImporterRole(
  config: ImporterConfig,
  env: Readonly<Record<string, string | undefined>>,
): Promise<Running> {
  const base = await newBase("importer", config, env);
  const importer = startImporter(base, config);
  const close = await listen(base, config, importer.reflectors as readonly Reflector[]);
  await importer.started;
  return {
    // Imports hold Leases of their own; the role itself leads nothing that it could lose.
    ended: new Promise<number>(() => undefined),
    async stop() {
      await importer.stop();
      await close();
      base.tidy.stop();
      await base.events.stop();
      await base.transport.close();
    },
  };
}
