/** The ports of a role: probes and metrics, and for the operator the usage API. Part of the composition root. */
import { createApp, type AppDeps } from "./http/app.ts";
import { serve } from "./http/serve.ts";
import type { Base } from "./process.ts";
import { readinessOf } from "./runtime/probes.ts";
import type { Reflector } from "./runtime/reflector.ts";

export interface Ports {
  readonly healthPort: number;
  readonly metricsPort: number;
}

/** Opens probes and metrics at once, so that a start that hangs can be seen; the answer closes them. */
export async function listen(
  base: Base,
  { healthPort, metricsPort }: Ports,
  reflectors: readonly Pick<Reflector, "health">[],
  usage?: { readonly port: number; readonly app: NonNullable<AppDeps["usage"]> },
): Promise<() => Promise<void>> {
  const { log, metrics } = base;
  const wanted: [AppDeps, number][] = [
    [{ log, health: { problems: () => readinessOf(reflectors).problems } }, healthPort],
    [{ log, metrics: { registry: metrics.registry, beforeScrape: metrics.beforeScrape } }, metricsPort],
    ...(usage ? [[{ log, usage: usage.app }, usage.port] as [AppDeps, number]] : []),
  ];
  const servings = await Promise.all(wanted.map(([deps, port]) => serve(createApp(deps), port)));
  log.info({ ports: servings.map(({ port }) => port) }, "listening");
  return async () => {
    await Promise.all(servings.map((serving) => serving.stop()));
  };
}
