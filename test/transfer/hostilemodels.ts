/** Models that mean no good, or are broken: each with the one reason that it is refused for and words of the message. */
import { safetensors, tinyConfig } from "../models/tiny.ts";

export interface HostileModel {
  readonly name: string;
  /** Files that differ from a good tiny model; undefined takes one away. */
  readonly files?: Readonly<Record<string, string | Uint8Array | undefined>>;
  /** Entries that a lying server adds to its listing; keys are below the model's folder. */
  readonly listed?: readonly Listed[];
  /** What a lying server makes of its listing. */
  readonly listing?: (xml: string) => string;
  readonly maxSizeBytes?: number;
  readonly reason: string;
  readonly words: RegExp;
}

export interface Listed {
  readonly path: string;
  readonly size?: string;
  readonly etag?: string;
}

const tensor = { dtype: "BF16", shape: [16, 8], data_offsets: [0, 256] };
const weights = (header: object, dataBytes = 256): Uint8Array => safetensors(header, dataBytes);
const config = (change: object): string => JSON.stringify({ ...tinyConfig, ...change });
const index = (map: unknown): string => JSON.stringify({ weight_map: map });

/** A safetensors file with this text as its header. */
function rawHeader(text: string, dataBytes = 0): Uint8Array {
  const json = new TextEncoder().encode(text);
  const file = new Uint8Array(8 + json.length + dataBytes);
  new DataView(file.buffer).setBigUint64(0, BigInt(json.length), true);
  file.set(json, 8);
  return file;
}

function headerOf(length: bigint): Uint8Array {
  const file = new Uint8Array(64);
  new DataView(file.buffer).setBigUint64(0, length, true);
  return file;
}

/** A tensor whose name is no UTF-8, so that each reader would call it something else. */
function noText(): Uint8Array {
  const file = rawHeader('{"w?":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}', 4);
  file[file.indexOf("?".charCodeAt(0))] = 0xff;
  return file;
}

/** Tokens of pages that never repeat. */
let pages = 0;

const pickles = "bin pt pth ckpt pkl pickle npy npz h5 hdf5 keras joblib dill msgpack pb nemo mar".split(" ");
const programs = "py pyc so dll sh ipynb js jar whl exe".split(" ");

const unsafeFiles: HostileModel[] = [
  ...pickles.map((ending) => ({
    name: `pickle-${ending}`,
    files: { [`weights.${ending}`]: "x" },
    reason: "UnsafeFormat",
    words: new RegExp(`convert them to safetensors and remove weights\\.${ending}$`),
  })),
  ...programs.map((ending) => ({
    name: `code-${ending}`,
    files: { [`sub/run.${ending}`]: "x" },
    reason: "CustomCode",
    words: new RegExp(`never imported: remove sub/run\\.${ending}$`),
  })),
  { name: "pickle-in-capitals", files: { "MODEL.BIN": "x" }, reason: "UnsafeFormat", words: /MODEL\.BIN/ },
  { name: "many-pickles", files: Object.fromEntries([1, 2, 3, 4, 5].map((n) => [`p${String(n)}.pt`, "x"])), reason: "UnsafeFormat", words: /p1\.pt, p2\.pt, p3\.pt and 2 more/ },
  ...["gguf", "ggml", "onnx", "zip", "tar", "tgz", "7z"].map((ending) => ({
    name: `only-${ending}`,
    files: { "model.safetensors": undefined, [`model.${ending}`]: "x" },
    reason: "NotSafetensors",
    words: new RegExp(`found model\\.${ending}\\): convert the model to safetensors`),
  })),
]; // prettier-ignore

