// One name of the catalogue: what is applied, left alone or removed.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { ClusterModel } from "../../../operator/api/model.ts";
import { entries } from "../../../operator/catalogue/index.ts";
import { chosen, clusterModelOf } from "../../../operator/catalogue/offer.ts";
import { decideEntry } from "../../../operator/plan/catalogue/plan.ts";

const [entry] = entries;
assert.ok(entry);
const wanted = clusterModelOf(entry);
const live: ClusterModel = { ...wanted, metadata: { ...wanted.metadata, uid: "u" } };
const foreign: ClusterModel = { ...live, metadata: { ...live.metadata, labels: {} } };

describe("an entry", () => {
  test("that is wanted is applied, whether it is there or not", () => {
    for (const there of [undefined, live])
      assert.deepEqual(decideEntry({ wanted, live: there, users: [] }), { do: "apply", object: wanted });
  });

  test("that is neither wanted nor there needs nothing", () => {
    assert.equal(decideEntry({ wanted: undefined, live: undefined, users: [] }).do, "nothing");
  });

  test("whose name the platform has taken is left, which is told with both remedies", () => {
    const decision = decideEntry({ wanted, live: foreign, users: [] });
    assert.ok(decision.do === "leave");
    assert.equal(decision.reason, "CatalogueNameTaken");
    assert.match(decision.message, /catalogue\.exclude.*or delete the ClusterModel/);
  });

  test("of the platform's own is never removed", () => {
    assert.equal(decideEntry({ wanted: undefined, live: foreign, users: [] }).do, "nothing");
  });

  test("that is not wanted any more is removed when it is unused", () => {
    assert.deepEqual(decideEntry({ wanted: undefined, live, users: [] }), { do: "remove", live });
  });

  test("that is not wanted any more stays while deployments use it, and ten of them are named", () => {
    const users = Array.from({ length: 12 }, (_, index) => `team/d${String(index)}`);
    const decision = decideEntry({ wanted: undefined, live, users });
    assert.ok(decision.do === "leave");
    assert.equal(decision.reason, "CatalogueEntryInUse");
    assert.match(decision.message, /team\/d0, .*team\/d9 and 2 more$/);
  });

  test("that is being deleted is waited for", () => {
    const dying = { ...live, metadata: { ...live.metadata, deletionTimestamp: "2026-01-01T00:00:00Z" } };
    assert.equal(decideEntry({ wanted, live: dying, users: [] }).do, "nothing");
  });
});

describe("the platform's choice", () => {
  const names = (include: string[], exclude: string[] = []): string[] =>
    chosen(entries, { include, exclude }).entries.map(({ name }) => name);

  test("is all by a star, less what is excluded", () => {
    assert.equal(names(["*"]).length, entries.length);
    assert.equal(names(["*"], [entry.name]).length, entries.length - 1);
    assert.deepEqual(names(["*"], ["*"]), []);
    assert.deepEqual(names([]), []);
  });

  test("names what the catalogue does not have", () => {
    const { entries: found, unknown } = chosen(entries, { include: [entry.name, "gpt-9"], exclude: ["gpt-8"] });
    assert.deepEqual([found.map(({ name }) => name), unknown], [[entry.name], ["gpt-9", "gpt-8"]]);
  });

  test("of a token goes to the entries whose licence has to be accepted", () => {
    for (const each of entries) {
      const { huggingFace } = clusterModelOf(each, "hub").spec.source;
      const named = huggingFace?.tokenSecretRef?.name;
      assert.equal(named, each.license.acceptanceRequired ? "hub" : undefined, each.name);
    }
  });
});
