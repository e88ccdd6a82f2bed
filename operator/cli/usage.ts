/** `berth usage`: asks a usage API and prints its answer. Exit codes: 0 printed, 1 refused or not reached, 2 wrong flags. */
import { Command, Option } from "commander";
import { readFile } from "node:fs/promises";

import { parse } from "yaml";

import type { PriceList } from "../api/pricelist.ts";
import { granularities } from "../api/usage.ts";
import type { Granularity, GroupedUsage, UsageReport } from "../api/usage.ts";
import type { FocusVersion } from "../api/pricelist.ts";
import { parsePriceList } from "../plan/rating/pricelist.ts";
import { exitCodeOf } from "./exitcode.ts";
import { estimateOf } from "./estimate.ts";
import { focusExport, focusVersionOption } from "./focus.ts";
import { endpointURL, ledgerURL } from "./placeforms.ts";
import { ask, askSums, questionOf, UsageError } from "./usageclient.ts";
import type { Question, UsageIO } from "./usageclient.ts";
import { chartOf } from "./usagechart.ts";
import { sumsChartOf, sumsCsvOf, sumsTableOf } from "./usagesums.ts";
import { csvOf, tableOf } from "./usagetable.ts";

interface Flags extends Question {
  readonly granularity?: Granularity;
  readonly groupBy?: string;
  readonly output: "table" | "wide" | "chart" | "json" | "csv" | "focus";
  readonly priceList?: string;
  readonly focusVersion: FocusVersion;
  readonly provider?: string;
  readonly region?: string;
}

/** The sub-command for main.ts; `end` gets the exit code. */
export function usageCommand(io: UsageIO, end: (code: number) => void): Command {
  return new Command("usage")
    .description("print provisioned capacity by hour: sealed hours and the open one, marked as such")
    .option("--from <time>", "first hour: a UTC day (2026-11-21) or an instant (default: today)")
    .option("--to <time>", "hours that begin before this time (default: the end of today)")
    .option("-n, --namespace <name>", "one namespace (default: the kubeconfig's, or all that you may read)")
    .option("-A, --all-namespaces", "every namespace that you may read")
    .option("-d, --deployment <name>", "one ModelDeployment")
    .option("--deployment-uid <uid>", "one ModelDeployment by its UID, also one that is gone: the quickest to read")
    .option("-a, --account <name>", "what is charged to one account")
    .addOption(new Option("--granularity <period>", "sums by UTC hour, day or month").choices([...granularities]))
    .option(
      "--group-by <members>",
      "what sums are separated by: namespace,deployment,account,sku (default: all), or none",
    )
    .addOption(
      new Option("-o, --output <form>", "form of the output")
        .choices(["table", "wide", "chart", "json", "csv", "focus"])
        .default("table"),
    )
    .option("--server <url>", "URL of the usage API (or BERTH_USAGE_SERVER)", endpointURL)
    .option(
      "--ledger-url <url>",
      "read sealed hours from the ledger itself: s3://bucket/prefix or file:///path",
      ledgerURL,
    )
    .option("--ledger-endpoint <url>", "URL of the ledger's S3 server", endpointURL)
    .option("--ledger-region <name>", "region of the ledger's bucket")
    .option("--token-file <path>", "file with a token of Kubernetes (or the token itself in BERTH_TOKEN)")
    .option("--kubeconfig <path>", "kubeconfig whose token is used (or KUBECONFIG)")
    .option("--plain-http", "send the token without TLS to a server that is not on this machine")
    .option("--price-list <file>", "price list (YAML or JSON): add an estimate of the cost below a table or chart")
    .addOption(focusVersionOption())
    .option("--provider <name>", "who sells the capacity and writes the invoice; for -o focus")
    .option("--region <id>", "region of the capacity; for -o focus")
    .action(async (flags: Flags) => end(await answerOf(flags, io)));
}

