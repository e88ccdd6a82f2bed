// Dedicated means dedicated: another team's ordinary user tries to get onto the node, and the API server refuses.
import { stringify } from "yaml";
import { labels, taints } from "../../../operator/api/keys.ts";
import { tenantIdentity } from "../../cluster/users.ts";
import { otherTeam } from "../chapter.ts";
import type { Chapter, Demo } from "../chapter.ts";
import { paths } from "../progress.ts";
import { squeezed } from "../text.ts";
import { refused } from "../kubectl.ts";

interface Attempt {
  readonly what: string;
  readonly spec: object;
}

const container = { name: "miner", image: "example.com/miner:1" };

async function dedicatedNode({ cluster }: Demo): Promise<string> {
  const { items } = await cluster.admin.list(`${paths.nodes}?labelSelector=${labels.pool}`);
  const name = items[0]?.metadata.name;
  if (!name) throw new Error("no node carries the label of a pool");
  return name;
}

function pod(spec: object): string {
  return stringify({ apiVersion: "v1", kind: "Pod", metadata: { name: "intruder", namespace: otherTeam }, spec });
}

export const dedicated: Chapter = {
  name: "dedicated",
  title: "Nobody else gets onto that node",
  needs: ["serve"],
  run: async (demo) => {
    const node = await dedicatedNode(demo);
    const attempts: readonly Attempt[] = [
      {
        what: `tolerations: [{key: ${taints.dedicated}, operator: Exists}]`,
        spec: { tolerations: [{ key: taints.dedicated, operator: "Exists" }], containers: [container] },
      },
      { what: `nodeName: ${squeezed(node, 40)}`, spec: { nodeName: node, containers: [container] } },
    ];
    const identity = await tenantIdentity(demo.cluster, otherTeam, { user: "mallory" });
    demo.screen.say(
      `mallory may edit everything in namespace ${otherTeam} and wants a GPU that somebody else pays for.`,
    );
    const answers = await Promise.all(
      attempts.map(({ spec }) => refused(demo, ["apply", "-f", "-"], { identity, input: pod(spec) })),
    );
    attempts.forEach(({ what }, at) => {
      demo.screen.command(`kubectl apply -f pod-${String(at + 1)}.yaml    # as mallory`);
      demo.screen.quote(what);
      demo.screen.refusal(wordsOf(answers[at] ?? ""));
    });
  },
};

/** kubectl's refusal from the name of the policy on; the rest repeats the object's name. */
function wordsOf(answer: string): string {
  if (!/ValidatingAdmissionPolicy/.test(answer)) throw new Error(`refused, but not by Berth's policy: ${answer}`);
  return answer.replace(/^.*?(?=ValidatingAdmissionPolicy)/s, "");
}
