import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";

import type { KubeObject } from "../../operator/ports.ts";
import { labelMatcher } from "../../operator/runtime/selector.ts";
import { compareVersions, newStore, ownerIndex } from "../../operator/runtime/store.ts";
import type { Change } from "../../operator/runtime/store.ts";
import { runs } from "../propertyruns.ts";

interface Thing extends KubeObject {
  readonly value: number;
}

interface LogEntry {
  readonly type: "ADDED" | "MODIFIED" | "DELETED";
  readonly object: Thing;
}

/** What etcd and a watch do: objects with versions, and their events in order. */
class Server {
  readonly objects = new Map<string, Thing>();
  readonly log: LogEntry[] = [];
  version = 95;
  #uids = 0;

  write(name: string, value: number): Thing {
    const before = this.objects.get(name);
    const uid = before?.metadata.uid ?? `uid-${++this.#uids}`;
    const object = { metadata: { name, uid, resourceVersion: String(++this.version) }, value };
    this.objects.set(name, object);
    this.log.push({ type: before ? "MODIFIED" : "ADDED", object });
    return object;
  }

  remove(name: string): string | undefined {
    const before = this.objects.get(name);
    if (!before) return undefined;
    this.objects.delete(name);
    const metadata = { ...before.metadata, resourceVersion: String(++this.version) };
    this.log.push({ type: "DELETED", object: { ...before, metadata } });
    return before.metadata.uid;
  }
}

type Step =
  | { readonly do: "foreign" | "own"; readonly name: string; readonly value: number }
  | { readonly do: "foreign delete" | "own delete"; readonly name: string }
  | { readonly do: "deliver"; readonly count: number }
  | { readonly do: "answer"; readonly nth: number }
  | { readonly do: "list" | "bookmark" };

const name = fc.constantFrom("a", "b", "c");
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 3, arbitrary: fc.record({ do: fc.constantFrom("foreign", "own"), name, value: fc.nat(99) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constantFrom("foreign delete", "own delete"), name }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant("deliver"), count: fc.integer({ min: 1, max: 4 }) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("answer"), nth: fc.nat(5) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constantFrom("list", "bookmark") }) },
);

/** A store that follows the server with delays; own writes answer at any time after they took effect. */
class Follower {
  readonly server = new Server();
  readonly told = new Map<string, Thing>();
  readonly store = newStore<Thing>({}, (change) => this.#take(change));
  /** Answers of own writes under way. */
  readonly answers: (() => void)[] = [];
  /** A list that was taken and has not arrived; no watch runs meanwhile. */
  #list: { readonly items: readonly Thing[]; readonly version: number; readonly logged: number } | undefined;
  #delivered = 0;
  /** All that happened up to here has been told by lists, events or bookmarks; single objects may be known further. */
  #knownUpTo = 0;
  readonly #knownOf = new Map<string, number>();

  constructor() {
    this.store.replace([], String(this.server.version), true);
    this.store.markSynced();
  }

  /** Whoever only listens to changes must see the same objects as the store, and never an older version after a newer. */
  #take({ type, object, old }: Change<Thing>): void {
    const known = this.told.get(object.metadata.name);
    assert.equal(old, type === "added" ? undefined : known);
    if (type === "deleted") return void this.told.delete(object.metadata.name);
    assert.equal(known === undefined, type === "added");
    const before = known?.metadata.resourceVersion ?? "";
    assert.ok(compareVersions(object.metadata.resourceVersion ?? "", before) > 0, "went back in time");
    this.told.set(object.metadata.name, object);
  }

