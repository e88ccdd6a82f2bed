// Everything is deleted; the proof that nothing is left, and the record that stays.
import { ListObjectsV2Command } from "@aws-sdk/client-s3";
import { GROUP, labels } from "../../../operator/api/keys.ts";
import type { KubeObject } from "../../cluster/client.ts";
import { eventually } from "../../cluster/eventually.ts";
import { buckets } from "../bed.ts";
import { withBoard } from "../board.ts";
import { team } from "../chapter.ts";
import type { Chapter, Demo } from "../chapter.ts";
import { timing } from "../install.ts";
import { kubectl } from "../kubectl.ts";
import { paths } from "../progress.ts";
import type { UsageReport } from "../../../operator/api/usage.ts";
import { columns } from "../text.ts";
import { askUsage, usageTable } from "../usage.ts";

async function objectsIn({ s3 }: Demo, bucket: string): Promise<string[]> {
  const client = s3.client();
  const { Contents = [] } = await client.send(new ListObjectsV2Command({ Bucket: bucket }));
  client.destroy();
  return Contents.map(({ Key = "" }) => Key);
}

async function finalizersLeft({ cluster }: Demo): Promise<number> {
  const kinds = [
    paths.deployments,
    paths.models,
    paths.clusterModels,
    paths.pools,
    paths.claims,
    paths.nodeClaims,
    paths.nodeTypes,
  ];
  const lists = await Promise.all(kinds.map((path) => cluster.admin.list(path)));
  const ours = ({ metadata }: KubeObject): boolean =>
    (metadata.finalizers ?? []).some((name) => name.startsWith(`${GROUP}/`));
  return lists.flatMap(({ items }) => items).filter(ours).length;
}

/** What could be left, counted now. */
async function leftovers(demo: Demo): Promise<Record<string, number>> {
  const count = async (path: string): Promise<number> => (await demo.cluster.admin.list(path)).items.length;
  const kinds = {
    ModelDeployments: count(paths.deployments),
    pods: count(paths.pods),
    GPUNodePools: count(paths.pools),
    CapacityClaims: count(paths.claims),
    nodes: count(`${paths.nodes}?labelSelector=${labels.pool}`),
    NodeClaims: count(paths.nodeClaims),
    NodePools: count(paths.nodePools),
    finalizers: finalizersLeft(demo),
    "files in the store": objectsIn(demo, buckets.store).then(({ length }) => length),
  };
  const counts = await Promise.all(Object.values(kinds));
  return Object.fromEntries(Object.keys(kinds).map((kind, at) => [kind, counts[at] ?? 0]));
}

/** Waits until every count is zero. */
async function untilNothingIsLeft(demo: Demo): Promise<Record<string, number>> {
  return eventually(
    async () => {
      const left = await leftovers(demo);
      const some = Object.entries(left).filter(([, count]) => count > 0);
      if (some.length > 0)
        throw new Error(`left: ${some.map(([kind, count]) => `${String(count)} ${kind}`).join(", ")}`);
      return left;
    },
    { what: "nothing is left", deadlineMs: 30_000, recheckMs: 500 },
  );
}

/** Three kinds a line. */
function countsTable(counts: Readonly<Record<string, number>>): string {
  const cells = Object.entries(counts).map(([kind, count]) => [kind, String(count)]);
  const rows = Array.from({ length: Math.ceil(cells.length / 3) }, (_, at) => cells.slice(3 * at, 3 * at + 3).flat());
  return columns(rows);
}

/** The last hour ends, its grace passes, and no window is open any more. */
async function untilSealed(demo: Demo): Promise<UsageReport> {
  return eventually(
    async () => {
      const report = await askUsage(demo);
      return report.records.every(({ open }) => !open) ? report : undefined;
    },
    { what: "all usage is sealed", deadlineMs: 60_000, recheckMs: 1000 },
  );
}

async function showRecord(demo: Demo): Promise<void> {
  const { screen } = demo;
  const report = await withBoard(screen.board(), (board) =>
    board.during("seal", async (row) => {
      row.say(`windows of ${String(timing.windowSeconds)} s end and are sealed in the ledger`);
      return untilSealed(demo);
    }),
  );
  screen.command(`berth usage -n ${team}`);
  screen.output(usageTable(report));
  screen.say("Deletion ends billing at once: nodes that still drain are claimed, but not billable.");
  const segments = (await objectsIn(demo, buckets.ledger)).filter((key) => key.endsWith(".ndjson.gz"));
  screen.say(`In the ledger, written once and never edited: ${String(segments.length)} segments, the last one`);
  screen.quote(`s3://${buckets.ledger}/${segments.at(-1) ?? ""}`);
}

export const remove: Chapter = {
  name: "remove",
  title: "Delete, and nothing is left but the record",
  needs: ["serve"],
  isLast: true,
  run: async (demo) => {
    const { screen } = demo;
    screen.command("kubectl delete -f examples/quickstart/ -f examples/catalogue/ -f examples/sizing/");
    const left = await withBoard(screen.board(), (board) =>
      board.during("delete", async (row) => {
        row.say("pods, nodes, imported files; the closing record");
        const files = Object.values(demo.examples).flatMap((folder) => ["-f", folder]);
        await kubectl(demo, ["delete", "--ignore-not-found", "--timeout=60s", ...files]);
        return untilNothingIsLeft(demo);
      }),
    );
    screen.say("What is left of it:");
    screen.output(countsTable(left));
    await showRecord(demo);
  },
};
