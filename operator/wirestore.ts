/** Composition root of the store role. */
import type { StoreConfig } from "./config.ts";
import { listen } from "./listeners.ts";
import { newBase, type Running } from "./process.ts";
import { startStore } from "./store.ts";

/** Parts are short; who still takes bytes after this asks another replica for the rest. */
const LEAVE_MS = 20_000;

export async function startStoreRole(
  config: StoreConfig,
  env: Readonly<Record<string, string | undefined>>,
): Promise<Running> {
  const base = await newBase("store", config, env);
  const role = await startStore(base, config);
  // It has no caches: where the store or Kubernetes fails, callers are told so, which helps them more than a closed port.
  const close = await listen(base, config, []);
  return {
    ended: new Promise<number>(() => undefined),
    async stop() {
      await role.stop(LEAVE_MS);
      await close();
      base.tidy.stop();
      await base.events.stop();
      await base.transport.close();
    },
  };
}
