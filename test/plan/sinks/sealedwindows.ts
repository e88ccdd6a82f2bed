/** Random sealed windows of a few deployments: records of several SKUs and parts, and adjustments that later windows bring. */
import fc from "fast-check";

import type { UsageRecord } from "../../../operator/api/ledger.ts";
import { recordId } from "../../../operator/plan/metering/identity.ts";
import { aRecord } from "../rating/samples.ts";

/** Records by window: the hours from 10:00 on, in the order in which a segment holds them. */
export type Windows = readonly (readonly UsageRecord[])[];

interface Drawn {
  readonly name: string;
  readonly sku: string;
  readonly part: number;
  /** How many hours it corrects back; 0 for the window's own usage. */
  readonly back: number;
}

const drawn = fc.record({
  name: fc.constantFrom("a", "b", "c"),
  sku: fc.constantFrom("l4-1", "h100-8"),
  part: fc.nat({ max: 2 }),
  back: fc.nat({ max: 3 }),
});

/** Deployments are named with `prefix`, so that several draws may be delivered to one receiver. */
export function arbitraryWindows(prefix: () => string): fc.Arbitrary<Windows> {
  const windows = fc.array(fc.uniqueArray(drawn, { maxLength: 12, selector: (one) => JSON.stringify(one) }), {
    minLength: 1,
    maxLength: 6,
  });
  return windows.map((all) => {
    const place = prefix();
    return all.map((records, at) => records.map((one) => recordOf(one, place, at)));
  });
}

function recordOf({ name, sku, part, back }: Drawn, prefix: string, at: number): UsageRecord {
  const base = { ...aRecord({ name: `${prefix}${name}`, sku, hour: 10 + at - back }), part };
  const rev = back === 0 ? 0 : at + 1;
  const id = recordId({ ...base, rev });
  const corrects = recordId({ ...base, rev: 0 });
  return back === 0 ? { ...base, id } : { ...base, id, rev, kind: "adjustment", corrects };
}
