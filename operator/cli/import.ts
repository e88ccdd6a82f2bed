/**
 * `berth import`: the importer's own engine from a laptop: lists, inspects, copies and commits one model. Exit codes: 0 complete in the
 * store, 1 failed in a way that may pass (run it again: it goes on where it ended), 2 wrong flags, 4 refused until a person acts.
 */
import { basename, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { Command, InvalidArgumentError, Option } from "commander";
import { openStore } from "../adapters/store/open.ts";
import type { SourceOrigin } from "../plan/model/importrecord.ts";
import type { ImportResult } from "../plan/model/importing.ts";
import type { ObjectStore } from "../ports.ts";
import { VERSION } from "../process.ts";
import { systemClock } from "../runtime/clock.ts";
import { RetryError, TerminalError } from "../runtime/errors.ts";
import { importModel } from "../transfer/import.ts";
import { newPartPlaces } from "../transfer/places.ts";
import { newSlots } from "../transfer/slots.ts";
import { bucketOptions, styleOption, waysOf } from "./bucketoptions.ts";
import type { BucketFlags } from "./bucketoptions.ts";
import { newBar } from "./importbar.ts";
import type { Terminal } from "./importbar.ts";
import { openPlace } from "./inspectplace.ts";
import type { Place } from "./inspectplace.ts";
import { endpointURL, sourcePlace, storeURL } from "./placeforms.ts";
import { storeKeysOf } from "./storekeys.ts";

export interface ImportIO {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Standard output: the result alone. */
  readonly write: (text: string) => void;
  /** Standard error: progress and faults. */
  readonly complain?: (text: string) => void;
  /** Standard error where it is a terminal, so that a bar may be drawn. */
  readonly terminal?: Terminal | undefined;
  readonly signal?: AbortSignal;
}

interface Flags extends BucketFlags {
  readonly from: string;
  readonly to: string;
  readonly name?: string;
  readonly endpoint?: string;
  readonly region: string;
  readonly addressingStyle?: "Path" | "VirtualHost";
  readonly maxSize?: number;
  readonly dryRun?: boolean;
  readonly serverSideCopy?: boolean;
  readonly output: "text" | "json";
}

const EXIT_FAILED = 1;
const EXIT_USAGE = 2;
const EXIT_REFUSED = 4;
/** Memory for parts on their way, as in the importer role. */
const BUFFER_BYTES = 256 << 20;

const epilogue = `
Credentials: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN and AWS_ENDPOINT_URL_S3 of the source; BERTH_STORE_ACCESS_KEY_ID,
BERTH_STORE_SECRET_ACCESS_KEY and BERTH_STORE_SESSION_TOKEN of the store (the source's where they are absent); HF_TOKEN of a hub. None may be
given as a flag.

Exit codes: 0 complete in the store, 1 failed in a way that may pass (run it again: finished files are not copied again),
2 wrong flags, 4 refused: the message names the file and what to do.

Example: berth import --from s3://models/llama --to file:///var/lib/berth`;

/** The sub-command for main.ts; `end` gets the exit code. */
export function importCommand(io: ImportIO, end: (code: number) => void): Command {
  return bucketOptions(new Command("import"))
    .description("copy one model into a store, inspected before and verified while it is copied; no cluster is needed")
    .requiredOption("--from <place>", "a folder, s3://bucket/prefix or hf://org/name[@revision]", sourcePlace)
    .requiredOption("--to <store>", "s3://bucket/prefix or file:///path", storeURL)
    .option(
      "--name <name>",
      "name of the model in the store, below models/local/ (default: the last part of --from, where that makes one)",
      nameOf,
    )
    .option("--endpoint <url>", "S3 endpoint of the store (default: AWS)", endpointURL)
    .option("--region <region>", "region of the store's bucket", "us-east-1")
    .addOption(styleOption("addressing-style", "the store").default("Path"))
    .option("--max-size <GiB>", "refuse a model that is larger (default: 2048)", sizeOf)
    .option("--dry-run", "list and inspect only")
    .option(
      "--server-side-copy",
      "where one S3 service holds both: let it copy what was read and hashed, instead of sending it",
    )
    .addOption(new Option("-o, --output <form>", "form of the result").choices(["text", "json"]).default("text"))
    .addHelpText("after", epilogue)
    .action(async (flags: Flags) => end(await run(flags, io)));
}

function nameOf(text: string): string {
  if (/^[A-Za-z0-9][\w.-]{0,62}$/.test(text)) return text;
  throw new InvalidArgumentError("Write letters, digits, '.', '_' and '-'.");
}

function sizeOf(text: string): number {
  const gib = Number(text);
  if (Number.isFinite(gib) && gib > 0 && gib <= 2 ** 20) return Math.floor(gib * 2 ** 30);
  throw new InvalidArgumentError("Write a number of GiB.");
}

const MOST_NAME_CHARACTERS = 63;

/**
 * From `s3://bucket/models/Llama 3/` comes `Llama-3`; a repository's name may have its revision behind it. Undefined where letters, digits
 * or the end would get lost: models whose names differ in these alone would become revisions of one.
 */
export function defaultName(from: string): string | undefined {
  const whole = /^(s3|hf):\/\//.test(from)
    ? from.replace(/^(hf:[^@]*)@.*$/, "$1")
    : resolve(from.replace(/^file:\/\//, ""));
  const last = basename(whole);
  const name = last.replace(/[^\w.-]+/g, "-").replace(/^[^A-Za-z0-9]+/, "");
  const isLossy = /[^\p{ASCII}]/u.test(last.replace(/[^\p{L}\p{N}\p{M}]/gu, ""));
  return isLossy || name === "" || name.length > MOST_NAME_CHARACTERS ? undefined : name;
}

function originOf(place: Place, from: string, env: ImportIO["env"]): SourceOrigin {
  const hub = /^hf:\/\/(.+)@([0-9a-f]{40})$/.exec(place.name);
  if (hub)
    return { endpoint: env["HF_ENDPOINT"] || "https://huggingface.co", repo: hub[1] ?? "", commit: hub[2] ?? "" };
  const { folder, prefix } = place;
  if (folder !== undefined) return { endpoint: pathToFileURL(folder).href, bucket: "local", prefix };
  const bucket = /^s3:\/\/([^/]+)/.exec(from)?.[1] ?? "";
  return {
    endpoint: env["AWS_ENDPOINT_URL_S3"] || env["AWS_ENDPOINT_URL"] || "https://s3.amazonaws.com",
    bucket,
    prefix,
  };
}

function storeOf({ to, endpoint, region, addressingStyle: addressing }: Flags, env: ImportIO["env"]): ObjectStore {
  return openStore({
    url: to,
    ...(endpoint === undefined ? {} : { endpoint }),
    region,
    addressing,
    ...storeKeysOf(env),
  });
}

async function run(flags: Flags, io: ImportIO): Promise<number> {
  const name = flags.name ?? defaultName(flags.from) ?? (flags.dryRun ? "model" : undefined);
  if (name !== undefined) return importAs(name, flags, io);
  const place = flags.from.slice(0, 200);
  io.complain?.(`berth import: the last part of ${place} makes no name in the store: give --name\n`);
  return EXIT_USAGE;
}

async function importAs(name: string, flags: Flags, io: ImportIO): Promise<number> {
  const bar = newBar((text) => io.complain?.(text), { terminal: io.terminal, now: () => performance.now() });
  try {
    const store = storeOf(flags, io.env);
    const place = await openPlace(flags.from, io.env, waysOf(flags));
    const job = {
      source: place.source,
      store,
      owner: { namespaceUID: "local", modelUID: name },
      origin: originOf(place, flags.from, io.env),
      version: VERSION,
      maxSizeBytes: flags.maxSize ?? 2048 * 2 ** 30,
      copy: flags.dryRun !== true,
      serverSideCopy: flags.serverSideCopy === true,
      clock: systemClock,
      places: newPartPlaces({ clock: systemClock, bufferBytes: BUFFER_BYTES }),
      copies: newSlots(1),
      observer: bar.observer,
      ...(io.signal ? { signal: io.signal } : {}),
    };
    const result = await importModel(job).finally(() => {
      bar.end();
      place.source.close();
      store.close();
    });
    return tell(result, `${flags.to.replace(/\/+$/, "")}/models/local/${name}`, flags, io);
  } catch (error) {
    bar.end();
    if (error instanceof Error && error.name === "AbortError") {
      io.complain?.("berth import: stopped; run it again to go on\n");
      return EXIT_FAILED;
    }
    if (!(error instanceof TerminalError) && !(error instanceof RetryError)) throw error;
    io.complain?.(`berth import: ${error.message}\n`);
    return error instanceof RetryError ? EXIT_FAILED : EXIT_REFUSED;
  }
}

function tell(result: ImportResult, where: string, flags: Flags, io: ImportIO): number {
  if (result.kind === "refused") {
    io.complain?.(`berth import: ${result.problem.reason}: ${result.problem.message}\n`);
    return result.problem.retryable ? EXIT_FAILED : EXIT_REFUSED;
  }
  const newest = result.revisions.at(-1);
  const copied = result.kind === "imported" && result.copied;
  const way = result.kind === "imported" ? result.way : undefined;
  const folder = newest && `${where}/${String(newest.number)}/`;
  if (flags.output === "json") {
    io.write(
      `${JSON.stringify({ result: result.kind, copied, way, folder, revision: newest, facts: result.facts }, undefined, 2)}\n`,
    );
  } else if (result.kind === "inspected" || !newest) {
    io.write(
      `good: ${result.facts.architecture ?? "unknown"}, ${String(result.facts.sizeBytes ?? 0)} bytes; nothing was copied\n`,
    );
  } else {
    io.write(`${newest.digest}\n`);
    io.complain?.(
      `${copied ? "imported" : "already there"}: revision ${String(newest.number)} in ${folder ?? where}${way ? `\nway: ${way.way} (${way.because})` : ""}\n`,
    );
  }
  return 0;
}
