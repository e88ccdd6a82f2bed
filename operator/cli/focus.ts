/** FOCUS files from the shell: made from a month's sealed usage and a price list, and checked by the published rules. */
import { Command, Option } from "commander";
import { readFile } from "node:fs/promises";

import type { PriceList } from "../api/pricelist.ts";
import type { UsageLine } from "../api/usage.ts";
import { secondsOf } from "../plan/metering/windows.ts";
import { chargesOf, focusCsv } from "../plan/rating/focus.ts";
import type { Charge, FocusParties } from "../plan/rating/focus.ts";
import { focusVersions } from "../api/pricelist.ts";
import type { FocusVersion } from "../api/pricelist.ts";
import { focusFindings } from "../plan/rating/focusrules.ts";
import { freshRating, rateWindow } from "../plan/rating/rate.ts";

export interface FocusExport {
  readonly csv: string;
  /** Records left out since their hour is not sealed: they still move. */
  readonly open: number;
  /** SKUs that the list has no price for; a file without their hours would be a wrong bill. */
  readonly unpriced: readonly string[];
}

/**
 * `records` in the order of time from a day before `from` on, so that sessions which began there keep their minimum; only charges
 * of windows from `from` on are in the file. `from` is the begin of a month, since tiers count units of a month.
 */
export function focusExport(
  records: readonly UsageLine[],
  about: {
    readonly from: string;
    readonly list: PriceList;
    readonly version: FocusVersion;
    readonly parties: FocusParties;
  },
): FocusExport {
  const sealed = records.filter(({ open }) => !open);
  const charges: Charge[] = [];
  const unpriced = new Set<string>();
  let state = freshRating;
  for (const [windowStart, window] of Map.groupBy(sealed, (record) => record.windowStart)) {
    const rated = rateWindow(state, window, about.list);
    ({ state } = rated);
    if (windowStart < about.from) continue;
    for (const { sku } of rated.unpriced) unpriced.add(sku);
    charges.push(...chargesOf(window, rated.lines, secondsOf(windowStart)));
  }
  const open = records.filter((record) => record.open && record.windowStart >= about.from).length;
  return { csv: focusCsv(about.version, charges, about.parties), open, unpriced: [...unpriced].sort() };
}

export const focusVersionOption = (): Option =>
  new Option("--focus-version <version>", "version of FOCUS").choices([...focusVersions]).default("1.2");

/** `berth focus <file>`: exit codes 0 in order, 1 not readable, 3 findings. */
export function focusCommand(
  io: { readonly write: (text: string) => void; readonly complain?: (text: string) => void },
  end: (code: number) => void,
): Command {
  return new Command("focus")
    .description("check a FOCUS Cost and Usage file (CSV) by the published rules of its columns")
    .argument("<file>", "CSV file")
    .addOption(focusVersionOption())
    .action(async (file: string, { focusVersion }: { readonly focusVersion: FocusVersion }) => {
      let text: string;
      try {
        text = await readFile(file, "utf8");
      } catch (error) {
        io.complain?.(
          `berth focus: ${file} cannot be read: ${error instanceof Error ? error.message : String(error)}\n`,
        );
        return end(1);
      }
      const findings = focusFindings(focusVersion, text);
      for (const { row, column, problem } of findings) {
        const where = row === 0 ? "heading" : `row ${String(row)}`;
        io.write(`${where}${column === "" ? "" : `, ${column}`}: ${problem}\n`);
      }
      if (findings.length === 0) io.write(`${file} keeps the rules of FOCUS ${focusVersion}\n`);
      end(findings.length === 0 ? 0 : 3);
    });
}
