/** Totals of rated lines: exact, and rounded to the currency once, at the end. */
import Big from "big.js";

/** Exact sum of decimals in text. */
export function sumOf(amounts: readonly string[]): string {
  return amounts.reduce((sum, amount) => sum.plus(amount), new Big("0")).toFixed();
}

/** Digits after the point of an amount in a currency (ISO 4217: 2 for EUR, 0 for JPY, 3 for KWD); 2 for a code that nobody knows. */
export function decimalsOf(currency: string): number {
  const { maximumFractionDigits } = new Intl.NumberFormat("en", { style: "currency", currency }).resolvedOptions();
  return maximumFractionDigits ?? 2;
}

/** Half to even. */
export function rounded(amount: string, decimals: number): string {
  return new Big(amount).round(decimals, Big.roundHalfEven).toFixed(decimals);
}
