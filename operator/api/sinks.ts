/** Where sealed records are delivered to, as the chart writes it (a JSON list). Secrets are named by file, never by value. */
import { z } from "zod";

import { focusVersions } from "./pricelist.ts";

const name = z
  .string()
  .regex(/^[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?$/, "write lower-case letters, digits and dashes, at most 40");
const startAt = z
  .string()
  .regex(/^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z$/, "write an instant in UTC like 2026-11-01T00:00:00Z");
const file = z.string().regex(/^\/[^\s\0]+$/, "write an absolute path");
const common = {
  name,
  /** Windows that begin before are not owed; absent: everything that the ledger holds. */
  startAt: startAt.optional(),
  batchSize: z.int().min(1).max(1_000).default(100),
};
const http = {
  ...common,
  url: z.string().regex(/^https?:\/\/[^\s]+$/, "begin it with https://"),
  /** Allows http:// for a receiver inside the cluster's own network. */
  plainHttp: z.boolean().default(false),
  timeoutSeconds: z.int().min(1).max(300).default(30),
};

/** A folder of this process or of a bucket. */
const folder = {
  url: z.string().regex(/^(file:\/\/\/|s3:\/\/[a-z0-9])[^\s]+$/, "begin it with file:/// or s3://"),
  /** S3 only: URL of the server (AWS itself where it is absent) and region. */
  endpoint: z
    .string()
    .regex(/^https?:\/\/[^\s]+$/, "begin it with https://")
    .optional(),
  s3Region: z.string().min(1).max(63).optional(),
  /** S3 only: files that hold the keys; read at each delivery, so that rotated ones are taken up. */
  accessKeyIdFile: file.optional(),
  secretAccessKeyFile: file.optional(),
};

export const sinkConfig = z.discriminatedUnion("type", [
  /** CloudEvents 1.0 in batches; `tokenFile` holds a bearer token. */
  z.strictObject({ type: z.literal("cloudevents"), ...http, tokenFile: file.optional() }),
  /** The same events as a JSON object, signed as Standard Webhooks do; `secretFile` holds one secret a line, newest first. */
  z.strictObject({ type: z.literal("webhook"), ...http, secretFile: file }),
  /** A file of JSON lines a batch. */
  z.strictObject({ type: z.literal("jsonl"), ...common, ...folder }),
  /** A FOCUS Cost and Usage file a window, rated by the platform's price list. */
  z.strictObject({
    type: z.literal("focus"),
    name,
    startAt: startAt.optional(),
    ...folder,
    version: z.enum(focusVersions).default("1.2"),
    /** Who sells the capacity and writes the invoice. */
    provider: z.string().trim().min(1).max(120),
    region: z.string().min(1).max(63).optional(),
  }),
]);

export const sinkConfigs = z.array(sinkConfig).max(20);

export type SinkConfig = z.infer<typeof sinkConfig>;

export const sinkAck = z.object({
  schema: z.literal("berth.dev/sink-ack.v1"),
  sink: name,
  manifest: z.string(),
  sha256: z.string(),
  records: z.int().min(0),
  quarantined: z.array(z.string()),
});

/** A wish to send windows that begin in [from, to) again; with `only`, their quarantined records alone, or those of them that are named. */
export const sinkReplay = z
  .object({
    schema: z.literal("berth.dev/sink-replay.v1"),
    from: startAt,
    to: startAt,
    only: z.literal("quarantined").optional(),
    records: z.array(z.uuid()).min(1).max(1_000).optional(),
  })
  .refine(({ only, records }) => records === undefined || only !== undefined, 'records needs "only":"quarantined"');
export type SinkReplay = z.infer<typeof sinkReplay>;

/** Stands where the note of a request that is done would: nothing (more) of it is sent. */
export const sinkWithdrawal = z.object({
  schema: z.literal("berth.dev/sink-withdrawal.v1"),
  /** Key of the request. */
  request: z.string(),
});

export const quarantined = z.object({
  schema: z.literal("berth.dev/sink-quarantine.v1"),
  sink: name,
  recordId: z.string(),
  manifest: z.string(),
  reason: z.string().max(500),
});
export type Quarantined = z.infer<typeof quarantined>;

/** A version of a price list as a sink first used it: later edits of it are refused. */
export const pinnedPrices = z.object({
  schema: z.literal("berth.dev/sink-prices.v1"),
  sink: name,
  priceList: z.string(),
  version: z.string(),
  /** SHA-256 of its canonical content, without its end. */
  sha256: z.string(),
});
