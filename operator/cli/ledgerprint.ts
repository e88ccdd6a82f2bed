/** `berth ledger show | export | tail`: records as they lie in the ledger. */
import { Command, InvalidArgumentError, Option } from "commander";

import { USAGE_RECORD_FIELDS } from "../api/ledger.ts";
import type { UsageRecord } from "../api/ledger.ts";
import { committedLines, readManifest, readRecorded, recordedWindows, sealedKeys } from "../controllers/ledgerreads.ts";
import { isEvidence } from "../plan/metering/segment.ts";
import { canonicalJson } from "../plan/metering/canonical.ts";
import { asPlainText, csvText } from "../plan/rating/csv.ts";
import type { Ledger } from "../ports.ts";
import { messageOf } from "../runtime/errors.ts";
import { withRange } from "./ledger.ts";
import { paused } from "./pause.ts";
import type { LedgerIO, RangeFlags, Run } from "./ledger.ts";

export function showCommand(io: LedgerIO, run: Run): Command {
  return withRange(new Command("show"))
    .description("print what sealed windows hold, one canonical JSON document a line, in the order of commits")
    .option("--evidence", "print the evidence too")
    .action(
      run<RangeFlags & { readonly evidence?: boolean }>(async (ledger, flags) => {
        for (const key of await sealedKeys(ledger, flags.from ?? 0, flags.to ?? Infinity)) {
          await printWindow(ledger, key, flags, io);
        }
        return 0;
      }),
    );
}

async function printWindow(
  ledger: Ledger,
  key: string,
  flags: { readonly deployment?: string; readonly evidence?: boolean },
  io: LedgerIO,
): Promise<void> {
  const { manifest } = await readManifest(ledger, key);
  for await (const line of committedLines(ledger, manifest, flags.deployment))
    if (flags.evidence || !isEvidence(line)) io.write(`${canonicalJson(line)}\n`);
}

export function exportCommand(io: LedgerIO, run: Run): Command {
  return withRange(new Command("export"))
    .description("print the records of windows in a range, each window's adjustments beside it, as CSV or JSON lines")
    .addOption(new Option("--format <form>", "csv or jsonl").choices(["csv", "jsonl"]).default("jsonl"))
    .action(
      run<RangeFlags & { readonly format: "csv" | "jsonl" }>(async (ledger, flags) => {
        if (flags.format === "csv") io.write(csvText([...USAGE_RECORD_FIELDS], []));
        for (const window of await recordedWindows(ledger, flags.from ?? 0, flags.to ?? Infinity)) {
          const records = await readRecorded(ledger, window, flags.deployment);
          io.write(
            records.map((record) => (flags.format === "csv" ? csvLine(record) : `${canonicalJson(record)}\n`)).join(""),
          );
        }
        return 0;
      }),
    );
}

function csvLine(record: UsageRecord): string {
  const cells = USAGE_RECORD_FIELDS.map((field) => {
    const value = record[field];
    const text = value === undefined ? null : typeof value === "object" ? canonicalJson(value) : String(value);
    // Names, accounts and tags are tenants' input; numbers stay numbers, below zero too.
    return [field, text === null || typeof value === "number" ? text : asPlainText(text)] as const;
  });
  const [, line = ""] = csvText([...USAGE_RECORD_FIELDS], [Object.fromEntries(cells)]).split(/(?<=\r\n)/);
  return line;
}

interface TailFlags {
  readonly lines: number;
  readonly follow: boolean;
  readonly interval: number;
  readonly evidence?: boolean;
}

export function tailCommand(io: LedgerIO, run: Run): Command {
  const whole = (text: string): number => {
    if (!/^\d{1,6}$/.test(text)) throw new InvalidArgumentError("write a whole number");
    return Number(text);
  };
  return new Command("tail")
    .description("print the newest windows and go on with each that is sealed, until it is stopped")
    .option("-n, --lines <windows>", "how many sealed windows to begin with", whole, 1)
    .option("--no-follow", "end after those")
    .option("--interval <seconds>", "how often to look", whole, 15)
    .option("--evidence", "print the evidence too")
    .action(
      run<TailFlags>(async (ledger, flags) => {
        const keys = await sealedKeys(ledger, 0, Infinity);
        let last = keys.at(-1 - flags.lines) ?? "";
        for (;;) {
          try {
            for (const key of (await ledger.list("v1/", { startAfter: last })).filter((one) =>
              one.endsWith("/manifest.json"),
            )) {
              await printWindow(ledger, key, flags, io);
              last = key;
            }
          } catch (error) {
            if (!flags.follow) throw error;
            io.complain?.(`berth ledger: ${messageOf(error)}; will look again\n`);
          }
          if (!flags.follow || !(await paused(flags.interval * 1000, io.signal))) return 0;
        }
      }),
    );
}
