/** The program: sub-commands, signals and exit codes. The only file that ends the process. */
import { text } from "node:stream/consumers";
import { Command, CommanderError } from "commander";
import {
  ConfigError,
  commonConfig,
  commonOptions,
  fetchConfig,
  fetchOptions,
  importerConfig,
  importerOptions,
  operatorConfig,
  operatorOptions,
  storeConfig,
  storeOptions,
} from "./config.ts";
import { hideKeys } from "./cli/hiddenkeys.ts";
import { VERSION, type Running } from "./process.ts";

type Options = typeof commonOptions;

/** Codes: 0 done, 1 failed, 2 wrong flags or environment, 3 leadership lost, 4 (fetch) failed until a person acts. */
const EXIT_FAILED = 1;
const EXIT_USAGE = 2;

function withOptions(command: Command, ...groups: Options[]): Command {
  for (const { flag, argument, about, fallback } of groups.flat()) {
    command.option(
      `--${flag} <${argument ?? "value"}>`,
      fallback === undefined || fallback === "" ? about : `${about} (default: ${fallback})`,
    );
  }
  return command;
}

/** Runs a role until a signal or until it ends by itself. A second signal ends it at once. */
async function serve(start: () => Promise<Running>): Promise<void> {
  // Before the start: as process 1 of a container, signals without a handler are ignored.
  const signalled = new Promise<number>((resolve) => {
    for (const signal of ["SIGTERM", "SIGINT"] as const) {
      process.once(signal, () => {
        resolve(0);
        process.once(signal, () => process.exit(EXIT_FAILED));
      });
    }
  });
  const running = await Promise.race([start(), signalled]);
  if (typeof running === "number") process.exit(running);
  const code = await Promise.race([signalled, running.ended]);
  if (code === 0) await running.stop();
  process.exit(code);
}

/** Runs a step to its end; a signal stops it, a second one at once. */
async function runStep(step: (signal: AbortSignal) => Promise<number>): Promise<void> {
  const ending = new AbortController();
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    process.once(signal, () => {
      ending.abort();
      process.once(signal, () => process.exit(EXIT_FAILED));
    });
  }
  process.exit(await step(ending.signal));
}

/** Commands of people's shells. Each is loaded where it is asked for: to load all takes longer than many of them run. */
function shellCommands(): Readonly<Record<string, () => Promise<Command>>> {
  const io = {
    env: process.env,
    write: (words: string) => void process.stdout.write(words),
    complain: (words: string) => void process.stderr.write(words),
    read: () => text(process.stdin),
  };
  const end = (code: number): void => void (process.exitCode = code);
  const stopping = new AbortController();
  const stoppable = { ...io, signal: stopping.signal };
  /** The first signal stops the work, the second one ends it at once. */
  const stopOnSignals = (): void => {
    for (const signal of ["SIGTERM", "SIGINT"] as const) {
      process.once(signal, () => {
        stopping.abort();
        process.once(signal, () => process.exit(EXIT_FAILED));
      });
    }
  };
  return {
    usage: async () => (await import("./cli/usage.ts")).usageCommand(io, (code) => process.exit(code)),
    focus: async () => (await import("./cli/focus.ts")).focusCommand(io, end),
    models: async () => (await import("./cli/models.ts")).modelsCommand(io, end),
    ledger: async () =>
      (await import("./cli/ledger.ts")).ledgerCommand(stoppable, end).hook("preAction", (_, action) => {
        if (action.name() === "tail") stopOnSignals();
      }),
    import: async () =>
      (await import("./cli/import.ts"))
        .importCommand({ ...stoppable, terminal: process.stderr.isTTY ? process.stderr : undefined }, end)
        .hook("preAction", stopOnSignals),
    inspect: async () => (await import("./cli/inspect.ts")).inspectCommand(io, end),
  };
}

/** The one that is asked for; all where none is, for the help and for what is said of a word that is no command. */
async function addShellCommands(berth: Command, asked = ""): Promise<void> {
  if (berth.commands.some((role) => role.name() === asked)) return;
  const all = Object.entries(shellCommands());
  const named = all.filter(([name]) => name === asked);
  for (const [, load] of named.length > 0 ? named : all) berth.addCommand(await load());
}

