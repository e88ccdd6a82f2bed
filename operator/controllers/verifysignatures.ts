/** Signatures as an auditor with pinned keys looks at them. */
import { signatureKeyOf } from "../plan/metering/windows.ts";
import type { Ledger, TrustedKeys } from "../ports.ts";
import { signatureProblem } from "./signatures.ts";
import type { Link } from "./verify.ts";
import type { Finding } from "./verifysegment.ts";

/**
 * From the first manifest that a trusted key vouches for, every one must be vouched for; those before it are held by the chain.
 * So neither taking signatures away nor adding windows without any goes unseen.
 */
export function newSignatureCheck(ledger: Ledger, keys: ReadonlySet<string>, trust: TrustedKeys | undefined) {
  let [signed, beforeSignatures] = [0, 0];
  return {
    async look(link: Link, follows: boolean): Promise<Finding[]> {
      if (!trust) return [];
      const { key, manifest } = link;
      const findings: Finding[] = [];
      if (follows && manifest.previousManifestSha256 === undefined)
        findings.push({ key, problem: "is not chained, so no signature covers what was before it" });
      const signatureKey = signatureKeyOf(key);
      if (!keys.has(signatureKey)) {
        if (signed > 0) findings.push({ key, problem: "has no signature, though a window before it has one" });
        else beforeSignatures += 1;
        return findings;
      }
      const problem = await signatureProblem(ledger, link, trust);
      if (problem === undefined) signed += 1;
      else findings.push({ key: signatureKey, problem });
      return findings;
    },
    end: (): Finding[] =>
      trust && signed === 0 ? [{ key: "v1/", problem: "no window is signed with a trusted key" }] : [],
    counts: () => ({ signed: trust ? signed : undefined, beforeSignatures }),
  };
}
