/**
 * Canonical JSON: keys sorted by UTF-16 code units, no spaces, integers only, absent fields left out. The same value gives
 * the same bytes on every machine (RFC 8785 restricted to integers).
 */

/** Throws TypeError on what has no canonical form: floats, functions, cycles are our bug. */
export function canonicalJson(value: unknown): string {
  if (value === null || typeof value === "boolean" || typeof value === "string") return JSON.stringify(value);
  if (typeof value === "number") {
    if (!Number.isSafeInteger(value)) throw new TypeError(`not an exact integer: ${value}`);
    return String(value);
  }
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(",")}]`;
  if (typeof value === "object") return canonicalObject(value);
  throw new TypeError(`${typeof value} has no canonical form`);
}

function canonicalObject(value: object): string {
  const fields = Object.entries(value).filter(([, field]) => field !== undefined);
  fields.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
  return `{${fields.map(([key, field]) => `${JSON.stringify(key)}:${canonicalJson(field)}`).join(",")}}`;
}

const encoder = new TextEncoder();

/** One canonical document with a line feed at its end. */
export function canonicalBytes(value: unknown): Uint8Array {
  return encoder.encode(`${canonicalJson(value)}\n`);
}

/** One canonical document a line. */
export function ndjsonBytes(values: readonly unknown[]): Uint8Array {
  return encoder.encode(values.map((value) => `${canonicalJson(value)}\n`).join(""));
}
