/**
 * Does a live object still have every value that we want? Understands what servers add and rewrite: defaulted fields,
 * list entries of others, omitted empty values, quantities in canonical form. No network, no knowledge of kinds.
 */

/**
 * Keys of the API's list maps, most telling first (list types of the built-in kinds). Any other list is taken for atomic:
 * an entry more is drift. So are ports of a NetworkPolicy, which is why `port` is not among the keys.
 */
const listMapKeys: readonly (readonly string[])[] = [
  ["uid"],
  ["containerPort", "protocol"],
  ["mountPath"],
  ["devicePath"],
  ["name"],
  ["topologyKey", "whenUnsatisfiable"],
  ["type"],
];
/** Values below these fields are quantities. */
const quantityFields = new Set([
  "limits",
  "requests",
  "capacity",
  "allocatable",
  "hard",
  "overhead",
  "sizeLimit",
  "divisor",
]);

/** Maps of the built-in kinds that are written whole (structType atomic): an entry more selects something else. */
const atomicMaps = new Set(["selector", "podSelector", "namespaceSelector", "matchLabels", "nodeSelector"]);

/** True when each field of `wanted` has that value in `live`; fields that only `live` has do not matter. */
export function holds(wanted: unknown, live: unknown): boolean {
  return holdsAt(wanted, live, false);
}

function holdsAt(wanted: unknown, live: unknown, quantity: boolean): boolean {
  if (wanted === undefined || Object.is(wanted, live)) return true;
  if (live === undefined || live === null) return isEmpty(wanted);
  if (Array.isArray(wanted)) return Array.isArray(live) && listHolds(wanted, live, quantity);
  if (typeof wanted === "object" && wanted !== null) {
    if (typeof live !== "object" || Array.isArray(live)) return false;
    const has = live as Readonly<Record<string, unknown>>;
    return Object.entries(wanted).every(([key, value]) =>
      // Others may add finalizers of their own: the only set of scalars that is shared.
      key === "finalizers"
        ? isSubset(value, has[key])
        : holdsAt(value, has[key], quantity || quantityFields.has(key)) &&
          (!atomicMaps.has(key) || hasNoMore(value, has[key])),
    );
  }
  return quantity && sameQuantity(wanted, live);
}

function hasNoMore(wanted: unknown, live: unknown): boolean {
  return Object.keys(live ?? {}).length <= Object.keys(wanted ?? {}).length;
}

function isSubset(wanted: unknown, live: unknown): boolean {
  const has: readonly unknown[] = Array.isArray(live) ? live : [];
  return Array.isArray(wanted) && wanted.every((item) => has.includes(item));
}

/** What typed servers leave out of their answers (Go's omitempty), so its absence is no drift. */
function isEmpty(wanted: unknown): boolean {
  if (wanted === null || wanted === "" || wanted === 0 || wanted === false) return true;
  if (Array.isArray(wanted)) return wanted.length === 0;
  return typeof wanted === "object" && Object.values(wanted).every(isEmpty);
}

function listHolds(wanted: readonly unknown[], live: readonly unknown[], quantity: boolean): boolean {
  const keys = listMapKeys.find((candidate) => identifies(candidate, wanted));
  if (!keys) return wanted.length === live.length && wanted.every((item, at) => holdsAt(item, live[at], quantity));
  const byKey = new Map(live.map((item) => [tupleOf(keys, item), item]));
  return wanted.every(
    (item) => byKey.has(tupleOf(keys, item)) && holdsAt(item, byKey.get(tupleOf(keys, item)), quantity),
  );
}

function identifies(keys: readonly string[], items: readonly unknown[]): boolean {
  const [first] = keys;
  const complete = items.every(
    (item) => first !== undefined && typeof item === "object" && item !== null && first in item,
  );
  return items.length > 0 && complete && new Set(items.map((item) => tupleOf(keys, item))).size === items.length;
}

function tupleOf(keys: readonly string[], item: unknown): string {
  const fields = (item ?? {}) as Readonly<Record<string, unknown>>;
  // The only defaulted key of the built-in list maps.
  return JSON.stringify(keys.map((key) => fields[key] ?? (key === "protocol" ? "TCP" : null)));
}

const suffixes: Readonly<Record<string, number>> = {
  n: 1e-9,
  u: 1e-6,
  m: 1e-3,
  "": 1,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  P: 1e15,
  E: 1e18,
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
  Ti: 2 ** 40,
  Pi: 2 ** 50,
  Ei: 2 ** 60,
};

function sameQuantity(wanted: unknown, live: unknown): boolean {
  const a = quantityOf(wanted);
  const b = quantityOf(live);
  return a !== undefined && b !== undefined && Math.abs(a - b) <= Math.abs(a) * 1e-12;
}

/** The number that a resource.Quantity stands for; undefined for anything else. */
export function quantityOf(value: unknown): number | undefined {
  if (typeof value !== "string" && typeof value !== "number") return undefined;
  const parts = /^([+-]?[0-9.]+)(?:([eE][+-]?[0-9]+)|([a-zA-Z]*))$/.exec(String(value));
  const factor = suffixes[parts?.[3] ?? ""];
  if (!parts || factor === undefined) return undefined;
  const number = Number(`${parts[1]}${parts[2] ?? ""}`) * factor;
  return Number.isNaN(number) ? undefined : number;
}

/** JSON with sorted keys and without undefined members: equal values give equal text. */
export function canonicalJson(value: unknown): string {
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  if (Array.isArray(value)) return `[${value.map((item) => canonicalJson(item ?? null)).join(",")}]`;
  const fields = value as Readonly<Record<string, unknown>>;
  let text = "";
  for (const key of Object.keys(fields).sort()) {
    if (fields[key] === undefined) continue;
    text += `${text === "" ? "" : ","}${JSON.stringify(key)}:${canonicalJson(fields[key])}`;
  }
  return `{${text}}`;
}
