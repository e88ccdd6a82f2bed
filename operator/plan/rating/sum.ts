/** Totals of rated lines: exact, and rounded to the currency once, at the end. */
import Big from "big.js";

/** Exact sum of decimals in text. */
export function sumOf(amounts: readonly string[]): string {
  return amounts.reduce((sum, amount) => sum.plus(amount), new Big("0")).toFixed();
}

/** Minor units that are not 2 (ISO 4217, list one). */
const minorUnits: Readonly<Record<string, string>> = {
  0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
  3: "BHD IQD JOD KWD LYD OMR TND",
  4: "CLF UYW",
};

/** Digits after the point of an amount in a currency; 2 for a code that nobody knows. */
export function decimalsOf(currency: string): number {
  const [digits] = Object.entries(minorUnits).find(([, codes]) => codes.split(" ").includes(currency)) ?? ["2"];
  return Number(digits);
}

/** Half to even. */
export function rounded(amount: string, decimals: number): string {
  return new Big(amount).round(decimals, Big.roundHalfEven).toFixed(decimals);
}
