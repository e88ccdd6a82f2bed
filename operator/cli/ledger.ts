/** `berth ledger verify | show`: reads a ledger itself, without Berth's server. Exit codes: 0 intact, 1 not read, 2 flags, 3 damaged. */
import { readFile } from "node:fs/promises";

import { Command, Option } from "commander";

import { openLedger } from "../adapters/ledger/open.ts";
import { readSealed, sealedKeys } from "../controllers/ledgerreads.ts";
import { verifyLedger } from "../controllers/verify.ts";
import type { Finding, Verification } from "../controllers/verify.ts";
import type { Ledger, TrustedKeys } from "../ports.ts";
import { messageOf } from "../runtime/errors.ts";
import { trustedKeysOf } from "../adapters/ledger/signing.ts";
import type { UsageIO } from "./usageclient.ts";

const EXIT_UNREAD = 1;
const EXIT_DAMAGED = 3;

interface Flags {
  readonly ledgerUrl: string;
  readonly endpoint?: string;
  readonly region?: string;
  readonly output: "text" | "json";
  readonly head?: string;
  readonly trust?: readonly string[];
}

/** The sub-command for main.ts; `end` gets the exit code. */
export function ledgerCommand(io: UsageIO, end: (code: number) => void): Command {
  const run = (work: (ledger: Ledger, flags: Flags) => Promise<number>) => async (flags: Flags) => {
    try {
      end(await work(openFromShell(flags, io.env), flags));
    } catch (error) {
      io.complain?.(`berth ledger: ${messageOf(error)}\n`);
      end(EXIT_UNREAD);
    }
  };
  const verify = withPlace(new Command("verify"))
    .description("check every window: chain, tiling, digests, and each line's own arithmetic (0 intact, 3 damaged)")
    .addOption(new Option("-o, --output <form>", "form of the output").choices(["text", "json"]).default("text"))
    .option("--head <sha256>", "a head noted earlier, which must still stand in the chain")
    .option("--trust <files...>", "public keys in PEM, one of which must vouch for every window")
    .action(
      run(async (ledger, flags) => {
        const trust = await trustOf(flags.trust);
        const { head } = flags;
        const result = await verifyLedger(ledger, { ...(head && { head }), ...(trust && { trust }) });
        io.write(flags.output === "json" ? `${JSON.stringify(result, undefined, 2)}\n` : textOf(result));
        return result.findings.length > 0 ? EXIT_DAMAGED : 0;
      }),
    );
  const show = withPlace(new Command("show"))
    .description("print the records of every sealed window, one canonical JSON document a line")
    .action(
      run(async (ledger) => {
        for (const key of await sealedKeys(ledger, 0, Infinity)) {
          const { records } = await readSealed(ledger, key);
          for (const record of records) io.write(`${JSON.stringify(record)}\n`);
        }
        return 0;
      }),
    );
  return new Command("ledger").description("check and print a ledger by itself").addCommand(verify).addCommand(show);
}

async function trustOf(files: readonly string[] | undefined): Promise<TrustedKeys | undefined> {
  if (!files) return undefined;
  const keys = await Promise.all(files.map(async (file) => trustedKeysOf(await readFile(file, "utf8"), file)));
  return new Map(keys.flatMap((found) => [...found]));
}

function withPlace(command: Command): Command {
  return command
    .requiredOption("--ledger-url <url>", "s3://bucket/prefix or file:///path")
    .option("--endpoint <url>", "URL of the S3 server")
    .option("--region <name>", "region of the bucket")
    .exitOverride();
}

/** With the keys of the environment; throws TerminalError for a URL of another form. */
export function openFromShell(
  { ledgerUrl, endpoint, region }: Pick<Flags, "ledgerUrl" | "endpoint" | "region">,
  env: UsageIO["env"],
): Ledger {
  const [accessKeyId, secretAccessKey] = [env["BERTH_LEDGER_ACCESS_KEY_ID"], env["BERTH_LEDGER_SECRET_ACCESS_KEY"]];
  return openLedger({
    url: ledgerUrl,
    ...(endpoint === undefined ? {} : { endpoint }),
    ...(region === undefined ? {} : { region }),
    ...(accessKeyId && secretAccessKey ? { credentials: { accessKeyId, secretAccessKey } } : {}),
  });
}

function textOf(result: Verification): string {
  const { windows, records, billableNodeSeconds, head, unchained, findings } = result;
  const lines = findings.map(
    ({ key, line, problem }: Finding) => `${key}${line === undefined ? "" : `:${line}`} ${problem}`,
  );
  lines.push(`${windows} windows, ${records} records, ${billableNodeSeconds} billable node-seconds`);
  if (unchained > 0) lines.push(`${unchained} windows are not chained: they were sealed by an older build`);
  if (result.signed === undefined)
    lines.push("signatures were not checked: name the operator's public key with --trust");
  else
    lines.push(
      `${result.signed} windows signed with a trusted key, ${result.beforeSignatures} before them by the chain`,
    );
  if (head)
    lines.push(`head ${head.sha256} (${head.key}, sealed through ${head.windowEnd}): note it elsewhere for --head`);
  lines.push(findings.length === 0 ? "intact" : `DAMAGED: ${findings.length} findings`);
  return `${lines.join("\n")}\n`;
}
