// The user's own arguments: what is understood, what is refused and in which words. Hostile input included.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { classOf } from "../../../operator/plan/engine/classes.ts";
import { extraArguments } from "../../../operator/plan/engine/extra.ts";
import { engineLine } from "../../../operator/plan/engine/render.ts";

const V = "0.32.0";
const planned = { maxSequences: 256, maxBatchedTokens: 8192 };

function taken(...words: string[]): Record<string, unknown> {
  const extra = extraArguments(words, V, planned);
  assert.ok("values" in extra, JSON.stringify(extra));
  return Object.fromEntries(extra.values);
}

function problem(words: readonly string[], version = V): { reason: string; message: string } {
  const extra = extraArguments(words, version, planned);
  assert.ok("problem" in extra, `taken: ${JSON.stringify(words)}`);
  return extra.problem;
}

const understood: readonly (readonly [what: string, words: string[], values: Record<string, unknown>])[] = [
  ["a switch", ["--enforce-eager"], { "--enforce-eager": true }],
  ["its negation", ["--no-enforce-eager"], { "--enforce-eager": false }],
  ["underscores", ["--max_num_seqs", "8"], { "--max-num-seqs": "8" }],
  ["an equals sign", ["--max-num-seqs=8"], { "--max-num-seqs": "8" }],
  [
    "an abbreviation of one flag only",
    ["--enforce", "--max-num-batched", "1k"],
    { "--enforce-eager": true, "--max-num-batched-tokens": "1000" },
  ],
  ["binary and decimal thousands", ["--max-num-batched-tokens", "2K"], { "--max-num-batched-tokens": "2048" }],
  ["-O3 and its longer forms", ["-O0", "-O=1", "-O", "3"], { "--optimization-level": "3" }],
  ["the last of several", ["--seed", "1", "--seed=2"], { "--seed": "2" }],
  ["JSON", ["--limit-mm-per-prompt", '{"image": 2}'], { "--limit-mm-per-prompt": { image: 2 } }],
  [
    "dotted keys, merged",
    ["--compilation-config.mode", "3", "--compilation_config.cudagraph_mode=FULL"],
    { "--compilation-config": { mode: 3, cudagraph_mode: "FULL" } },
  ],
  [
    "dotted lists",
    ["--compilation-config.cudagraph_capture_sizes+", "1,2"],
    { "--compilation-config": { cudagraph_capture_sizes: ["1", "2"] } },
  ],
  ["the short name of an allowed JSON flag", ["-cc.mode=0"], { "--compilation-config": { mode: 0 } }],
];

