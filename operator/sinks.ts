/** Sinks of the operator role, each put together from its parts. Part of the composition root. */
import { readFile } from "node:fs/promises";
import { parse } from "yaml";
import { openFolder } from "./adapters/sinks/folder.ts";
import { openSink, type Forms } from "./adapters/sinks/open.ts";
import { shownURL } from "./adapters/storageurl.ts";
import type { UsageRecord } from "./api/ledger.ts";
import type { PriceList } from "./api/pricelist.ts";
import { sinkConfigs, type SinkConfig } from "./api/sinks.ts";
import { newFocusTarget } from "./controllers/focussink.ts";
import { newSinkMetrics } from "./controllers/sinkmetrics.ts";
import { newSink, type Sink } from "./controllers/sinks.ts";
import type { SealedWindows } from "./controllers/vouched.ts";
import { BATCH_CONTENT_TYPE, batchBody, jsonLines } from "./plan/sinks/events.ts";
import { focusCsv, type Charge } from "./plan/rating/focus.ts";
import { parsePriceList } from "./plan/rating/pricelist.ts";
import type { Ledger, SinkTarget } from "./ports.ts";
import type { Base } from "./process.ts";
import { RetryError, messageOf } from "./runtime/errors.ts";

export const eventForms: Forms = { batch: batchBody, batchContentType: BATCH_CONTENT_TYPE, lines: jsonLines };

/** Text of the sinks file → sinks, or every problem with field and remedy. */
export function parseSinks(
  given: unknown,
  { hasPrices = true }: { readonly hasPrices?: boolean } = {},
): {
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
    return [
      ...(twice ? [`sinks.${String(i)}.name: ${sink.name} is there twice; acknowledgements are kept by name`] : []),
      ...problemsOf(sink, hasPrices).map((problem) => `sinks.${String(i)}.${problem}`),
    ];
  });
  return { sinks, problems };
}

function problemsOf(sink: SinkConfig, hasPrices: boolean): string[] {
  if (sink.type === "cloudevents" || sink.type === "webhook") {
    const bare = sink.url.startsWith("http://") && !sink.plainHttp;
    return bare ? [`url: ${shownURL(sink.url)} has no TLS; use https, or set plainHttp inside your own network`] : [];
  }
  const keys = sink.accessKeyIdFile !== undefined && sink.secretAccessKeyFile !== undefined;
  return [
    ...(sink.url.startsWith("s3:") && !keys
      ? [`url: ${shownURL(sink.url)} needs keys; name accessKeyIdFile and secretAccessKeyFile`]
      : []),
    ...(sink.type === "focus" && !hasPrices ? ["type: focus needs prices; give --price-list-file"] : []),
  ];
}

/** The price list as it is now; the same object while its text is the same. */
export function priceListIn(file: string): () => Promise<PriceList> {
  let known: { readonly text: string; readonly list: PriceList } | undefined;
  return async () => {
    const text = await readFile(file, "utf8").catch((error: unknown) => {
      throw new RetryError(new Error(`the price list ${file} cannot be read: ${messageOf(error)}`));
    });
    if (known?.text === text) return known.list;
    const { list, problems } = parsePriceList(parse(text));
    if (!list) throw new RetryError(new Error(`the price list ${file} cannot be used: ${problems.join("; ")}`));
    known = { text, list };
    return list;
  };
}

export interface SinkPlaces {
  readonly ledger: Ledger;
  /** What of the ledger is delivered. */
  readonly windows: SealedWindows;
  readonly configs: readonly SinkConfig[];
  readonly priceListFile: string | undefined;
}

export function openSinks(
  { clock, log, metrics }: Pick<Base, "clock" | "log"> & { readonly metrics: Pick<Base["metrics"], "registry"> },
  { ledger, windows, configs, priceListFile }: SinkPlaces,
): Sink[] {
  const series = newSinkMetrics(metrics.registry);
  const prices = priceListIn(priceListFile ?? "");
  return configs.map((config) => {
    const { name, startAt } = config;
    const target =
      config.type === "focus" ? focusTarget(config, { ledger, windows }, prices) : openSink(config, eventForms, clock);
    return newSink({
      name,
      batchSize: batchSizeOf(config),
      startAt,
      target,
      ledger,
      windows,
      clock,
      metrics: series,
      log: log.child({ controller: "sink" }),
    });
  });
}

/** Files of lines are named by their content: a size that could be changed would name the same records anew at a replay. */
const recordsPerFile = 1_000;

function batchSizeOf(config: SinkConfig): number {
  if (config.type === "jsonl") return recordsPerFile;
  // Tiers and minimums are those of a whole window.
  return config.type === "focus" ? Infinity : config.batchSize;
}

function focusTarget(
  config: Extract<SinkConfig, { readonly type: "focus" }>,
  books: Pick<SinkPlaces, "ledger" | "windows">,
  prices: () => Promise<PriceList>,
): SinkTarget<UsageRecord> {
  const { name, version, provider, region } = config;
  const parties = { provider, ...(region === undefined ? {} : { regionId: region }) };
  const csvOf = (charges: readonly Charge[]): string => focusCsv(version, charges, parties);
  return newFocusTarget({ name, ...books, prices, folder: openFolder(config), csvOf });
}
