/** Kubernetes quantities as integers. Source of the grammar: apimachinery's resource.Quantity. Pure. */

const FACTORS: Readonly<Record<string, number>> = {
  "": 1,
  m: 1e-3,
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

/** Whole number that a quantity stands for (bytes, or a count), rounded down; undefined when it is not one. */
export function wholeQuantity(text: string | number | undefined): number | undefined {
  if (typeof text === "number") return Math.floor(text);
  const match = /^(\d+(?:\.\d+)?)(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?$/.exec(text ?? "");
  const factor = FACTORS[match?.[2] ?? ""];
  return match && factor !== undefined ? Math.floor(Number(match[1]) * factor) : undefined;
}

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"] as const;

/** Bytes for people: three significant digits and a binary unit. */
export function bytesText(bytes: number): string {
  let value = bytes;
  let step = 0;
  while (value >= 1024 && step < UNITS.length - 1) {
    value /= 1024;
    step += 1;
  }
  return `${step === 0 ? value : value.toFixed(1)} ${UNITS[step] ?? "B"}`;
}
