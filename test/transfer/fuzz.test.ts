// 10,000 mutated inputs for each parser of what strangers wrote (a million in `make soak`): an answer or a refusal in bounded words,
// never a crash, a hang or memory without bound. The seed is printed; SEED= repeats it. A listing's XML: fuzzlisting.test.ts.
import assert from "node:assert/strict";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { inspect } from "../../operator/plan/model/inspect.ts";
import { pathFault } from "../../operator/plan/model/keynames.ts";
import { filesOf } from "../../operator/plan/model/listing.ts";
import { manifestProblem, manifestText, objectKey, parseManifest } from "../../operator/plan/model/manifest.ts";
import { parseImport } from "../../operator/plan/model/importrecord.ts";
import { modelEnvelope, signatureProblem } from "../../operator/plan/model/signature.ts";
import { isProblem } from "../../operator/plan/model/problem.ts";
import { headerLength, parseHeader } from "../../operator/plan/model/safetensors.ts";
import { safetensors, tinyConfig } from "../models/tiny.ts";
import { chooser, fuzzRuns, fuzzSeed, mutated } from "./mutate.ts";

const encode = (text: string): Uint8Array => new TextEncoder().encode(text);
const decode = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);

/** Calls `one` with inputs until they are done; what it returns is a refusal's message, or undefined for an accepted input. */
function fuzz(t: TestContext, seeds: readonly Uint8Array[], one: (input: Uint8Array) => string | undefined): void {
  const choose = chooser(fuzzSeed);
  const before = process.memoryUsage.rss();
  const startedMs = performance.now();
  let accepted = 0;
  let slowestMs = 0;
  let halfway = before;
  for (let run = 0; run < fuzzRuns; run++) {
    if (run === fuzzRuns / 2) halfway = process.memoryUsage.rss();
    const input = mutated(seeds, choose);
    const beganMs = performance.now();
    let message: string | undefined;
    try {
      message = one(input);
    } catch (error) {
      const shown = Buffer.from(input.subarray(0, 400)).toString("base64");
      assert.fail(`seed ${String(fuzzSeed)} run ${String(run)} threw ${String(error)} for ${shown}`);
    }
    slowestMs = Math.max(slowestMs, performance.now() - beganMs);
    if (message === undefined) accepted++;
    else assert.ok(message.length < 1_000 && !/\p{Cc}/u.test(message), message);
  }
  const [grownMiB = 0, lateMiB = 0] = [before, halfway].map((then) => (process.memoryUsage.rss() - then) / 2 ** 20);
  t.diagnostic(`seed ${String(fuzzSeed)}: ${String(fuzzRuns)} inputs, ${String(accepted)} accepted, slowest ${slowestMs.toFixed(1)} ms, ${((performance.now() - startedMs) / 1000).toFixed(1)} s`); // prettier-ignore
  assert.ok(slowestMs < 2_000, `an input took ${slowestMs.toFixed(0)} ms`);
  // What a collector leaves for later is taken early; what leaks goes on growing.
  assert.ok(grownMiB < 512 && lateMiB < 128, `memory grew by ${grownMiB.toFixed(0)} MiB, ${lateMiB.toFixed(0)} late`);
  assert.ok(accepted > 0 && accepted < fuzzRuns, "mutations reach both sides of the parser");
}

const bf16 = (begin: number): object => ({ dtype: "BF16", shape: [2, 2], data_offsets: [begin, begin + 8] });
const headerSeeds = [
  safetensors({ a: bf16(0) }, 8),
  safetensors({ __metadata__: { format: "pt" }, a: bf16(0), "b.c": bf16(8) }, 16),
  safetensors(Object.fromEntries(Array.from({ length: 40 }, (_, n) => [`layers.${String(n)}`, bf16(8 * n)])), 320),
];

test("the header parser survives mutated files", (t) => {
  fuzz(t, headerSeeds, (file) => {
    const length = headerLength("model.safetensors", file.subarray(0, 64 * 1024), file.length);
    if (typeof length !== "number") return length.message;
    const tensors = parseHeader("model.safetensors", file.subarray(8, 8 + length), file.length);
    if (isProblem(tensors)) return tensors.message;
    assert.ok(tensors.reduce((sum, tensor) => sum + tensor.bytes, 0) <= file.length);
    return undefined;
  });
});