/** What runs until it is stopped. */
function addRoles(berth: Command): void {
  withOptions(
    berth.command("operator").description("run the controllers: deployments, node pools, metering"),
    commonOptions,
    operatorOptions,
  ).action((flags: Record<string, unknown>) =>
    serve(async () => (await import("./wire.ts")).startOperator(operatorConfig(flags, process.env), process.env)),
  );
  withOptions(
    berth.command("importer").description("run the importer: models from object storage into the platform's store"),
    commonOptions,
    importerOptions,
  ).action((flags: Record<string, unknown>) =>
    serve(async () =>
      (await import("./wireimporter.ts")).startImporterRole(importerConfig(flags, process.env), process.env),
    ),
  );
  withOptions(
    berth.command("store").description("serve imported models to the pods that may read them"),
    commonOptions,
    storeOptions,
  ).action((flags: Record<string, unknown>) =>
    serve(async () => (await import("./wirestore.ts")).startStoreRole(storeConfig(flags, process.env), process.env)),
  );
}

/** What runs once in a cluster: the steps of pods, and the chart's hook. */
function addSteps(berth: Command): void {
  withOptions(
    berth.command("fetch").description("bring the model of this pod from the store role into a folder, verified"),
    fetchOptions,
  ).action((flags: Record<string, unknown>) =>
    runStep(async (signal) => (await import("./fetch.ts")).runFetch(fetchConfig(flags, process.env), signal)),
  );
  berth
    .command("wipe-cache")
    .description("remove everything from a node's cache of models (the step before another namespace may use the node)")
    .requiredOption("--cache <folder>", "root of the cache")
    .option("--termination-log <file>", "where the reason of a failure is left for the kubelet", "/dev/termination-log")
    .action(async ({ cache, terminationLog }: { cache: string; terminationLog: string }) =>
      process.exit(await (await import("./fetch.ts")).runWipe(cache, terminationLog)),
    );
  withOptions(
    berth
      .command("uninstall-check")
      .description("refuse helm uninstall while deployments exist (the chart's pre-delete hook)"),
    commonOptions,
  )
    .requiredOption("--release <name>", "name of the Helm release")
    .option("--revision <n>", "revision of the Helm release, named in the command that takes a refused uninstall back")
    .option("--force", "stop Berth, remove its finalizers and say what stays unmetered")
    .action(async (flags: Record<string, unknown> & { release: string; revision?: string; force?: boolean }) => {
      const { uninstallCheck } = await import("./wirehook.ts");
      process.exit(
        await uninstallCheck(commonConfig(flags, process.env), process.env, {
          release: flags.release,
          revision: flags.revision,
          force: flags.force === true,
        }),
      );
    });
}

async function program(asked: string | undefined): Promise<Command> {
  const berth = new Command("berth")
    .description(
      "Dedicated model deployments for Kubernetes: nodes that serve one model of one tenant, metered by the hour",
    )
    .version(VERSION)
    .showHelpAfterError("(--help lists what can be given)")
    .exitOverride();
  addRoles(berth);
  addSteps(berth);
  await addShellCommands(berth, asked);
  hideKeys(berth);
  for (const command of berth.commands) command.exitOverride().showHelpAfterError("(--help lists what can be given)");
  return berth;
}

// Whoever reads our output may stop reading: `berth ledger tail | head`.
process.stdout.on("error", (error: NodeJS.ErrnoException) => process.exit(error.code === "EPIPE" ? 0 : EXIT_FAILED));
try {
  const asked = process.argv[2];
  // Read when the first file is opened. Importers flush many files at once, and what only waits for a disk must not hold up the rest.
  if (asked?.startsWith("import")) process.env["UV_THREADPOOL_SIZE"] ??= "16";
  await (await program(asked)).parseAsync();
} catch (error) {
  // Commander has said its word already, be it the help that was asked for.
  if (error instanceof CommanderError) process.exit(error.exitCode === 0 ? 0 : EXIT_USAGE);
  const usage = error instanceof ConfigError;
  process.stderr.write(
    usage
      ? `berth cannot start:\n${error.problems.map((line) => `  ${line}`).join("\n")}\n`
      : `berth: ${error instanceof Error ? error.message : String(error)}\n`,
  );
  if (!usage && process.env["BERTH_LOG_LEVEL"] === "debug" && error instanceof Error)
    process.stderr.write(`${error.stack}\n`);
  process.exit(usage ? EXIT_USAGE : EXIT_FAILED);
}
