// `make demo`: the whole product on a real control plane, told in chapters. See README.md of this folder.
import { cpus } from "node:os";
import { join } from "node:path";
import { startBed } from "./bed.ts";
import type { Chapter, Demo, ExampleName } from "./chapter.ts";
import { chapters, selectChapters } from "./chapters.ts";
import { newEnding } from "./ending.ts";
import type { Ending } from "./ending.ts";
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
    "Real: Kubernetes, Karpenter, S3, helm, Berth. Played by kwok: kubelets, GPUs and vLLM, so no model answers.",
  );
}

async function tell(screen: Screen, selected: readonly Chapter[], ending: Ending): Promise<void> {
  const keep = process.env["KEEP"] === "1";
  introduce(screen);
  screen.heading(1, "A test bed");
  const bed = await startBed(screen, ending.onEnd);
  ending.failing(bed.cluster);
  screen.heading(2, "One Helm chart");
  const installed = await install(screen, bed, ending.onEnd);
  const { etcd, apiserver, controllerManager, scheduler, kwok, karpenter, cloud } = bed.cluster;
  const parts = [etcd, apiserver, controllerManager, scheduler, kwok, karpenter, cloud, bed.s3.part];
  ending.mustLive([...parts, installed.operator, installed.importer]);
  const copy = (name: ExampleName): string => copyExample(name, join(bed.cluster.runDir, "examples", name), bed.s3);
  const examples = { quickstart: copy("quickstart"), catalogue: copy("catalogue"), sizing: copy("sizing") };
  const demo: Demo = { screen, ...bed, ...installed, examples, keep };
  for (const [at, chapter] of selected.entries()) {
    screen.heading(at + 3, chapter.title);
    await chapter.run(demo);
  }
  screen.line();
  screen.line(`Done after ${duration(Date.now() - startedAt)}.${keep ? "" : " KEEP=1 make demo leaves it running."}`);
  if (keep) await keepRunning(demo);
}

async function main(): Promise<number> {
  const live = process.stdout.isTTY && process.env["TERM"] !== "dumb";
  const colours = live && !process.env["NO_COLOR"];
  const screen = newScreen(process.stdout, { live, colours, startedAt });
  const ending = newEnding(screen);
  try {
    const keep = process.env["KEEP"] === "1";
    const selected = selectChapters(chapters, { names: process.env["CHAPTERS"], keep });
    await Promise.race([tell(screen, selected, ending), ending.death]);
    await ending.closeAll();
    return 0;
  } catch (error) {
    await ending.fail(error);
    return 1;
  }
}

process.exit(await main());
