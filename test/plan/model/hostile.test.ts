// Headers and configurations that lie: each is refused in words that name the tensor or the file, or its lie is left unknown.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { templateProblem } from "../../../operator/plan/model/chattemplate.ts";
import { parseConfig } from "../../../operator/plan/model/config.ts";
import { inspect } from "../../../operator/plan/model/inspect.ts";
import type { ModelFacts } from "../../../operator/plan/model/inspect.ts";
import { isProblem, printable } from "../../../operator/plan/model/problem.ts";
import { rotaryBytesOf } from "../../../operator/plan/model/rotary.ts";
import { MAX_HEADER_BYTES, headerLength, parseHeader } from "../../../operator/plan/model/safetensors.ts";
import { parametersOf } from "../../../operator/plan/model/weights.ts";

/** A header of this text and so many bytes of data. */
function answer(header: string | Uint8Array, dataBytes: number): string {
  const bytes = typeof header === "string" ? new TextEncoder().encode(header) : header;
  const tensors = parseHeader("model.safetensors", bytes, 8 + bytes.length + dataBytes);
  return isProblem(tensors) ? tensors.message : "accepted";
}

const one = (entry: string): string => `{"w":${entry}}`;
const good = '{"dtype":"U8","shape":[4],"data_offsets":[0,4]}';
const nested = (depth: number): string => `{"w":${"[".repeat(depth)}${"]".repeat(depth)}}`;

