/** Tells people that this machine's clock and the API server's differ, and keeps a fast clock from sealing an hour too early. */
import type { Clock, KubeObject, Log } from "../ports.ts";
import type { ClockWatch } from "../runtime/skew.ts";

export const CLOCK_SKEW = "ClockSkew";

export interface SkewEvent {
  readonly type: "Warning";
  readonly reason: typeof CLOCK_SKEW;
  readonly message: string;
}

/** An event on Berth's own namespace and a line in the log, once each time the clocks come to differ. */
export function tellOfSkew(deps: {
  readonly watch: ClockWatch;
  readonly log: Log;
  readonly namespace: () => Promise<KubeObject | undefined>;
  readonly emit: (about: KubeObject & { apiVersion: string; kind: string }, event: SkewEvent) => void;
}): void {
  const { watch, log, namespace, emit } = deps;
  watch.follow((skewMs) => {
    if (skewMs === 0) return log.info({}, "the API server's clock and this one agree again");
    const message = skewMessage(skewMs);
    log.warn({ skewSeconds: Math.round(skewMs / 1000), remedy: message }, "clocks differ");
    namespace().then(
      (about) =>
        about &&
        emit({ ...about, apiVersion: "v1", kind: "Namespace" }, { type: "Warning", reason: CLOCK_SKEW, message }),
      // The log has it; whoever cannot be read now is no reason to stop.
      () => undefined,
    );
  });
}

function skewMessage(skewMs: number): string {
  const seconds = Math.round(Math.abs(skewMs) / 1000);
  const way = skewMs < 0 ? "behind" : "ahead of";
  return (
    `the API server's clock is ${seconds} s ${way} that of Berth's node: set both by NTP; ` +
    "records keep the server's times, but drains, lost nodes and sealing begin early or late by that much"
  );
}

/** Never ahead of the API server: what happens until a window's end by its clock must be on record before the window is sealed. */
export function prudentClock(clock: Clock, watch: Pick<ClockWatch, "skewMs">): Clock {
  return {
    now: () => clock.now() + Math.min(0, watch.skewMs() ?? 0),
    monotonicMs: () => clock.monotonicMs(),
    after: (delayMs, run) => clock.after(delayMs, run),
  };
}
