/**
 * How far the API server's clock is from ours, by the Date header of its answers. What is written is always the server's time;
 * ours decides when to look, so a clock that is wrong is told to people, and never corrected here.
 */
import { Gauge } from "prom-client";
import type { Registry } from "prom-client";

/** A server names whole seconds. */
const RESOLUTION_MS = 1_000;
export const SKEW_LIMIT_MS = 30_000;

export interface ClockWatch {
  /** One answer: its Date header, and our clock (milliseconds) when the request was sent and when the answer began. */
  sample(date: string | undefined, sentMs: number, receivedMs: number): void;
  /** Server's clock minus ours in milliseconds, 0 within what can be told; undefined before the first answer. */
  skewMs(): number | undefined;
  /** Called when the skew begins to be more than the limit, with its milliseconds, and with 0 when it is over. */
  follow(tell: (skewMs: number) => void): void;
}

/** Registers `berth_clock_skew_seconds`. */
export function newClockWatch(registry: Registry): ClockWatch {
  const gauge = new Gauge({
    name: "berth_clock_skew_seconds",
    help: "API server's clock minus this process's, by the Date header of the newest answer; alarm beyond 30 either way",
    registers: [registry],
  });
  const followers: ((skewMs: number) => void)[] = [];
  let newest: number | undefined;
  let told = false;
  return {
    sample(date, sentMs, receivedMs) {
      const server = Date.parse(date ?? "");
      if (Number.isNaN(server)) return;
      newest = nearestToZero(server - receivedMs, server + RESOLUTION_MS - sentMs);
      gauge.set(newest / 1000);
      const wrong = Math.abs(newest) > SKEW_LIMIT_MS;
      if (wrong === told) return;
      told = wrong;
      for (const tell of followers) tell(wrong ? newest : 0);
    },
    skewMs: () => newest,
    follow: (tell) => void followers.push(tell),
  };
}

/** The true skew lies between the two; 0 where it may be 0. */
function nearestToZero(least: number, most: number): number {
  if (least > 0) return least;
  return most < 0 ? most : 0;
}
