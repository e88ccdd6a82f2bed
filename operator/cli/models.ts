/** `berth models list | verify | gc`: looks after a store, without a cluster unless told to ask one. Exit codes: 0 good, 1 not read, 2 flags, 3 damaged. */
import { readFile } from "node:fs/promises";
import { Command, InvalidArgumentError, Option } from "commander";
import { openStore } from "../adapters/store/open.ts";
import { inUseOf, nothingKnown, usedBy, IN_USE_COMMAND } from "../plan/store/inuse.ts";
import type { ClusterList } from "../plan/store/inuse.ts";
import { trustedKeysOf } from "../adapters/ledger/signing.ts";
import type { ObjectStore, TrustedKeys } from "../ports.ts";
import { systemClock } from "../runtime/clock.ts";
import { messageOf } from "../runtime/errors.ts";
import { newObjectHasher } from "../transfer/filehash.ts";
import { collectGarbage } from "../transfer/garbage.ts";
import { readInventory } from "../transfer/inventory.ts";
import { allOf, faultOf, listedCheck, signatureCheck, verifyModels } from "../transfer/verify.ts";
import type { Fault, ManifestCheck } from "../transfer/verify.ts";
import { styleOption } from "./bucketoptions.ts";
import { neededBy } from "./modelscluster.ts";
import { garbageText, listOf, listText, verifiedText } from "./modelstext.ts";
import { endpointURL, storeURL } from "./placeforms.ts";
import { storeKeysOf } from "./storekeys.ts";

export interface ModelsIO {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Standard output. */
  readonly write: (text: string) => void;
  /** Standard error. */
  readonly complain?: (text: string) => void;
  /** The whole of standard input. */
  readonly read: () => Promise<string>;
  /** First pause before an object is asked for again; 200 ms where absent. */
  readonly retryBaseMs?: number;
}

const EXIT_UNREAD = 1;
const EXIT_DAMAGED = 3;

interface Place {
  readonly store: string;
  readonly endpoint?: string;
  readonly region: string;
  readonly addressingStyle?: "Path" | "VirtualHost";
  readonly only?: string;
  readonly output: "text" | "json";
}
/** Who says what clusters hold. */
interface ClusterFlags {
  readonly inUse?: readonly string[];
  readonly cluster?: boolean;
  readonly kubeconfig?: readonly string[];
}
interface VerifyFlags extends Place, ClusterFlags {
  readonly trust?: readonly string[];
}
interface GarbageFlags extends Place, ClusterFlags {
  readonly olderThan: number;
  readonly yes?: boolean;
}

const credentialsHelp = `
Credentials: BERTH_STORE_ACCESS_KEY_ID and BERTH_STORE_SECRET_ACCESS_KEY, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; temporary ones with
BERTH_STORE_SESSION_TOKEN or AWS_SESSION_TOKEN. None may be given as a flag.`;

const listHelp = `
  ${IN_USE_COMMAND} > in-use.json &&
    berth models COMMAND --store s3://bucket/prefix --in-use in-use.json

Not through a pipe: it goes on where kubectl was refused a kind. Of two clusters that share a store both must be asked: --kubeconfig a b, or --in-use a.json b.json.`;

const verifyHelp = `
A signature says whose manifest it is. That it is this revision of this model is compared only where --cluster or --in-use says which digests the Models' statuses list.
${listHelp}`;

const garbageHelp = `
Garbage is what was never finished and not written to since --older-than (uploads too), what a complete revision left beside its files, and, only where
--cluster or --in-use says what the cluster needs, revisions that no Model's status and no deployment names. Nothing is removed without --yes. Revisions below
models/local/ (berth import) stay.
${listHelp}`;

/** The sub-command for main.ts; `end` gets the exit code. */
export function modelsCommand(io: ModelsIO, end: (code: number) => void): Command {
  const run =
    <T extends Place>(work: (store: ObjectStore, flags: T) => Promise<number>) =>
    async (flags: T) => {
      try {
        const store = storeOf(flags, io.env);
        end(await work(store, flags).finally(() => store.close()));
      } catch (error) {
        io.complain?.(`berth models: ${messageOf(error)}\n`);
        end(EXIT_UNREAD);
      }
    };
  const list = withPlace(new Command("list"))
    .description("every revision with its size, digest, source and state; no file is read")
    .action(run((store, flags: Place) => showList(store, flags, io)));
  const verify = withCluster(withPlace(new Command("verify")))
    .description("compare every byte with the manifests, on all cores (0 intact, 3 damaged: the files are named)")
    .option("--trust <files...>", "public keys in PEM, one of which must vouch for every manifest")
    .addHelpText("after", verifyHelp)
    .action(run((store, flags: VerifyFlags) => verifyStore(store, flags, io)));
  const collect = withCluster(withPlace(new Command("gc")))
    .description("say what can go, and remove it with --yes")
    .option("--older-than <time>", "leave what was written since: 36h, 7d (default: 24h)", durationOf, 24 * 3_600_000)
    .option("--yes", "remove it")
    .addHelpText("after", garbageHelp)
    .action(run((store, flags: GarbageFlags) => collectIn(store, flags, io)));
  return new Command("models")
    .description("list, verify and tidy the models in a store; no cluster is needed")
    .addCommand(list)
    .addCommand(verify)
    .addCommand(collect);
}

