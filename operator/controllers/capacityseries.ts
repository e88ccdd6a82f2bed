/**
 * Node-seconds for Prometheus, which must never see a counter shrink. The base is what a deployment's status says once it was
 * settled, so a new leader goes on where the last one was; nothing is shown of a deployment before its base is known.
 */
import type { CapacityCounters, DeploymentMetering, ModelDeployment } from "../api/modeldeployment.ts";
import { countUp } from "../plan/metering/settle.ts";
import { secondsOf } from "../plan/metering/windows.ts";
import type { Histories } from "./histories.ts";
import type { CapacityValue } from "./ledgermetrics.ts";
import type { SealResult } from "./segments.ts";

export interface CapacitySeries {
  /** A window was sealed: counted at once where the base is known, which it is for a deployment that began in that window. */
  sealed(sealed: Pick<SealResult, "window" | "meters">, histories: Pick<Histories, "lifeOf">): void;
  /** A deployment's status is, or is about to be, this. */
  settled(deployment: Pick<ModelDeployment, "metadata">, metering: DeploymentMetering): void;
  /** Whether the base of a deployment is known. */
  knows(deploymentUID: string): boolean;
  values(): readonly CapacityValue[];
}

interface Counted {
  readonly namespace: string;
  readonly deployment: string;
  readonly counters: readonly CapacityCounters[];
  /** End in seconds of what is counted. */
  readonly through: number;
}

/** What ended so long ago is scraped by now. */
export const keptSeconds = 86_400;

export function newCapacitySeries(): CapacitySeries {
  const counted = new Map<string, Counted>();
  return {
    sealed({ window, meters }, histories) {
      for (const [uid, own] of Map.groupBy(meters, ({ deploymentUID }) => deploymentUID)) {
        const begin = histories.lifeOf(uid)?.start ?? -Infinity;
        const known = counted.get(uid) ?? (begin >= window.start ? nothing(own[0]) : undefined);
        if (!known || known.through > window.start) continue;
        counted.set(uid, { ...known, counters: own.reduce(countUp, known.counters), through: window.end });
      }
      for (const [uid, { through }] of counted) if (through < window.end - keptSeconds) counted.delete(uid);
    },
    settled({ metadata }, { sealedThrough, counters = [] }) {
      if (sealedThrough === undefined || !metadata.uid) return;
      const through = secondsOf(sealedThrough);
      const { namespace = "", name } = metadata;
      const known = counted.get(metadata.uid);
      if (known && known.through > through) return;
      counted.set(metadata.uid, { namespace, deployment: name, counters, through });
    },
    knows: (deploymentUID) => counted.has(deploymentUID),
    values: () => [...counted].flatMap(([uid, one]) => valuesOf(uid, one)),
  };
}

function nothing(meter: { readonly namespace: string; readonly deploymentName: string } | undefined): Counted {
  const { namespace = "", deploymentName: deployment = "" } = meter ?? {};
  return { namespace, deployment, counters: [], through: -Infinity };
}

function valuesOf(uid: string, { namespace, deployment, counters }: Counted): CapacityValue[] {
  return counters.flatMap(({ sku, ...bases }) =>
    (["billable", "claimed", "ready"] as const).map((basis) => ({
      labels: { namespace, deployment, deployment_uid: uid, sku, basis },
      value: bases[basis],
    })),
  );
}
