/** `berth usage`: asks a usage API and prints its answer. Exit codes: 0 printed, 1 refused or not reached, 2 wrong flags. */
import { Command, CommanderError, Option } from "commander";
import { readFile } from "node:fs/promises";

import { parse } from "yaml";

import type { PriceList } from "../api/pricelist.ts";
import { usageReport } from "../api/usage.ts";
import type { UsageLine, UsageReport } from "../api/usage.ts";
import type { FocusVersion } from "../api/pricelist.ts";
import { parsePriceList } from "../plan/rating/pricelist.ts";
import { estimateOf } from "./estimate.ts";
import { focusExport, focusVersionOption } from "./focus.ts";
import { chartOf } from "./usagechart.ts";
import { csvOf, tableOf } from "./usagetable.ts";

export interface UsageIO {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Standard output. */
  readonly write: (text: string) => void;
  /** Standard error. */
  readonly complain?: (text: string) => void;
}

interface Flags {
  readonly from?: string;
  readonly to?: string;
  readonly namespace?: string;
  readonly allNamespaces?: boolean;
  readonly deployment?: string;
  readonly output: "table" | "wide" | "chart" | "json" | "csv" | "focus";
  readonly server?: string;
  readonly tokenFile?: string;
  readonly kubeconfig?: string;
  readonly plainHttp?: boolean;
  readonly priceList?: string;
  readonly focusVersion: FocusVersion;
  readonly provider?: string;
  readonly region?: string;
}

/** What fits into this process's memory and a terminal's patience. */
const mostRecords = 200_000;

/** Something that the caller can mend; the message says how. */
class UsageError extends Error {}

/** The sub-command for main.ts; `end` gets the exit code. */
export function usageCommand(io: UsageIO, end: (code: number) => void): Command {
  return new Command("usage")
    .description("print provisioned capacity by hour: sealed hours and the open one, marked as such")
    .option("--from <time>", "first hour: a UTC day (2026-11-21) or an instant (default: today)")
    .option("--to <time>", "hours that begin before this time (default: the end of today)")
    .option("-n, --namespace <name>", "one namespace (default: the kubeconfig's, or all that you may read)")
    .option("-A, --all-namespaces", "every namespace that you may read")
    .option("-d, --deployment <name>", "one ModelDeployment")
    .addOption(
      new Option("-o, --output <form>", "form of the output")
        .choices(["table", "wide", "chart", "json", "csv", "focus"])
        .default("table"),
    )
    .option("--server <url>", "URL of the usage API (or BERTH_USAGE_SERVER)")
    .option("--token-file <path>", "file with a token of Kubernetes (or the token itself in BERTH_TOKEN)")
    .option("--kubeconfig <path>", "kubeconfig whose token is used (or KUBECONFIG)")
    .option("--plain-http", "send the token without TLS to a server that is not on this machine")
    .option("--price-list <file>", "price list (YAML or JSON): add an estimate of the cost below a table or chart")
    .addOption(focusVersionOption())
    .option("--provider <name>", "who sells the capacity and writes the invoice; for -o focus")
    .option("--region <id>", "region of the capacity; for -o focus")
    .action(async (flags: Flags) => {
      try {
        const { url, namespace } = await questionOf(flags, io.env);
        const list = await priceListOf(flags);
        if (flags.output === "focus") {
          await printFocus(url, flags, list, io);
          return end(0);
        }
        const report = await ask(url, flags, io.env);
        io.write(print(report, flags.output));
        if (list) io.write(estimateOf(report, list));
        if (
          namespace !== undefined &&
          flags.namespace === undefined &&
          ["table", "wide", "chart"].includes(flags.output)
        ) {
          io.complain?.(`only namespace ${namespace} of your kubeconfig is shown; --all-namespaces shows every one\n`);
        }
        end(0);
      } catch (error) {
        if (!(error instanceof UsageError)) throw error;
        io.complain?.(`berth usage: ${error.message}\n`);
        end(1);
      }
    });
}

