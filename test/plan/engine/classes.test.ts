// Every flag of every version is owned, allowed or forbidden; what Berth renders exists in each version.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { classOf, classedFlags } from "../../../operator/plan/engine/classes.ts";
import { jsonLists, jsonPolicies } from "../../../operator/plan/engine/limits.ts";
import { engineProfiles, profileOf, removedFlags } from "../../../operator/plan/engine/profile.ts";
import { engineLine } from "../../../operator/plan/engine/render.ts";
import { inputs } from "./commandlines.ts";

const everyFlag = new Set(engineProfiles.flatMap(({ flags }) => Object.keys(flags)));

describe("the classes of flags", () => {
  for (const { version, flags } of engineProfiles) {
    test(`leave no flag of ${version} unclassed`, () => {
      const classed = new Set(classedFlags.map(([flag]) => flag));
      assert.deepEqual(
        Object.keys(flags).filter((flag) => !classed.has(flag)),
        [],
      );
    });
  }

  test("name no flag twice and none that no version has", () => {
    const names = classedFlags.map(([flag]) => flag);
    assert.deepEqual(
      names.filter((flag, i) => names.indexOf(flag) !== i),
      [],
    );
    assert.deepEqual(
      names.filter((flag) => !everyFlag.has(flag)),
      [],
    );
  });

  test("forbid what they do not know", () => {
    assert.equal(classOf("--made-up-tomorrow").kind, "forbidden");
  });

  test("limit allowed flags only", () => {
    for (const flag of [...Object.keys(jsonPolicies), ...jsonLists]) assert.equal(classOf(flag).kind, "allowed", flag);
  });

  test("explain removed flags that no version has any more, but for those that the newest dropped", () => {
    for (const flag of Object.keys(removedFlags)) assert.ok(!(flag in (engineProfiles.at(-1)?.flags ?? {})), flag);
  });
});

describe("profiles", () => {
  test("are found by version, with a build's suffix and a leading v, and by their minor version", () => {
    assert.equal(profileOf("0.32.0")?.version, "0.32.0");
    assert.equal(profileOf("v0.31.1-cu129")?.version, "0.31.0");
    assert.equal(profileOf("0.28")?.version, "0.28.0");
    for (const other of ["0.3.0", "1.32.0", "0.320.0", "nightly", "", "0.27.1"])
      assert.equal(profileOf(other), undefined);
  });

  for (const profile of engineProfiles) {
    test(`of ${profile.version} know every argument that is rendered`, () => {
      for (const [what, input] of Object.entries(inputs)) {
        const rendered = engineLine({ ...input, version: profile.version });
        assert.ok("line" in rendered, what);
        for (const { flag, words } of rendered.line) {
          if (flag === undefined) continue;
          assert.ok(profile.flags[flag], `${what}: ${words.join(" ")}`);
        }
      }
    });
  }

  test("refuse to render for a version that nobody has listed", () => {
    const [input] = Object.values(inputs);
    const rendered = input && engineLine({ ...input, version: "0.99.0" });
    assert.match(
      JSON.stringify(rendered),
      /no list of the arguments of vLLM 0\.99\.0: take an engine version of 0\.28\.x/,
    );
  });
});
