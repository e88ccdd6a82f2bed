// The chart by the real helm, its pods in real containers under the strictest Pod Security level.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { stringify } from "yaml";
import { packageFile } from "../../../image/operator.ts";
import { apiPath } from "../../cluster/client.ts";
import type { KubeObject } from "../../cluster/client.ts";
import { eventually } from "../../cluster/eventually.ts";
import { isReady, leaderPod, paths, podUrl } from "../objects.ts";
import type { RunningPod } from "../objects.ts";
import {
  berthRepository,
  buckets,
  chartDir,
  engineReference,
  gpuLabel,
  nodeType,
  otherTeam,
  release,
  sourceSecret,
  storageSecret,
  systemNamespace,
  team,
  timing,
} from "../names.ts";
import type { Stage } from "../stage.ts";

export function chartValues({ s3, real }: Stage, tag = packageFile().version): object {
  const place = { endpoint: s3.endpoint, region: s3.region, existingSecret: storageSecret };
  return {
    image: { repository: berthRepository, tag, pullPolicy: real.can("load-images") ? "Never" : "IfNotPresent" },
    ledger: { url: `s3://${buckets.ledger}/usage`, ...place },
    store: { url: `s3://${buckets.store}`, ...place },
    importer: { allowHttpEndpoints: true, allowedEndpointCIDRs: [`${new URL(s3.endpoint).hostname}/32`] },
    tenantNamespaces: [team],
    engineImages: [{ version: "0.32.0", image: engineReference }],
    nodeTypes: [
      {
        name: nodeType,
        spec: {
          // The device plugin gives 1 GiB of KV space; vLLM on the CPU takes no share of a GPU's memory.
          gpu: { product: "a CPU in a GPU's place", count: 1, memory: "8Gi" },
          vcpus: 2,
          memory: "4Gi",
          provider: { static: { nodeSelector: gpuLabel } },
        },
      },
    ],
    timing,
  };
}

export function writeValues(stage: Stage, name: string, values: object): string {
  const path = join(stage.cluster.runDir, name);
  writeFileSync(path, stringify(values));
  return path;
}

async function makeNamespaces({ cluster }: Stage): Promise<void> {
  const labels = { "pod-security.kubernetes.io/enforce": "restricted" };
  for (const name of [systemNamespace, team, otherTeam]) {
    const metadata = { name, labels };
    await cluster.admin.create(apiPath("v1", "namespaces"), { apiVersion: "v1", kind: "Namespace", metadata });
  }
}

async function makeSecrets({ cluster, s3 }: Stage): Promise<void> {
  const stringData = { accessKeyId: s3.accessKeyId, secretAccessKey: s3.secretAccessKey };
  const secret = (namespace: string, metadata: object, type: string): Promise<KubeObject> =>
    cluster.admin.create(apiPath("v1", "secrets", { namespace }), {
      apiVersion: "v1",
      kind: "Secret",
      metadata,
      type,
      stringData,
    });
  await secret(systemNamespace, { name: storageSecret }, "Opaque");
  const annotations = { "berth.dev/endpoints": s3.endpoint };
  await secret(team, { name: sourceSecret, annotations }, "berth.dev/source-credentials");
}

/** Pods of the release, ready; the chart says how many of each. */
export async function untilInstalled(stage: Stage, deadlineMs = 180_000): Promise<RunningPod[]> {
  const wanted: Readonly<Record<string, number>> = { operator: 2, importer: 1, store: 2 };
  return eventually(
    async () => {
      const { items } = await stage.cluster.admin.list<RunningPod>(paths.pods(systemNamespace));
      const mine = (component: string) =>
        items.filter(
          ({ metadata }) =>
            metadata.labels?.["app.kubernetes.io/component"] === component && !metadata.deletionTimestamp,
        );
      const late = Object.entries(wanted).filter(([name, count]) => {
        const pods = mine(name);
        return pods.length !== count || !pods.every(isReady);
      });
      if (late.length > 0) throw new Error(`not all ready: ${late.map(([name]) => name).join(", ")}`);
      return Object.keys(wanted).flatMap(mine);
    },
    { what: "operator, importer and store are ready", deadlineMs, recheckMs: 500, logDir: stage.cluster.logDir },
  );
}

export async function install(stage: Stage): Promise<void> {
  const { tour, cluster } = stage;
  await makeNamespaces(stage);
  await makeSecrets(stage);
  const values = writeValues(stage, "values.yaml", chartValues(stage));
  const { code, stdout, stderr } = await cluster.helm([
    "install",
    release,
    chartDir,
    "-n",
    systemNamespace,
    "-f",
    values,
  ]);
  if (code !== 0) throw new Error(`helm install failed: ${(stderr || stdout).trim()}`);
  tour.say(
    `helm install ${release} charts/berth -n ${systemNamespace}: both namespaces enforce Pod Security "restricted"`,
  );
  const pods = await untilInstalled(stage);
  const placed = pods.map(
    ({ metadata, spec }) => `${metadata.labels?.["app.kubernetes.io/component"] ?? ""} on ${spec.nodeName}`,
  );
  tour.say(`ready in real containers: ${placed.join(", ")}`);
  await oneLeads(stage);
}

/** The Lease names one, and the metrics of the two agree about who. */
export async function oneLeads(stage: Stage): Promise<string> {
  const leader = await eventually(
    async () => {
      const { items } = await stage.cluster.admin.list<RunningPod>(paths.pods(systemNamespace));
      const operators = items.filter(
        ({ metadata, status }) =>
          metadata.labels?.["app.kubernetes.io/component"] === "operator" && isReady({ metadata, status }),
      );
      const leading = await Promise.all(operators.map(async (pod) => ({ pod, leads: await leads(stage, pod) })));
      const [only, ...more] = leading.filter(({ leads: yes }) => yes);
      if (!only || more.length > 0)
        throw new Error(`${String(leading.filter(({ leads: yes }) => yes).length)} operators lead`);
      return only.pod.metadata.name === (await leaderPod(stage)) ? only.pod : undefined;
    },
    { what: "exactly one operator leads", deadlineMs: 60_000, recheckMs: 500, logDir: stage.cluster.logDir },
  );
  stage.tour.say(`${leader.metadata.name} leads, and no other`);
  return leader.metadata.name;
}

async function leads(stage: Stage, pod: RunningPod): Promise<boolean> {
  const response = await fetch(`${await podUrl(stage, pod, 8080)}/metrics`, { signal: AbortSignal.timeout(5000) });
  return /^leader_election_master_status(?:\{[^}]*\})? 1$/m.test(await response.text());
}
