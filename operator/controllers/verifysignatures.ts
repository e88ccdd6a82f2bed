/** Signatures as an auditor with pinned keys looks at them. */
import { signatureKeyOf } from "../plan/metering/windows.ts";
import type { Ledger, TrustedKeys } from "../ports.ts";
import { signatureProblem } from "./signatures.ts";
import type { Link } from "./verify.ts";
import type { Finding } from "./verifysegment.ts";

/**
 * Every manifest must be vouched for by a trusted key: its own signature, or that of a later one, which is chained over it. A window
 * whose segment a process wrote that died, and whose next process knew more, never gets its own; it is counted apart. So neither
 * taking signatures from the end nor adding windows without any goes unseen.
 */
export function newSignatureCheck(ledger: Ledger, keys: ReadonlySet<string>, trust: TrustedKeys | undefined) {
  let [signed, beforeSignatures] = [0, 0];
  const unsigned: string[] = [];
  let waiting: string[] = [];
  return {
    async look(link: Link, follows: boolean): Promise<Finding[]> {
      if (!trust) return [];
      const { key, manifest } = link;
      const findings: Finding[] = [];
      if (follows && manifest.previousManifestSha256 === undefined)
        findings.push({ key, problem: "is not chained, so no signature covers what was before it" });
      const signatureKey = signatureKeyOf(key);
      if (!keys.has(signatureKey)) {
        if (signed > 0) waiting.push(key);
        else beforeSignatures += 1;
        return findings;
      }
      const problem = await signatureProblem(ledger, link, trust);
      if (problem !== undefined) return [...findings, { key: signatureKey, problem }];
      signed += 1;
      unsigned.push(...waiting);
      waiting = [];
      return findings;
    },
    end(): Finding[] {
      if (trust && signed === 0) return [{ key: "v1/", problem: "no window is signed with a trusted key" }];
      return waiting.map((key) => ({ key, problem: "has no signature, though a window before it has one" }));
    },
    counts: () => ({ signed: trust ? signed : undefined, beforeSignatures, unsigned }),
  };
}