const refusals: readonly (readonly [what: string, words: string[], reason: "Refused" | "Conflict", says: RegExp])[] = [
  ["remote code", ["--trust-remote-code"], "Refused", /--trust-remote-code may not be set: it loads code/],
  [
    "remote code, abbreviated",
    ["--trust-remote"],
    "Refused",
    /--trust-remote-code \(written "--trust-remote"\) may not be set/,
  ],
  ["remote code with underscores", ["--trust_remote_code"], "Refused", /--trust-remote-code/],
  ["remote code with a value", ["--trust-remote-code=true"], "Refused", /switch and takes no value/],
  ["remote code, negated", ["--no-trust-remote-code"], "Refused", /--trust-remote-code/],
  ["a key", ["--api-key", "sk-1"], "Refused", /--api-key may not be set: a secret on the command line/],
  ["a hub token", ["--hf-token=x"], "Refused", /--hf-token/],
  ["a configuration file", ["--config", "/model/x.yaml"], "Refused", /--config may not be set: it names local files/],
  ["an ambiguous word", ["--tool"], "Refused", /can mean .*write the full name/],
  ["middleware", ["--middleware", "os.system"], "Refused", /--middleware/],
  ["a worker class", ["--worker-cls", "a.b"], "Refused", /it loads code/],
  ["a parser plugin", ["--tool-parser-plugin", "/model/p.py"], "Refused", /it loads code/],
  ["local media", ["--allowed-local-media-path=/"], "Refused", /local files/],
  ["logging of requests", ["--enable-log-requests"], "Refused", /prompts or answers into logs/],
  ["tracing to elsewhere", ["--otlp-traces-endpoint", "http://x"], "Refused", /connect to/],
  ["a connector", ["--kv-transfer-config.kv_connector_module_path", "x"], "Refused", /--kv-transfer-config/],
  ["developer endpoints", ["--enable-sleep-mode"], "Refused", /developer/],
  ["a template of the request's", ["--trust-request-chat-template"], "Refused", /single request/],
  ["help", ["-h"], "Refused", /--help/],
  ["the search of help", ["--help=all"], "Refused", /switch/],
  [
    "a flag that is no more",
    ["--swap-space", "4"],
    "Refused",
    /no longer a flag of vLLM 0\.32\.0: it has no successor/,
  ],
  ["another that is no more", ["--disable-log-requests"], "Refused", /no longer a flag/],
  ["a task", ["--task=embed"], "Refused", /Berth derives --runner/],
  ["a misspelt flag", ["--enforce-eagre"], "Refused", /is no flag of vLLM 0\.32\.0/],
  [
    "a forbidden key of JSON",
    ["--compilation-config", '{"mode":3,"debug_dump_path":"/x"}'],
    "Refused",
    /key "debug_dump_path"/,
  ],
  ["a forbidden key by dots", ["--compilation-config.backend", "os.system"], "Refused", /key "backend"/],
  [
    "a forbidden key by an alias and dots",
    ["-cc.inductor_passes.post_grad", "os.system"],
    "Refused",
    /inductor_passes/,
  ],
  ["a prototype in JSON", ["--default-chat-template-kwargs", '{"__proto__":{"x":1}}'], "Refused", /__proto__/],
  [
    "a chat template as its argument",
    ["--default-chat-template-kwargs", '{"chat_template":"{{1}}"}'],
    "Refused",
    /chat_template/,
  ],
  ["no JSON", ["--limit-mm-per-prompt", "image=4"], "Refused", /is a JSON object, not "image=4"/],
  ["NaN in JSON", ["--limit-mm-per-prompt", '{"image":NaN}'], "Refused", /JSON/],
  ["deep JSON", ["--default-chat-template-kwargs", `${'{"a":'.repeat(9)}1${"}".repeat(9)}`], "Refused", /deeper/],
  ["keys of a flag without JSON", ["--seed.x", "1"], "Refused", /--seed/],
  [
    "both forms of one JSON",
    ["--compilation-config", "{}", "--compilation-config.mode", "1"],
    "Refused",
    /both as JSON and by keys/,
  ],
  ["a path with empty keys", ["--compilation-config..mode", "1"], "Refused", /path of keys/],
  ["a word that is no flag", ["/etc/passwd"], "Refused", /is no flag and belongs to none/],
  ["a word after a switch", ["--enforce-eager", "false"], "Refused", /"false" is no flag/],
  ["the end of options", ["--", "--api-key"], "Refused", /"--" is no flag/],
  ["a lone dash", ["-"], "Refused", /"-" is no flag/],
  ["an empty word", [""], "Refused", /is no flag/],
  ["a missing value", ["--seed"], "Refused", /lacks its value/],
  ["a flag as value", ["--seed", "--trust-remote-code"], "Refused", /lacks its value/],
  ["a flag as attached value", ["--fingerprint-value=--api-key"], "Refused", /begins like a flag/],
  ["a line break", ["--fingerprint-value", "a\n--api-key=b"], "Refused", /control character/],
  ["a NUL", ["--seed=1\0"], "Refused", /control character/],
  ["a very long word", ["--fingerprint-value", "x".repeat(4000)], "Refused", /longer than 2048/],
  ["text for a number", ["--seed", "one"], "Refused", /is a number/],
  ["a decimal of binary thousands", ["--max-num-batched-tokens", "1.5K"], "Refused", /is a number/],
  ["a value that the parser lacks", ["--kv-cache-dtype", "fp7"], "Refused", /is one of .*fp8/],
  ["a folder of sampling defaults", ["--generation-config", "/model/x"], "Refused", /may be auto, vllm only/],
  ["the logs' finest level", ["--uvicorn-log-level", "trace"], "Refused", /may be critical, error, warning, info only/],
  ["a colliding hash", ["--prefix-caching-hash-algo", "xxhash"], "Refused", /collides/],
  ["a glued short flag", ["-tp8"], "Conflict", /--tensor-parallel-size .*node type/],
  ["a short flag", ["-tp", "8"], "Conflict", /--tensor-parallel-size/],
  ["a short flag with =", ["-dp=2"], "Conflict", /--data-parallel-size/],
  ["the other name of a flag", ["--device-memory-utilization", "0.99"], "Conflict", /--gpu-memory-utilization/],
  ["the context", ["--max-model-len", "-1"], "Conflict", /set spec\.contextLength/],
  ["quantization", ["-q", "fp8"], "Conflict", /set spec\.quantization\.bits/],
  ["a tool parser", ["--tool-call-parser", "hermes"], "Conflict", /set spec\.engine\.toolCallParser/],
  ["overrides of the model", ["--hf-overrides.architectures+", "x"], "Conflict", /pinned by spec\.model/],
  ["more sequences than planned", ["--max-num-seqs", "512"], "Conflict", /is 512, but the memory was planned for 256/],
  ["a larger batch than planned", ["--max-num-batched-tokens", "16k"], "Conflict", /is 16000, but .* 8192/],
];