const codeInConfigs: HostileModel[] = [
  { name: "auto-map", files: { "config.json": config({ auto_map: { AutoModel: "evil.Model" } }) }, reason: "CustomCode", words: /config\.json .*auto_map/ },
  { name: "auto-map-deep", files: { "config.json": config({ a: [{ b: { auto_map: { AutoModel: "evil.Model" } } }] }) }, reason: "CustomCode", words: /config\.json .*auto_map/ },
  { name: "auto-map-null", files: { "config.json": config({ auto_map: null }) }, reason: "CustomCode", words: /config\.json has auto_map: null, which transformers cannot read: remove/ },
  { name: "auto-map-tokenizer", files: { "tokenizer_config.json": '{"auto_map":{"AutoTokenizer":["evil.Tokenizer",null]}}' }, reason: "CustomCode", words: /tokenizer_config\.json/ },
  { name: "auto-map-processor", files: { "processor_config.json": '{"auto_map":{"AutoTokenizer":["evil.Tokenizer",null]}}' }, reason: "CustomCode", words: /processor_config\.json/ },
  { name: "auto-map-image", files: { "preprocessor_config.json": '{"auto_map":{"AutoTokenizer":["evil.Tokenizer",null]}}' }, reason: "CustomCode", words: /preprocessor_config\.json/ },
  { name: "auto-map-generation", files: { "generation_config.json": '{"auto_map":{"AutoTokenizer":["evil.Tokenizer",null]}}' }, reason: "CustomCode", words: /generation_config\.json/ },
  { name: "auto-map-escaped", files: { "config.json": config({}).replace("{", '{"\\u0061uto_map":{"AutoModel":"evil.Model"},') }, reason: "CustomCode", words: /auto_map/ },
  ...["text_encoder/config.json", "1_Pooling/config.json", "a/b/c/tokenizer_config.json", "sub/processor_config.json", "modules.json", "model_index.json", "params.json", "config_sentence_transformers.json", "sub/Config.JSON", "checkpoint-7/generation_config.json"].flatMap((path, at) => [
    { name: `auto-map-other-${String(at)}`, files: { [path]: '[{"a":{"auto_map":{"AutoModel":"evil.Model"}}}]' }, reason: "CustomCode", words: new RegExp(`${path.replace(/\./g, "\\.")} names code of its own \\(auto_map\\)`) },
    { name: `trust-other-${String(at)}`, files: { [path]: '{"a":[{"trust_remote_code":true}]}' }, reason: "CustomCode", words: new RegExp(`${path.replace(/\./g, "\\.")} asks for trust_remote_code`) },
  ]),
  { name: "other-config-no-json", files: { "sub/config.json": "{" }, reason: "ConfigInvalid", words: /sub\/config\.json is not JSON/ },
  { name: "other-config-twice", files: { "sub/config.json": '{"auto_map":{},"auto_map":{}}' }, reason: "ConfigInvalid", words: /sub\/config\.json has the key 'auto_map' twice/ },
  { name: "other-config-deep", files: { "sub/config.json": `{"a":${"[".repeat(200_000)}${"]".repeat(200_000)}}` }, reason: "ConfigInvalid", words: /nested deeper than 32/ },
  { name: "other-config-huge", files: { "sub/config.json": " ".repeat((1 << 20) + 1) }, reason: "ConfigInvalid", words: /sub\/config\.json has 1048577 bytes/ },
  { name: "other-configs-many", files: Object.fromEntries(Array.from({ length: 257 }, (_, at) => [`c${String(at)}/config.json`, "{}"])), reason: "ConfigInvalid", words: /257 configurations with 514 bytes beside the model's own, more than 256/ },
  { name: "pipelines", files: { "config.json": config({ custom_pipelines: { x: { impl: "evil.Pipeline" } } }) }, reason: "CustomCode", words: /custom_pipelines/ },
  { name: "trust", files: { "config.json": config({ trust_remote_code: true }) }, reason: "CustomCode", words: /config\.json asks for trust_remote_code/ },
  { name: "trust-deep", files: { "config.json": config({ text_config: { trust_remote_code: "yes" } }) }, reason: "CustomCode", words: /trust_remote_code/ },
]; // prettier-ignore

const configs: HostileModel[] = [
  { name: "no-config", files: { "config.json": undefined }, reason: "ConfigMissing", words: /no config\.json .*: point spec/ },
  { name: "empty-config", files: { "config.json": "" }, reason: "ConfigInvalid", words: /config\.json is not a JSON object/ },
  { name: "config-of-a-problem", files: { "config.json": config({ reason: "Imported", retryable: true, message: "all \u0007 is well" }) }, reason: "ConfigInvalid", words: /^config\.json is no configuration of a model: /, },
  { name: "list-config", files: { "config.json": "[]" }, reason: "ConfigInvalid", words: /config\.json/ },
  { name: "binary-config", files: { "config.json": new Uint8Array([0x7b, 0xff, 0, 0x7d]) }, reason: "ConfigInvalid", words: /config\.json/ },
  { name: "deep-config", files: { "config.json": `{"a":${"[".repeat(200_000)}${"]".repeat(200_000)}}` }, reason: "ConfigInvalid", words: /nested deeper than 32/ },
  { name: "twice-config", files: { "config.json": '{"architectures":["LlamaForCausalLM"],"architectures":["Evil"]}' }, reason: "ConfigInvalid", words: /'architectures' twice/ },
  { name: "huge-config", files: { "config.json": " ".repeat((8 << 20) + 1) }, reason: "ConfigInvalid", words: /config\.json has 8388609 bytes/ },
  { name: "many-values-config", files: { "config.json": config({}).replace("{", `{"a":[${"0,".repeat(600_001)}0],`) }, reason: "ConfigInvalid", words: /^config\.json has more than 600000 values/ },
  { name: "many-values", files: { "tokenizer_config.json": `{"a":[${"0,".repeat(2_000_001)}0]}` }, reason: "ConfigInvalid", words: /tokenizer_config\.json has more than 2000000 values/ },
  { name: "quotes-without-end", files: { "config.json": `NaN "${'\\"'.repeat((1 << 22) - 4)}` }, reason: "ConfigInvalid", words: /^config\.json is not a JSON object/ },
  { name: "bad-tokenizer-config", files: { "tokenizer_config.json": "{" }, reason: "ConfigInvalid", words: /tokenizer_config\.json/ },
  { name: "no-architecture", files: { "config.json": "{}" }, reason: "ArchitectureUnsupported", words: /config\.json names no architecture: add/ },
  { name: "unknown-architecture", files: { "config.json": config({ architectures: ["MadeUp"] }) }, reason: "ArchitectureUnsupported", words: /MadeUp/ },
  { name: "proto-architecture", files: { "config.json": '{"architectures":["__proto__"]}' }, reason: "ArchitectureUnsupported", words: /__proto__/ },
  { name: "escape-in-name", files: { "config.json": config({ architectures: ["\u001b[31mEvil\u202e"] }) }, reason: "ArchitectureUnsupported", words: /\\u001b\[31mEvil/ },
  { name: "no-tokenizer", files: { "tokenizer.json": undefined }, reason: "TokenizerMissing", words: /: add tokenizer\.json/ },
]; // prettier-ignore

const templateOf = (text: string) => ({ "tokenizer_config.json": JSON.stringify({ chat_template: text }) });
/** Each calls all that come behind it, and none itself. */
const manyMacros = (count: number): string =>
  Array.from({ length: count }, (_, at) => {
    const calls = Array.from({ length: count - at - 1 }, (_gone, next) => `m${String(at + next + 1)}()`);
    return `{% macro m${String(at)}() %}{{ ${calls.join("~")} }}{% endmacro %}`;
  }).join("");
const templates: HostileModel[] = [
  ["template-class", "{{ ''.__class__ }}", /tokenizer_config\.json reads the private attribute __class__/],
  ["template-attr", "{{ x|attr('a') }}", /filter attr/],
  ["template-include", "{% include '/etc/passwd' %}", /loads another template/],
  ["template-power", "{{ 9**9**9 }}", /power/],
  ["template-range", "{% for i in range(1000000000) %}{% endfor %}", /counts to/],
  ["template-blanks", `{{ a *${" ".repeat(261_000)}b }}{{ x.__class__ }}`, /reads the private attribute __class__/],
  [
    "template-blanks-in-brackets",
    `{{ a *(${" ".repeat(261_000)}b) }}{{ x.__class__ }}`,
    /reads the private attribute __class__/,
  ],
  ["template-ranges", `{{ ${"range(]".repeat(37_000)} }}{{ x.__class__ }}`, /reads the private attribute __class__/],
  ["template-numbers", `{{ [${"1,".repeat(130_500)}] }}{{ x.__class__ }}`, /reads the private attribute __class__/],
  [
    "template-numbers-in-a-range",
    `{% for i in range(${"1,".repeat(130_000)}) %}{% for i in range(99999) %}{% for i in range(99999) %}`,
    /turns loops inside of each other 9999800001 times/,
  ],
  ["template-macros", `${manyMacros(220)}{% macro a() %}{{ a() }}{% endmacro %}`, /has a macro that never ends \(a\)/],
  ["template-open", "{% for x in y", /does not end/],
  ["template-huge", "x".repeat(262_145), /262145 bytes/],
].map(([name, text, words]) => ({
  name: String(name),
  files: templateOf(String(text)),
  reason: "ChatTemplateUnsafe",
  words: words as RegExp,
}));
templates.push(
  { name: "template-file", files: { "chat_template.jinja": "{{ x.__init__ }}" }, reason: "ChatTemplateUnsafe", words: /chat_template\.jinja/ },
  { name: "template-file-huge", files: { "chat_template.jinja": "x".repeat(262_145) }, reason: "ChatTemplateUnsafe", words: /chat_template\.jinja has 262145/ },
  { name: "template-json", files: { "chat_template.json": '{"chat_template":"{{ x.__init__ }}"}' }, reason: "ChatTemplateUnsafe", words: /chat_template\.json/ },
  { name: "template-beside", files: { "additional_chat_templates/tool.jinja": "{{ x.__init__ }}" }, reason: "ChatTemplateUnsafe", words: /additional_chat_templates\/tool\.jinja/ },
  { name: "template-many", files: { "tokenizer_config.json": JSON.stringify({ chat_template: Array.from({ length: 17 }, () => ({ name: "a", template: "a" })) }) }, reason: "ChatTemplateUnsafe", words: /^tokenizer_config\.json holds 17 chat templates, more than the 16/ },
  { name: "template-many-beside", files: Object.fromEntries(Array.from({ length: 17 }, (_, at) => [`additional_chat_templates/${String(at)}.jinja`, "a"])), reason: "ChatTemplateUnsafe", words: /^the model holds 17 chat templates/ },
  { name: "template-list", files: { "tokenizer_config.json": JSON.stringify({ chat_template: [{ name: "a", template: "{{ x.__init__ }}" }] }) }, reason: "ChatTemplateUnsafe", words: /__init__/ },
); // prettier-ignore

const headers: HostileModel[] = (
  [
    ["header-not-one", new TextEncoder().encode("not a safetensors file at all"), /claims \d+ bytes/],
    ["header-bomb", new Uint8Array(16).fill(255), /claims 18446744073709551615 bytes/],
    ["header-100mb", headerOf(100_000_001n), /claims 100000001 bytes/],
    ["header-beyond", headerOf(1000n), /longer than the file/],
    ["header-tiny", new Uint8Array(9), /shorter than a header/],
    ["header-empty", headerOf(0n), /not a JSON object/],
    ["header-list", rawHeader("[]"), /not a JSON object/],
    ["header-deep", rawHeader(`{"w":${"[".repeat(60_000)}`), /nested deeper/],
    ["header-deep-long", rawHeader(`{"w":${"[".repeat(300_000)}`), /nested deeper/],
    ["header-nan", rawHeader('{"w":{"dtype":"U8","shape":[NaN],"data_offsets":[0,4]}}', 4), /holds NaN/],
    ["header-twice", rawHeader('{"w":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"w":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}', 4), /listed twice/],
    ["header-overlap", weights({ a: tensor, b: { ...tensor, data_offsets: [128, 384] } }, 384), /overlaps/],
    ["header-hole", weights({ a: { ...tensor, data_offsets: [8, 264] } }, 264), /hole/],
    ["header-negative", weights({ a: { ...tensor, shape: [-16, -8] } }), /bad shape/],
    ["header-overflow", weights({ a: { ...tensor, shape: [2 ** 53 - 1, 2 ** 53 - 1] } }), /do not match/],
    ["header-dtype", weights({ a: { ...tensor, dtype: "constructor" } }), /unknown dtype/],
    ["header-many-dimensions", weights({ a: { ...tensor, shape: Array(64).fill(1) } }), /bad shape/],
    ["header-short-data", weights({ a: tensor }, 255), /end at byte/],
    ["header-long-data", weights({ a: tensor }, 257), /end at byte/],
    ["header-metadata", weights({ __metadata__: { a: {} }, b: tensor }), /__metadata__/],
    ["header-no-text", noText(), /not a JSON object/],
    ["header-control", weights({ "\u001b[2J\n": { ...tensor, dtype: "X" } }), /\\u001b\[2J\\n/],
  ] as const
).map(([name, bytes, words]) => ({ name, files: { "model.safetensors": bytes }, reason: "SafetensorsInvalid", words: new RegExp(`^model\\.safetensors .*${words.source}`) })); // prettier-ignore

const lfs = `version https://git-lfs.github.com/spec/v1\noid sha256:${"0".repeat(64)}\nsize 4976698672\n`;
const standIns: HostileModel[] = [
  { name: "weights-empty", files: { "model.safetensors": new Uint8Array(0) }, reason: "WeightsMissing", words: /no bytes in model\.safetensors: upload/ },
  { name: "weights-lfs", files: { "model.safetensors": lfs }, reason: "WeightsMissing", words: /model\.safetensors is a pointer of Git LFS/ },
  { name: "weights-link", files: { "model.safetensors": `../../blobs/${"a".repeat(64)}` }, reason: "WeightsMissing", words: /model\.safetensors holds the path of another file/ },
  { name: "weights-absolute-link", files: { "model.safetensors": "/etc/passwd" }, reason: "WeightsMissing", words: /symbolic link/ },
]; // prettier-ignore

const indexes: HostileModel[] = (
  [
    ["index-json", "[]", /not a JSON object/],
    ["index-empty", index({}), /no weight_map/],
    ["index-no-map", "{}", /no weight_map/],
    ["index-lacks-file", index({ a: "model-00002-of-00002.safetensors" }), /not there: model-00002/],
    ["index-outside", index({ a: "../../other/model.safetensors" }), /'\.\.\/\.\.\/other\/model\.safetensors'/],
    ["index-absolute", index({ a: "/etc/passwd" }), /'\/etc\/passwd'/],
    ["index-url", index({ a: "http://169.254.169.254/x.safetensors" }), /'http:/],
    ["index-pickle", index({ a: "model.bin" }), /'model\.bin'/],
    ["index-number", index({ a: 7 }), /'7'/],
    ["index-lost-tensor", index({ "no.such": "model.safetensors" }), /'no\.such' is in model\.safetensors/],
    ["index-twice", '{"weight_map":{"a":"a.safetensors","a":"b.safetensors"}}', /IndexInvalid|index\.json/],
  ] as const
).map(([name, text, words]) => ({ name, files: { "model.safetensors.index.json": text }, reason: "IndexInvalid", words })); // prettier-ignore

const oddKey = (name: string, path: string, words: RegExp): HostileModel => ({ name, listed: [{ path }], reason: "OddKey", words }); // prettier-ignore
const keys: HostileModel[] = [
  oddKey("key-up", "../other/x.json", /'\.\.\/other\/x\.json' contains a '\.\.' segment: rename/),
  oddKey("key-up-inside", "a/../../x.json", /'\.\.' segment/),
  oddKey("key-absolute", "/etc/passwd", /begins with '\/'/),
  oddKey("key-empty-segment", "a//b.json", /empty or '\.' segment/),
  oddKey("key-dot", "./x.json", /empty or '\.' segment/),
  oddKey("key-backslash", "a\\b.json", /backslash/),
  oddKey("key-nul", "a\0b.json", /'a\\u0000b\.json' contains a control character/),
  oddKey("key-newline", "a\nb.json", /control character/),
  oddKey("key-bidi", "a\u202egnp.json", /control character/),
  oddKey("key-zero-width", "model\u200b.json", /control character/),
  oddKey("key-line-separator", "a\u2028b.json", /control character/),
  oddKey("key-long-segment", `${"x".repeat(241)}.json`, /segment longer than 240 bytes/),
  oddKey("key-too-long", `${`${"y".repeat(200)}/`.repeat(4)}x.json`, /longer than 768 bytes/),
  oddKey("key-deep", `${"a/".repeat(9)}x.json`, /more than 8 levels/),
  oddKey("key-case", "Config.json", /'config\.json' and 'Config\.json'|'Config\.json' and 'config\.json'/),
  { name: "key-unicode", listed: [{ path: "u\u0308.json" }, { path: "\u00fc.json" }], reason: "OddKey", words: /collide/ },
  { name: "key-sharp-s", listed: [{ path: "ma\u00df.json" }, { path: "MASS.json" }], reason: "OddKey", words: /collide/ },
  oddKey("key-file-and-folder", "config.json/x.json", /collide/),
  oddKey("key-manifest", "manifest.json", /store's own manifest/),
  { name: "key-below-manifest", files: { "MANIFEST.json/readme.md": "x" }, reason: "OddKey", words: /'MANIFEST\.json\/readme\.md' lies below the name of the store's own manifest: rename/ },
  oddKey("key-below-manifest-in-other-case", "Manifest.JSON/a/x.json", /lies below the name of the store's own manifest/),
]; // prettier-ignore

const lies: HostileModel[] = [
  { name: "lie-negative", listed: [{ path: "x.json", size: "-5" }], reason: "ListingInvalid", words: /x\.json' with the size -5: check/ },
  { name: "lie-fraction", listed: [{ path: "x.json", size: "1.5" }], reason: "ListingInvalid", words: /size 1\.5/ },
  { name: "lie-size-of-stars", listed: [{ path: "x.safetensors", size: "9e99" }], reason: "ListingInvalid", words: /size 9e\+99/ },
  { name: "lie-twice", listed: [{ path: "config.json" }], reason: "ListingInvalid", words: /config\.json' twice/ },
  { name: "lie-no-etag", listed: [{ path: "x.json", etag: "" }], reason: "ListingInvalid", words: /without an ETag/ },
  { name: "lie-other-folder", listing: (xml) => xml.replace(/<Key>[^<]*<\/Key>/, "<Key>other/x.json</Key>"), reason: "ListingInvalid", words: /'other\/x\.json' although/ },
  { name: "lie-endless", listing: (xml) => xml.replace("<IsTruncated>false</IsTruncated>", "<IsTruncated>true</IsTruncated><NextContinuationToken>again</NextContinuationToken>"), reason: "ListingInvalid", words: /does not come to an end/ },
  { name: "lie-endless-anew", listing: (xml) => xml.replace("<IsTruncated>false</IsTruncated>", `<IsTruncated>true</IsTruncated><NextContinuationToken>a${String(pages++)}</NextContinuationToken>`), reason: "ListingInvalid", words: /does not come to an end/ },
  { name: "lie-truncated", listing: (xml) => xml.replace("<IsTruncated>false</IsTruncated>", "<IsTruncated>true</IsTruncated>"), reason: "ListingInvalid", words: /goes on, but does not say where .*: check spec\.source\.s3\.endpoint/ },
  { name: "lie-truncated-empty", listing: (xml) => xml.replace("<IsTruncated>false</IsTruncated>", "<IsTruncated>true</IsTruncated><NextContinuationToken/>"), reason: "ListingInvalid", words: /goes on, but does not say where/ },
  { name: "lie-long-key", listed: [{ path: "k".repeat(1_025) }], reason: "ListingInvalid", words: /a key \('lie-long-key\/k+\.\.\.'\) of 1038 bytes, more than the 1024 .*: check its endpoint/ },
  { name: "lie-long-etag", listed: [{ path: "x.json", etag: `"${"e".repeat(255)}"` }], reason: "ListingInvalid", words: /x\.json' with an ETag of 257 bytes, more than the 256/ },
  { name: "lie-long-token", listing: (xml) => xml.replace("<IsTruncated>false</IsTruncated>", `<IsTruncated>true</IsTruncated><NextContinuationToken>${"t".repeat(4_097)}</NextContinuationToken>`), reason: "ListingInvalid", words: /a continuation token of 4097 bytes, more than the 4096/ },
  { name: "too-many", listed: Array.from({ length: 10_001 }, (_, n) => ({ path: `f${String(n)}.json` })), reason: "TooManyFiles", words: /more than 10000 objects/ },
  { name: "too-large", maxSizeBytes: 100, reason: "TooLarge", words: /spec\.maxSize allows 100: raise it/ },
  { name: "too-large-listed", listed: [{ path: "model-2.safetensors", size: "2000000000000" }], reason: "TooLarge", words: /raise it/ },
  { name: "tokenizer-of-129-mib", listed: [{ path: "merges.txt", size: "135266304" }], reason: "ConfigInvalid", words: /merges\.txt has 135266304/ },
  { name: "empty-prefix", files: { "config.json": undefined, "tokenizer.json": undefined, "tokenizer_config.json": undefined, "model.safetensors": undefined }, reason: "NoFiles", words: /: check spec\.source/ },
]; // prettier-ignore

export const hostileModels: readonly HostileModel[] = [
  ...unsafeFiles, ...codeInConfigs, ...configs, ...templates, ...headers, ...standIns, ...indexes, ...keys, ...lies,
]; // prettier-ignore
