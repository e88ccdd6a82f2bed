/** Ledger: the one object that says how the operator's ledger is, for people and alarms. Schema and types. */
import { z } from "zod";
import type { KubeObject, ObjectMeta } from "../ports.ts";
import { conditions, instant } from "./schema.ts";

export const ledgerSpec = z
  .object({
    url: z.string().min(1).max(1024).describe("Where the operator seals windows, as its flag --ledger-url says."),
  })
  .describe("Which ledger it is; written by Berth, and nothing that Berth acts on.");

export const ledgerStatus = z
  .object({
    sealedThrough: instant.optional().describe("End of the newest window that is sealed."),
    conditions: conditions.optional(),
  })
  .describe("How the ledger is; written by Berth alone.");

export interface LedgerObject extends KubeObject {
  readonly metadata: ObjectMeta;
  readonly spec: z.infer<typeof ledgerSpec>;
  readonly status?: z.infer<typeof ledgerStatus>;
}
