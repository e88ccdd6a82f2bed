// Every command line that the renderer makes, read by the parser of the vLLM that is pinned: no flag is unknown to it, and each
// value arrives as it was meant. Needs vLLM's CPU build (make e2e-setup); says so where that is missing.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { VLLM_VERSION } from "../../../image/vllm.ts";
import { CHAT_TEMPLATE_PATH } from "../../../operator/plan/engine/files.ts";
import { commandLines, inputs, spellings } from "./commandlines.ts";
import { engineLine } from "../../../operator/plan/engine/render.ts";
import { profileOf } from "../../../operator/plan/engine/profile.ts";
import { askParser, parserMissing } from "./vllmparser.ts";

test("vLLM's own parser takes every rendered command line and refuses what it does not know", (t) => {
  const missing = parserMissing();
  if (missing) {
    t.diagnostic(`NOT RUN: command lines were not shown to vLLM's own parser: ${missing}`);
    return;
  }
  const folder = mkdtempSync(join(tmpdir(), "berth-template-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  // The parser opens the file that it is told of.
  const template = join(folder, "template.jinja");
  writeFileSync(template, "{{ messages }}");
  const lines = commandLines(VLLM_VERSION);
  assert.ok(lines.some(({ args }) => args.includes(CHAT_TEMPLATE_PATH)));
  const shown = lines.map(({ args }) => args.map((word) => (word === CHAT_TEMPLATE_PATH ? template : word)));
  const wrong = [
    ["/model", "--no-such-flag"],
    ["/model", "--max-model-len", "many"],
    ["/model", "--runner", "sprint"],
  ];
  const pairs = spellings.flatMap((words) => [
    ["/model", ...words],
    ["/model", ...renderedAnew(words)],
  ]);
  const asked = askParser([...shown, ...wrong, ...pairs]);
  const { flags } = asked;
  const results = asked.results.slice(0, lines.length + wrong.length);
  for (const [i, words] of spellings.entries()) {
    const [own, ours] = asked.results.slice(lines.length + wrong.length + 2 * i);
    assert.equal(own?.error, undefined, words.join(" "));
    assert.deepEqual(ours, own, words.join(" "));
  }
  const profile = profileOf(VLLM_VERSION);
  const listed = Object.entries(profile?.flags ?? {}).flatMap(([flag, { aliases = [], negation = [] }]) =>
    [flag, aliases, negation].flat(),
  );
  assert.deepEqual(listed.sort(), [...flags].sort(), "the profile is the program's own list");
  for (const [i, { what, input, args }] of lines.entries()) {
    assert.equal(results[i]?.error, undefined, `${what}: vllm serve ${args.join(" ")}`);
    const values = results[i]?.values ?? {};
    assert.deepEqual(values["served_model_name"], [input.servedName], what);
    assert.equal(values["model_tag"], "/model", what);
    assert.equal(values["max_model_len"], input.capacity.contextLength, what);
    assert.equal(values["tensor_parallel_size"] ?? 1, input.settings?.tensorParallel ?? input.gpuCount, what);
  }
  const refusals = results.slice(lines.length).map(({ error }) => error ?? "taken");
  assert.match(refusals[0] ?? "", /unrecognized arguments: --no-such-flag/);
  assert.match(refusals[1] ?? "", /max-model-len/);
  assert.match(refusals[2] ?? "", /--runner: invalid choice: 'sprint'/);
});

/** What of the engine's line comes of the user's words. */
function renderedAnew(extraArgs: readonly string[]): string[] {
  const [chat] = Object.values(inputs);
  assert.ok(chat);
  const rendered = engineLine({ ...chat, extraArgs });
  assert.ok("line" in rendered, JSON.stringify(rendered));
  return rendered.line.filter(({ why }) => why === "spec.engine.extraArgs").flatMap(({ words }) => words);
}
