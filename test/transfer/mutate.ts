/** Mutations for fuzzing: reproducible by their seed, small steps from inputs that parsers accept. */

/** Numbers from 0 to `below`, exclusive. */
export type Choose = (below: number) => number;

/** Mulberry32: good enough to vary inputs, and the same everywhere. */
export function chooser(seed: number): Choose {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}

/** The seed of this run: SEED= repeats one. */
export const fuzzSeed = Number(process.env["SEED"] ?? Date.now() % 1_000_000_007);
/** Inputs of one fuzz test: 10,000, in `make soak` a million. */
export const fuzzRuns = process.env["BERTH_SOAK"] === "1" ? 1_000_000 : 10_000;

/** What mutations write into an input. */
export type Words = readonly Uint8Array[];

const jsonWords: Words = [
  "{", "}", "[", "]", ",", ":", '"', "\\", "\\u0000", "\\ud800", "null", "true", "NaN", "-Infinity", "1e999", "-1", "0.5", "9007199254740993",
  "18446744073709551616", '"__proto__":', '"constructor"', '"weight_map"', '"data_offsets":[0,4]', '"dtype":"F32"', '"shape":[]', "../", "/", "\0", "\u202e", "é", " ",
  "{}", "[[[[[[", '"a":{}', '"auto_map":{}', "model.safetensors", "\ufeff", "\n",
].map((word) => new TextEncoder().encode(word)); // prettier-ignore

function splice(bytes: Uint8Array, at: number, remove: number, insert: Uint8Array): Uint8Array {
  const result = new Uint8Array(at + insert.length + Math.max(0, bytes.length - at - remove));
  result.set(bytes.subarray(0, at));
  result.set(insert, at);
  result.set(bytes.subarray(at + remove), at + insert.length);
  return result;
}

function step(bytes: Uint8Array, choose: Choose, words: Words): Uint8Array {
  const at = choose(bytes.length + 1);
  switch (choose(7)) {
    case 0: {
      const flipped = bytes.slice();
      if (at < flipped.length) flipped[at] = (flipped[at] ?? 0) ^ (1 << choose(8));
      return flipped;
    }
    case 1:
      return splice(bytes, at, choose(16), new Uint8Array(0));
    case 2:
      return splice(bytes, at, 0, words[choose(words.length)] ?? new Uint8Array(0));
    case 3:
      return splice(bytes, at, choose(8), words[choose(words.length)] ?? new Uint8Array(0));
    case 4: {
      const from = choose(bytes.length + 1);
      return splice(bytes, at, 0, bytes.subarray(from, from + choose(64)));
    }
    case 5:
      return bytes.subarray(0, at);
    default:
      return splice(bytes, at, 1, Uint8Array.from([choose(256)]));
  }
}

/** One to three steps away from one of the seeds; at most 64 KiB. */
export function mutated(seeds: readonly Uint8Array[], choose: Choose, words = jsonWords): Uint8Array {
  let bytes = seeds[choose(seeds.length)] ?? new Uint8Array(0);
  for (let steps = 1 + choose(3); steps > 0; steps -= 1) bytes = step(bytes, choose, words);
  return bytes.subarray(0, 64 * 1024);
}
