/** Signatures as an auditor with pinned keys looks at them. */
import type { Manifest } from "../api/ledger.ts";
import { signatureKeyOf } from "../plan/metering/windows.ts";
import type { Ledger, TrustedKeys } from "../ports.ts";
import { signatureProblem } from "./signatures.ts";
import type { Link } from "./verify.ts";
import type { Finding } from "./verifysegment.ts";

export const NONE_TRUSTED = "no window is signed with a trusted key";

/**
 * Every manifest must be vouched for by a trusted key: its own signature, or that of a later one, which is chained over it. A window
 * whose segment a process wrote that died, and whose next process knew more, never gets its own; it is counted apart. So neither
 * taking signatures from the end nor adding windows without any goes unseen.
 */
export function newSignatureCheck(ledger: Ledger, keys: ReadonlySet<string>, trust: TrustedKeys | undefined) {
  let [signed, beforeSignatures] = [0, 0];
  const unsigned: Unsigned[] = [];
  let waiting: Unsigned[] = [];
  return {
    async look(link: Link, follows: boolean): Promise<Finding[]> {
      if (!trust) return [];
      const { key, manifest } = link;
      const findings: Finding[] = [];
      if (follows && manifest.previousManifestSha256 === undefined)
        findings.push({ key, problem: "is not chained, so no signature covers what was before it" });
      const signatureKey = signatureKeyOf(key);
      if (!keys.has(signatureKey)) {
        if (signed > 0) waiting.push({ key, manifest });
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
      if (trust && signed === 0) return [{ key: "v1/", problem: NONE_TRUSTED }];
      return waiting.map(({ key }) => ({ key, problem: "has no signature, though a window before it has one" }));
    },
    /** Nothing tells an honest window without a signature from one whose segment somebody put in before it was sealed. */
    doubts: (): Finding[] => unsigned.map(({ key, manifest }) => ({ key, problem: unsignedDoubt(manifest) })),
    counts: () => ({ signed: trust ? signed : undefined, beforeSignatures, unsigned: unsigned.map(({ key }) => key) }),
  };
}

type Unsigned = Pick<Link, "key" | "manifest">;

function unsignedDoubt({ records, totals }: Manifest): string {
  const sums = `${records} records, ${totals.billableNodeSeconds} billable node-seconds`;
  return `has no signature of its own (${sums}): a process died before it, another leader knew otherwise, or a segment was put in before it was sealed`;
}
