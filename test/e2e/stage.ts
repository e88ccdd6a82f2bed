// What the steps share: the cluster (with real nodes of ours, or somebody's own), object storage, the tour, and what the test itself has measured.
import { startS3 } from "../cluster/s3.ts";
import type { S3Server } from "../cluster/s3.ts";
import type { Cluster } from "../cluster/cluster.ts";
import { startRealCluster } from "../realnodes/cluster.ts";
import type { RealCluster, RealClusterOptions } from "../realnodes/cluster.ts";
import { uploadFolder } from "../models/upload.ts";
import type { Material } from "./material.ts";
import { inspectElsewhere, servingNodes } from "./elsewhere.ts";
import { berthReference, buckets, gpuLabel, gpuNodes, models } from "./names.ts";
import { directly, throughPod } from "./reach.ts";
import type { Reach } from "./reach.ts";
import { watchClaims } from "./claimwatch.ts";
import type { ClaimWatch } from "./claimwatch.ts";
import type { Tour } from "./tour.ts";

export interface Stage {
  readonly tour: Tour;
  readonly material: Material;
  readonly real: RealCluster;
  readonly cluster: Cluster;
  readonly s3: S3Server;
  /** Nodes that serve. */
  readonly servers: number;
  readonly reach: Reach;
  /** Who holds which node since when, as the Node objects alone say it. */
  readonly claims: ClaimWatch;
}

/** One thread each: threads of several engines that wait actively for one another on few cores slow each other tenfold. */
const engineEnv = {
  PYTHONPATH: "/opt/vllm",
  VLLM_CPU_KVCACHE_SPACE: "1",
  VLLM_CPU_OMP_THREADS_BIND: "nobind",
  OMP_NUM_THREADS: "1",
} as const;

/** Our own nodes, or somebody's own cluster. */
export async function setStage(tour: Tour, material: Material): Promise<Stage> {
  const ours = material.engine !== undefined;
  const real = material.engine
    ? await startRealCluster(nodesFor(tour, material, material.engine))
    : await startRealCluster();
  const { cluster } = real;
  if (!ours) await inspectElsewhere(cluster, Object.values(material.images));
  const s3 = await startS3({ runDir: cluster.runDir, name: "s3", address: real.hostAddress });
  for (const bucket of Object.values(buckets)) await s3.createBucket(bucket);
  const client = s3.client();
  for (const name of Object.values(models))
    await uploadFolder(client, buckets.source, `${name}/`, material.models[name]);
  client.destroy();
  const servers = ours ? gpuNodes : await servingNodes(cluster);
  const reach = ours ? directly : throughPod(cluster, berthReference());
  return { tour, material, real, cluster, s3, servers, reach, claims: watchClaims(cluster) };
}

/** Two system nodes and three with one GPU each. */
function nodesFor(tour: Tour, { images }: Material, engine: { image: string; vllm: string }): RealClusterOptions {
  const { berth, next } = images;
  return {
    gpuNodes,
    images: { system: [berth, next], gpu: [berth, next, engine.image] },
    engineMounts: [{ hostPath: engine.vllm, containerPath: "/opt/vllm" }],
    engineEnv,
    gpuNodeLabels: gpuLabel,
    // Kubernetes' own default is 50 s; waiting for it teaches nothing.
    nodeMonitorGracePeriod: "20s",
    progress: (line) => tour.say(line.trim()),
  };
}

export async function strikeStage({ real, s3, claims, reach }: Stage): Promise<void> {
  claims.stop();
  reach.stop();
  await s3.stop();
  await real.stop();
}
