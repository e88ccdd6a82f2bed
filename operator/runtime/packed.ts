/**
 * Objects that are cached by the thousand and looked into rarely: their large fields are kept deflated and parsed when they
 * are asked for. The last ones asked for stay parsed.
 */
import { deflateRawSync, inflateRawSync } from "node:zlib";
import { deepFreeze } from "./freeze.ts";
import type { KubeObject } from "../ports.ts";

/** Parsed again and again while an object converges, never while it rests. */
const mostParsed = 128;

export interface Packer {
  /** An object that reads the same, with `fields` packed; all others stay as they are. */
  pack<T extends KubeObject>(object: T, fields: readonly string[]): T;
}

/** One for all caches of a process, so that the bound holds for all of them together. */
export function newPacker(): Packer {
  const parsed = new Map<string, object>();
  const parse = (text: string): object => {
    const known = parsed.get(text);
    parsed.delete(text);
    const value =
      known ?? deepFreeze(JSON.parse(inflateRawSync(Buffer.from(text, "latin1")).toString("utf8")) as object);
    parsed.set(text, value);
    for (const oldest of parsed.keys()) {
      if (parsed.size <= mostParsed) break;
      parsed.delete(oldest);
    }
    return value;
  };
  return {
    pack(object, fields) {
      const entries = Object.entries(object);
      const large = Object.fromEntries(entries.filter(([field]) => fields.includes(field)));
      // As a string of bytes it lies on the heap in one piece; zlib's own buffers hold on to 16 kB each.
      const text = deflateRawSync(JSON.stringify(large), { level: 1 }).toString("latin1");
      const small = Object.fromEntries(entries.filter(([field]) => !fields.includes(field)));
      const getters = fields.map((field) => [field, { get: () => (parse(text) as Record<string, unknown>)[field] }]);
      // Not enumerable: freezing and copying an object must not parse it.
      return Object.defineProperties(small, Object.fromEntries(getters)) as typeof object;
    },
  };
}
