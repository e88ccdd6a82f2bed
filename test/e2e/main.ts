// `make e2e`: the whole product with real kubelets, containers and vLLM. STEPS="1-4,8" selects steps (those that they need
// come along), KEEP=1 leaves it running at the end and runs further steps by their numbers from standard input.
import { cpus } from "node:os";
import { createInterface } from "node:readline";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { cacheDir } from "../cluster/paths.ts";
import { insideRun, runInside } from "../realnodes/namespaces.ts";
import { clearElsewhere, kubeconfigElsewhere, leftElsewhere, unfit } from "./elsewhere.ts";
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
  const elsewhere = kubeconfigElsewhere() !== undefined;
  say(`Gathering what is needed: programs, images, ${elsewhere ? "models" : "vLLM, models"}`);
  const material = await gatherMaterial(say);
  say(`all there after ${duration(Date.now() - startedAt)}`);
  // Nothing is started on this machine but an S3 server: no namespaces, no root.
  if (elsewhere) return tell(material);
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

function inside(): Promise<number> {
  const material = JSON.parse(readFileSync(process.env[MATERIAL] ?? "", "utf8")) as Material;
  wholeMaterial(material);
  return tell(material);
}

async function tell(material: Material): Promise<number> {
  const tour = newTour();
  introduce(tour, material);
  const selected = selectSteps(process.env["STEPS"]);
  let stage: Stage | undefined;
  let failure: unknown;
  try {
    await tour.step(0, material.engine ? ourNodes : elsewhereTitle, async () => {
      stage = await setStage(tour, material);
      tour.say(`object storage at ${stage.s3.endpoint} holds ${String(Object.keys(material.models).length)} models`);
      if (!material.engine) tour.say(`${String(stage.servers)} nodes that serve`);
    });
    if (stage) for (const step of selected) await run(stage, step);
  } catch (error) {
    failure = error;
    tour.line();
    tour.line(error instanceof Error ? error.message : String(error));
  }
  if (failure !== undefined && stage) await keepRemains(stage);
  if (keep && stage) await keepRunning(stage);
  if (stage && !material.engine && failure === undefined) await clearElsewhere(stage);
  if (stage && !material.engine && failure !== undefined) tour.line(leftElsewhere);
  if (stage) await strikeStage(stage);
  tour.line();
  tour.line(
    failure === undefined
      ? `All of it passed, in ${duration(Date.now() - tour.startedAt)}.`
      : `Failed after ${duration(Date.now() - tour.startedAt)}.`,
  );
  return failure === undefined ? 0 : 1;
}

const ourNodes = "A cluster of real nodes: two for the system, three with a GPU that a device plugin plays";
const elsewhereTitle = "A cluster of yours, with an S3 server on this machine";

function introduce(tour: Tour, { engine }: Material): void {
  tour.line();
  tour.line(`Berth from one end to the other, on ${engine ? `${String(cpus().length)} cores` : "a cluster of yours"}`);
  if (!engine)
    return tour.line("Played: the S3 server's place. What may not be done to another's cluster is said, not done.");
  tour.line(
    "Real: Kubernetes, kubelets, containerd, helm, S3, Berth's images, vLLM 0.32.0 (its CPU build), what it answers.",
  );
  tour.line("Played: the GPU, by a device plugin that mounts vLLM as NVIDIA's mounts drivers.");
}

function run(stage: Stage, step: Step): Promise<void> {
  const { number, title, work } = step;
  const why = unfit(stage, step);
  if (why === undefined) return stage.tour.step(number, title, () => work(stage));
  stage.tour.line();
  stage.tour.line(`${String(number).padStart(2)}  ${title}: NOT RUN: ${why}`);
  return Promise.resolve();
}

/** Reads numbers of steps and runs them again, until the input ends. */
async function keepRunning(stage: Stage): Promise<void> {
  const { tour, cluster } = stage;
  tour.line();
  const inside = `From another shell: nsenter -t ${String(process.pid)} -n -m (by this process' id outside)`;
  tour.line(`KEEP=1: it goes on. ${insideRun() ? inside : ""}`);
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
  return work && { number: 99, title: line.trim(), needs: [], abilities: [], serves: false, work };
}

process.exit(await (insideRun() ? inside() : outside()));
