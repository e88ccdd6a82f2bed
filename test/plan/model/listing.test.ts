import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { GGUF_HEAD_BYTES, ggufFault } from "../../../operator/plan/model/gguf.ts";
import { MAX_ETAG_BYTES, MAX_VERSION_BYTES } from "../../../operator/plan/model/entries.ts";
import { comparePaths, oddKey, pathFault } from "../../../operator/plan/model/keynames.ts";
import { MAX_OBJECTS, filesOf } from "../../../operator/plan/model/listing.ts";
import { MAX_MANIFEST_BYTES, manifestText, secondPlace } from "../../../operator/plan/model/manifest.ts";
import { isProblem } from "../../../operator/plan/model/problem.ts";

const good = ["config.json", "tokenizer.json", "model.safetensors"];
const objects = (paths: readonly string[], prefix = "m/", sizeBytes = 10) =>
  paths.map((path) => ({ key: prefix + path, sizeBytes, etag: `"${path}"` }));

function reasonOf(paths: readonly string[], prefix = "m", maxSize = 1e9): string {
  const result = filesOf(objects(paths), prefix, maxSize);
  return isProblem(result) ? result.reason : result.files.map((file) => file.path).join(" ");
}

test("hidden files, pictures and a second copy of the weights are left out", () => {
  const extra = [
    ".gitattributes",
    ".cache/x.json",
    "logo.png",
    "onnx/model.onnx",
    "consolidated.safetensors",
    "LICENSE",
  ];
  const result = filesOf(objects([...good, ...extra]), "m/", 1e9);
  assert.ok(!isProblem(result));
  assert.deepEqual(
    result.files.map((file) => file.path),
    ["LICENSE", ...good].sort(comparePaths),
  );
  assert.deepEqual([...result.leftOut].sort(), extra.filter((path) => path !== "LICENSE").sort());
});

test("GGUF is left out, or comes along where the platform says so, and is never all that a model has", () => {
  const listed = (paths: readonly string[], gguf: boolean, sizeBytes = 10): string => {
    const result = filesOf(objects(paths, "m/", sizeBytes), "m", 1e9, "bucket", "copy", { gguf });
    return isProblem(result) ? `${result.reason}: ${result.message}` : result.files.map(({ path }) => path).join(" ");
  };
  const beside = [...good, "q4/model-Q4_K_M.gguf"];
  assert.equal(listed(beside, false), "config.json model.safetensors tokenizer.json");
  assert.equal(listed(beside, true), "config.json model.safetensors q4/model-Q4_K_M.gguf tokenizer.json");
  const alone = ["config.json", "tokenizer.json", "model.gguf"];
  assert.match(listed(alone, false), /^NotSafetensors: .*\(found model\.gguf\): convert the model to safetensors/);
  assert.match(
    listed(alone, true),
    /^NotSafetensors: model\.gguf may come along, but .* add the safetensors that it was made of$/,
  );
  assert.match(listed(["model.gguf"], true), /^ConfigMissing/);
  assert.match(listed([...beside, "x.bin"], true), /^UnsafeFormat/);
  assert.match(listed(beside, true, 0), /^WeightsMissing/);
});

const head = (change: (view: DataView) => void = () => undefined): Uint8Array => {
  const bytes = new Uint8Array(GGUF_HEAD_BYTES);
  bytes.set(new TextEncoder().encode("GGUF"));
  const view = new DataView(bytes.buffer);
  view.setUint32(4, 3, true);
  view.setBigUint64(8, 291n, true);
  view.setBigUint64(16, 25n, true);
  change(view);
  return bytes;
};

test("a GGUF file begins as one", () => {
  assert.equal(ggufFault("m.gguf", head()), undefined);
  assert.equal(
    ggufFault(
      "m.gguf",
      head((view) => view.setUint32(4, 2, true)),
    ),
    undefined,
  );
  const faults: readonly (readonly [Uint8Array, RegExp])[] = [
    [head().subarray(0, 23), /too short/],
    [new Uint8Array(0), /too short/],
    [head((view) => view.setUint32(0, 0x80024b04)), /does not begin/],
    [head((view) => view.setUint32(4, 1, true)), /version 1/],
    [head((view) => view.setUint32(4, 3, false)), /version 50331648/],
    [head((view) => view.setBigUint64(8, 1n << 63n, true)), /more tensors/],
    [head((view) => view.setBigUint64(16, 100_001n, true)), /more tensors or metadata/],
  ];
  for (const [bytes, words] of faults) {
    const fault = ggufFault("m\n.gguf", bytes);
    assert.equal(fault?.reason, "UnsafeFormat");
    assert.match(fault.message, words);
    assert.doesNotMatch(fault.message, /\n/);
  }
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
      const fault = ggufFault("m.gguf", bytes);
      assert.ok(
        fault === undefined ? Buffer.from(bytes.subarray(0, 4)).toString() === "GGUF" : fault.retryable === false,
      );
    }),
  );
});

