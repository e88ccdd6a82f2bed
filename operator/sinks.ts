/** Sinks of the operator role, each put together from its parts. Part of the composition root. */
import { openSink, type Forms } from "./adapters/sinks/open.ts";
import { sinkConfigs, type SinkConfig } from "./api/sinks.ts";
import { newSinkMetrics } from "./controllers/sinkmetrics.ts";
import { newSink, type Sink } from "./controllers/sinks.ts";
import { BATCH_CONTENT_TYPE, batchBody, jsonLines } from "./plan/sinks/events.ts";
import type { Ledger } from "./ports.ts";
import type { Base } from "./process.ts";

export const eventForms: Forms = { batch: batchBody, batchContentType: BATCH_CONTENT_TYPE, lines: jsonLines };

/** Text of the sinks file → sinks, or every problem with field and remedy. */
export function parseSinks(given: unknown): {
  readonly sinks: readonly SinkConfig[];
  readonly problems: readonly string[];
} {
  const parsed = sinkConfigs.safeParse(given);
  if (!parsed.success) {
    const problems = parsed.error.issues.map(({ path, message }) => `sinks.${path.join(".")}: ${message}`);
    return { sinks: [], problems };
  }
  const sinks = parsed.data;
  const problems = sinks.flatMap((sink, i) => {
    const twice = sinks.findIndex(({ name }) => name === sink.name) !== i;
    const bare = sink.type !== "jsonl" && sink.url.startsWith("http://") && !sink.plainHttp;
    return [
      ...(twice ? [`sinks.${String(i)}.name: ${sink.name} is there twice; acknowledgements are kept by name`] : []),
      ...(bare
        ? [`sinks.${String(i)}.url: ${sink.url} has no TLS; use https, or set plainHttp inside your own network`]
        : []),
    ];
  });
  return { sinks, problems };
}

export function openSinks({ clock, log, metrics }: Base, ledger: Ledger, configs: readonly SinkConfig[]): Sink[] {
  const series = newSinkMetrics(metrics.registry);
  return configs.map((config) => {
    const { name, batchSize, startAt } = config;
    const target = openSink(config, eventForms, clock);
    return newSink({
      name,
      batchSize,
      startAt,
      target,
      ledger,
      clock,
      metrics: series,
      log: log.child({ controller: "sink" }),
    });
  });
}