/** Runs the command with these arguments and answers with its exit code. */
export async function runUsage(args: readonly string[], io: UsageIO): Promise<number> {
  let code = 0;
  const command = usageCommand(io, (ended) => (code = ended)).exitOverride();
  command.configureOutput({ writeOut: io.write, writeErr: (text) => io.complain?.(text) });
  try {
    await command.parseAsync([...args], { from: "user" });
    return code;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
    throw error;
  }
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

async function questionOf(flags: Flags, env: UsageIO["env"]): Promise<{ url: URL; namespace: string | undefined }> {
  const server = flags.server ?? env["BERTH_USAGE_SERVER"];
  if (!server) {
    throw new UsageError(
      "no server: run `kubectl -n berth-system port-forward svc/berth-operator 8082` and give --server http://127.0.0.1:8082",
    );
  }
  const url = URL.canParse(server) ? new URL(server) : undefined;
  if (!url || (url.protocol !== "http:" && url.protocol !== "https:")) {
    throw new UsageError(`--server ${server} is no http or https URL: write for example http://127.0.0.1:8082`);
  }
  const local = ["localhost", "127.0.0.1", "[::1]"].includes(url.hostname);
  if (url.protocol === "http:" && !local && !flags.plainHttp) {
    throw new UsageError(
      `${server} has no TLS, your token would be readable on its way: use https, or add --plain-http`,
    );
  }
  url.pathname = `${url.pathname.replace(/\/$/, "")}/v1/usage`;
  const namespace = flags.allNamespaces ? undefined : (flags.namespace ?? (await kubeconfigOf(flags, env))?.namespace);
  const asked = { from: flags.from, to: flags.to, namespace, deployment: flags.deployment };
  for (const [name, value] of Object.entries(asked)) if (value !== undefined) url.searchParams.set(name, value);
  return { url, namespace };
}

/** All pages as one report. */
async function ask(url: URL, flags: Flags, env: UsageIO["env"]): Promise<UsageReport> {
  const authorization = `Bearer ${await tokenOf(flags, env)}`;
  const records: UsageLine[] = [];
  for (;;) {
    const { next, ...page } = await askPage(url, authorization);
    records.push(...page.records);
    if (next === undefined) return { ...page, records };
    if (records.length > mostRecords) {
      const most = `the answer has more than ${String(mostRecords)} records`;
      throw new UsageError(`${most}: ask for a shorter time, one namespace or one deployment`);
    }
    url.searchParams.set("cursor", next);
  }
}

async function askPage(url: URL, authorization: string): Promise<UsageReport> {
  let response: Response;
  try {
    response = await fetch(url, { headers: { authorization }, redirect: "error", signal: AbortSignal.timeout(60_000) });
  } catch (error) {
    const why = error instanceof Error && error.cause instanceof Error ? error.cause.message : String(error);
    throw new UsageError(`${url.origin} does not answer (${why}): is the port-forward running, is --server right?`);
  }
  const body: unknown = await response.json().catch(() => undefined);
  if (!response.ok) throw new UsageError(refusalOf(response.status, body));
  const parsed = usageReport.safeParse(body);
  if (!parsed.success)
    throw new UsageError(`${url.origin} answered with something that is no usage report: is it Berth's usage API?`);
  return parsed.data;
}

function refusalOf(status: number, body: unknown): string {
  const said =
    typeof body === "object" && body !== null && "error" in body ? String(body.error) : "no explanation given";
  if (status === 401)
    return `the server did not accept your token (401): ${said}; \`kubectl create token <service account>\` makes one`;
  return `${said} (${status})`;
}

async function tokenOf(flags: Flags, env: UsageIO["env"]): Promise<string> {
  if (flags.tokenFile !== undefined) return tokenFromFile(flags.tokenFile);
  if (env["BERTH_TOKEN"]) return env["BERTH_TOKEN"];
  const token = (await kubeconfigOf(flags, env))?.token;
  if (token !== undefined) return token;
  throw new UsageError(
    "no token: give --token-file or BERTH_TOKEN, for example BERTH_TOKEN=$(kubectl create token <service account>); a kubeconfig with a client certificate alone cannot be used here",
  );
}

async function tokenFromFile(path: string): Promise<string> {
  try {
    return (await readFile(path, "utf8")).trim();
  } catch (error) {
    throw new UsageError(
      `--token-file ${path} cannot be read: ${error instanceof Error ? error.message : String(error)}`,
    );
  }
}

/** Token and namespace of the current context, or undefined where no kubeconfig is named. */
async function kubeconfigOf(
  { kubeconfig }: Flags,
  env: UsageIO["env"],
): Promise<{ readonly token: string | undefined; readonly namespace: string | undefined } | undefined> {
  const path = kubeconfig ?? env["KUBECONFIG"];
  if (!path) return undefined;
  // Loaded only here: it is large, and most calls bring their token with them.
  const { KubeConfig } = await import("@kubernetes/client-node");
  const config = new KubeConfig();
  try {
    config.loadFromFile(path);
    const options: { headers?: Record<string, string | undefined> } = {};
    await config.applyToHTTPSOptions(options);
    const token = options.headers?.["Authorization"]?.replace(/^Bearer /, "");
    return { token, namespace: config.getContextObject(config.getCurrentContext())?.namespace };
  } catch (error) {
    throw new UsageError(
      `kubeconfig ${path} cannot be used: ${error instanceof Error ? error.message : String(error)}`,
    );
  }
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

function print(report: UsageReport, output: Flags["output"]): string {
  if (output === "json") return `${JSON.stringify(report, undefined, 2)}\n`;
  if (output === "chart") return chartOf(report);
  return output === "csv" ? csvOf(report) : tableOf(report, { wide: output === "wide" });
}
