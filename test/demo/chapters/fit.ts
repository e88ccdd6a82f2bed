// Know before you buy: a deployment that cannot fit is refused with the numbers while nothing is bought, and taken on the
// node type that the refusal proposes.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { API_VERSION } from "../../../operator/api/keys.ts";
import { berthProgram } from "../../chart/rendered.ts";
import { apiPath } from "../../cluster/client.ts";
import type { KubeObject } from "../../cluster/client.ts";
import { run } from "../../cluster/cluster.ts";
import { eventually } from "../../cluster/eventually.ts";
import { buckets } from "../bed.ts";
import { withBoard } from "../board.ts";
import { longModelName, nodeTypeName, readerName, team } from "../chapter.ts";
import type { Chapter, Demo } from "../chapter.ts";
import { kubectl, refused, show } from "../kubectl.ts";
import { conditionOf, paths } from "../progress.ts";

const path = apiPath(API_VERSION, "modeldeployments", { namespace: team, name: readerName });

/** Waits until Ready says so; the row tells what it says meanwhile. */
async function follow(demo: Demo, label: string, is: (status: string, reason: string) => boolean): Promise<KubeObject> {
  return withBoard(demo.screen.board(), (board) =>
    board.during(label, (row) =>
      eventually(
        async () => {
          const reader = await demo.cluster.admin.get(path);
          const ready = conditionOf(reader, "Ready");
          row.say([reader.status?.["phase"], ready?.reason].filter(Boolean).join(", "));
          return ready && is(ready.status, ready.reason ?? "") ? reader : undefined;
        },
        {
          what: `${readerName} is ${label}`,
          deadlineMs: 60_000,
          watch: { client: demo.cluster.admin, paths: [paths.deployments] },
        },
      ),
    ),
  );
}

/** `berth inspect` with the cluster's own node types: its table and what it recommends. */
async function inspect({ cluster, s3 }: Demo): Promise<readonly [table: string, recommended: string]> {
  const { stdout: input } = await cluster.kubectl(["get", "nodetypes", "-o", "yaml"]);
  const place = `s3://${buckets.source}/${longModelName}`;
  const env = {
    AWS_ENDPOINT_URL: s3.endpoint,
    AWS_ACCESS_KEY_ID: s3.accessKeyId,
    AWS_SECRET_ACCESS_KEY: s3.secretAccessKey,
    NODE_OPTIONS: "--disable-warning=ExperimentalWarning",
  };
  const args = [...berthProgram(), "inspect", place, "--context", "4m", "--node-types", "-"];
  const { code, stdout, stderr } = await run(process.execPath, args, { env, input });
  if (code !== 0) throw new Error(`berth inspect failed: ${stderr.trim()}`);
  const [, , , table = "", recommended = ""] = stdout.split("\n\n");
  return [table, recommended];
}

/** The node type that the refusal proposes first. */
export function proposedIn(message: string): string {
  const name = /use node type (\S+)/.exec(message)?.[1];
  if (name === undefined) throw new Error(`the refusal proposes no node type: ${message}`);
  return name;
}

async function showRefusal(demo: Demo): Promise<string> {
  const { screen } = demo;
  const reader = await follow(demo, "check", (status, reason) => status === "False" && reason === "DoesNotFit");
  const { message = "" } = conditionOf(reader, "Ready") ?? {};
  screen.command(`kubectl describe mdep ${readerName} -n ${team}`);
  screen.refusal(message);
  const lookUp = ["get", "gnp", readerName, "-n", team];
  const answer = await refused(demo, lookUp, {});
  screen.command(`kubectl ${lookUp.join(" ")}`);
  screen.refusal(answer);
  return proposedIn(message);
}

export const fit: Chapter = {
  name: "fit",
  title: "Know before you buy",
  needs: ["serve"],
  run: async (demo) => {
    const { screen } = demo;
    screen.say("A small model for texts of four million tokens; its deployment asks for all of them on an L4.");
    screen.command("kubectl apply -f examples/sizing/");
    await kubectl(demo, ["apply", "-f", demo.examples.sizing]);
    const table = inspect(demo);
    table.catch(() => undefined); // It is awaited below.
    const proposed = await showRefusal(demo);
    screen.say("No pool, no node, no cost. The same numbers without a cluster, from kilobytes of headers:");
    const place = `s3://${buckets.source}/${longModelName}`;
    screen.command(`kubectl get nodetypes -o yaml |\n    berth inspect ${place} --context 4m --node-types -`);
    const [rows, recommended] = await table;
    screen.output(rows);
    for (const line of recommended.split("\n")) screen.say(line);
    screen.say(`The deployment again, on the node type that the refusal proposes:`);
    const change = `s/${nodeTypeName}/${proposed}/`;
    screen.command(`sed ${change} examples/sizing/4-deployment.yaml |\n    kubectl replace --force -f -`);
    const manifest = readFileSync(join(demo.examples.sizing, "4-deployment.yaml"), "utf8");
    const input = manifest.replace(`nodeType: ${nodeTypeName}`, `nodeType: ${proposed}`);
    await kubectl(demo, ["replace", "--force", "-f", "-"], { input });
    await follow(demo, "serve", (status) => status === "True");
    await show(demo, ["get", "mdep", "-n", team]);
  },
};