  deliver(count: number): void {
    if (this.#list) return;
    for (const entry of this.server.log.slice(this.#delivered, this.#delivered + count)) {
      this.#knownUpTo = versionOf(entry.object);
      this.#delivered++;
      this.store.event(entry.type, entry.object);
    }
  }

  run(step: Step): void {
    const { server, store } = this;
    switch (step.do) {
      case "foreign":
        return void server.write(step.name, step.value);
      case "own": {
        const object = server.write(step.name, step.value);
        return this.#answerLater(object, () => store.ownWrite(object, true));
      }
      case "foreign delete":
        return void server.remove(step.name);
      case "own delete": {
        // Only what the cache shows is deleted.
        const shown = store.get(undefined, step.name)?.metadata.uid;
        if (!shown || server.objects.get(step.name)?.metadata.uid !== shown) return;
        const uid = server.remove(step.name);
        const last = server.log.at(-1);
        if (uid && last) this.#answerLater(last.object, () => store.ownDelete(uid));
        return;
      }
      case "deliver":
        return this.deliver(step.count);
      case "answer":
        return this.answers.splice(step.nth, 1)[0]?.();
      case "list":
        return this.list();
      case "bookmark":
        this.deliver(Infinity);
        if (!this.#list) store.advance(String(server.version));
    }
  }

  /** Takes a list, or lets the one that was taken arrive. */
  list(): void {
    const { server } = this;
    const list = this.#list;
    if (!list) {
      this.#list = { items: [...server.objects.values()], version: server.version, logged: server.log.length };
      return;
    }
    this.#list = undefined;
    this.#delivered = list.logged;
    this.#knownUpTo = Math.max(this.#knownUpTo, list.version);
    this.store.replace(list.items, String(list.version), false);
  }

  settle(): void {
    if (this.#list) this.list();
    this.deliver(Infinity);
    for (const answer of this.answers) answer();
  }

  #answerLater(object: Thing, answer: () => void): void {
    this.answers.push(() => {
      const { name } = object.metadata;
      this.#knownOf.set(name, Math.max(versionOf(object), this.#knownOf.get(name) ?? 0));
      answer();
    });
  }

  /** The store shows of each object the newest state that it was ever told of. */
  assertExact(): void {
    const expected = new Map<string, Thing>();
    for (const { type, object } of this.server.log) {
      const { name } = object.metadata;
      if (versionOf(object) > Math.max(this.#knownUpTo, this.#knownOf.get(name) ?? 0)) continue;
      if (type === "DELETED") expected.delete(name);
      else expected.set(name, object);
    }
    assert.deepEqual(new Map(this.store.list().map((object) => [object.metadata.name, object])), expected);
    assert.deepEqual(this.told, expected);
    assert.equal(this.store.size, expected.size);
  }
}

function versionOf(object: KubeObject): number {
  return Number(object.metadata.resourceVersion);
}

function thing(name: string, resourceVersion: string, more: object = {}): Thing {
  return { metadata: { name, uid: `uid of ${name}`, resourceVersion, ...more }, value: 0 };
}

describe("store", () => {
  test("shows the newest state it was told of, and ends equal to the server, for any order of events, lists and answers of own writes", () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60, size: "max" }), (steps) => {
        const follower = new Follower();
        for (const next of steps) {
          follower.run(next);
          follower.assertExact();
        }
        follower.settle();
        follower.assertExact();
        assert.deepEqual(follower.told, follower.server.objects);
      }),
      { numRuns: runs(10_000) },
    );
  });

  test("reads its own write before the watch tells of it", () => {
    const store = newStore<Thing>({}, () => undefined);
    store.replace([thing("a", "10")], "10", true);
    store.markSynced();
    store.ownWrite(thing("a", "12"), true);
    store.event("MODIFIED", thing("a", "11"));
    assert.equal(store.get(undefined, "a")?.metadata.resourceVersion, "12");
    assert.equal(store.lastResourceVersion, "11");
  });

  test("does not bring a deleted object back with the late answer of a write", () => {
    const store = newStore<Thing>({}, () => undefined);
    store.replace([thing("a", "10")], "10", true);
    store.markSynced();
    store.event("DELETED", thing("a", "13"));
    store.ownWrite(thing("a", "12"), true);
    assert.equal(store.size, 0);
  });

  test("takes a list that is older than its events for a restored etcd, and follows it", () => {
    const store = newStore<Thing>({}, () => undefined);
    store.replace([thing("a", "1000"), thing("b", "1001")], "1005", true);
    store.replace([thing("a", "40")], "50", false);
    assert.deepEqual(
      store.list().map((object) => object.metadata.resourceVersion),
      ["40"],
    );
    assert.equal(store.lastResourceVersion, "50");
  });

  test("keeps indexes by owner and by own keys as objects change", () => {
    const owned = (uids: readonly string[]) => ({
      ownerReferences: uids.map((uid) => ({ apiVersion: "v1", kind: "K", name: "n", uid })),
    });
    const store = newStore<Thing>({ value: (object) => String(object.value) }, () => undefined);
    store.event("ADDED", thing("a", "1", owned(["x", "y"])));
    store.event("ADDED", thing("b", "2", owned(["x"])));
    assert.equal(store.byIndex(ownerIndex, "x").length, 2);
    store.event("MODIFIED", { ...thing("a", "3", owned(["y"])), value: 7 });
    assert.deepEqual(
      store.byIndex(ownerIndex, "x").map((object) => object.metadata.name),
      ["b"],
    );
    assert.equal(store.byIndex("value", "7").length, 1);
    store.event("DELETED", thing("a", "4"));
    assert.equal(store.byIndex(ownerIndex, "y").length, 0);
    assert.equal(store.byIndex("value", "7").length, 0);
    assert.throws(() => store.byIndex("unknown", "x"), /no index unknown/);
  });

  test("tells of a recreated object as one deleted and one added", () => {
    const changes: string[] = [];
    const store = newStore<Thing>({}, (change) => changes.push(`${change.type} ${change.object.metadata.uid}`));
    store.replace([thing("a", "1", { uid: "first" })], "1", true);
    store.replace([thing("a", "9", { uid: "second" })], "9", false);
    assert.deepEqual(changes, ["added first", "deleted first", "added second"]);
    assert.equal(store.byUid("first"), undefined);
    assert.equal(store.byUid("second")?.metadata.resourceVersion, "9");
  });

  test("orders versions by number, whatever their length", () => {
    assert.ok(compareVersions("99", "100") < 0);
    assert.ok(compareVersions("", "1") < 0);
    assert.equal(compareVersions("184467440737095516150", "184467440737095516150"), 0);
  });
});

describe("label selectors", () => {
  const cases: readonly (readonly [string, Record<string, string> | undefined, boolean])[] = [
    ["", undefined, true],
    ["a=b", { a: "b" }, true],
    ["a==b", { a: "c" }, false],
    ["a=b,c!=d", { a: "b" }, true],
    ["a=b,c!=d", { a: "b", c: "d" }, false],
    ["x in (a, b),y", { x: "b", y: "" }, true],
    ["x in (a,b)", { x: "c" }, false],
    ["x notin (a,b)", {}, true],
    ["x notin (a,b)", { x: "a" }, false],
    ["app.kubernetes.io/managed-by=berth", { "app.kubernetes.io/managed-by": "berth" }, true],
    ["!gone", { gone: "1" }, false],
    ["!gone", {}, true],
  ];
  for (const [selector, labels, expected] of cases) {
    test(`${JSON.stringify(selector)} ${expected ? "takes" : "refuses"} ${JSON.stringify(labels)}`, () => {
      assert.equal(labelMatcher(selector)(labels), expected);
    });
  }

  test("refuses what it cannot read", () => {
    assert.throws(() => labelMatcher("a > b"), /cannot read the label selector/);
  });
});