describe("extra arguments", () => {
  for (const [what, words, values] of understood) {
    test(`understand ${what}`, () => assert.deepEqual(taken(...words), values));
  }

  for (const [what, words, reason, says] of refusals) {
    test(`refuse ${what}`, () => {
      const found = problem(words);
      assert.equal(found.reason, `EngineArgument${reason}`, found.message);
      assert.match(found.message, says);
      assert.ok(found.message.length < 700, found.message);
    });
  }

  test("are judged by the engine's version", () => {
    assert.deepEqual(taken("--tool-strict-level", "auto"), { "--tool-strict-level": "auto" });
    assert.match(problem(["--tool-strict-level", "auto"], "0.28.0").message, /is no flag of vLLM 0\.28\.0/);
    assert.match(problem(["--enable-bf16x3-router-gemm"]).message, /no longer a flag .*dropped in 0\.30/);
    assert.match(problem(["--seed", "1"], "0.12.0").message, /no list of the arguments/);
  });

  test("never reach the engine by a forbidden or owned name, whatever the words", () => {
    const names = ["--trust-remote-code", "--api-key", "--config", "-tp", "--tensor", "--middleware", "--seed", "-cc"];
    const piece = fc.oneof(
      fc.constantFrom(...names, "--", "-O3", "{}", '{"mode":1}', "=", ".", "1", "--no-trust", "_", "+", "a,b"),
      fc.string({ maxLength: 12 }),
    );
    const word = fc.array(piece, { minLength: 1, maxLength: 4 }).map((parts) => parts.join(""));
    fc.assert(
      fc.property(fc.array(word, { maxLength: 5 }), (words) => {
        const extra = extraArguments(words, V, planned);
        if ("problem" in extra) {
          assert.doesNotMatch(extra.problem.message, /\p{Cc}/u);
          return;
        }
        for (const flag of extra.values.keys()) assert.equal(classOf(flag).kind, "allowed", flag);
      }),
      { numRuns: 500 },
    );
  });
});

describe("merging", () => {
  const base = {
    servedName: "m",
    gpuCount: 1,
    capacity: { contextLength: 4096, kvCacheTokens: 4096, maxConcurrency: 1 },
    task: "Generate",
    shutdownSeconds: 10,
    settings: {
      maxNumSeqs: 256,
      maxNumBatchedTokens: 2048,
      bits: 16,
      nativeBits: 16,
      tensorParallel: 1,
      expertParallel: false,
    },
  } as const;

  test("puts the user's value in the place of Berth's, once, in full names and sorted", () => {
    const rendered = engineLine({
      ...base,
      extraArgs: ["--max_num_seqs=4", "--generation", "vllm", "--no-async-scheduling"],
    });
    assert.ok("line" in rendered);
    const flags = rendered.line.map(({ flag }) => flag ?? "");
    assert.deepEqual(flags, [...flags].sort());
    assert.equal(new Set(flags).size, flags.length);
    const words = rendered.line.flatMap((argument) => argument.words);
    assert.equal(words[words.indexOf("--max-num-seqs") + 1], "4");
    assert.equal(words[words.indexOf("--generation-config") + 1], "vllm");
    assert.ok(words.includes("--no-async-scheduling"));
  });

  test("of one modality's limit leaves the limits of the others", () => {
    const limitsOf = (input: object): string | undefined => {
      const rendered = engineLine({ ...base, ...input });
      assert.ok("line" in rendered);
      return rendered.line.find(({ flag }) => flag === "--limit-mm-per-prompt")?.words[1];
    };
    const extraArgs = ["--limit-mm-per-prompt.image", "2"];
    assert.deepEqual(JSON.parse(limitsOf({ vision: true, extraArgs }) ?? ""), { audio: 8, image: 2, video: 1 });
    assert.deepEqual(JSON.parse(limitsOf({ architecture: "WhisperForConditionalGeneration" }) ?? ""), {
      audio: 8,
      image: 8,
      video: 1,
    });
    assert.equal(limitsOf({ architecture: "LlamaForCausalLM" }), undefined);
  });

  test("gives every argument a reason", () => {
    const rendered = engineLine({ ...base, extraArgs: ["--seed", "1"], vision: true });
    assert.ok("line" in rendered);
    for (const { words, why } of rendered.line) assert.ok(why.length > 4, words.join(" "));
  });
});
