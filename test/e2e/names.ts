/** What the journey calls things, once. */
import { join } from "node:path";
import { packageFile } from "../../image/operator.ts";
import { repoDir } from "../cluster/paths.ts";

export const release = "berth";
export const systemNamespace = "berth-system";
/** The tenant whose deployments the journey follows. */
export const team = "team-a";
/** Another tenant, who wants what is not theirs. */
export const otherTeam = "team-b";

export const nodeType = "cpu-as-gpu";
/** Label by which NodeType and nodes find each other, and where the load of requests may run. */
export const gpuLabel = { "example.com/gpu": "played" } as const;
export const buckets = { source: "models", store: "store", ledger: "ledger" } as const;
export const storageSecret = "object-storage";
export const sourceSecret = "bucket";

/** On somebody's own cluster images may have been pushed under another name. */
const imagePrefix = (process.env["BERTH_TEST_KUBECONFIG"] && process.env["BERTH_TEST_IMAGES"]) || "localhost";
export const engineReference = `${imagePrefix}/vllm-cpu-base:0.32.0`;
export const berthRepository = `${imagePrefix}/berth`;
export const berthReference = (): string => `${berthRepository}:${packageFile().version}`;
/** Tag of the same program with another pod template, for the upgrade. */
export const nextTag = "next";
export const nextReference = (): string => `${berthRepository}:${nextTag}`;
/** Nodes that serve; the journey fills two of them and changes between them and the third. */
export const gpuNodes = 3;

export const chartDir = join(repoDir, "charts", "berth");

/** Deployments; the name is also what the model is called in requests. */
export const embed = "embed";
export const chat = "chat";
export const broken = "broken";

/** Models: a folder of files each. */
export const models = {
  minilm: "minilm",
  llama: "llama",
  other: "llama-other",
  incomplete: "llama-incomplete",
  /** Whose longest request needs more cache than the device plugin gives, and less than the node type says. */
  long: "llama-long",
} as const;
/** Tokens: 1.75 GiB of cache for one request of the generated Llama, where the device plugin gives 1 GiB. */
export const longContext = 262_144;
export type ModelName = (typeof models)[keyof typeof models];

/** What the journey shortens, beside the chart's defaults. */
export const timing = {
  shrinkStabilizationSeconds: 1,
  drainGraceSeconds: 300,
  nodeLostSeconds: 60,
  windowSeconds: 60,
  sealGraceSeconds: 5,
  sealSpreadSeconds: 1,
} as const;
