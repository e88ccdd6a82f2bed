/** Day roots beside the windows of their days. */
import { canonicalBytes } from "../plan/metering/canonical.ts";
import { dayOf, dayRootKey, secondsOf, signatureKeyOf } from "../plan/metering/windows.ts";
import type { Ledger, TrustedKeys } from "../ports.ts";
import { dayRootOf } from "./dayroots.ts";
import { signatureProblem } from "./signatures.ts";
import type { Link } from "./verify.ts";
import type { Finding } from "./verifysegment.ts";

/**
 * A root is written, and signed where there is a key, before the first window of the next day with one. So a day without a root
 * is the newest, or one that a build before roots followed.
 */
export function newDayRootCheck(ledger: Ledger, keys: ReadonlySet<string>, trust: TrustedKeys | undefined) {
  let day: string | undefined;
  let links: Link[] = [];
  async function check(next: Link | undefined): Promise<Finding[]> {
    if (day === undefined) return [];
    const key = dayRootKey(day);
    if (!keys.has(key)) {
      const hadRoots = next !== undefined && next.manifest.chains.length > 0;
      return hadRoots ? [{ key, problem: "is missing, though a later day has begun" }] : [];
    }
    const root = dayRootOf(day, links);
    const stored = await ledger.get(key);
    if (!root || !stored || !Buffer.from(canonicalBytes(root)).equals(stored))
      return [{ key, problem: "is not the root of its day's windows: one was put in, edited or removed" }];
    return trust ? signatureFindings({ key, bytes: stored }, next) : [];
  }
  async function signatureFindings(
    root: { readonly key: string; readonly bytes: Uint8Array },
    next: Link | undefined,
  ): Promise<Finding[]> {
    const key = signatureKeyOf(root.key);
    if (keys.has(key)) {
      const problem = trust && (await signatureProblem(ledger, root, trust));
      return problem === undefined ? [] : [{ key, problem }];
    }
    return next && keys.has(signatureKeyOf(next.key))
      ? [{ key: root.key, problem: "has no signature, though the window after it has one" }]
      : [];
  }
  return {
    async look(link: Link): Promise<Finding[]> {
      const found = dayOf({ start: secondsOf(link.manifest.windowStart) });
      const findings = found === day ? [] : await check(link);
      if (found !== day) [day, links] = [found, []];
      links.push(link);
      return findings;
    },
    end: () => check(undefined),
  };
}
