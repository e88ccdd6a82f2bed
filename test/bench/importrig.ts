// What the lines of `make bench-import` share: our command and the peers', their settings, medians.
import { rmSync } from "node:fs";
import { join } from "node:path";
import { costOf } from "./command.ts";
import type { Cost } from "./command.ts";
import { quantile, say } from "./figures.ts";
import type { Bench } from "./imports.ts";

const root = join(import.meta.dirname, "../..");

/** `berth import` of s3://bucket/prefix; the keys come from the environment. */
export function berthLine(from: string, to: string): string {
  const monitor = join(import.meta.dirname, "loopdelay.mjs");
  return `${process.execPath} --import ${monitor} ${join(root, "dist/berth.mjs")} import --from ${from} --to ${to} --name m`;
}

export function environment({ s3 }: Bench): Record<string, string> {
  return {
    AWS_ENDPOINT_URL_S3: s3.endpoint,
    AWS_ACCESS_KEY_ID: s3.accessKeyId,
    AWS_SECRET_ACCESS_KEY: s3.secretAccessKey,
    AWS_REGION: s3.region,
    S3_ENDPOINT_URL: s3.endpoint,
    RCLONE_CONFIG: "/dev/null",
    RCLONE_CONFIG_B_TYPE: "s3",
    RCLONE_CONFIG_B_PROVIDER: "Other",
    RCLONE_CONFIG_B_ENV_AUTH: "true",
    RCLONE_CONFIG_B_ENDPOINT: s3.endpoint,
    RCLONE_CONFIG_B_REGION: s3.region,
    RCLONE_CONFIG_B_FORCE_PATH_STYLE: "true",
  };
}

export interface Case {
  readonly what: string;
  /** The command; `into` is an empty folder. */
  readonly line: (into: string) => string;
  /** Done after each run, not measured. */
  readonly tidy?: () => Promise<void>;
}

/** Each case as often as `runs` says, taking turns, so that what else the machine does falls on all of them. */
export async function medians(bench: Bench, cases: readonly Case[], runs = bench.runs): Promise<Cost[]> {
  const seen: Cost[][] = cases.map(() => []);
  for (let run = 0; run < runs; run++) {
    for (const [n, { what, line, tidy }] of cases.entries()) {
      const into = bench.newFolder();
      const cost = await costOf(line(into), environment(bench));
      seen[n]?.push(cost);
      rmSync(into, { recursive: true, force: true });
      await tidy?.();
      say(
        `${what}: ${cost.seconds.toFixed(2)} s, ${cost.cpuSeconds.toFixed(2)} CPU s, ${cost.peakMegabytes.toFixed(0)} MB`,
      );
    }
  }
  return seen.map((costs) => {
    const median = (of: (cost: Cost) => number): number => quantile(costs.map(of), 0.5);
    return {
      seconds: median(({ seconds }) => seconds),
      cpuSeconds: median(({ cpuSeconds }) => cpuSeconds),
      idleDelayMs: median(({ idleDelayMs }) => idleDelayMs),
      peakMegabytes: Math.max(...costs.map(({ peakMegabytes }) => peakMegabytes)),
      out: costs.at(-1)?.out ?? "",
    };
  });
}
