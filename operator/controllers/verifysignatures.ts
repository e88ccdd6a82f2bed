/** Signatures as an auditor with pinned keys looks at them. */
import type { Manifest } from "../api/ledger.ts";
import { secondsOf, signatureKeyOf } from "../plan/metering/windows.ts";
import type { Ledger } from "../ports.ts";
import { signatureProblem } from "./signatures.ts";
import type { Link, Noted } from "./verify.ts";
import type { Finding } from "./verifysegment.ts";

export const NONE_TRUSTED = "no window is signed with a trusted key";

/**
 * Every manifest must be vouched for by a trusted key: its own signature, or that of a later one, which is chained over it. A window
 * whose segment a process wrote that died, and whose next process knew more, never gets its own; it is counted apart. So neither
 * taking signatures from the end nor adding windows without any goes unseen. Whether there was a key already when the first windows
 * were sealed, only the auditor knows.
 */
export function newSignatureCheck(ledger: Ledger, keys: ReadonlySet<string>, noted: NotedOfSignatures) {
  const { trust, signedFrom = -Infinity } = noted;
  let signed = 0;
  const early = newEarlyWindows(signedFrom);
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
        else early.add({ key, manifest });
        return findings;
      }
      const problem = await signatureProblem(ledger, link, trust);
      if (problem !== undefined) return [...findings, { key: signatureKey, problem }];
      signed += 1;
      early.end(manifest);
      unsigned.push(...waiting);
      waiting = [];
      return findings;
    },
    end(): Finding[] {
      if (trust && signed === 0) return [{ key: "v1/", problem: NONE_TRUSTED }];
      return waiting.map(({ key }) => ({ key, problem: "has no signature, though a window before it has one" }));
    },
    /** Nothing tells an honest window without a signature from one whose segment somebody put in before it was sealed. */
    doubts: (): Finding[] => [...early.doubts(), ...unsigned.map(unsignedDoubt)],
    counts: () => ({
      ...{ signed: trust ? signed : undefined, beforeSignatures: early.count() },
      unsigned: unsigned.map(({ key }) => key),
    }),
  };
}

type NotedOfSignatures = Pick<Noted, "trust" | "signedFrom">;
type Unsigned = Pick<Link, "key" | "manifest">;

/** Windows before the first signature; a doubt where the auditor does not know that there was no key yet. */
function newEarlyWindows(signedFrom: number) {
  let first: string | undefined;
  let firstSigned: Manifest | undefined;
  let [count, doubted, billableNodeSeconds] = [0, 0, 0];
  return {
    add({ key, manifest }: Unsigned): void {
      count += 1;
      if (secondsOf(manifest.windowStart) < signedFrom) return;
      first ??= key;
      doubted += 1;
      billableNodeSeconds += manifest.totals.billableNodeSeconds;
    },
    end: (manifest: Manifest): void => void (firstSigned ??= manifest),
    count: () => count,
    doubts(): Finding[] {
      if (first === undefined || !firstSigned) return [];
      const sums = `${doubted} windows, ${billableNodeSeconds} billable node-seconds`;
      const begin = firstSigned.windowStart;
      const problem = `is the first of those before the first signature (${sums}): there was no key yet, or theirs were taken away; if you know that the window of ${begin} is the first one that was signed, say so with --signed-from ${begin}`;
      return [{ key: first, problem }];
    },
  };
}

function unsignedDoubt({ key, manifest: { records, totals } }: Unsigned): Finding {
  const sums = `${records} records, ${totals.billableNodeSeconds} billable node-seconds`;
  const problem = `has no signature of its own (${sums}): a process died before it, another leader knew otherwise, or a segment was put in before it was sealed`;
  return { key, problem };
}
