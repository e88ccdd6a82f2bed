// The live lines: what a model, its nodes and its pods are doing, read from the objects that anybody can read.
import { apiPath } from "../cluster/client.ts";
import type { KubeObject } from "../cluster/client.ts";
import { eventually } from "../cluster/eventually.ts";
import { API_VERSION } from "../../operator/api/keys.ts";
import type { Model } from "../../operator/api/model.ts";
import type { ModelDeployment } from "../../operator/api/modeldeployment.ts";
import type { Board, Row } from "./board.ts";
import { withBoard } from "./board.ts";
import { catalogueModelName, deploymentName, modelName, team } from "./chapter.ts";
import type { Demo } from "./chapter.ts";
import { megabytes } from "./text.ts";

interface Condition {
  readonly type: string;
  readonly status: string;
  readonly reason?: string;
  readonly message?: string;
}

export const paths = {
  deployment: apiPath(API_VERSION, "modeldeployments", { namespace: team, name: deploymentName }),
  deployments: apiPath(API_VERSION, "modeldeployments", { namespace: team }),
  model: apiPath(API_VERSION, "models", { namespace: team, name: modelName }),
  clusterModel: apiPath(API_VERSION, "clustermodels", { name: catalogueModelName }),
  clusterModels: apiPath(API_VERSION, "clustermodels"),
  models: apiPath(API_VERSION, "models", { namespace: team }),
  pools: apiPath(API_VERSION, "gpunodepools"),
  claims: apiPath(API_VERSION, "capacityclaims"),
  nodeTypes: apiPath(API_VERSION, "nodetypes"),
  pods: apiPath("v1", "pods", { namespace: team }),
  nodes: apiPath("v1", "nodes"),
  nodePools: apiPath("karpenter.sh/v1", "nodepools"),
  nodeClaims: apiPath("karpenter.sh/v1", "nodeclaims"),
} as const;

export function conditionOf(object: { readonly status?: unknown }, type: string): Condition | undefined {
  const { conditions } = (object.status ?? {}) as { readonly conditions?: readonly Condition[] };
  return conditions?.find((each) => each.type === type);
}

const isTrue = (object: KubeObject, type: string): boolean => conditionOf(object, type)?.status === "True";

function showModel(row: Row, { status }: Model): void {
  const ready = status?.conditions?.find(({ type }) => type === "Ready");
  if (ready?.status === "True") {
    const facts = [
      status?.architecture,
      status?.sizeBytes && megabytes(status.sizeBytes),
      status?.digest?.slice(0, 19),
    ];
    return row.done(`${facts.filter(Boolean).join(", ")}…`);
  }
  const progress = status?.progress;
  if (!progress || progress.phase !== "Copying") return row.say(progress?.phase ?? ready?.reason ?? "waiting", true);
  const percent = Math.floor((100 * progress.bytes) / Math.max(1, progress.totalBytes));
  row.say(`copying ${megabytes(progress.bytes)} of ${megabytes(progress.totalBytes)}, ${String(percent)} %`);
}

const typeOf = (claims: readonly KubeObject[]): string =>
  claims[0]?.metadata.labels?.["node.kubernetes.io/instance-type"] ?? "";

function showNodes(row: Row, claims: readonly KubeObject[], wanted: number): void {
  const ready = claims.filter((claim) => isTrue(claim, "Initialized")).length;
  const launched = claims.filter((claim) => isTrue(claim, "Launched")).length;
  if (ready >= wanted)
    return row.done(`${String(ready)} of ${String(wanted)} ready, ${typeOf(claims)}, bought by Karpenter`);
  const ordered = claims.length < wanted ? "asking Karpenter" : `${String(launched)} launched`;
  row.say(`${String(ready)} of ${String(wanted)} ready, ${ordered}`, true);
}

function showPods(row: Row, pods: readonly KubeObject[], wanted: number): void {
  const ready = pods.filter((pod) => isTrue(pod, "Ready")).length;
  if (ready >= wanted) return row.done(`${String(ready)} of ${String(wanted)} ready, each alone on its node`);
  row.say(`${String(ready)} of ${String(wanted)} ready${pods.length > ready ? ", pending" : ""}`, true);
}

interface Rows {
  readonly model?: Row;
  readonly nodes: Row;
  readonly pods: Row;
  readonly deployment: Row;
}

/** Draws what is there now; true when the deployment is Ready with that many replicas. */
async function look({ cluster }: Demo, rows: Rows, wanted: number): Promise<true> {
  const [deployment, model, claims, pods] = await Promise.all([
    cluster.admin.get<ModelDeployment>(paths.deployment),
    cluster.admin.get<Model>(paths.model),
    cluster.admin.list(paths.nodeClaims),
    cluster.admin.list(paths.pods),
  ]);
  if (rows.model) showModel(rows.model, model);
  showNodes(rows.nodes, claims.items, wanted);
  showPods(rows.pods, pods.items, wanted);
  const { phase = "", readyReplicas = 0 } = deployment.status ?? {};
  const ready = conditionOf(deployment, "Ready");
  if (ready?.status === "True" && readyReplicas === wanted) {
    rows.deployment.done(`Ready, ${String(wanted)} of ${String(wanted)}`);
    return true;
  }
  rows.deployment.say([phase, ready?.reason].filter(Boolean).join(", "));
  throw new Error(`${phase}: ${ready?.reason ?? "no condition yet"}: ${ready?.message ?? ""}`);
}

/** Follows the deployment on live lines until it is Ready with `wanted` replicas. */
export async function followToReady(demo: Demo, wanted: number, withModel: boolean): Promise<void> {
  await withBoard(demo.screen.board(), async (board: Board) => {
    const rows: Rows = {
      ...(withModel && { model: board.row("import") }),
      nodes: board.row("nodes"),
      pods: board.row("pods"),
      deployment: board.row("deployment"),
    };
    await eventually(() => look(demo, rows, wanted), {
      what: `${deploymentName} is Ready with ${String(wanted)} replicas`,
      deadlineMs: 90_000,
      recheckMs: 500,
      watch: {
        client: demo.cluster.admin,
        paths: [paths.deployments, paths.models, paths.nodeClaims, paths.pods],
      },
    });
  });
}
