// What the journey needs and builds before it goes into its namespaces, where there is no network: programs, images, models.
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { writeArchive } from "../../image/archive.ts";
import { ensureImages } from "../../image/cached.ts";
import { Missing } from "../../image/missing.ts";
import { operatorImage } from "../../image/operator.ts";
import { vllmInstallation } from "../../image/vllm.ts";
import { ensureTools } from "../cluster/build.ts";
import { cacheDir, repoDir } from "../cluster/paths.ts";
import { llamaFolder } from "../models/llama.ts";
import { miniLmFolder } from "../models/minilm.ts";
import { ensureNodeTools } from "../realnodes/build.ts";
import { missingPrerequisites } from "../realnodes/prerequisites.ts";
import { kubeconfigElsewhere, missingElsewhere } from "./elsewhere.ts";
import { longContext, models, nextTag } from "./names.ts";
import type { ModelName } from "./names.ts";

/** Paths on this machine. */
export interface Material {
  readonly images: { readonly berth: string; readonly next: string };
  readonly models: Readonly<Record<ModelName, string>>;
  /** What our own nodes are given; undefined for somebody's own cluster. */
  readonly engine: { readonly image: string; readonly vllm: string } | undefined;
}

/** One line for each thing that is missing, with how to get it. */
export async function missingMaterial(): Promise<string[]> {
  const kubeconfig = kubeconfigElsewhere();
  if (kubeconfig) return missingElsewhere(kubeconfig);
  const missing = await missingPrerequisites();
  const vllm = vllmInstallation() ? [] : ["vLLM's CPU build is missing (6 GB, 4 minutes): run make e2e-setup"];
  return [...missing, ...vllm];
}

/** Builds what is not there yet; nothing is installed. */
export async function gatherMaterial(say: (line: string) => void): Promise<Material> {
  await ensureTools(say);
  const engine = kubeconfigElsewhere() ? undefined : await engineOfOurNodes(say);
  const images = await berthImages(say);
  const minilm = await miniLmFolder();
  if (!("folder" in minilm)) throw new Missing(minilm.missing);
  return { images, engine, models: { [models.minilm]: minilm.folder, ...llamas() } };
}

async function engineOfOurNodes(say: (line: string) => void): Promise<Material["engine"]> {
  await ensureNodeTools(say);
  const vllm = vllmInstallation()?.sitePackagesDir ?? "";
  const { engine } = await ensureImages(say);
  return { image: engine, vllm };
}

/** The longest context is what lets one stream last a minute. */
function llamas(): Record<Exclude<ModelName, "minilm">, string> {
  const maxPositions = 32_768;
  return {
    [models.llama]: llamaFolder({ maxPositions }),
    [models.other]: llamaFolder({ maxPositions, seed: "other" }),
    // vLLM 0.32.0 misses norms; a linear layer that lacks its weights it serves (docs/decisions).
    [models.incomplete]: llamaFolder({ without: "model.layers.3.input_layernorm.weight" }),
    [models.long]: llamaFolder({ maxPositions: longContext }),
  };
}

async function berthImages(say: (line: string) => void): Promise<{ berth: string; next: string }> {
  bundle();
  const folder = join(cacheDir(), "images");
  mkdirSync(folder, { recursive: true });
  const paths = { berth: join(folder, "berth.tar"), next: join(folder, "berth-next.tar") };
  writeArchive(await operatorImage(say), paths.berth);
  const other = { reference: `localhost/berth:${nextTag}`, bundle: otherRenderer() };
  writeArchive(await operatorImage(say, other), paths.next);
  return paths;
}

function bundle(): void {
  const { status, stderr } = spawnSync(process.execPath, ["operator/bundle.mjs"], { cwd: repoDir, encoding: "utf8" });
  if (status !== 0) throw new Error(`the bundle cannot be built: ${stderr.trim()}`);
}

/** An annotation of every serving pod, and what the next program writes beside it. */
const annotation = '"karpenter.sh/do-not-disrupt":"true"';
export const nextMark = "example.com/renderer";

/** The program with another pod template, as a newer version would bring it. */
function otherRenderer(): Buffer {
  const parts = readFileSync(join(repoDir, "dist", "berth.mjs"), "utf8").split(annotation);
  if (parts.length !== 2) throw new Error(`the bundle holds ${String(parts.length - 1)} pod templates, not one`);
  return Buffer.from(parts.join(`${annotation},"${nextMark}":"next"`));
}

export function wholeMaterial(material: Material): void {
  const { images, models: folders, engine = {} } = material;
  const paths = [images, folders, engine].flatMap((group) => Object.values(group) as string[]);
  for (const path of paths) if (!existsSync(path)) throw new Error(`${path} is missing`);
}
