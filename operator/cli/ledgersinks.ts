/** `berth ledger sinks list | replay | quarantine | release | withdraw`: reads acknowledgements, and writes requests that the operator's sinks find at their next look. */
import { randomUUID } from "node:crypto";

import { Command, InvalidArgumentError } from "commander";

import type { UsageRecord } from "../api/ledger.ts";
import type { Quarantined } from "../api/sinks.ts";
import { newHead, readSealed } from "../controllers/ledgerreads.ts";
import {
  askForReplay,
  isWithdrawal,
  quarantinedRecords,
  sinkStates,
  withdrawReplay,
} from "../controllers/sinkstate.ts";
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
          if (found.length === 0) return refused(io, `nothing of sink ${flags.sink} is in quarantine`);
          const wish = { ...rangeOf(found), only: "quarantined" as const };
          return ask(io, ledger, flags, { wish, records: found.length });
        }
        const known = await withRecords(ledger, found);
        io.write(flags.output === "json" ? `${JSON.stringify(known, undefined, 2)}\n` : quarantineText(known));
        return 0;
      }),
    );
}

/** The counterpart of setting aside, for single records. */
function releaseCommand(io: LedgerIO, run: Run): Command {
  return ofSink(new Command("release"))
    .description(
      "have records that were set aside sent again, each by itself, under its id and sequence; what is taken leaves quarantine, what is refused stays",
    )
    .requiredOption("--record <ids...>", "ids of records in quarantine (berth ledger sinks quarantine)")
    .action(
      run<SinkFlags & { readonly record: readonly string[] }>(async (ledger, flags) => {
        const wanted = [...new Set(flags.record)];
        const found = await quarantinedRecords(ledger, flags.sink);
        const chosen = found.filter(({ recordId }) => wanted.includes(recordId));
        const missing = wanted.filter((id) => !chosen.some(({ recordId }) => recordId === id));
        if (missing.length > 0) return refused(io, `not in quarantine of sink ${flags.sink}: ${missing.join(", ")}`);
        if (wanted.length > mostReleased)
          return refused(io, `more than ${mostReleased} records: give quarantine --retry`);
        const wish = { ...rangeOf(chosen), only: "quarantined" as const, records: wanted };
        return ask(io, ledger, flags, { wish, records: wanted.length });
      }),
    );
}

function withdrawCommand(io: LedgerIO, run: Run): Command {
  return new Command("withdraw")
    .description(
      "take back replays, retries and releases that wait: nothing more of them is sent; what was sent stays sent, what is in quarantine stays there",
    )
    .requiredOption("--sink <name>", "name of the sink in metering.sinks")
    .requiredOption("--request <keys...>", "keys of requests, as the asking command and list -o json print them")
    .addOption(outputOption())
    .addHelpText("after", exitCodes)
    .action(
      run<OutputFlags & { readonly sink: string; readonly request: readonly string[] }>(async (ledger, flags) => {
        const { sink, request, output } = flags;
        const waiting = (await sinkStates(ledger)).find((state) => state.sink === sink)?.requests ?? [];
        const unknown = request.filter((key) => !waiting.includes(key));
        if (unknown.length > 0)
          return refused(io, `no such request waits: ${unknown.join(", ")} (waiting: ${waiting.join(", ") || "none"})`);
        const withdrawn: string[] = [];
        for (const key of new Set(request)) if (await withdrawReplay(ledger, sink, key)) withdrawn.push(key);
        const done = request.filter((key) => !withdrawn.includes(key));
        if (output === "json") io.write(`${JSON.stringify({ sink, withdrawn, done })}\n`);
        else
          for (const key of request) io.write(`${key}: ${done.includes(key) ? "was done already" : "is withdrawn"}\n`);
        return done.length > 0 ? EXIT_UNREAD : 0;
      }),
    );
}

export const sinkCommands = [listCommand, replayCommand, quarantineCommand, releaseCommand, withdrawCommand];

/** As many as a request may name. */
const mostReleased = 1_000;

function rangeOf(records: readonly Quarantined[]): { readonly from: number; readonly to: number } {
  const starts = records.map(({ manifest }) => startOfManifestKey(manifest) ?? 0);
  return { from: starts.reduce((a, b) => Math.min(a, b)), to: starts.reduce((a, b) => Math.max(a, b)) + 1 };
}

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
  const ended = await endInTime(io, ledger, asked.doneKey, wait);
  const done = ended === "done";
  const { key, windows } = asked;
  const count = records === undefined ? { windows } : { records };
  const what = records === undefined ? `${windows} windows` : `${records} records`;
  io.write(
    output === "json"
      ? `${JSON.stringify({ sink, request: key, ...count, done, withdrawn: ended === "withdrawn" })}\n`
      : `${key}: ${what} ${endings[ended]}\n`,
  );
  return done || (ended === "waits" && wait === 0) ? 0 : EXIT_UNREAD;
}

const endings = {
  done: "were sent again",
  waits: "will be sent again by the operator",
  withdrawn: "are not sent (any more): somebody has withdrawn the request",
} as const;

async function endInTime(
  io: LedgerIO,
  ledger: Ledger,
  doneKey: string,
  waitSeconds: number,
): Promise<keyof typeof endings> {
  const end = Date.now() + waitSeconds * 1000;
  for (;;) {
    const note = await ledger.get(doneKey);
    if (note) return isWithdrawal(note) ? "withdrawn" : "done";
    const left = end - Date.now();
    if (left <= 0 || !(await paused(Math.min(left, 1_000), io.signal))) return "waits";
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
