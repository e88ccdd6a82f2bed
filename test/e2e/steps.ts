// The steps of the journey in their order, and what each needs.
import { install } from "./steps/01-install.ts";
import { importModels } from "./steps/02-models.ts";
import { serve } from "./steps/03-serve.ts";
import { observe } from "./steps/04-observe.ts";
import { scaleUpAndDown } from "./steps/05-scale.ts";
import { changeIt } from "./steps/06-change.ts";
import { crash } from "./steps/07-crash.ts";
import { control } from "./steps/08-control.ts";
import { nodeDies } from "./steps/09-nodedeath.ts";
import { dedicated } from "./steps/10-dedicated.ts";
import { end } from "./steps/11-end.ts";
import type { Ability } from "../realnodes/cluster.ts";
import type { Stage } from "./stage.ts";

export interface Step {
  readonly number: number;
  readonly title: string;
  readonly work: (stage: Stage) => Promise<void>;
  /** Steps that must have run before; later steps make the deployment that they need themselves. */
  readonly needs: readonly number[];
  /** Needs nodes that serve. */
  readonly serves: boolean;
  /** What the cluster must let it do; on somebody's own cluster the step is then told, not run. */
  readonly abilities: readonly Ability[];
}

type Rest = Partial<Pick<Step, "needs" | "serves" | "abilities">>;
const step = (number: number, title: string, work: Step["work"], rest: Rest): Step => ({
  number,
  title,
  work,
  needs: [1, 2],
  serves: true,
  abilities: [],
  ...rest,
});

export const allSteps: readonly Step[] = [
  step(1, "helm install: operator, importer and store in a namespace of the strictest kind", install, {
    needs: [],
    serves: false,
  }),
  step(2, "Models from a bucket, checked before they are copied", importModels, { needs: [1], serves: false }),
  step(3, "Two deployments on nodes of their own, answering what they should", serve, {}),
  step(4, "What can be seen of them, and what must not be", observe, { needs: [1, 2, 3] }),
  step(5, "One replica more, one less, and nobody notices", scaleUpAndDown, {}),
  step(6, "Another context length, another model", changeIt, {}),
  step(7, "vLLM dies, vLLM refuses", crash, { abilities: ["kill-node", "device-plugin", "audit"] }),
  step(8, "The operator's leader dies, its node with it; the API server restarts", control, {
    abilities: ["kill-node", "control-plane"],
  }),
  step(9, "A GPU node dies", nodeDies, { abilities: ["kill-node"] }),
  step(10, "Dedicated means dedicated", dedicated, {}),
  step(11, "The bill, the upgrade, the end", end, { serves: false }),
];

/** `1-4,8`: those steps and what they need; all of them where nothing is said; `0` is the cluster alone. Throws at what is no step. */
export function selectSteps(text: string | undefined): readonly Step[] {
  if (!text?.trim()) return allSteps;
  const wanted = new Set<number>();
  for (const part of text.split(",")) {
    const [, from = "", to = from] = /^\s*(\d+)(?:-(\d+))?\s*$/.exec(part) ?? [];
    const steps = allSteps.filter(({ number }) => number >= Number(from) && number <= Number(to));
    if (from === "" || (steps.length === 0 && part.trim() !== "0"))
      throw new Error(
        `STEPS=${text}: "${part.trim()}" names no step; there are 1 to ${String(allSteps.length)}, for example STEPS=1-4,8`,
      );
    for (const { number, needs } of steps) for (const one of [number, ...needs]) wanted.add(one);
  }
  return allSteps.filter(({ number }) => wanted.has(number));
}
