/** Kubernetes quantities of bytes as they stand in spec.maxSize. */

const units: Readonly<Record<string, number>> = {
  "": 1,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  P: 1e15,
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
  Ti: 2 ** 40,
  Pi: 2 ** 50,
};

/** Whole bytes, rounded down; the schema has checked the form, and what slipped through counts as nothing allowed. */
export function bytesOf(quantity: string): number {
  const match = /^([0-9]+(?:\.[0-9]+)?)([kMGTP]i?|Ki|)$/.exec(quantity);
  const unit = units[match?.[2] ?? "none"];
  return match && unit !== undefined ? Math.floor(Number(match[1]) * unit) : 0;
}
