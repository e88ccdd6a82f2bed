// `make e2e`: the whole product with real kubelets, containers and vLLM. STEPS="1-4,8" selects steps (those that they need
// come along), KEEP=1 leaves it running at the end and runs further steps by their numbers from standard input.
import { cpus } from "node:os";
import { createInterface } from "node:readline";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { cacheDir } from "../cluster/paths.ts";
import { insideRun, runInside } from "../realnodes/namespaces.ts";
import { gatherMaterial, missingMaterial, wholeMaterial } from "./material.ts";
import type { Material } from "./material.ts";
import { keepRemains } from "./remains.ts";
import { allSteps, selectSteps } from "./steps.ts";
import type { Step } from "./steps.ts";
import { setStage, strikeStage } from "./stage.ts";
import type { Stage } from "./stage.ts";
import { duration, newTour } from "./tour.ts";
import type { Tour } from "./tour.ts";

const MATERIAL = "BERTH_E2E_MATERIAL";
const keep = process.env["KEEP"] === "1";

async function outside(): Promise<number> {
  const say = (line: string): void => console.log(line);
  selectSteps(process.env["STEPS"]);
  const missing = await missingMaterial();
  for (const line of missing) console.error(line);
  if (missing.length > 0) return 1;
  const startedAt = Date.now();
  say("Gathering what is needed: programs, images, vLLM, models");
  const material = await gatherMaterial(say);
  say(`all there after ${duration(Date.now() - startedAt)}`);
  const path = join(cacheDir(), `e2e-${String(process.pid)}.json`);
  writeFileSync(path, JSON.stringify(material));
  try {
    const { code, logs } = await runInside({ env: { [MATERIAL]: path } });
    if (code !== 0) console.error(`\nmake e2e failed; logs of every part are in ${logs}`);
    return code;
  } finally {
    rmSync(path, { force: true });
  }
}

async function inside(): Promise<number> {
  const material = JSON.parse(readFileSync(process.env[MATERIAL] ?? "", "utf8")) as Material;
  wholeMaterial(material);
  const tour = newTour();
  introduce(tour);
  const selected = selectSteps(process.env["STEPS"]);
  let stage: Stage | undefined;
  let failure: unknown;
  try {
    await tour.step(
      0,
      "A cluster of real nodes: two for the system, three with a GPU that a device plugin plays",
      async () => {
        stage = await setStage(tour, material);
        tour.say(`object storage at ${stage.s3.endpoint} holds ${String(Object.keys(material.models).length)} models`);
      },
    );
    if (stage) for (const step of selected) await run(stage, step);
  } catch (error) {
    failure = error;
    tour.line();
    tour.line(error instanceof Error ? error.message : String(error));
  }
  if (failure !== undefined && stage) await keepRemains(stage);
  if (keep && stage) await keepRunning(stage);
  if (stage) await strikeStage(stage);
  tour.line();
  tour.line(
    failure === undefined
      ? `All of it passed, in ${duration(Date.now() - tour.startedAt)}.`
      : `Failed after ${duration(Date.now() - tour.startedAt)}.`,
  );
  return failure === undefined ? 0 : 1;
}

function introduce(tour: Tour): void {
  tour.line();
  tour.line(`Berth from one end to the other, on ${String(cpus().length)} cores`);
  tour.line(
    "Real: Kubernetes, kubelets, containerd, helm, S3, Berth's images, vLLM 0.32.0 (its CPU build), what it answers.",
  );
  tour.line("Played: the GPU, by a device plugin that mounts vLLM as NVIDIA's mounts drivers.");
}

const run = (stage: Stage, { number, title, work }: Step): Promise<void> =>
  stage.tour.step(number, title, () => work(stage));

/** Reads numbers of steps and runs them again, until the input ends. */
async function keepRunning(stage: Stage): Promise<void> {
  const { tour, cluster } = stage;
  tour.line();
  tour.line(
    `KEEP=1: it goes on. From another shell: nsenter -t ${String(process.pid)} -n -m (by this process' id outside)`,
  );
  tour.line(`KUBECONFIG=${cluster.adminKubeconfigPath}, logs in ${cluster.logDir}`);
  tour.line(
    `Numbers of steps run them again, "05-scale.ts scaleUpAndDown" as the file is now; "end" or end of input ends it.`,
  );
  for await (const line of createInterface({ input: process.stdin })) {
    if (line.trim() === "end") return;
    const again = allSteps.find(({ number }) => String(number) === line.trim()) ?? (await readAnew(line));
    if (again) await run(stage, again).catch((error: unknown) => tour.line(String(error)));
  }
}

/** `file function`: the step of a file that was edited meanwhile; what it imports stays as it was. */
async function readAnew(line: string): Promise<Step | undefined> {
  const [file = "", name = ""] = line.trim().split(/\s+/);
  const module = (await import(`./steps/${file}?${String(Date.now())}`).catch(() => ({}))) as Record<
    string,
    Step["work"]
  >;
  const work = module[name];
  return work && { number: 99, title: line.trim(), needs: [], work };
}

process.exit(await (insideRun() ? inside() : outside()));