const headers: readonly (readonly [string, string | Uint8Array, number, RegExp])[] = [
  ["a tensor twice", `{"w":${good},"w":${good}}`, 4, /tensor 'w' is listed twice/],
  ["a tensor twice, once escaped", `{"w":${good},"\\u0077":${good}}`, 4, /tensor 'w' is listed twice/],
  ["a key twice", one('{"dtype":"U8","dtype":"F32","shape":[4],"data_offsets":[0,4]}'), 4, /tensor 'w' has the key 'dtype' twice/],
  ["offsets twice", one('{"dtype":"U8","shape":[4],"data_offsets":[0,4],"data_offsets":[0,8]}'), 4, /'data_offsets' twice/],
  ["NaN in a shape", one('{"dtype":"U8","shape":[NaN],"data_offsets":[0,4]}'), 4, /tensor 'w' holds NaN/],
  ["Infinity in offsets", one('{"dtype":"U8","shape":[4],"data_offsets":[0,Infinity]}'), 4, /tensor 'w' holds Infinity/],
  ["minus Infinity", one('{"dtype":"U8","shape":[4],"data_offsets":[-Infinity,4]}'), 4, /tensor 'w' holds|not a JSON/],
  ["deep nesting", nested(100_000), 4, /tensor 'w' is nested deeper than 4 levels/],
  ["deep nesting at the top", "{".repeat(50_000), 4, /not a JSON object|nested deeper/],
  ["an overlap", `{"a":${good},"b":{"dtype":"U8","shape":[4],"data_offsets":[2,6]}}`, 6, /tensor 'b' leaves a hole or overlaps/],
  ["a hole", `{"a":${good},"b":{"dtype":"U8","shape":[4],"data_offsets":[5,9]}}`, 9, /tensor 'b' leaves a hole/],
  ["a hole at the start", one('{"dtype":"U8","shape":[4],"data_offsets":[1,5]}'), 5, /tensor 'w' leaves a hole/],
  ["two at one place", `{"a":${good},"b":${good}}`, 4, /tensor 'b' leaves a hole or overlaps/],
  ["more data than claimed", one(good), 5, /end at byte/],
  ["less data than claimed", one(good), 3, /end at byte/],
  ["backward offsets", one('{"dtype":"U8","shape":[4],"data_offsets":[4,0]}'), 4, /bytes of tensor 'w'/],
  ["one offset", one('{"dtype":"U8","shape":[4],"data_offsets":[4]}'), 4, /tensor 'w' has bad offsets/],
  ["three offsets", one('{"dtype":"U8","shape":[4],"data_offsets":[0,4,8]}'), 4, /tensor 'w' has bad offsets/],
  ["offsets as text", one('{"dtype":"U8","shape":[4],"data_offsets":["0","4"]}'), 4, /tensor 'w' has bad offsets/],
  ["offsets beyond integers", one('{"dtype":"U8","shape":[4],"data_offsets":[0,1e300]}'), 4, /tensor 'w' has bad offsets/],
  ["no offsets", one('{"dtype":"U8","shape":[4]}'), 4, /tensor 'w' has bad offsets/],
  ["no dtype", one('{"shape":[4],"data_offsets":[0,4]}'), 4, /tensor 'w' has an unknown dtype/],
  ["an invented dtype", one('{"dtype":"F128","shape":[4],"data_offsets":[0,4]}'), 4, /unknown dtype/],
  ["a dtype of the prototype", one('{"dtype":"constructor","shape":[4],"data_offsets":[0,4]}'), 4, /unknown dtype/],
  ["a dtype that is a number", one('{"dtype":8,"shape":[4],"data_offsets":[0,4]}'), 4, /unknown dtype/],
  ["a shape that is no list", one('{"dtype":"U8","shape":4,"data_offsets":[0,4]}'), 4, /tensor 'w' has a bad shape/],
  ["a negative shape", one('{"dtype":"U8","shape":[-4],"data_offsets":[0,4]}'), 4, /bad shape/],
  ["a fraction in a shape", one('{"dtype":"U8","shape":[0.5],"data_offsets":[0,4]}'), 4, /bad shape/],
  ["seventeen dimensions", one(`{"dtype":"U8","shape":[${Array(17).fill(1).join(",")}],"data_offsets":[0,1]}`), 1, /bad shape/],
  ["a product beyond integers", one('{"dtype":"U8","shape":[9007199254740991,9007199254740991],"data_offsets":[0,4]}'), 4, /do not match/],
  ["a shape that says more", one('{"dtype":"F32","shape":[4],"data_offsets":[0,4]}'), 4, /bytes of tensor 'w' do not match/],
  ["half a byte", one('{"dtype":"F4","shape":[1],"data_offsets":[0,1]}'), 1, /do not match/],
  ["a tensor that is null", one("null"), 0, /tensor 'w' is not an object/],
  ["a tensor that is a list", one("[]"), 0, /tensor 'w'/],
  ["a tensor that is text", one('"U8"'), 0, /tensor 'w' is not an object/],
  ["metadata that is a list", '{"__metadata__":[]}', 0, /__metadata__/],
  ["metadata that holds an object", '{"__metadata__":{"a":{"b":"c"}}}', 0, /__metadata__/],
  ["a name that is no UTF-8", Buffer.from(`{"w\xff":${good}}`, "latin1"), 4, /not a JSON object/],
  ["a list as header", "[]", 0, /not a JSON object/],
  ["text after the header's object", `${one(good)}x`, 4, /not a JSON object/],
  ["a comment", `{/**/"w":${good}}`, 4, /not a JSON object/],
  ["leading space", ` ${one(good)}`, 4, /not a JSON object/],
  ["bytes that are no UTF-8", new Uint8Array([0x7b, 0x22, 0xff, 0x22, 0x7d]), 0, /not a JSON object/],
  ["a header cut short", '{"w":{"dtype":"U8"', 4, /not a JSON object/],
  ["an empty header", "", 0, /not a JSON object/],
]; // prettier-ignore

describe("headers that lie", () => {
  for (const [name, header, dataBytes, words] of headers) {
    test(name, () => {
      const said = answer(header, dataBytes);
      assert.match(said, words);
      assert.ok(said.length < 500);
    });
  }

  const lengths: readonly (readonly [string, bigint, number, RegExp])[] = [
    ["100 MB of JSON and one byte more", BigInt(MAX_HEADER_BYTES) + 1n, 2 ** 40, /claims 100000001 bytes/],
    ["a length of 64 bits", 2n ** 64n - 1n, 2 ** 40, /claims 18446744073709551615 bytes/],
    ["a header longer than its file", 1000n, 500, /longer than the file/],
    ["a file of nine bytes", 1n, 9, /shorter than a header/],
  ];
  for (const [name, claimed, fileBytes, words] of lengths) {
    test(name, () => {
      const first = new Uint8Array(8);
      new DataView(first.buffer).setBigUint64(0, claimed, true);
      const length = headerLength("model.safetensors", first, fileBytes);
      assert.ok(isProblem(length as object));
      assert.match((length as { message: string }).message, words);
    });
  }
});

