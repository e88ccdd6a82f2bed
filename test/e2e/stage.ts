// What the steps share: the cluster with real nodes, object storage, the tour, and what the test itself has measured.
import { startS3 } from "../cluster/s3.ts";
import type { S3Server } from "../cluster/s3.ts";
import type { Cluster } from "../cluster/cluster.ts";
import { startRealCluster } from "../realnodes/cluster.ts";
import type { RealCluster } from "../realnodes/cluster.ts";
import { uploadFolder } from "../models/upload.ts";
import type { Material } from "./material.ts";
import { buckets, gpuLabel, models } from "./names.ts";
import { watchClaims } from "./claimwatch.ts";
import type { ClaimWatch } from "./claimwatch.ts";
import type { Tour } from "./tour.ts";

export interface Stage {
  readonly tour: Tour;
  readonly material: Material;
  readonly real: RealCluster;
  readonly cluster: Cluster;
  readonly s3: S3Server;
  /** Who holds which node since when, as the Node objects alone say it. */
  readonly claims: ClaimWatch;
}

/** Where the device plugin mounts vLLM, and the models for the engine that is started by hand. */
export const engineMounts = (vllm: string) => [{ hostPath: vllm, containerPath: "/opt/vllm" }];
/** One thread each: threads of several engines that wait actively for one another on few cores slow each other tenfold. */
export const engineEnv = {
  PYTHONPATH: "/opt/vllm",
  VLLM_CPU_KVCACHE_SPACE: "1",
  VLLM_CPU_OMP_THREADS_BIND: "nobind",
  OMP_NUM_THREADS: "1",
} as const;

/** Two system nodes, three with one GPU each, an S3 server that pods reach, and the models in its bucket. */
export async function setStage(tour: Tour, material: Material): Promise<Stage> {
  const { berth, next, engine } = material.images;
  const progress = (line: string): void => tour.say(line.trim());
  const real = await startRealCluster({
    images: { system: [berth, next], gpu: [berth, next, engine] },
    engineMounts: engineMounts(material.vllm),
    engineEnv,
    gpuNodeLabels: gpuLabel,
    // Kubernetes' own default is 50 s; waiting for it teaches nothing.
    nodeMonitorGracePeriod: "20s",
    progress,
  });
  const s3 = await startS3({ runDir: real.cluster.runDir, name: "s3", address: real.hostAddress });
  for (const bucket of Object.values(buckets)) await s3.createBucket(bucket);
  const client = s3.client();
  for (const name of Object.values(models))
    await uploadFolder(client, buckets.source, `${name}/`, material.models[name]);
  client.destroy();
  return { tour, material, real, cluster: real.cluster, s3, claims: watchClaims(real.cluster) };
}

export async function strikeStage({ real, s3, claims }: Stage): Promise<void> {
  claims.stop();
  await s3.stop();
  await real.stop();
}
