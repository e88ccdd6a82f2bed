/** Day roots beside the windows of their days. */
import { canonicalBytes } from "../plan/metering/canonical.ts";
import { dayOf, dayRootKey, secondsOf } from "../plan/metering/windows.ts";
import type { Ledger } from "../ports.ts";
import { dayRootOf } from "./dayroots.ts";
import type { Link } from "./verify.ts";
import type { Finding } from "./verifysegment.ts";

/** A day without a root is one that still goes on, or of a build before them. */
export function newDayRootCheck(ledger: Ledger, keys: ReadonlySet<string>) {
  let day: string | undefined;
  let links: Link[] = [];
  async function check(): Promise<Finding[]> {
    if (day === undefined || !keys.has(dayRootKey(day))) return [];
    const key = dayRootKey(day);
    const root = dayRootOf(day, links);
    const stored = await ledger.get(key);
    const same = root && stored && Buffer.from(canonicalBytes(root)).equals(stored);
    return same ? [] : [{ key, problem: "is not the root of its day's windows: one was put in, edited or removed" }];
  }
  return {
    async look(link: Link): Promise<Finding[]> {
      const found = dayOf({ start: secondsOf(link.manifest.windowStart) });
      const findings = found === day ? [] : await check();
      if (found !== day) [day, links] = [found, []];
      links.push(link);
      return findings;
    },
    end: check,
  };
}
