// Ways past the judgement of extraArgs: each must end in a refusal, or in words that hold nothing but what was judged.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { classOf } from "../../../operator/plan/engine/classes.ts";
import { extraArguments } from "../../../operator/plan/engine/extra.ts";
import { engineLine } from "../../../operator/plan/engine/render.ts";
import { engineProfiles } from "../../../operator/plan/engine/profile.ts";

const planned = { maxSequences: 256, maxBatchedTokens: 8192 };

const attempts: readonly (readonly [what: string, words: string[], says: RegExp])[] = [
  // Expanded by Kubernetes after the judgement: spec.engine.env would hold the flag.
  ["a variable as a list's item", ["--cudagraph-capture-sizes", "1", "$(NCCL_DEBUG)"], /Kubernetes would replace/],
  ["a variable as a value", ["--fingerprint-value", "$(TZ)"], /Kubernetes would replace/],
  ["a variable inside of JSON", ["--default-chat-template-kwargs", '{"a":"$(TZ)"}'], /Kubernetes would replace/],
  ["a variable as a flag", ["$(NCCL_DEBUG)"], /Kubernetes would replace/],
  ["an escaped variable", ["--fingerprint-value=$$(TZ)"], /Kubernetes would replace/],
  ["doubled dollars", ["--fingerprint-value", "a$$b"], /Kubernetes would replace/],
  // Other spellings of a name.
  ["capitals", ["--Trust-Remote-Code"], /is no flag/],
  ["a full-width dash", ["－－trust-remote-code"], /is no flag/],
  ["an em dash", ["—trust-remote-code"], /is no flag/],
  ["a hyphen of Unicode", ["--trust‐remote‐code"], /is no flag/],
  ["a space of no width", ["--trust-remote-code\u200b"], /is no flag/],
  ["a blank before", [" --trust-remote-code"], /is no flag/],
  ["a blank behind", ["--trust-remote-code "], /is no flag/],
  ["three dashes", ["---trust-remote-code"], /is no flag/],
  ["one dash", ["-trust-remote-code"], /is no flag/],
  ["mixed dashes and underscores", ["--trust_remote-code"], /--trust-remote-code/],
  ["underscores in front", ["__trust_remote_code"], /is no flag/],
  ["the shortest abbreviation", ["--trust-remote"], /--trust-remote-code/],
  ["an abbreviated negation", ["--no-trust-rem"], /--trust-remote-code/],
  ["an abbreviation of a forbidden flag with =", ["--api-k=x"], /--api-key/],
  ["an abbreviation that several flags share", ["--log"], /can mean/],
  ["an empty name", ["--=x"], /is no flag/],
  ["a negated flag without negation", ["--no-api-key"], /is no flag/],
  ["an abbreviated dotted flag", ["--kv-trans.kv_connector", "X"], /--kv-transfer-config/],
  ["a dotted flag with underscores", ["--kv_transfer_config.kv_connector=X"], /--kv-transfer-config/],
  ["an alias with dots", ["-sc.method", "x"], /--speculative-config/],
  ["an alias with a glued value", ["-pp2"], /--pipeline-parallel-size/],
  ["an alias with a word glued on", ["-qfp8"], /is no flag/],
  ["several aliases in one", ["-tpq"], /is no flag/],
  // Values that would be read as something else.
  ["a flag behind a list", ["--cudagraph-capture-sizes", "1", "--api-key"], /lacks its value|--api-key/],
  ["a path behind a list", ["--cudagraph-capture-sizes", "1", "/etc/passwd"], /from 1 to 512/],
  ["a word behind a list by =", ["--cudagraph-capture-sizes=1", "2"], /"2" is no flag/],
  ["a short flag as a value", ["--seed", "-tp"], /lacks its value/],
  ["a negative number of sequences", ["--max-num-seqs", "-1"], /may be 1 or more/],
  ["no sequences", ["--max-num-seqs", "0"], /may be 1 or more/],
  ["an exponent", ["--max-num-seqs", "1e9"], /is a number/],
  ["a number in another script", ["--max-num-seqs", "１"], /is a number/],
  ["a file of words", ["@/model/args"], /is no flag/],
  ["a file of words as the configuration", ["--conf", "/model/x.yaml"], /--config/],
  ["a configuration by another spelling", ["--log_config_file", "/model/x"], /--log-config-file/],
  ["a class with dots as a backend", ["--attention-backend", "os.system"], /vLLM's own table/],
  ["a path as a backend", ["--mm-encoder-attn-backend", "/model/x"], /vLLM's own table/],
  ["a level beyond", ["-O9"], /may be 0, 1, 2, 3 only/],
  ["a level that is a flag", ["-O", "--api-key"], /lacks its value/],
  // JSON.
  ["a key escaped in JSON", ["--compilation-config", '{"debug\\u005fdump\\u005fpath":"/x"}'], /debug_dump_path/],
  ["a key given twice", ["--compilation-config", '{"mode":0,"mode":3,"backend":"x"}'], /"backend"/],
  ["a prototype escaped", ["--compilation-config", '{"\\u005f_proto__":{"backend":"x"}}'], /__proto__/],
  ["a prototype by dots", ["--compilation-config.__proto__.backend", "x"], /path of keys/],
  ["a constructor by dots", ["--compilation-config.constructor.prototype.x", "1"], /only mode/],
  ["a template in a dotted argument", ["--default-chat-template-kwargs.chat_template", "{{1}}"], /chat_template/],
  ["JSON where a list is", ["--cudagraph-capture-sizes", "[1,2]"], /from 1 to 512/],
  ["a list where an object is", ["--compilation-config", '["backend"]'], /JSON object/],
  ["a text where an object is", ["--compilation-config", '"x"'], /JSON object/],
  ["an object where a number is", ["--limit-mm-per-prompt", '{"video":{"count":1,"num_frames":9999}}'], /video/],
  ["an endless number", ["--limit-mm-per-prompt", '{"image":1e400}'], /image/],
  ["a number as text", ["--limit-mm-per-prompt.image", "many"], /image/],
  ["a forbidden flag in a value of JSON", ["--compilation-config", "--trust-remote-code"], /lacks its value/],
  // Owned by its effect on the memory that was planned.
  ["blocks of another size", ["--block-size", "128"], /promised context/],
  ["a batch without chunks", ["--no-enable-chunked-prefill"], /promised context/],
  ["copies of experts", ["--enable-eplb"], /promised context/],
  ["an encoder on each GPU", ["--mm-encoder-tp-mode", "data"], /promised context/],
  ["more images than planned", ["--limit-mm-per-prompt.image=9"], /from 0 to 8/],
  ["more graphs than planned", ["--max-cudagraph-capture-size", "4096"], /from 1 to 512/],
  ["a cache of another kind", ["--kv-cache-dtype", "turboquant_4bit_nc"], /16 or 8 bits/],
  ["a batch below the sequences", ["--max-num-batched-tokens", "64"], /less than the 256 requests/],
  ["classes of another library", ["--model-impl", "transformers"], /vLLM's own classes/],
];

describe("a forbidden flag does not get past", () => {
  for (const [what, words, says] of attempts) {
    test(what, () => {
      for (const { version } of engineProfiles) {
        const extra = extraArguments(words, version, planned);
        assert.ok("problem" in extra, `${version} took ${JSON.stringify(words)}`);
      }
      const newest = extraArguments(words, "0.32.0", planned);
      assert.match("problem" in newest ? newest.problem.message : "", says);
    });
  }

  test("by as many sizes of graphs as fit into the field", () => {
    const sizes = Array.from({ length: 60 }, (_, i) => String(i + 1));
    const extra = extraArguments(["--cudagraph-capture-sizes", ...sizes], "0.32.0", planned);
    assert.match("problem" in extra ? extra.problem.message : "", /60 sizes of CUDA graphs .* planned for 51/);
  });

  test("by any prefix of its name, with dashes, underscores, negation or =", () => {
    const forbidden = engineProfiles.flatMap(({ version, flags }) =>
      Object.keys(flags)
        .filter((flag) => classOf(flag).kind !== "allowed")
        .map((flag) => [version, flag] as const),
    );
    fc.assert(
      fc.property(
        fc.constantFrom(...forbidden),
        fc.integer({ min: 3, max: 60 }),
        fc.boolean(),
        fc.constantFrom("", "=x", "=1", ".a=1", ".a.b+=x", "="),
        fc.boolean(),
        ([version, flag], length, underscored, tail, negated) => {
          const cut = negated ? flag.replace("--", "--no-").slice(0, length + 3) : flag.slice(0, length);
          const word = `${underscored ? `--${cut.slice(2).replaceAll("-", "_")}` : cut}${tail}`;
          const extra = extraArguments([word, "1"], version, planned);
          if ("problem" in extra) return;
          for (const name of extra.values.keys()) assert.equal(classOf(name).kind, "allowed", `${word} became ${name}`);
        },
      ),
      { numRuns: 3000 },
    );
  });
});

test("a pooling model keeps a batch that takes its whole input", () => {
  const rendered = engineLine({
    servedName: "m",
    gpuCount: 1,
    capacity: { contextLength: 4096, kvCacheTokens: 0, maxConcurrency: 0 },
    task: "Embed",
    shutdownSeconds: 1,
    settings: {
      maxNumSeqs: 256,
      maxNumBatchedTokens: 2048,
      bits: 16,
      nativeBits: 16,
      tensorParallel: 1,
      expertParallel: false,
    },
    extraArgs: ["--max-num-batched-tokens", "2048"],
  });
  assert.match("problem" in rendered ? rendered.problem.message : "taken", /whole input in one step: set 4096 or more/);
});