test("consolidated weights alone are served", () => {
  const paths = ["config.json", "tekken.json", "consolidated.safetensors"];
  assert.equal(reasonOf(paths), "config.json consolidated.safetensors tekken.json");
  assert.equal(reasonOf([...paths, "model_fp8/x.safetensors"]), "config.json consolidated.safetensors tekken.json");
});

const listed = (paths: readonly string[], kind: "bucket" | "repository" = "repository"): string => {
  const result = filesOf(objects(paths, ""), "", 1e9, kind);
  return isProblem(result) ? `${result.reason}: ${result.message}` : result.files.map((file) => file.path).join(" ");
};

test("below the root only weights that the engine reads there are served", () => {
  const copies = ["original/model.safetensors", "original/config.json", "checkpoint-9/model.safetensors"];
  const served = "config.json model.safetensors original/config.json tokenizer.json";
  for (const kind of ["bucket", "repository"] as const) assert.equal(listed([...good, ...copies], kind), served);
  const layers = ["modules.json", "2_Dense/config.json", "2_Dense/model.safetensors", "2_Dense/other.safetensors"];
  assert.equal(
    listed([...good, ...layers, "sub/model.safetensors"]),
    "2_Dense/config.json 2_Dense/model.safetensors config.json model.safetensors modules.json tokenizer.json",
  );
  assert.match(listed([...good, "whisper-large-v3/model.safetensors"]), /whisper-large-v3\/model\.safetensors$/);
});

test("what is left out of a repository refuses nothing by its name, what is served does", () => {
  const names = [
    "assets/Logo.png",
    "assets/logo.png",
    "a/b/c/d/e/f/g/h/i/picture.jpg",
    "family \u{1F468}\u200D\u{1F469}.png",
    "manifest.json",
    "Manifest.JSON/readme.md",
    `${"x".repeat(250)}.png`,
    "../run.py",
  ];
  assert.equal(listed([...good, ...names]), "config.json model.safetensors tokenizer.json");
  for (const name of names) assert.match(listed([...good, name, name.toUpperCase()], "bucket"), /^OddKey/, name);
  for (const path of ["a//x.json", "a\u200Db.json", "CONFIG.json", "config.json/x.md"])
    assert.match(listed([...good, path]), /^OddKey/, path);
});

test("tokenizers are known by every name that the engine loads them by", () => {
  const without = ["config.json", "model.safetensors"];
  for (const name of ["spiece.model", "spm.model", "sentencepiece.bpe.model", "qwen.tiktoken", "vocab.txt"])
    assert.doesNotMatch(listed([...without, name]), /^TokenizerMissing/, name);
  assert.equal(
    listed(["config.json", "consolidated.safetensors", "tokenizer.model.v3"]),
    "config.json consolidated.safetensors tokenizer.model.v3",
  );
  for (const name of ["tokenizer.model.v3", "sub/tokenizer.json", "vocab.json", "other.model"])
    assert.match(listed([...without, name]), /^TokenizerMissing: .*a sentencepiece model/, name);
});

