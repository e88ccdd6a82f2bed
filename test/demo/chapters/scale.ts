// A second replica means a second node; the hour that is open shows what both have cost so far.
import { deploymentName, team } from "../chapter.ts";
import type { Chapter } from "../chapter.ts";
import { show } from "../kubectl.ts";
import { followToReady } from "../progress.ts";
import { askUsage, usageTable } from "../usage.ts";

export const scale: Chapter = {
  name: "scale",
  title: "Scale to two, and see what is metered",
  needs: ["serve"],
  run: async (demo) => {
    await show(demo, ["scale", "mdep", deploymentName, "-n", team, "--replicas=2"]);
    await followToReady(demo, 2, false);
    demo.screen.command(`berth usage -n ${team}`);
    demo.screen.output(usageTable(await askUsage(demo)));
    demo.screen.say(
      "The open window still counts. Traffic plays no part: a node is billed while it is asked for and there.",
    );
  },
};
