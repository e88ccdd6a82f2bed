// What the platform offers to every team: shapes of nodes and curated models.
import { eventually } from "../../cluster/eventually.ts";
import { withBoard } from "../board.ts";
import { nodeTypeName } from "../chapter.ts";
import type { Chapter, Demo } from "../chapter.ts";
import { kubectl, showAll } from "../kubectl.ts";
import { conditionOf, paths } from "../progress.ts";

async function untilInspected({ cluster }: Demo): Promise<void> {
  await eventually(
    async () => {
      const model = await cluster.admin.get(paths.clusterModel);
      if (model.status?.["architecture"] !== undefined) return true;
      throw new Error(conditionOf(model, "Ready")?.message ?? "no condition yet");
    },
    { what: "the catalogue's model is inspected", watch: { client: cluster.admin, paths: [paths.clusterModels] } },
  );
}

/** A type's counts are gathered for some seconds before they are written. */
async function untilCounted({ cluster }: Demo): Promise<void> {
  await eventually(
    async () => (await cluster.admin.get(`${paths.nodeTypes}/${nodeTypeName}`)).status?.["claimedNodes"],
    {
      what: "the node type's claimed nodes are counted",
      watch: { client: cluster.admin, paths: [paths.nodeTypes] },
    },
  );
}

export const catalogue: Chapter = {
  name: "catalogue",
  title: "What the platform offers",
  needs: ["serve"],
  run: async (demo) => {
    demo.screen.command("kubectl apply -f examples/catalogue/");
    await kubectl(demo, ["apply", "-f", demo.examples.catalogue]);
    await withBoard(demo.screen.board(), (board) =>
      board.during("inspect", async (row) => {
        row.say("kilobytes are read; files are copied at first use");
        await Promise.all([untilInspected(demo), untilCounted(demo)]);
      }),
    );
    await showAll(demo, [
      ["get", "clustermodels"],
      ["get", "nodetypes"],
    ]);
  },
};