/** Facts or refusal of a configuration without weights. */
function inspected(config: string): ModelFacts | string {
  const files = ["config.json", "model.safetensors"].map((path) => ({ path, key: path, sizeBytes: 1, etag: "" }));
  const facts = inspect(
    { files, leftOut: [], sizeBytes: 2 },
    new Map([["config.json", config]]),
    new Map([["model.safetensors", []]]),
  );
  return isProblem(facts) ? facts.message : (facts as ModelFacts);
}

const llama = (more: string): string =>
  `{"architectures":["LlamaForCausalLM"],"num_hidden_layers":2,"hidden_size":64,"num_attention_heads":4,"max_position_embeddings":128${more}}`;

describe("configurations that lie", () => {
  const refused: readonly (readonly [string, string, RegExp])[] = [
    ["a key twice", llama(',"hidden_size":128'), /config\.json has the key 'hidden_size' twice/],
    [
      "an architecture twice",
      '{"architectures":["LlamaForCausalLM"],"architectures":["Evil"]}',
      /'architectures' twice/,
    ],
    ["deep nesting", llama(`,"x":${"[".repeat(100_000)}${"]".repeat(100_000)}`), /nested deeper than 32 levels/],
    ["no JSON", "pickle", /not a JSON object/],
    ["a list", "[]", /not a JSON object/],
    ["no architectures", "{}", /architectures/],
    ["architectures that are a number", '{"architectures":7}', /architectures/],
    ["an architecture of the prototype", '{"architectures":["__proto__"]}', /__proto__/],
    ["an unknown architecture", '{"architectures":["EvilForCausalLM"]}', /EvilForCausalLM/],
    ["code of its own", llama(',"auto_map":{"AutoModel":"evil.Model"}'), /auto_map/],
    ["code one level down", llama(',"text_config":{"auto_map":{"AutoModel":"evil.Model"}}'), /auto_map/],
  ];
  for (const [name, config, words] of refused) {
    test(name, () => assert.match(String(inspected(config)), words));
  }

  const left: readonly (readonly [string, string, (facts: ModelFacts) => unknown, unknown])[] = [
    ["Infinity, as state-space models write it", llama(',"time_step_limit":[0.0,Infinity]'), (facts) => facts.contextLength, 128],
    ["more layers than a model has", llama("").replace('"num_hidden_layers":2', '"num_hidden_layers":4503599627370496'), (facts) => facts.cache, undefined],
    ["negative layers", llama("").replace('"num_hidden_layers":2', '"num_hidden_layers":-2'), (facts) => facts.cache, undefined],
    ["layers as text", llama("").replace('"num_hidden_layers":2', '"num_hidden_layers":"2"'), (facts) => facts.cache, undefined],
    ["a length that is text", llama("").replace("128}", '"128"}'), (facts) => facts.contextLength, undefined],
    ["half a length", llama("").replace("128}", "127.5}"), (facts) => facts.contextLength, undefined],
    ["heads beyond integers", llama(',"num_key_value_heads":1e300'), (facts) => facts.shape?.keyValueHeads, 4],
    ["a context stretched beyond integers", llama(',"rope_scaling":{"type":"linear","factor":1e300}'), (facts) => facts.contextLength, undefined],
    ["layer_types of too few layers", llama(',"layer_types":["full_attention"]'), (facts) => facts.cache, undefined],
    ["layer_types of the prototype", llama(',"layer_types":["constructor","toString"]'), (facts) => facts.cache, undefined],
    ["layer_types that are numbers", llama(',"layer_types":[1,2]'), (facts) => facts.cache, undefined],
    ["a family of the prototype", llama(',"model_type":"constructor"'), (facts) => facts.cache, [{ kind: "Full", layers: 2, heads: 4, keySize: 16, valueSize: 16 }]],
    ["a quantization without a name", llama(',"quantization_config":{}'), (facts) => facts.quantization, "unknown"],
    ["a quantization that is a list", llama(',"quantization_config":[]'), (facts) => facts.quantization, undefined],
  ]; // prettier-ignore
  for (const [name, config, pick, expected] of left) {
    test(`${name}: left unknown or read as it was meant`, () => {
      const facts = inspected(config);
      assert.notEqual(typeof facts, "string", String(facts));
      assert.deepEqual(pick(facts as ModelFacts), expected);
    });
  }

  test("what is unknown is named with what depends on it", () => {
    const facts = inspected(llama("").replace("128}", '"128"}')) as ModelFacts;
    assert.ok(facts.unknown?.some((words) => /contextLength: .*no context can be promised/.test(words)));
  });
});