async function answerOf(flags: Flags, io: UsageIO): Promise<number> {
  try {
    const { url, namespace } = await questionOf(flags, io.env);
    const list = await priceListOf(flags);
    await (flags.output === "focus" ? printFocus : printUsage)(url, flags, list, io);
    // On standard error, so that files and programs are told, too.
    if (namespace !== undefined && flags.namespace === undefined) {
      const tiers = list ? "; tiers count its units alone" : "";
      io.complain?.(
        `only namespace ${namespace} of your kubeconfig is shown${tiers}; --all-namespaces shows every one\n`,
      );
    }
    return 0;
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    io.complain?.(`berth usage: ${error.message}\n`);
    return 1;
  }
}

async function printUsage(url: URL, flags: Flags, list: PriceList | undefined, io: UsageIO): Promise<void> {
  if (flags.granularity === undefined && flags.groupBy === undefined) {
    const report = await ask(url, flags, io.env);
    io.write(print(report, flags.output));
    if (list) io.write(estimateOf(report, list));
    return;
  }
  if (list) throw new UsageError("--price-list needs records: leave --granularity and --group-by out");
  if (flags.granularity !== undefined) url.searchParams.set("granularity", flags.granularity);
  if (flags.groupBy !== undefined) url.searchParams.set("groupBy", flags.groupBy);
  io.write(printSums(await askSums(url, flags, io.env), flags.output));
}

/** Runs the command with these arguments and answers with its exit code. */
export async function runUsage(args: readonly string[], io: UsageIO): Promise<number> {
  return exitCodeOf((end) => usageCommand(io, end), args, io);
}

/** The month's charges as a FOCUS file; a session that began before the month is known from the day before. */
async function printFocus(url: URL, flags: Flags, list: PriceList | undefined, io: UsageIO): Promise<void> {
  const { from = "", provider, region, focusVersion: version } = flags;
  if (!list) throw new UsageError("-o focus needs prices: give --price-list <file>");
  if (provider === undefined) throw new UsageError("-o focus needs to know who sells: give --provider <name>");
  if (!/^\d{4}-\d{2}-01(T00:00:00Z)?$/.test(from) || Number.isNaN(Date.parse(from))) {
    throw new UsageError("-o focus begins with a month, whose units tiers count: give --from like 2026-11-01");
  }
  const dayBefore = new URL(url);
  const firstMs = Date.parse(from);
  dayBefore.searchParams.set("from", new Date(firstMs - 86_400_000).toISOString());
  dayBefore.searchParams.set("to", from);
  const before = await ask(dayBefore, flags, io.env);
  const month = await ask(url, flags, io.env);
  const parties = { provider, ...(region === undefined ? {} : { regionId: region }) };
  const about = { from: month.from, list, version, parties };
  const { csv, open, unpriced } = focusExport([...before.records, ...month.records], about);
  if (unpriced.length > 0) {
    throw new UsageError(`the price list has no price for ${unpriced.join(", ")}: add one, a file without is no bill`);
  }
  io.write(csv);
  if (open > 0) io.complain?.(`${String(open)} records are not sealed yet and not in the file\n`);
}

async function priceListOf({ priceList, output }: Flags): Promise<PriceList | undefined> {
  if (priceList === undefined) return undefined;
  if (output === "json" || output === "csv")
    throw new UsageError(`--price-list does not go with -o ${output}: use table, wide or chart`);
  try {
    const { list, problems } = parsePriceList(parse(await readFile(priceList, "utf8")));
    if (list) return list;
    throw new Error(problems.join("; "));
  } catch (error) {
    throw new UsageError(
      `--price-list ${priceList} cannot be used: ${error instanceof Error ? error.message : String(error)}`,
    );
  }
}

function printSums(sums: GroupedUsage, output: Flags["output"]): string {
  if (output === "json") return `${JSON.stringify(sums, undefined, 2)}\n`;
  if (output === "chart") return sumsChartOf(sums);
  return output === "csv" ? sumsCsvOf(sums) : sumsTableOf(sums, { isWide: output === "wide" });
}

function print(report: UsageReport, output: Flags["output"]): string {
  if (output === "json") return `${JSON.stringify(report, undefined, 2)}\n`;
  if (output === "chart") return chartOf(report);
  return output === "csv" ? csvOf(report) : tableOf(report, { wide: output === "wide" });
}
