// The quickstart: a tenant's own weights become a served model on a node that was bought for it.
import { deploymentName, team } from "../chapter.ts";
import type { Chapter, Demo } from "../chapter.ts";
import { kubectl, showAll } from "../kubectl.ts";
import { followToReady } from "../progress.ts";

/** Flags with their values, so that a line never ends between the two. */
export function flagsOf(args: readonly string[]): string[] {
  const flags: string[] = [];
  for (const arg of args) {
    const last = flags.at(-1);
    if (last?.startsWith("--") && !last.includes(" ") && !arg.startsWith("--"))
      flags[flags.length - 1] = `${last} ${arg}`;
    else flags.push(arg);
  }
  return flags;
}

async function showEngine(demo: Demo): Promise<void> {
  const args = ["get", "mdep", deploymentName, "-n", team, "-o"];
  const status = await kubectl(demo, [...args, "jsonpath={.status.engine}"]);
  const engine = JSON.parse(status) as { image: string; args: string[] };
  demo.screen.say(`The pod's command line, in image ${engine.image}:`);
  demo.screen.quote(["vllm serve", ...flagsOf(engine.args)]);
}

export const serve: Chapter = {
  name: "serve",
  title: "Four files become a served model",
  needs: [],
  run: async (demo) => {
    demo.screen.say(
      `A node type, a bucket's credentials, a model and its deployment in namespace ${team}. ` +
        "The model is copied while Karpenter buys the node.",
    );
    demo.screen.command("kubectl apply -f examples/quickstart/");
    demo.screen.output(await kubectl(demo, ["apply", "-f", demo.examples.quickstart]));
    await followToReady(demo, 1, true);
    await showAll(demo, [
      ["get", "models", "-n", team],
      ["get", "mdep", "-n", team],
      ["get", "gnp", "-n", team],
      ["get", "cc"],
      ["get", "nodes"],
      ["get", "pods", "-n", team],
    ]);
    await showEngine(demo);
  },
};
