// The demo's own logic; that it runs is shown by `make demo`.
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Chapter } from "./chapter.ts";
import { chapters, selectChapters } from "./chapters.ts";
import { flagsOf } from "./chapters/serve.ts";
import { substituted } from "./examples.ts";
import { newScreen } from "./screen.ts";
import { duration, fitTable, wrap } from "./text.ts";

const names = (selected: readonly Chapter[]): string[] => selected.map(({ name }) => name);

test("every chapter needs only earlier ones, and names are unique", () => {
  for (const [at, { needs }] of chapters.entries()) {
    const earlier = names(chapters.slice(0, at));
    assert.deepEqual(
      needs.filter((name) => !earlier.includes(name)),
      [],
    );
  }
  assert.equal(new Set(names(chapters)).size, chapters.length);
});

test("runs all chapters by default; KEEP=1 leaves the removal out", () => {
  assert.deepEqual(selectChapters(chapters, { keep: false }), chapters);
  assert.deepEqual(names(selectChapters(chapters, { keep: true })), names(chapters).slice(0, -1));
});

test("CHAPTERS brings what the named ones need, in the order of the story", () => {
  assert.deepEqual(names(selectChapters(chapters, { names: "remove, dedicated", keep: false })), [
    "serve",
    "dedicated",
    "remove",
  ]);
});

test("an unknown chapter is refused with the names that exist", () => {
  assert.throws(() => selectChapters(chapters, { names: "serve bill", keep: false }), {
    message: /no chapter "bill": write one or more of serve, import, catalogue, dedicated/,
  });
});

const storage = { endpoint: "http://127.0.0.1:4321", accessKeyId: "id", secretAccessKey: "se'cret" };
const secret = "berth.dev/endpoints: http://127.0.0.1:9000\naccessKeyId: example\nsecretAccessKey: example-secret\n";

test("examples get the run's endpoint and credentials", () => {
  const { "1.yaml": text } = substituted({ "1.yaml": secret, "2.yaml": "endpoint: http://127.0.0.1:9000\n" }, storage);
  assert.equal(text, `berth.dev/endpoints: http://127.0.0.1:4321\naccessKeyId: "id"\nsecretAccessKey: "se'cret"\n`);
});

test("an example without the placeholders is noticed", () => {
  assert.throws(() => substituted({ "1.yaml": "endpoint: https://s3.example.org\n" }, storage), /no longer holds/);
});

test("tables fit: names are shortened first, then columns at the right end left out", () => {
  const table = [
    "NAME                                   NODE TYPE   REASON",
    "019ae601-f1e7-464b-a56a-857d241e5fed   l4-1        NodesReady",
  ].join("\n");
  assert.equal(fitTable(table, 100), table);
  assert.deepEqual(fitTable(table, 40).split("\n"), [
    "NAME              NODE TYPE   REASON",
    "019ae60…41e5fed   l4-1        NodesReady",
  ]);
  assert.deepEqual(fitTable(table, 28).split("\n"), ["NAME               NODE TYPE", "019ae601…41e5fed   l4-1"]);
});

test("flags stay with their values, and durations read well", () => {
  assert.deepEqual(flagsOf(["/model", "--port", "8000", "--quiet"]), ["/model", "--port 8000", "--quiet"]);
  assert.deepEqual(wrap("one two three", 7), ["one two", "three"]);
  assert.equal(duration(5230), "5.2 s");
  assert.equal(duration(65_000), "1 min 05 s");
});

test("without a terminal every milestone is one line, and a row that is not done is marked", () => {
  const written: string[] = [];
  const out = { write: (text: string) => written.push(text) > 0 };
  const screen = newScreen(out, { live: false, colours: false, startedAt: Date.now() });
  const board = screen.board();
  const row = board.row("nodes");
  row.say("0 of 1", true);
  row.say("0 of 1", true);
  row.say("moving");
  board.row("pods").done("1 of 1");
  screen.stop();
  board.close();
  row.done("late");
  const lines = written.map((line) => line.trimEnd().replace(/ +[\d.]+ s$/, ""));
  assert.deepEqual(lines, [
    "   · nodes            0 of 1",
    "   ✓ pods             1 of 1",
    "   ✗ nodes            moving",
  ]);
});