/** Many times what any of them takes, and far less than one takes that tries each place of its text with each other. */
const LONGEST_MS = 1_500;
const messageOf = (value: object): string => (isProblem(value) ? value.message : "accepted");
const saidOf = (template: string): string => messageOf(templateProblem("x", template) ?? {});
const MILLION = 1_000_000;

describe("what is read costs no more time than its length", () => {
  const keys = (count: number, value: (at: number) => unknown) =>
    Object.fromEntries(Array.from({ length: count }, (_, at) => [`k${String(at)}`, value(at)]));
  const tables = (count: number, beside: number) => ({
    ...keys(beside, () => 0),
    max_position_embeddings: 4,
    rope_parameters: keys(count, (at) => ({ at })),
  });
  const named = (name: string) => ({ name, dtype: "U8", shape: [4], elements: 4, bytes: 4 });
  const long: readonly (readonly [string, () => unknown, unknown])[] = [
    ["a text of quotes that does not end", () => messageOf(parseConfig("x", `NaN "${'\\"'.repeat(100_000)}`)), "x is not a JSON object"],
    ["a factor behind blanks", () => saidOf(`{{ a *${" ".repeat(200_000)}b }}`), "accepted"],
    ["a factor behind blanks in brackets", () => saidOf(`{{ a *(${" ".repeat(200_000)}b) }}`), "accepted"],
    ["ranges that nothing closes", () => saidOf(`{{ ${"range(]".repeat(37_000)} }}`), "accepted"],
    ["underscores behind a brace that nothing closes", () => saidOf(`{{ "{${"__".repeat(120_000)}" }}`), "accepted"],
    ["braces and signs of percent that begin no format", () => saidOf(`{{ "${"{a:".repeat(40_000)}${"%(a".repeat(40_000)}" }}`), "accepted"],
    ["backslashes in quotes", () => saidOf(`{{ "${"\\\\".repeat(120_000)}" }}`), "accepted"],
    ["blanks between two texts in quotes", () => saidOf(`{{ 'a'${" ".repeat(250_000)}x 'b' }}`), "accepted"],
    ["brackets between two texts in quotes", () => saidOf(`{{ 'a'${"(".repeat(120_000)}x${")".repeat(120_000)} 'b' }}`), "accepted"],
    ["blanks on both sides of what joins two texts in quotes", () => saidOf(`{{ 'a'${" ".repeat(120_000)}~${" ".repeat(120_000)}x 'b' }}`), "accepted"],
    ["numbers, blanks and brackets", () => saidOf(`{{ ${`1${" (".repeat(100)}`.repeat(400)}${")".repeat(40_000)} }}`), "accepted"],
    ["a tensor of a quantization", () => parametersOf([named(`${"quant_state.".repeat(20_000)}\n`)], {}, "fp8"), 0],
    ["many tables of positions beside many keys", () => rotaryBytesOf(tables(4_000, 10_000), 64), 4_000 * 4 * 64 * 2],
    ["a name that cannot be seen", () => printable("\u202e".repeat(16 * MILLION)).length, 120],
  ]; // prettier-ignore
  for (const [name, read, expected] of long) {
    test(name, () => {
      const startedMs = performance.now();
      const found = read();
      const tookMs = performance.now() - startedMs;
      assert.equal(found, expected);
      assert.ok(tookMs < LONGEST_MS, `${tookMs.toFixed(0)} ms`);
    });
  }

  test("what would not fit into the arguments of a call, or the steps of an expression, is read all the same", () => {
    assert.equal(saidOf(`{{ [${"1,".repeat(130_000)}] }}`), "accepted");
    assert.equal(saidOf(`{% for i in range(${"1,".repeat(130_000)}) %}{% endfor %}`), "accepted");
    const words = "NaN".repeat(3 * MILLION);
    assert.deepEqual(parseConfig("x", `{"a":NaN,"${words}":-Infinity}`), { a: null, [words]: null });
    const many = parseConfig("x", `{"a":[${"NaN,".repeat(50_000)}"NaN"]}`);
    assert.deepEqual(many, { a: [...Array<null>(50_000).fill(null), "NaN"] });
  });
});