test("Mistral's own layout is told of as that", () => {
  const own = ["params.json", "consolidated.safetensors", "tekken.json"];
  for (const kind of ["bucket", "repository"] as const)
    assert.match(listed(own, kind), /^ConfigMissing: .*Mistral's own layout .*: that layout is not supported/);
});

test("another store's manifest, and what lies beside it, is left out and refuses nothing", () => {
  const beside = ["MANIFEST.json", ".berth/import.json", ".berth/files/f-config.json"];
  const result = filesOf(objects([...good, ...beside]), "m/", 1e9);
  assert.ok(!isProblem(result));
  assert.deepEqual([...result.leftOut].sort(), beside.sort());
});

test("markers of folders are no files", () => {
  const markers = [
    { key: "m/", sizeBytes: 0, etag: "" },
    { key: "m/sub/", sizeBytes: 0, etag: "" },
  ];
  assert.ok(!isProblem(filesOf([...objects(good), ...markers], "m", 1e9)));
  const only = filesOf(markers, "m", 1e9);
  assert.ok(isProblem(only) && only.reason === "NoFiles");
});

const odd = [
  "../x.json",
  "/x.json",
  "a/../x.json",
  "a//x.json",
  "./x.json",
  "a\\x.json",
  "a\nx.json",
  "a\u202Ex.json",
  "a\ud800x.json",
  "manifest.json",
  "MANIFEST.json/readme.md",
  "Manifest.JSON/x.json",
  `${"a/".repeat(9)}x`,
  `${"x".repeat(241)}`,
];
test("keys that are no safe file names refuse the model", () => {
  for (const path of odd) assert.equal(reasonOf([...good, path]), "OddKey", path);
});

test("names that a file system may take for one refuse the model", () => {
  const pairs = [
    ["README.md", "readme.md"],
    ["u\u0308.json", "\u00fc.json"],
    ["a", "a/b.json"],
    ["s.json", "\u017f.json"],
    ["ss.json", "\u00df.json"],
    ["ss.json", "\u1e9e.json"],
    ["\u00df.json", "\u1e9e.json"],
    ["a\u03c3.json", "a\u03c2.json"],
    ["k.json", "\u212a.json"],
    ["ffi.json", "\ufb03.json"],
    ["stra\u00dfe", "STRASSE/b.json"],
  ];
  for (const pair of pairs) assert.equal(reasonOf([...good, ...pair]), "OddKey", pair.join());
});

test("of every character in Unicode, all forms of its case are one name", () => {
  const collides = (one: string, other: string): boolean => one === other || oddKey([one, other]) !== undefined;
  for (let code = 33; code <= 0x10ffff; code += code === 0xd7ff ? 0x801 : 1) {
    const char = String.fromCodePoint(code);
    const [small, large] = [char.toLowerCase(), char.toUpperCase()];
    if (small === char && large === char) continue;
    const forms = [char, small, large, small.toUpperCase(), large.toLowerCase(), char.normalize("NFD")];
    for (const form of forms) assert.ok(collides(`a${char}b`, `a${form}b`), `${code.toString(16)}: ${form}`);
  }
});

test("names that no manifest could hold refuse the model, and what is let in can be written and read", () => {
  const named = (name: string, count: number) => {
    const paths = Array.from({ length: count }, (_, at) => `f${String(at).padStart(4, "0")}/${name}.json`);
    const listed = objects([...good, ...paths]).map((object) => ({ ...object, etag: `"${"e".repeat(32)}"` }));
    return filesOf(listed, "m", 1e9);
  };
  const long = Array.from({ length: 3 }, () => "x".repeat(235)).join("/");
  const quotes = long.replaceAll("x", '"');
  const refused = named(quotes, 9_997);
  assert.ok(isProblem(refused));
  assert.equal(refused.reason, "TooManyFiles");
  assert.match(
    refused.message,
    /^the names of 10000 files need \d+ bytes in a manifest, more than the 15728640 .*: shorten/,
  );
  for (const [name, count] of [
    [long, 8_900],
    [quotes, 4_900],
  ] as const) {
    const most = named(name, count);
    assert.ok(!isProblem(most), JSON.stringify(most));
    assert.ok(isProblem(named(name, count + 300)), "it is near the bound");
    // Each file at a second place of the largest number.
    const files = most.files.map(({ path }) => ({
      path,
      sizeBytes: Number.MAX_SAFE_INTEGER,
      sha256: "0".repeat(64),
      key: `999999999/${secondPlace(path, "0".repeat(64))}`,
    }));
    const text = manifestText({ digest: `sha256:${"0".repeat(64)}`, files, record: "0".repeat(64) });
    assert.ok(Buffer.byteLength(text) <= MAX_MANIFEST_BYTES);
  }
});

test("the record of an import can be read too, with an ETag and a version of each file that are as long as any", () => {
  const folder = Array.from({ length: 3 }, () => "x".repeat(200)).join("/");
  const paths = Array.from({ length: 9_990 }, (_, at) => `${String(at).padStart(4, "0")}/${folder}.json`);
  const etag = "e".repeat(MAX_ETAG_BYTES);
  const most = (count: number) =>
    filesOf(
      objects([...good, ...paths.slice(0, count)]).map((object) => ({ ...object, etag })),
      "m",
      1e9,
    );
  assert.ok(isProblem(most(paths.length)));
  const counts = Array.from({ length: 20 }, (_, at) => (at + 1) * 500);
  const largest = most(counts.findLast((count) => !isProblem(most(count))) ?? 0);
  assert.ok(!isProblem(largest) && largest.files.length > 5_000);
  const named = (word: string) => Object.fromEntries(largest.files.map(({ path }) => [path, word]));
  const beside = JSON.stringify({ etags: named(etag), versionIds: named("v".repeat(MAX_VERSION_BYTES - 2)) });
  assert.ok(Buffer.byteLength(beside) <= MAX_MANIFEST_BYTES - (1 << 20), `${String(beside.length)} bytes`);
});

test("what comes first is what is told first", () => {
  assert.equal(reasonOf(["model.bin"]), "UnsafeFormat");
  assert.equal(reasonOf(["x.py", "model.bin"]), "CustomCode");
  assert.equal(reasonOf(["model.safetensors"]), "ConfigMissing");
  assert.equal(reasonOf(["config.json", "sub/model.safetensors"]), "NotSafetensors");
  assert.equal(reasonOf(["config.json", "model.safetensors", "vocab.json"]), "TokenizerMissing");
  assert.equal(
    reasonOf(["config.json", "model.safetensors", "vocab.json", "merges.txt"]),
    "config.json merges.txt model.safetensors vocab.json",
  );
  assert.equal(reasonOf(good, "m", 29), "TooLarge");
  const many = Array.from({ length: MAX_OBJECTS + 1 }, (_, n) => `f${String(n)}.json`);
  assert.equal(reasonOf(many), "TooManyFiles");
});

test("no list of keys, however odd, yields a path that could leave its folder", () => {
  const segment = fc.oneof(
    fc.constantFrom("..", ".", "", "a", "A", "model.safetensors", "\\", "\0"),
    fc.string({ unit: "binary", maxLength: 8 }),
  );
  const path = fc.array(segment, { minLength: 1, maxLength: 5 }).map((segments) => segments.join("/"));
  fc.assert(
    fc.property(fc.array(path, { maxLength: 12 }), fc.boolean(), (paths, isHub) => {
      const result = filesOf(objects([...good, ...paths]), "m", 1e9, isHub ? "repository" : "bucket");
      if (isProblem(result)) return;
      const seen = result.files.map((file) => file.path);
      assert.equal(new Set(seen.map((p) => p.normalize("NFC").toLowerCase())).size, seen.length);
      for (const p of seen) {
        assert.equal(pathFault(p), undefined);
        assert.ok(!p.split("/").some((s) => s === ".." || s === "" || s.startsWith(".")));
      }
    }),
  );
});

test("paths are sorted by their UTF-8 bytes", () => {
  const bytes = (text: string): string => Buffer.from(text).toString("hex");
  fc.assert(
    fc.property(fc.string({ unit: "grapheme-composite" }), fc.string({ unit: "grapheme-composite" }), (a, b) => {
      assert.equal(Math.sign(comparePaths(a, b)), bytes(a) === bytes(b) ? 0 : bytes(a) < bytes(b) ? -1 : 1);
    }),
  );
});

test("what no honest server lists is refused as ListingInvalid, and empty weights as WeightsMissing", () => {
  const listed = (change: object) => {
    const result = filesOf([...objects(good), { key: "m/x.json", sizeBytes: 1, etag: "e", ...change }], "m", 1e9);
    return isProblem(result) ? result.reason : "accepted";
  };
  for (const sizeBytes of [-1, 0.5, NaN, Infinity, 2 ** 53]) assert.equal(listed({ sizeBytes }), "ListingInvalid");
  for (const lie of [{ etag: "" }, { key: "m/config.json" }, { key: "n/x.json" }])
    assert.equal(listed(lie), "ListingInvalid", JSON.stringify(lie));
  assert.equal(listed({}), "accepted");
  assert.equal(listed({ key: "m/model-2.safetensors", sizeBytes: 0 }), "WeightsMissing");
});
