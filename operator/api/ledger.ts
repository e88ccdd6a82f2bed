/**
 * Shapes of what lies in the ledger: usage records, manifests and closing objects. What is read back is parsed with
 * these, since a ledger is a bucket that others may have written to. Adding a field is compatible, anything else is a new schema.
 */
import { z } from "zod";

export const RECORD_SCHEMA = "berth.dev/capacity.v1";
export const EVIDENCE_SCHEMA = "berth.dev/evidence.v1";
export const MANIFEST_SCHEMA = "berth.dev/manifest.v2";
/** One segment a window, named in the manifest itself; still read, no longer written. */
export const FIRST_MANIFEST_SCHEMA = "berth.dev/manifest.v1";
export const DAY_SCHEMA = "berth.dev/day.v1";
export const CHECKPOINT_SCHEMA = "berth.dev/checkpoint.v1";
export const CLOSING_SCHEMA = "berth.dev/closing.v1";
/** payloadType of a manifest's DSSE envelope. */
export const ENVELOPE_TYPE = "application/vnd.berth.manifest.v1+json";

/** RFC 3339 in UTC with whole seconds, the only form of time in the ledger. */
const second = z
  .string()
  .regex(/^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z$/)
  .refine(isInstant, "is no instant of any calendar");
/** Negative only in adjustments. */
const seconds = z.int();
const sha256 = z.string().regex(/^[0-9a-f]{64}$/);
const name = z.string().min(1).max(253);
const tags = z.record(z.string(), z.string());

/** Integer node-seconds of one stretch of time, by basis; signed differences in adjustments. */
const quantities = z.object({
  claimedNodeSeconds: seconds,
  readyNodeSeconds: seconds,
  desiredNodeSeconds: seconds,
  billableNodeSeconds: seconds,
  surgeNodeSeconds: seconds,
  shortfallNodeSeconds: seconds,
  estimatedNodeSeconds: seconds,
  gpuSeconds: seconds,
});

export const usageRecord = quantities.extend({
  schema: z.literal(RECORD_SCHEMA),
  id: z.uuid(),
  /** `usage` is what was known when the window was sealed; `adjustment` is added to it. */
  kind: z.enum(["usage", "adjustment"]),
  /** 0 for usage; grows with each adjustment of one deployment, SKU and window. */
  rev: z.int().min(0),
  /** Adjustments only: id of the usage record that it is added to (or that would have been there). */
  corrects: z.uuid().optional(),
  cluster: name,
  namespace: name,
  /** Tells a namespace from an earlier one of its name; absent in records of pools that older builds made. */
  namespaceUID: name.optional(),
  deploymentName: name,
  deploymentUID: name,
  sku: name,
  gpus: z.int().min(1),
  account: z.string().max(63),
  tags,
  windowStart: second,
  windowEnd: second,
  windowSeconds: z.int().min(1),
  part: z.int().min(0),
  from: second,
  to: second,
  claims: z.array(z.object({ id: name, claimedAt: second, releasedAt: second.optional() })),
});

/** One instant, what it was read from, and whether it is only the last (or first) proof of life. */
const instantOf = z.object({ time: second, from: z.string().max(600).optional(), estimated: z.boolean().optional() });

/**
 * Everything that one pool contributes to one window, cut to it: the line from which its records are computed anew. `rev` above 0
 * stands before the adjustments that it explains and replaces the line of a lower one.
 */
export const evidence = z.object({
  schema: z.literal(EVIDENCE_SCHEMA),
  rev: z.int().min(0),
  windowStart: second,
  windowEnd: second,
  namespace: name,
  /** As in the records that are computed from it. */
  namespaceUID: name.optional(),
  deploymentName: name,
  deploymentUID: name,
  poolUID: name,
  sku: name,
  gpus: z.int().min(1),
  /** Object and field that the instants of `steps` were read from. */
  stepsFrom: z.string().max(600),
  /** The size in force at the window's begin and every later one before its end. */
  steps: z.array(z.object({ since: second, size: z.int().min(0), account: z.string(), tags })),
  /** Desired is 0 from here on. */
  endedAt: second.optional(),
  claims: z.array(
    z.object({
      id: name,
      /** The provider's object that stands for the node. */
      object: z.string().max(600).optional(),
      claimedAt: instantOf,
      readyAt: instantOf.optional(),
      releasedAt: instantOf.optional(),
    }),
  ),
});

const manifestHead = {
  cluster: name,
  windowStart: second,
  windowEnd: second,
  windowSeconds: z.int().min(1),
  /** End of the window that was sealed before; between the two nobody had capacity. Absent in the first manifest. */
  previousWindowEnd: second.optional(),
  /** SHA-256 of the stored bytes of the manifest before: the chain. Absent in the first one and in those of older builds. */
  previousManifestSha256: sha256.optional(),
  /** Number of records of all segments. */
  records: z.int().min(0),
  /** Sum of all records: those of the window, and differences to earlier ones. */
  totals: quantities,
};

export const firstManifest = z.object({
  schema: z.literal(FIRST_MANIFEST_SCHEMA),
  ...manifestHead,
  segment: name,
  sha256,
});