const held = { name: "a", dtype: "BF16", shape: [2, 2], elements: 4, bytes: 8 };
const indexListing = {
  files: ["config.json", "model-1.safetensors", "model-2.safetensors"].map((path) => ({ path, key: path, sizeBytes: 9, etag: "e" })), // prettier-ignore
  leftOut: [],
  sizeBytes: 27,
};
const indexHeaders = new Map([
  ["model-1.safetensors", [held]],
  ["model-2.safetensors", [{ ...held, name: "b" }]],
]);

test("the index parser survives mutated indexes", (t) => {
  const index = { metadata: { total_size: 16 }, weight_map: { a: "model-1.safetensors", b: "model-2.safetensors" } };
  const seeds = [encode(JSON.stringify(index)), encode(JSON.stringify(index, undefined, 2))];
  fuzz(t, seeds, (text) => {
    const texts = new Map([
      ["config.json", JSON.stringify(tinyConfig)],
      ["model.safetensors.index.json", decode(text)],
    ]);
    const facts = inspect(indexListing, texts, indexHeaders);
    return isProblem(facts) ? facts.message : undefined;
  });
});

test("the readers of configurations and templates survive mutated ones", (t) => {
  const chat_template = "{% for m in messages %}{{ m['role'] ~ {'a': 1}['a'] }}{% endfor %}{# x #}";
  const seeds = [tinyConfig, { ...tinyConfig, chat_template, rope_scaling: { type: "yarn", factor: 4 } }];
  fuzz(
    t,
    seeds.map((seed) => encode(JSON.stringify(seed))),
    (text) => {
      const facts = inspect(indexListing, new Map([["config.json", decode(text)], ["chat_template.jinja", decode(text)]]), indexHeaders); // prettier-ignore
      return isProblem(facts) ? facts.message : undefined;
    },
  );
});

/** Lines of key, size and ETag, as a listing's entries. */
function entriesOf(text: string) {
  return text.split("\n").map((line) => {
    const [key = "", size = "", etag = ""] = line.split("\t");
    return { key, sizeBytes: Number(size), etag };
  });
}

test("the listing survives mutated keys and sizes, and serves no path that could leave its folder", (t) => {
  const paths = ["config.json", "tokenizer.json", "model.safetensors", "1_Pooling/config.json", "LICENSE"];
  const seeds = [paths, [...paths, ".gitattributes", "model.safetensors.index.json"]];
  const lines = seeds.map((all) => encode(all.map((path) => `m/${path}\t10\t"e"`).join("\n")));
  fuzz(t, lines, (text) => {
    const listing = filesOf(entriesOf(decode(text)), "m", 1e12);
    if (isProblem(listing)) return listing.message;
    for (const { path } of listing.files) assert.equal(pathFault(path), undefined);
    assert.equal(
      new Set(listing.files.map(({ path }) => path.normalize("NFC").toLowerCase())).size,
      listing.files.length,
    );
    return undefined;
  });
});

const sound = { sizeBytes: 3, sha256: "ab".repeat(32) };
const manifestSeeds = [
  manifestText({ digest: "sha256:x", files: [{ path: "config.json", ...sound }] }),
  manifestText({
    digest: "sha256:x",
    record: "cd".repeat(32),
    files: ["a", "b/c", "ü"].map((path) => ({ path, key: `1/${path}`, ...sound })),
  }),
].map(encode);

test("the manifest parser survives mutated manifests, and no key of one leaves the model's folder", (t) => {
  fuzz(t, manifestSeeds, (input) => {
    const manifest = parseManifest(decode(input));
    if (!manifest) return "none";
    for (const file of manifest.files.filter(({ key }) => key !== undefined)) {
      const key = objectKey("models/n/m/2/", file);
      assert.ok(key.startsWith("models/n/m/") && !key.split("/").some((segment) => /^(\.{0,2})$/.test(segment)), key);
    }
    assert.doesNotThrow(() => parseImport(decode(input), manifest.digest));
    return manifestProblem(manifest);
  });
});

test("an envelope that was touched vouches for nothing", (t) => {
  const body = encode("the manifest");
  const [keyId, sig] = ["cd".repeat(32), encode("signed")];
  const trust = new Map([[keyId, (_bytes: Uint8Array, given: Uint8Array) => Buffer.from(given).equals(sig)]]);
  fuzz(t, [modelEnvelope(body, { keyId, sign: () => sig })], (input) => signatureProblem(body, input, trust));
});
