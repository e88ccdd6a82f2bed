/** The target behind a sink's configuration. What events look like comes from the caller: adapters know no plan. */
import type { UsageRecord } from "../../api/ledger.ts";
import type { SinkConfig } from "../../api/sinks.ts";
import type { Clock, SinkTarget, SinkWindow } from "../../ports.ts";
import { newFileSink } from "./files.ts";
import { openFolder } from "./folder.ts";
import { bearer, newHttpSink, signed } from "./http.ts";

export interface Forms {
  /** A JSON array of CloudEvents. */
  readonly batch: (records: readonly UsageRecord[], window: SinkWindow) => string;
  readonly batchContentType: string;
  readonly lines: (records: readonly UsageRecord[], window: SinkWindow) => string;
}

/** FOCUS files are rated on their way and have a target of their own (controllers/focussink.ts). */
export type PlainSink = Exclude<SinkConfig, { readonly type: "focus" }>;

/** Opens without a request. */
export function openSink(config: PlainSink, forms: Forms, clock: Clock): SinkTarget<UsageRecord> {
  if (config.type === "jsonl") return newFileSink(openFolder(config), forms.lines);
  const { name, url, timeoutSeconds } = config;
  const common = { name, url, timeoutSeconds };
  if (config.type === "cloudevents") {
    const { batch: body, batchContentType: contentType } = forms;
    return newHttpSink({ ...common, body, contentType, headers: bearer(config.tokenFile) });
  }
  const body: Forms["batch"] = (records, window) => `{"type":"usage","events":${forms.batch(records, window)}}`;
  const headers = signed(config.secretFile, () => clock.now());
  return newHttpSink({ ...common, body, contentType: "application/json", headers });
}
