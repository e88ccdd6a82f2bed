/** `berth ledger sinks list | replay | quarantine`: reads acknowledgements, and writes requests that the operator's sinks find at their next look. */
import { randomUUID } from "node:crypto";

import { Command, InvalidArgumentError } from "commander";

import type { UsageRecord } from "../api/ledger.ts";
import type { Quarantined } from "../api/sinks.ts";
import { newHead, readSealed } from "../controllers/ledgerreads.ts";
import { askForReplay, quarantinedRecords, sinkStates } from "../controllers/sinkstate.ts";
import { startOfManifestKey } from "../plan/metering/windows.ts";
import type { Ledger } from "../ports.ts";
import { EXIT_REFUSED, EXIT_UNREAD, outputOption, secondsOfFlag } from "./ledger.ts";
import type { LedgerIO, Run } from "./ledger.ts";
import { quarantineText, sinksText } from "./ledgertext.ts";
import { paused } from "./pause.ts";

interface OutputFlags {
  readonly output: "text" | "json";
}

interface SinkFlags extends OutputFlags {
  readonly sink: string;
  readonly wait: number;
}

const exitCodes =
  "\nExit codes: 0 done, 1 could not be read or was not done in time, 2 wrong flags, 4 refused: nothing was written.";

function listCommand(io: LedgerIO, run: Run): Command {
  return new Command("list")
    .description("every sink that ever wrote into this ledger: newest window taken, windows owed, records set aside")
    .addOption(outputOption())
    .action(
      run<OutputFlags>(async (ledger, { output }) => {
        const states = await sinkStates(ledger);
        io.write(output === "json" ? `${JSON.stringify(states, undefined, 2)}\n` : sinksText(states));
        return 0;
      }),
    );
}

function replayCommand(io: LedgerIO, run: Run): Command {
  return ofSink(new Command("replay"))
    .description(
      "have windows sent again under the same ids; what counts an id once takes them once. The operator sends them: it must run with this sink",
    )
    .requiredOption(
      "--from <instant>",
      "windows that begin here or later: a UTC day or an RFC 3339 instant",
      secondsOfFlag,
    )
    .option("--to <instant>", "windows that begin earlier than this; all that are sealed now without it", secondsOfFlag)
    .action(
      run<SinkFlags & { readonly from: number; readonly to?: number }>(async (ledger, flags) => {
        const to = flags.to ?? (await newHead(ledger)())?.end ?? 0;
        return ask(io, ledger, flags, { wish: { from: flags.from, to } });
      }),
    );
}

function quarantineCommand(io: LedgerIO, run: Run): Command {
  return ofSink(new Command("quarantine"))
    .description("records that a sink refused for good, with its words")
    .option("--retry", "have exactly these sent again; those that are taken leave quarantine")
    .action(
      run<SinkFlags & { readonly retry?: boolean }>(async (ledger, flags) => {
        const found = await quarantinedRecords(ledger, flags.sink);
        if (flags.retry) {
          const starts = found.map(({ manifest }) => startOfManifestKey(manifest) ?? 0);
          if (starts.length === 0) return refused(io, `nothing of sink ${flags.sink} is in quarantine`);
          const range = { from: Math.min(...starts), to: Math.max(...starts) + 1 };
          return ask(io, ledger, flags, { wish: { ...range, only: "quarantined" }, records: found.length });
        }
        const known = await withRecords(ledger, found);
        io.write(flags.output === "json" ? `${JSON.stringify(known, undefined, 2)}\n` : quarantineText(known));
        return 0;
      }),
    );
}

export const sinkCommands = [listCommand, replayCommand, quarantineCommand];

function ofSink(command: Command): Command {
  const seconds = (text: string): number => {
    if (!/^\d{1,6}$/.test(text)) throw new InvalidArgumentError("write a whole number of seconds");
    return Number(text);
  };
  return command
    .requiredOption("--sink <name>", "name of the sink in metering.sinks")
    .option("--wait <seconds>", "stay until the operator has sent them, at most this long", seconds, 0)
    .addOption(outputOption())
    .addHelpText("after", exitCodes);
}

function refused(io: LedgerIO, why: string): number {
  io.complain?.(`berth ledger: ${why}; nothing was written\n`);
  return EXIT_REFUSED;
}

interface Asking {
  readonly wish: Omit<Parameters<typeof askForReplay>[2], "name">;
  /** How many are asked for, where it is not whole windows. */
  readonly records?: number;
}

/** The request has a name of its own and is written once, so nothing that runs can be disturbed by it. */
async function ask(io: LedgerIO, ledger: Ledger, flags: SinkFlags, { wish, records }: Asking): Promise<number> {
  const { sink, output, wait } = flags;
  const known = (await sinkStates(ledger)).map((state) => state.sink);
  if (!known.includes(sink))
    return refused(io, `no sink ${sink} took anything of this ledger yet (known: ${known.join(", ") || "none"})`);
  const asked = await askForReplay(ledger, sink, { ...wish, name: randomUUID() });
  if (asked === undefined) return refused(io, "no window is sealed in this range");
  const done = await doneInTime(io, ledger, asked.doneKey, wait);
  const { key, windows } = asked;
  const count = records === undefined ? { windows } : { records };
  const what = records === undefined ? `${windows} windows` : `${records} records`;
  io.write(
    output === "json"
      ? `${JSON.stringify({ sink, request: key, ...count, done })}\n`
      : `${key}: ${what} ${done ? "were sent again" : "will be sent again by the operator"}\n`,
  );
  return done || wait === 0 ? 0 : EXIT_UNREAD;
}

async function doneInTime(io: LedgerIO, ledger: Ledger, doneKey: string, waitSeconds: number): Promise<boolean> {
  const end = Date.now() + waitSeconds * 1000;
  for (;;) {
    if (await ledger.get(doneKey)) return true;
    const left = end - Date.now();
    if (left <= 0 || !(await paused(Math.min(left, 1_000), io.signal))) return false;
  }
}

/** A refused record, and what it was about where its window still stands. */
export interface QuarantinedRecord extends Quarantined {
  readonly record?: Pick<UsageRecord, "windowStart" | "namespace" | "deploymentName" | "sku" | "account">;
}

async function withRecords(ledger: Ledger, found: readonly Quarantined[]): Promise<readonly QuarantinedRecord[]> {
  const all: QuarantinedRecord[] = [];
  for (const [key, set] of Map.groupBy(found, ({ manifest }) => manifest)) {
    const records = (await ledger.get(key)) ? (await readSealed(ledger, key)).records : [];
    const byId = new Map(records.map((record) => [record.id, record]));
    for (const one of set) {
      const record = byId.get(one.recordId);
      if (!record) all.push(one);
      else {
        const { windowStart, namespace, deploymentName, sku, account } = record;
        all.push({ ...one, record: { windowStart, namespace, deploymentName, sku, account } });
      }
    }
  }
  return all;
}
