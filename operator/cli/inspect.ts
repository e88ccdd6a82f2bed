/** `berth inspect`: what a model needs and which node to take, without a cluster. Exit codes: 0 printed, 1 refused or not reached, 2 wrong flags. */
import { Command, InvalidArgumentError, Option } from "commander";
import { stringify } from "yaml";
import type { ModelFacts } from "../plan/model/inspect.ts";
import { engineProfiles, noProfile, profileOf } from "../plan/engine/profile.ts";
import { reportOf, type Recommendation, type ReportRow } from "../plan/sizing/report.ts";
import { RetryError, TerminalError } from "../runtime/errors.ts";
import { exitCodeOf } from "./exitcode.ts";
import { readModel } from "./inspectmodel.ts";
import { commonNodeTypes, nodeTypesOf } from "./inspectnodes.ts";
import { bucketOptions, waysOf, type BucketFlags } from "./bucketoptions.ts";
import { sourcePlace } from "./placeforms.ts";
import { counted, openPlace, type Reads } from "./inspectplace.ts";
import { textOf } from "./inspecttable.ts";

export interface InspectIO {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Standard output. */
  readonly write: (text: string) => void;
  /** Standard error. */
  readonly complain?: (text: string) => void;
  /** Standard input to its end. */
  readonly read?: () => Promise<string>;
}

/** What is printed; -o json and yaml print it as it is. */
export interface Inspection {
  readonly source: string;
  readonly engineVersion: string;
  readonly context: number | undefined;
  readonly concurrency: number | undefined;
  readonly model: ModelFacts;
  readonly warnings: readonly string[];
  readonly matrix: readonly ReportRow[];
  readonly recommendation: Recommendation | undefined;
  readonly read: { readonly requests: number; readonly bytes: number; readonly seconds: number };
}

interface Flags extends BucketFlags {
  readonly nodeTypes?: string;
  readonly context?: number;
  readonly concurrency?: number;
  readonly engineVersion: string;
  readonly output: "table" | "wide" | "json" | "yaml";
}

const NEWEST = engineProfiles.at(-1)?.version ?? "";

/** The sub-command for main.ts; `end` gets the exit code. */
export function inspectCommand(io: InspectIO, end: (code: number) => void): Command {
  return bucketOptions(new Command("inspect"))
    .description("say what a model needs and which node type to take, from its headers alone; no cluster is needed")
    .argument(
      "<place>",
      "a folder, s3://bucket/prefix (AWS_* variables) or hf://org/name[@revision] (HF_TOKEN, HF_ENDPOINT)",
      sourcePlace,
    )
    .option(
      "--node-types <file>",
      "YAML file of NodeTypes to compare, - for standard input, as of kubectl get nodetypes -o yaml (default: common shapes of GPU nodes)",
    )
    .option("--context <tokens>", "tokens of prompt and answer together, for example 32k (k = 1024)", tokens)
    .option("--concurrency <n>", "requests of that length at once", whole)
    .option("--engine-version <version>", "vLLM's version", NEWEST)
    .addOption(
      new Option("-o, --output <form>", "form of the output")
        .choices(["table", "wide", "json", "yaml"])
        .default("table"),
    )
    .action(async (place: string, flags: Flags) => {
      try {
        io.write(print(await inspectPlace(place, flags, io), flags.output));
        end(0);
      } catch (error) {
        if (!(error instanceof TerminalError) && !(error instanceof RetryError)) throw error;
        io.complain?.(`berth inspect: ${error.message}${hintOf(place, error)}\n`);
        end(1);
      }
    });
}

/** Runs the command with these arguments and answers with its exit code. */
export async function runInspect(args: readonly string[], io: InspectIO): Promise<number> {
  return exitCodeOf((end) => inspectCommand(io, end), args, io);
}

async function inspectPlace(text: string, flags: Flags, { env, read }: InspectIO): Promise<Inspection> {
  const { context, concurrency, engineVersion } = flags;
  if (!profileOf(engineVersion)) throw new TerminalError("EngineVersionUnknown", noProfile(engineVersion));
  const nodeTypes = flags.nodeTypes === undefined ? commonNodeTypes() : await nodeTypesOf(flags.nodeTypes, read);
  const before = performance.now();
  const reads: Reads = { requests: 0, bytes: 0 };
  const place = await openPlace(text, env, waysOf(flags));
  try {
    const source = counted(place.source, reads);
    const { facts, warnings } = await readModel(source, place);
    const { rows, recommendation } = reportOf({
      facts,
      nodeTypes,
      wish: { context, concurrency, engineVersion },
      servedName: nameOf(place.name),
      modelPath: "/model",
    });
    const seconds = Math.round(performance.now() - before) / 1000;
    return {
      source: place.name,
      engineVersion,
      context,
      concurrency,
      model: facts,
      warnings,
      matrix: rows,
      recommendation,
      read: { requests: reads.requests, bytes: reads.bytes, seconds },
    };
  } finally {
    place.source.close();
  }
}

/** What the command takes from the environment, where that may be the cause. */
const HINTS: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  s3: {
    SourceUnreachable: "set AWS_ENDPOINT_URL to the service's address",
    BucketNotFound: "correct the bucket's name, or set AWS_ENDPOINT_URL and AWS_REGION",
    AccessDenied: "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY of an account that may list and read it",
  },
  hf: {
    SourceUnreachable: "set HF_ENDPOINT to a hub or mirror that can be reached from here",
    AccessDenied: "set HF_TOKEN to the token of an account that the hub lets read it",
    RepoNotFound: "correct org/name, or set HF_TOKEN for a private repository",
  },
};

function hintOf(place: string, error: TerminalError | RetryError): string {
  const said: unknown = error instanceof RetryError ? error.cause : error;
  const scheme = place.split("://")[0] ?? "";
  const hint = said instanceof TerminalError && Object.hasOwn(HINTS, scheme) ? HINTS[scheme]?.[said.reason] : undefined;
  return hint === undefined ? "" : `. Here: ${hint}`;
}

/** The last part of the place, as a deployment could be named. */
function nameOf(place: string): string {
  const last =
    place
      .replace(/@[0-9a-f]{40}$/, "")
      .replace(/\/+$/, "")
      .split("/")
      .at(-1) ?? "";
  const name = last
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, "-")
    .replace(/^-+|-+$/g, "")
    .slice(0, 40);
  return name === "" ? "model" : name;
}

function print(inspection: Inspection, output: Flags["output"]): string {
  if (output === "json") return `${JSON.stringify(inspection, null, 2)}\n`;
  if (output === "yaml") return stringify(JSON.parse(JSON.stringify(inspection)));
  return textOf(inspection, output === "wide");
}

function tokens(text: string): number {
  const match = /^(\d{1,9})([kKmM]?)$/.exec(text);
  const factor = { "": 1, k: 1024, m: 1024 ** 2 }[match?.[2]?.toLowerCase() ?? ""];
  const value = Number(match?.[1]) * (factor ?? Number.NaN);
  if (!(value >= 1)) throw new InvalidArgumentError("Write a number of tokens, for example 8192 or 32k.");
  return value;
}

function whole(text: string): number {
  if (!/^[1-9]\d{0,5}$/.test(text)) throw new InvalidArgumentError("Write a whole number of requests.");
  return Number(text);
}
