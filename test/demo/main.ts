// `make demo`: the whole product on a real control plane, told in chapters. See README.md of this folder.
import { cpus } from "node:os";
import { join } from "node:path";
import { startBed } from "./bed.ts";
import type { Bed } from "./bed.ts";
import { release } from "./chapter.ts";
import type { Chapter, Demo, ExampleName } from "./chapter.ts";
import { chapters, selectChapters } from "./chapters.ts";
import { copyExample } from "./examples.ts";
import { keepRunning } from "./keep.ts";
import { install } from "./install.ts";
import { newScreen } from "./screen.ts";
import type { Screen } from "./screen.ts";
import { duration } from "./text.ts";

const startedAt = Date.now();

function introduce(screen: Screen): void {
  screen.line();
  screen.line(`Berth: dedicated model deployments for Kubernetes (on ${String(cpus().length)} cores)`);
  screen.line();
  screen.say(
    "Real here: Kubernetes' API server, controllers and scheduler, Karpenter, an S3 server, helm and Berth. " +
      "Played by kwok: kubelets, GPUs and vLLM, so pods become ready but no model answers.",
  );
}

interface Ending {
  readonly closers: (() => Promise<void>)[];
  /** Undefined until the control plane runs. */
  bed?: Bed;
  interrupted: boolean;
}

async function tell(screen: Screen, selected: readonly Chapter[], ending: Ending): Promise<void> {
  const onEnd = (close: () => Promise<void>): void => void ending.closers.unshift(close);
  const keep = process.env["KEEP"] === "1";
  introduce(screen);
  screen.heading(1, "A test bed");
  const bed = await startBed(screen, onEnd);
  ending.bed = bed;
  screen.heading(2, "One Helm chart");
  const installed = await install(screen, bed, onEnd);
  const copy = (name: ExampleName): string => copyExample(name, join(bed.cluster.runDir, "examples", name), bed.s3);
  const examples = { quickstart: copy("quickstart"), catalogue: copy("catalogue") };
  const demo: Demo = { screen, ...bed, ...installed, examples, keep };
  for (const [at, chapter] of selected.entries()) {
    screen.heading(at + 3, chapter.title);
    await chapter.run(demo);
  }
  screen.line();
  screen.line(`Done after ${duration(Date.now() - startedAt)}.`);
  if (keep) await keepRunning(demo);
}

async function closeAll({ closers }: Ending): Promise<void> {
  for (const close of closers.splice(0)) await close().catch(() => undefined);
}

/** Ends the demo at the first signal, with everything that it started; at once at the second. */
function onSignals(screen: Screen, ending: Ending): void {
  const codes = { SIGINT: 130, SIGTERM: 143, SIGHUP: 129 } as const;
  for (const [signal, code] of Object.entries(codes)) {
    process.on(signal, () => {
      if (ending.interrupted) process.exit(code);
      ending.interrupted = true;
      screen.restore();
      screen.line("\nstopping");
      void closeAll(ending).then(() => {
        screen.line("stopped; nothing is left");
        process.exit(code);
      });
    });
  }
}

/** Says why, and where to look; the logs stay. */
async function fail(screen: Screen, ending: Ending, error: unknown): Promise<void> {
  screen.restore();
  screen.line();
  screen.line(`The demo failed: ${error instanceof Error ? error.message : String(error)}`);
  const cluster = ending.bed?.cluster;
  if (cluster)
    screen.line(`logs: ${cluster.logDir} (${release}-operator-*.log, ${release}-importer-*.log, karpenter.log …)`);
  if (cluster) ending.closers.push(() => cluster.stop({ keepLogs: true }));
  await closeAll(ending);
}

async function main(): Promise<number> {
  const live = process.stdout.isTTY && process.env["TERM"] !== "dumb";
  const colours = live && !process.env["NO_COLOR"];
  const screen = newScreen(process.stdout, { live, colours, startedAt });
  const ending: Ending = { closers: [], interrupted: false };
  onSignals(screen, ending);
  try {
    const keep = process.env["KEEP"] === "1";
    const selected = selectChapters(chapters, { names: process.env["CHAPTERS"], keep });
    await tell(screen, selected, ending);
    await closeAll(ending);
    return 0;
  } catch (error) {
    if (ending.interrupted) return new Promise(() => undefined);
    await fail(screen, ending, error);
    return 1;
  }
}

process.exit(await main());