function withPlace(command: Command): Command {
  return command
    .requiredOption("--store <url>", "s3://bucket/prefix or file:///path", storeURL)
    .option("--endpoint <url>", "URL of the S3 server (default: AWS)", endpointURL)
    .option("--region <name>", "region of the bucket", "us-east-1")
    .addOption(styleOption("addressing-style", "the store").default("Path"))
    .option("--only <folder>", "one model or revision: models/<namespace UID>/<model UID>[/<n>]", folderOf)
    .addOption(new Option("-o, --output <form>", "form of the output").choices(["text", "json"]).default("text"))
    .addHelpText("after", credentialsHelp)
    .exitOverride();
}

function withCluster(command: Command): Command {
  return command
    .option("--in-use <files...>", "what the cluster needs, as the command below prints it; - is standard input")
    .option("--cluster", "ask the cluster what it needs (KUBECONFIG or in a pod)")
    .option("--kubeconfig <files...>", "kubeconfigs of the clusters to ask; implies --cluster");
}

function folderOf(text: string): string {
  if (/^models\/[\w-]+\/[\w.-]+(\/[1-9]\d{0,8})?\/?$/.test(text)) return text.endsWith("/") ? text : `${text}/`;
  throw new InvalidArgumentError("Write models/<namespace UID>/<model UID> or models/<namespace UID>/<model UID>/<n>.");
}

function durationOf(text: string): number {
  const [, count, unit] = /^(\d{1,6})(m|h|d)$/.exec(text) ?? [];
  if (count !== undefined) return Number(count) * { m: 60_000, h: 3_600_000, d: 86_400_000 }[unit as "m" | "h" | "d"];
  throw new InvalidArgumentError("Write a number with m, h or d: 36h.");
}

function storeOf({ store, endpoint, region, addressingStyle: addressing }: Place, env: ModelsIO["env"]): ObjectStore {
  return openStore({
    url: store,
    ...(endpoint === undefined ? {} : { endpoint }),
    region,
    addressing,
    ...storeKeysOf(env),
  });
}

/** A revision alone may name objects of earlier ones: its whole model is read. */
function modelFolderOf(only: string | undefined): string | undefined {
  return only?.split("/").slice(0, 3).join("/").concat("/");
}

const json = (value: unknown): string => `${JSON.stringify(value, undefined, 2)}\n`;

async function showList(store: ObjectStore, { only, output }: Place, io: ModelsIO): Promise<number> {
  const inventory = await readInventory(store, modelFolderOf(only));
  const rows = listOf(inventory).filter(({ folder }) => only === undefined || folder.startsWith(only));
  io.write(
    output === "json" ? json({ revisions: rows, foreign: inventory.foreign }) : listText(rows, inventory.foreign),
  );
  return 0;
}

async function trustOf(files: readonly string[]): Promise<TrustedKeys> {
  const keys = await Promise.all(files.map(async (file) => trustedKeysOf(await readFile(file, "utf8"), file)));
  return new Map(keys.flatMap((found) => [...found]));
}

async function checkOf(store: ObjectStore, flags: VerifyFlags, io: ModelsIO): Promise<ManifestCheck> {
  const keys = flags.trust && (await trustOf(flags.trust));
  const { listed } = known(usedBy(await listsFrom(flags, io)));
  return allOf([...(keys ? [signatureCheck(store, keys)] : []), listedCheck(listed)]);
}

async function verifyStore(store: ObjectStore, flags: VerifyFlags, io: ModelsIO): Promise<number> {
  const { only, output, trust } = flags;
  const check = await checkOf(store, flags, io);
  const isWanted = (folder: string): boolean => only === undefined || folder.startsWith(only);
  const unread: Fault[] = [];
  const { models } = await readInventory(store, modelFolderOf(only), (key, error) => {
    if (isWanted(key)) unread.push(faultOf(key, error));
  });
  const hasher = newObjectHasher(store, { clock: systemClock, tries: 8, baseMs: io.retryBaseMs ?? 200 });
  const started = systemClock.monotonicMs();
  try {
    const result = await verifyModels(models, { hasher, isWanted, unread, check });
    const seconds = (systemClock.monotonicMs() - started) / 1000;
    if (result.revisions + result.findings.length + result.unread === 0)
      throw new Error("there is no complete revision to verify: look at berth models list");
    io.write(output === "json" ? json({ ...result, seconds }) : verifiedText(result, seconds, trust !== undefined));
    if (result.findings.length > 0) return EXIT_DAMAGED;
    return result.unread > 0 ? EXIT_UNREAD : 0;
  } finally {
    await hasher.close();
  }
}

/** All that is named must answer: half of what is known would call the other half garbage. */
async function listsFrom(
  { inUse: files = [], cluster, kubeconfig }: ClusterFlags,
  io: ModelsIO,
): Promise<ClusterList[]> {
  const asked = kubeconfig ?? (cluster ? [undefined] : []);
  return Promise.all([
    ...files.map(async (file) => ({
      text: await (file === "-" ? io.read() : readFile(file, "utf8")),
      isWhole: false,
    })),
    ...asked.map(async (path) => ({ text: await neededBy(path, io.env), isWhole: true })),
  ]);
}

function known<T>(use: T | string): T {
  if (typeof use === "string") throw new Error(use);
  return use;
}

async function collectIn(store: ObjectStore, flags: GarbageFlags, io: ModelsIO): Promise<number> {
  const lists = await listsFrom(flags, io);
  const inUse = lists.length === 0 ? nothingKnown : known(inUseOf(lists));
  const act = flags.yes === true;
  const below = modelFolderOf(flags.only);
  const options = { inUse, now: systemClock.now(), olderThanMs: flags.olderThan, act };
  const done = await collectGarbage(store, { ...options, ...(below === undefined ? {} : { below }) });
  io.write(
    flags.output === "json"
      ? json({ removed: act, ...done })
      : garbageText(done, { act, known: inUse.models !== undefined }),
  );
  return 0;
}
