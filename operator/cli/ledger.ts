/** `berth ledger …`: reads a ledger itself, without Berth's server. Exit codes: 0 done and intact, 1 not read, 2 flags, 3 damaged, 4 refused, 5 doubtful. */
import { Command, InvalidArgumentError, Option } from "commander";

import { openLedger } from "../adapters/ledger/open.ts";
import { recordedWindows } from "../controllers/ledgerreads.ts";
import { recompute } from "../controllers/recompute.ts";
import { verifyLedger } from "../controllers/verify.ts";
import { secondsOf } from "../plan/metering/windows.ts";
import type { Ledger } from "../ports.ts";
import { messageOf } from "../runtime/errors.ts";
import { lookAtCluster } from "./ledgercluster.ts";
import { gcCommand } from "./ledgergc.ts";
import { sinkCommands } from "./ledgersinks.ts";
import { exportCommand, showCommand, tailCommand } from "./ledgerprint.ts";
import { recomputedText, verificationText } from "./ledgertext.ts";
import { endpointURL, ledgerURL } from "./placeforms.ts";
import { trustOf } from "./ledgertrust.ts";
import type { UsageIO } from "./usageclient.ts";

export const EXIT_UNREAD = 1;
export const EXIT_DAMAGED = 3;
export const EXIT_REFUSED = 4;
export const EXIT_DOUBTFUL = 5;

export interface LedgerIO extends UsageIO {
  /** Ends what follows without an end (tail). */
  readonly signal?: AbortSignal;
}

interface Place {
  readonly ledgerUrl: string;
  readonly endpoint?: string;
  readonly region?: string;
}

/** Opens the ledger, runs the command and turns what went wrong into words and an exit code. */
export type Run = <F extends object>(
  work: (ledger: Ledger, flags: F) => Promise<number>,
) => (flags: F) => Promise<void>;

/** The sub-command for main.ts; `end` gets the exit code. */
export function ledgerCommand(io: LedgerIO, end: (code: number) => void): Command {
  const run: Run = (work) => async (flags) => {
    try {
      end(await work(openFromShell(flags as Place, io.env), flags));
    } catch (error) {
      io.complain?.(`berth ledger: ${messageOf(error)}\n`);
      end(EXIT_UNREAD);
    }
  };
  const all = [verifyCommand, recomputeCommand, showCommand, exportCommand, tailCommand, gcCommand];
  const ledger = new Command("ledger").description("check, print and trim a ledger by itself, without the operator");
  for (const make of all) ledger.addCommand(withPlace(make(io, run)));
  const sinks = new Command("sinks").description("how far deliveries have come; send hours again; what was set aside");
  for (const make of sinkCommands) sinks.addCommand(withPlace(make(io, run)));
  return ledger.addCommand(sinks.exitOverride());
}

interface VerifyFlags {
  readonly output: "text" | "json";
  readonly head?: string;
  readonly trust?: readonly string[];
  readonly signedFrom?: number;
  readonly cluster?: boolean;
  readonly strict?: boolean;
  readonly kubeconfig?: string;
  readonly operatorNamespace: string;
}

const strictly =
  "end with 5 where something is in good form and yet not vouched for: a window without a signature amid signed ones or before them (but for --signed-from), a segment that no manifest names";

function verifyCommand(io: LedgerIO, run: Run): Command {
  return new Command("verify")
    .description("check every window: chain, tiling, digests, day roots, and each record again from its evidence")
    .addOption(outputOption())
    .option("--head <sha256>", "a head noted earlier, which must still stand in the chain")
    .option("--trust <files...>", "public keys in PEM, one of which must vouch for every window")
    .option(
      "--signed-from <instant>",
      "when the first window began that was sealed with a key, as you noted it: windows before it need no signature",
      secondsOfFlag,
    )
    .option("--strict", strictly)
    .option(
      "--cluster",
      "compare with the head, the claims and the sizes that the cluster holds (KUBECONFIG or in a pod)",
    )
    .option("--kubeconfig <path>", "kubeconfig of that cluster; implies --cluster")
    .option("--operator-namespace <name>", "namespace of the operator", "berth-system")
    .addHelpText("after", `${exitCodes.slice(0, -1)}, 5 doubtful (with --strict).`)
    .action(
      run<VerifyFlags>(async (ledger, flags) => {
        const trust = await trustOf(flags.trust);
        const cluster = flags.cluster || flags.kubeconfig ? await lookAtCluster(ledger, flags, io.env) : undefined;
        const { head, signedFrom } = flags;
        const kept = cluster?.kept;
        const found = await verifyLedger(ledger, {
          ...(head && { head }),
          ...(trust && { trust }),
          ...(signedFrom !== undefined && { signedFrom }),
          ...(kept && { kept }),
        });
        const result = { ...found, findings: [...found.findings, ...(cluster?.findings ?? [])] };
        io.write(flags.output === "json" ? `${JSON.stringify(result, undefined, 2)}\n` : verificationText(result));
        if (result.findings.length > 0) return EXIT_DAMAGED;
        return flags.strict && result.doubts.length > 0 ? EXIT_DOUBTFUL : 0;
      }),
    );
}

