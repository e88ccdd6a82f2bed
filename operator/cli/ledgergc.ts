/** `berth ledger gc`: removes old days behind a checkpoint; the only command here that writes. */
import { Command, InvalidArgumentError } from "commander";

import { planRetention, retain } from "../controllers/retention.ts";
import type { OwedSink, RetentionPlan } from "../controllers/retention.ts";
import { verifyLedger } from "../controllers/verify.ts";
import type { Finding } from "../controllers/verify.ts";
import { NONE_TRUSTED } from "../controllers/verifysignatures.ts";
import { UNTRUSTED } from "../plan/metering/dsse.ts";
import type { Ledger } from "../ports.ts";
import { EXIT_DAMAGED, EXIT_REFUSED, outputOption, secondsOfFlag } from "./ledger.ts";
import type { LedgerIO, Run } from "./ledger.ts";
import { TRUSTED_KEYS_VARIABLE, signerAndTrust } from "./ledgertrust.ts";

interface Flags {
  readonly keepDays: number;
  readonly sink: readonly OwedSink[];
  readonly ignoreSink: readonly string[];
  readonly signingKey?: string;
  readonly trust?: readonly string[];
  readonly head?: string;
  readonly dryRun?: boolean;
  readonly output: "text" | "json";
}

export function gcCommand(io: LedgerIO, run: Run): Command {
  return new Command("gc")
    .description(
      "remove whole days that are older than --keep-days behind a checkpoint, so that the chain still verifies",
    )
    .option("--keep-days <days>", "days that stay", days, 400)
    .option(
      "--sink <names...>",
      "sinks that must have taken every window, or NAME=INSTANT: those since then; those that ever took one count by themselves since their first",
      owedSink,
      [],
    )
    .option("--ignore-sink <names...>", "sinks that are not used any more", [])
    .option(
      "--signing-key <file>",
      "private Ed25519 key in PEM that signs the checkpoint; needed where windows are signed",
    )
    .option(
      "--trust <files...>",
      `public keys in PEM that may have signed windows, besides the half of --signing-key: earlier ones after a rotation (or ${TRUSTED_KEYS_VARIABLE})`,
    )
    .option("--head <sha256>", "a head noted earlier, which must still stand in the chain")
    .option("--dry-run", "say what would go")
    .addOption(outputOption())
    .addHelpText(
      "after",
      "\nExit codes: 0 done, 1 could not be read, 2 wrong flags, 3 damaged, 4 refused: nothing was removed.",
    )
    .action(run<Flags>((ledger, flags) => collect(ledger, flags, io)));
}

async function collect(ledger: Ledger, flags: Flags, io: LedgerIO): Promise<number> {
  const before = Math.floor(Date.now() / 1000) - flags.keepDays * 86_400;
  const plan = await planRetention(ledger, { before, sinks: flags.sink, ignored: flags.ignoreSink });
  const refusal = refusalOf(plan, flags);
  if (refusal !== undefined) {
    io.complain?.(`berth ledger: ${refusal}\n`);
    return EXIT_REFUSED;
  }
  const say = (done: boolean, removedThrough?: string): void =>
    io.write(
      flags.output === "json"
        ? `${JSON.stringify({ done, days: plan.days, windows: plan.manifests.length, objects: plan.keys.length, removedThrough })}\n`
        : `${done ? "removed" : "would remove"} ${plan.days.length} days, ${plan.manifests.length} windows, ${plan.keys.length} objects\n`,
    );
  if (flags.dryRun || plan.keys.length === 0) {
    say(plan.keys.length === 0);
    return 0;
  }
  // What stands in a checkpoint can never be checked again, and the key must not vouch for what it did not sign.
  const { signer, trust } = await signerAndTrust(flags, io.env);
  const { head } = flags;
  const { findings } = await verifyLedger(ledger, { ...(trust && { trust }), ...(head && { head }) });
  if (findings.length > 0) {
    io.complain?.(`berth ledger: ${whyStopped(findings)}; nothing was removed\n`);
    return EXIT_DAMAGED;
  }
  const { removedThrough } = await retain(ledger, plan, signer);
  say(true, removedThrough);
  return 0;
}

function days(text: string): number {
  if (!/^[1-9]\d{0,4}$/.test(text)) throw new InvalidArgumentError("write a number of days, at least 1");
  return Number(text);
}

function owedSink(text: string, before: readonly OwedSink[]): readonly OwedSink[] {
  const [name = "", instant] = text.split("=");
  if (name === "") throw new InvalidArgumentError("write a sink's name, or NAME=INSTANT with its startAt");
  return [...before, { name, ...(instant !== undefined && { startAt: secondsOfFlag(instant) }) }];
}

/** A key that was not given is no damage; what is damage is told first. */
function whyStopped(findings: readonly Finding[]): string {
  const untrusted = findings.filter(({ problem }) => problem.startsWith(UNTRUSTED));
  const damage = findings.find(({ problem }) => problem !== NONE_TRUSTED && !problem.startsWith(UNTRUSTED));
  const [first] = untrusted;
  if (damage || !first) return `${describe(damage ?? findings[0])}: run berth ledger verify`;
  const remedy =
    "if the key was replaced, name the earlier public key by --trust, or in the chart's metering.signing.earlierKeys";
  return `${describe(first)}, the first of ${untrusted.length}: ${remedy}; if nobody replaced it, somebody else sealed these windows`;
}

function describe(finding: Finding | undefined): string {
  return finding ? `${finding.key} ${finding.problem}` : "";
}

function refusalOf(plan: RetentionPlan, { signingKey }: Flags): string | undefined {
  const [owed] = Object.entries(plan.undelivered);
  if (owed) {
    const [sink, windows] = owed;
    return `sink ${sink} has not taken ${windows.length} windows, the first is ${windows[0] ?? ""}: deliver them, say from when on it takes windows (--sink ${sink}=INSTANT), or give --ignore-sink ${sink}; nothing was removed`;
  }
  if (plan.keys.length > 0 && plan.signed && signingKey === undefined)
    return "windows of this ledger are signed: give --signing-key (the chart's metering.signing.existingSecret), or nobody would trust the checkpoint; nothing was removed";
  return undefined;
}
