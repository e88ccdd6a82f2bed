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
import { columns } from "../text.ts";
import { askUsage, usageTable } from "../usage.ts";

async function objectsIn({ s3 }: Demo, bucket: string): Promise<string[]> {
  const client = s3.client();
  const { Contents = [] } = await client.send(new ListObjectsV2Command({ Bucket: bucket }));
  client.destroy();
  return Contents.map(({ Key = "" }) => Key);
}

async function finalizersLeft({ cluster }: Demo): Promise<number> {
  const kinds = [paths.deployments, paths.models, paths.pools, paths.claims, paths.nodeClaims, paths.nodeTypes];
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

/** Waits until all usage is sealed, so that no claim waits for it any more. */
async function untilNothingIsLeft(demo: Demo): Promise<Record<string, number>> {
  return eventually(
    async () => {
      const left = await leftovers(demo);
      const some = Object.entries(left).filter(([, count]) => count > 0);
      if (some.length > 0)
        throw new Error(`left: ${some.map(([kind, count]) => `${String(count)} ${kind}`).join(", ")}`);
      return left;
    },
    { what: "nothing is left", deadlineMs: 60_000, recheckMs: 500 },
  );
}

export const remove: Chapter = {
  name: "remove",
  title: "Delete, and nothing is left but the record",
  needs: ["serve"],
  isLast: true,
  run: async (demo) => {
    const { screen } = demo;
    screen.command("kubectl delete -f examples/quickstart/");
    const left = await withBoard(screen.board(), async (board) => {
      await board.during("delete", async (row) => {
        row.say("pods drain, nodes go back, the closing record is written");
        await kubectl(demo, ["delete", "--timeout=60s", "-f", demo.quickstart]);
      });
      return board.during("seal", async (row) => {
        row.say(`the last window of ${String(timing.windowSeconds)} s ends and is sealed in the ledger`);
        return untilNothingIsLeft(demo);
      });
    });
    screen.output(columns([Object.keys(left), Object.values(left).map(String)]));
    screen.command(`berth usage -n ${team}`);
    screen.output(usageTable(await askUsage(demo)));
    const segments = (await objectsIn(demo, buckets.ledger)).filter((key) => key.endsWith(".ndjson.gz"));
    screen.say(
      `Sealed once, never edited: ${String(segments.length)} files such as s3://${buckets.ledger}/${segments.at(-1) ?? ""}`,
    );
  },
};
