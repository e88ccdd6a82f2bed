/**
 * Shapes of what lies in the ledger: usage records, manifests and closing objects. What is read back is parsed with
 * these, since a ledger is a bucket that others may have written to. Adding a field is compatible, anything else is a new schema.
 */
import { z } from "zod";

export const RECORD_SCHEMA = "berth.dev/capacity.v1";
export const MANIFEST_SCHEMA = "berth.dev/manifest.v1";
export const CLOSING_SCHEMA = "berth.dev/closing.v1";
/** payloadType of a manifest's DSSE envelope. */
export const ENVELOPE_TYPE = "application/vnd.berth.manifest.v1+json";

/** RFC 3339 in UTC with whole seconds, the only form of time in the ledger. */
const second = z.string().regex(/^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z$/);
const seconds = z.int().min(0);
const name = z.string().min(1).max(253);
const tags = z.record(z.string(), z.string());

/** Integer node-seconds of one stretch of time, by basis. */
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
  kind: z.literal("usage"),
  rev: z.int().min(0),
  cluster: name,
  namespace: name,
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

export const manifest = z.object({
  schema: z.literal(MANIFEST_SCHEMA),
  cluster: name,
  windowStart: second,
  windowEnd: second,
  windowSeconds: z.int().min(1),
  /** End of the window that was sealed before; between the two nobody had capacity. Absent in the first manifest. */
  previousWindowEnd: second.optional(),
  /** SHA-256 of the stored bytes of the manifest before: the chain. Absent in the first one and in those of older builds. */
  previousManifestSha256: z
    .string()
    .regex(/^[0-9a-f]{64}$/)
    .optional(),
  segment: name,
  records: z.int().min(0),
  /** SHA-256 of the uncompressed segment, in hexadecimal. */
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
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
      estimatedStart: z.boolean().optional(),
      estimatedEnd: z.boolean().optional(),
    }),
  ),
});

export type Quantities = z.infer<typeof quantities>;
export type UsageRecord = z.infer<typeof usageRecord>;
export type Manifest = z.infer<typeof manifest>;
export type Envelope = z.infer<typeof envelope>;
export type Closing = z.infer<typeof closing>;
