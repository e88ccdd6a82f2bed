/** Totals of rated lines: exact, and rounded to the currency once, at the end. */
import Big from "big.js";

/** Exact sum of decimals in text. */
export function sumOf(amounts: readonly string[]): string {
  return amounts.reduce((sum, amount) => sum.plus(amount), new Big("0")).toFixed();
}

/** Half to even; `decimals` is the currency's exponent (ISO 4217: 2 for EUR, 0 for JPY). */
export function rounded(amount: string, decimals = 2): string {
  return new Big(amount).round(decimals, Big.roundHalfEven).toFixed(decimals);
}