export const segment = z.object({
  shard: z.int().min(0).max(4095),
  key: name,
  /** Records and lines of evidence. */
  lines: z.int().min(1),
  records: z.int().min(0),
  /** SHA-256 of the uncompressed segment, in hexadecimal. */
  sha256,
  totals: quantities,
});

export const manifest = z.object({
  schema: z.literal(MANIFEST_SCHEMA),
  ...manifestHead,
  /** A deployment's lines are in the shard of its UID's SHA-256 (first 4 bytes, big-endian, modulo this). */
  shards: z.int().min(1).max(4096),
  /** By shard; a shard in which nobody had capacity has none. */
  segments: z.array(segment),
  /** The chain of each shard after this window: SHA-256 of the chain before (text, empty at first) and the segment's SHA-256. */
  chains: z.array(z.union([z.literal(""), sha256])).min(1),
  /** Earlier windows (ISO 8601 intervals, begin/end) to which adjustments in these segments belong; absent without any. */
  adjusts: z.array(z.string().regex(/^[0-9TZ:-]{20}\/[0-9TZ:-]{20}$/)).optional(),
});

/** One for each UTC day with windows, once nothing more can begin in it. */
export const dayRoot = z.object({
  schema: z.literal(DAY_SCHEMA),
  cluster: name,
  day: z.string().regex(/^\d{4}-\d{2}-\d{2}$/),
  windows: z.int().min(1),
  records: z.int().min(0),
  totals: quantities,
  /** SHA-256 over one line `<windowStart> <SHA-256 of the manifest's stored bytes>\n` a window, in order. */
  root: sha256,
  lastManifestSha256: sha256,
});

/** What stands for windows that retention removed: the chain goes on behind it. */
export const checkpoint = z.object({
  schema: z.literal(CHECKPOINT_SCHEMA),
  cluster: name,
  /** End of the last window that was removed. */
  removedThrough: second,
  lastManifestSha256: sha256,
  /** Of everything removed so far. */
  windows: z.int().min(1),
  records: z.int().min(0),
  totals: quantities,
});

/** DSSE v1: the manifest's exact bytes in base64, and who vouches for them. */
export const envelope = z.object({
  payloadType: z.literal(ENVELOPE_TYPE),
  payload: z.base64(),
  signatures: z
    .array(z.object({ keyid: z.string().regex(/^[0-9a-f]{64}$/), sig: z.base64() }))
    .min(1)
    .max(16),
});

export const closing = z.object({
  schema: z.literal(CLOSING_SCHEMA),
  cluster: name,
  namespace: name,
  namespaceUID: name.optional(),
  deploymentName: name,
  deploymentUID: name,
  poolUID: name,
  sku: name,
  gpus: z.int().min(1),
  endedAt: second.optional(),
  steps: z.array(z.object({ since: second, size: z.int().min(0), account: z.string(), tags })),
  claims: z.array(
    z.object({
      id: name,
      claimedAt: second,
      readyAt: second.optional(),
      releasedAt: second.optional(),
      sources: z.record(z.string(), z.string()).optional(),
      estimatedStart: z.boolean().optional(),
      estimatedEnd: z.boolean().optional(),
      /** Marks of the claim: what of it is sealed, and up to where it was not known to be ready. */
      sealedThrough: second.optional(),
      unreadyThrough: second.optional(),
    }),
  ),
  /** What the deployment's series had reached at `through`, since its status goes with it. */
  counted: z
    .object({
      through: second,
      counters: z.array(
        z.object({ sku: name, billable: z.int().min(0), claimed: z.int().min(0), ready: z.int().min(0) }),
      ),
    })
    .optional(),
});

/** Columns of an exported record: what names it first, then what was counted, claims last. */
export const USAGE_RECORD_FIELDS = [
  ...(["windowStart", "windowEnd", "namespace", "deploymentName", "deploymentUID", "account", "sku", "gpus"] as const),
  ...(["kind", "rev", "part", "from", "to"] as const),
  ...(["billableNodeSeconds", "claimedNodeSeconds", "readyNodeSeconds", "desiredNodeSeconds"] as const),
  ...(["surgeNodeSeconds", "shortfallNodeSeconds", "estimatedNodeSeconds", "gpuSeconds"] as const),
  ...(["id", "corrects", "cluster", "windowSeconds", "tags", "claims", "schema"] as const),
] as const;

export type Quantities = z.infer<typeof quantities>;
export type UsageRecord = z.infer<typeof usageRecord>;
export type Evidence = z.infer<typeof evidence>;
export type FirstManifest = z.infer<typeof firstManifest>;
export type Segment = z.infer<typeof segment>;
export type Manifest = z.infer<typeof manifest>;
export type DayRoot = z.infer<typeof dayRoot>;
export type Checkpoint = z.infer<typeof checkpoint>;
export type Envelope = z.infer<typeof envelope>;
export type Closing = z.infer<typeof closing>;

/** Not the 31st of February, nor 25 o'clock. */
function isInstant(text: string): boolean {
  const ms = Date.parse(text);
  return !Number.isNaN(ms) && new Date(ms).toISOString() === text.replace("Z", ".000Z");
}
