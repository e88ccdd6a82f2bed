// The closed set of reasons: code, docs and tests speak of the same ones.
import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";
import fc from "fast-check";
import { conditionReference, reasonsByKind } from "../../operator/api/conditionreference.ts";
import { mergeConditions } from "../../operator/api/conditions.ts";
import type { WantedCondition } from "../../operator/api/conditions.ts";
import { conditionTypes, phases } from "../../operator/api/conditiontypes.ts";
import { rootSchema } from "../../operator/api/crd.ts";
import { kinds } from "../../operator/api/kinds.ts";
import { scanReasons } from "./reasonscan.ts";

const repository = join(import.meta.dirname, "../..");
const FOLDERS = ["operator/plan", "operator/controllers", "operator/transfer", "operator/adapters"] as const;
const found = scanReasons(repository, FOLDERS, ["operator/runtime"]);
/** Answers of `berth store` and last words of `berth fetch` are no conditions: their docs stand with them. */
const STORE = /^operator\/(plan\/store|transfer\/fetch\w*\.ts)/;
const storeDocs = readFileSync(join(repository, "docs/store.md"), "utf8");
const documented = new Set(Object.values(reasonsByKind).flatMap((reasons) => Object.keys(reasons)));

function sources(folder: string, ending: string, except?: string): string[] {
  return readdirSync(join(repository, folder), { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(ending) && !(except !== undefined && name.startsWith(except)))
    .map((name) => readFileSync(join(repository, folder, name), "utf8"));
}

describe("reasons", () => {
  test("that the code sets are all documented", () => {
    const unknown = found.filter(
      ({ reason, place }) => !(STORE.test(place) ? storeDocs.includes(`\`${reason}\``) : documented.has(reason)),
    );
    assert.deepEqual(
      unknown.map(({ reason, place }) => `${reason} at ${place}`),
      [],
      "add them to operator/api/reasons.ts and run make generate",
    );
  });

  test("that are documented are all set by the code", () => {
    const code = FOLDERS.flatMap((folder) => sources(folder, ".ts")).join("\n");
    const idle = [...documented].filter((reason) => !code.includes(`"${reason}"`));
    assert.deepEqual(idle, [], "remove them from operator/api/reasons.ts");
  });

  test("that are documented are each reached by a test", () => {
    const tests = sources("test", ".test.ts", "api/").join("\n");
    const untested = [...documented].filter((reason) => !new RegExp(`\\b${reason}\\b`).test(tests));
    assert.deepEqual(untested, [], "no test names them");
  });

  test("have a meaning and a remedy in sentences", () => {
    const docs = conditionReference();
    for (const [kind, reasons] of Object.entries(reasonsByKind)) {
      for (const [reason, [means, remedy]] of Object.entries(reasons)) {
        assert.match(reason, /^[A-Z][A-Za-z0-9]+$/);
        assert.ok(means.length >= 20 && means.endsWith("."), `${kind} ${reason}: ${means}`);
        assert.match(remedy, /\.$/, `${kind} ${reason}: ${remedy}`);
        assert.ok(docs.includes(`| \`${reason}\` | ${means} | ${remedy} |`), `${reason} is missing in the docs`);
      }
    }
  });
});

test("the scan sees reasons wherever code spells them out", (t) => {
  const folder = mkdtempSync(join(tmpdir(), "berth-reasons-"));
  t.after(() => rmSync(folder, { recursive: true }));
  mkdirSync(join(folder, "src"));
  const lines = [
    "const refuse = (message: string, reason: string) => ({ reason, message });",
    'export const a = [refuse("Text", "InCall"), { reason: b === "Not" ? "Left" : ("Right" as const) }];',
    'export const c = { type: "Warning", reason: d ?? "OnEvent", message: "Other" };',
  ];
  writeFileSync(join(folder, "src/code.ts"), lines.join("\n"));
  assert.deepEqual(
    scanReasons(folder, ["src"]).map(({ reason, place, event }) => `${reason} ${place} ${event}`),
    [
      "InCall src/code.ts:2 false",
      "Left src/code.ts:2 false",
      "Right src/code.ts:2 false",
      "OnEvent src/code.ts:3 true",
    ],
  );
});

describe("phases and condition types", () => {
  test("of the docs are those of the schemas", () => {
    for (const [kind, meanings] of Object.entries(phases)) {
      const definition = kinds.find(({ resource }) => resource.kind === kind);
      assert.ok(definition);
      const schema = rootSchema(definition).properties?.["status"]?.properties?.["phase"];
      assert.deepEqual(
        meanings.map(([name]) => name),
        schema?.enum,
      );
    }
  });

  test("of the docs are set by the code", () => {
    const code = sources("operator/plan", ".ts").concat(sources("operator/controllers", ".ts")).join("\n");
    for (const [kind, types] of Object.entries(conditionTypes)) {
      for (const [type] of types) assert.ok(code.includes(`"${type}"`), `${kind}: nothing sets ${type}`);
    }
  });
});

describe("mergeConditions", () => {
  const wanted: fc.Arbitrary<WantedCondition> = fc.record({
    type: fc.constantFrom("Ready", "Serving", "CapacityReady"),
    status: fc.constantFrom("True" as const, "False" as const, "Unknown" as const),
    reason: fc.constantFrom("Serving", "Deleting"),
    message: fc.string(),
  });
  const list = fc.uniqueArray(wanted, { selector: ({ type }) => type });
  const at = (seconds: number, generation = 1): { now: number; generation: number } => ({
    now: Date.UTC(2026, 0, 1) + seconds * 1000 + 17,
    generation,
  });

  test("moves a transition time only when the status flips", () => {
    fc.assert(
      fc.property(list, list, (first, second) => {
        const before = mergeConditions(undefined, first, at(0));
        const after = mergeConditions(before, second, at(60, 2));
        assert.deepEqual(
          after.map(({ type }) => type),
          second.map(({ type }) => type),
        );
        for (const condition of after) {
          const old = before.find(({ type }) => type === condition.type);
          const kept = old?.status === condition.status;
          assert.equal(condition.lastTransitionTime, `2026-01-01T00:0${kept ? 0 : 1}:00Z`);
          assert.equal(condition.observedGeneration, 2);
        }
      }),
    );
  });

  test("changes nothing when nothing changed", () => {
    fc.assert(
      fc.property(list, (same) => {
        const before = mergeConditions(undefined, same, at(0));
        assert.deepEqual(mergeConditions(before, same, at(99)), before);
      }),
    );
  });
});