export interface RangeFlags {
  readonly from?: number;
  readonly to?: number;
  readonly deployment?: string;
}

function recomputeCommand(io: LedgerIO, run: Run): Command {
  return withRange(new Command("recompute"))
    .description("rebuild records from the evidence in their segments and compare; adjustments are counted in")
    .addOption(outputOption())
    .option("--evidence", "print the evidence too")
    .addHelpText("after", exitCodes)
    .action(
      run<RangeFlags & { readonly output: string; readonly evidence?: boolean }>(async (ledger, flags) => {
        let [same, different, windows] = [0, 0, 0];
        for (const window of await recordedWindows(ledger, flags.from ?? 0, flags.to ?? Infinity)) {
          windows += 1;
          for await (const again of recompute(ledger, window, flags.deployment)) {
            if (again.same) same += 1;
            else different += 1;
            const { evidence, ...rest } = again;
            if (flags.output === "json") io.write(`${JSON.stringify(flags.evidence ? again : rest)}\n`);
            else io.write(recomputedText(again, flags.evidence ? evidence : []));
          }
        }
        if (flags.output === "text")
          io.write(`${windows} windows: ${same} deployments' hours recomputed alike, ${different} not\n`);
        if (windows === 0) io.complain?.("berth ledger: no sealed window in this range\n");
        return different > 0 ? EXIT_DAMAGED : 0;
      }),
    );
}

export function withRange(command: Command): Command {
  return command
    .option("--from <instant>", "windows that begin here or later: a UTC day or an RFC 3339 instant", secondsOfFlag)
    .option("--to <instant>", "windows that begin earlier than this", secondsOfFlag)
    .option("--deployment <uid>", "UID of one ModelDeployment; only its shard is read");
}

export function outputOption(): Option {
  return new Option("-o, --output <form>", "form of the output").choices(["text", "json"]).default("text");
}

const exitCodes = "\nExit codes: 0 intact, 1 could not be read, 2 wrong flags, 3 damaged.";

export function secondsOfFlag(text: string): number {
  try {
    return secondsOf(/^\d{4}-\d{2}-\d{2}$/.test(text) ? `${text}T00:00:00Z` : text);
  } catch {
    throw new InvalidArgumentError("write a UTC day like 2026-11-21 or an instant like 2026-11-21T10:00:00Z");
  }
}

function withPlace(command: Command): Command {
  return command
    .requiredOption("--ledger-url <url>", "s3://bucket/prefix or file:///path", ledgerURL)
    .option("--endpoint <url>", "URL of the S3 server", endpointURL)
    .option("--region <name>", "region of the bucket")
    .exitOverride();
}

/** With the keys of the environment; throws TerminalError for a URL of another form. */
export function openFromShell({ ledgerUrl, endpoint, region }: Place, env: UsageIO["env"]): Ledger {
  const [accessKeyId, secretAccessKey] = [env["BERTH_LEDGER_ACCESS_KEY_ID"], env["BERTH_LEDGER_SECRET_ACCESS_KEY"]];
  return openLedger({
    url: ledgerUrl,
    ...(endpoint === undefined ? {} : { endpoint }),
    ...(region === undefined ? {} : { region }),
    ...(accessKeyId && secretAccessKey ? { credentials: { accessKeyId, secretAccessKey } } : {}),
  });
}
