// How the demo ends: done, failed with the reason and the logs' place, or stopped by a signal. Whatever was started is
// ended in each case, the last one first.
import { apiPath } from "../cluster/client.ts";
import type { ControlPlane } from "../cluster/controlplane.ts";
import { PartFailed } from "../cluster/process.ts";
import type { Part } from "../cluster/process.ts";
import { API_VERSION } from "../../operator/api/keys.ts";
import type { Close, OnEnd } from "./bed.ts";
import { conditionOf } from "./progress.ts";
import type { Screen } from "./screen.ts";

export interface Ending {
  readonly onEnd: OnEnd;
  /** From now on a failure can say what stands in this cluster, and where its logs are. */
  failing(cluster: ControlPlane): void;
  /** Parts whose end is the demo's failure. */
  mustLive(parts: readonly Part[]): void;
  /** Rejects when one of those parts ends by itself; never resolves. */
  readonly death: Promise<never>;
  closeAll(): Promise<void>;
  /** Says why, and where to look, and ends everything but the logs; after a signal it never resolves. */
  fail(error: unknown): Promise<void>;
}

const exitCodes = { SIGINT: 130, SIGTERM: 143, SIGHUP: 129 } as const;

export function newEnding(screen: Screen): Ending {
  const closers: Close[] = [];
  let cluster: ControlPlane | undefined;
  let phase: "running" | "closing" | "interrupted" = "running";

  const closeAll = async (keepLogs = false): Promise<void> => {
    if (phase === "running") phase = "closing";
    for (const close of closers.splice(0)) await close({ keepLogs }).catch(() => undefined);
  };
  const interrupt = async (code: number): Promise<never> => {
    if (phase === "interrupted") process.exit(code);
    phase = "interrupted";
    screen.stop();
    screen.last("\nstopping");
    await closeAll();
    screen.last("stopped; nothing is left");
    process.exit(code);
  };
  // Whoever read the output has gone (`make demo | head`): there is nobody to tell a story to.
  process.stdout.on("error", () => {
    phase = "interrupted";
    void closeAll().then(() => process.exit(1));
  });
  for (const [signal, code] of Object.entries(exitCodes)) process.on(signal, () => void interrupt(code));

  const { promise: death, reject } = Promise.withResolvers<never>();
  const mustLive = (parts: readonly Part[]): void => {
    const timer = setInterval(() => {
      const dead = phase === "running" ? parts.find((part) => part.pid() === undefined) : undefined;
      if (dead) reject(new PartFailed(dead.name, "ended by itself", dead.logPath));
      if (dead || phase !== "running") clearInterval(timer);
    }, 500);
    timer.unref();
  };
  return {
    onEnd: (close) => void closers.unshift(close),
    failing: (started) => (cluster = started),
    mustLive,
    death,
    closeAll,
    fail: async (error) => {
      if (phase === "interrupted") return new Promise(() => undefined);
      screen.stop();
      screen.last(`\nThe demo failed: ${error instanceof Error ? error.message : String(error)}`);
      for (const line of cluster ? await standing(cluster) : []) screen.last(`  ${line}`);
      if (cluster) screen.last(`logs: ${cluster.logDir}`);
      await closeAll(true);
    },
  };
}

/** What the conditions of Berth's objects say, for whoever looks into the failure. */
async function standing({ admin }: ControlPlane): Promise<string[]> {
  try {
    const kinds = ["modeldeployments", "gpunodepools", "models"];
    const lists = await Promise.all(kinds.map((kind) => admin.list(apiPath(API_VERSION, kind))));
    return lists.flatMap(({ items }, at) =>
      items.map((object) => {
        const ready = conditionOf(object, "Ready");
        const says = ready ? `Ready ${ready.status}, ${ready.reason ?? ""}: ${ready.message ?? ""}` : "no status yet";
        return `${kinds[at] ?? ""}/${object.metadata.name ?? ""}: ${says}`;
      }),
    );
  } catch {
    return []; // The API server may be what failed.
  }
}
