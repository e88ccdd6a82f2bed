// A store as a map of keys, an importer and a collector as lists of single requests, interleaved and killed by chance.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { manifestText, parseManifest, removedText } from "../../../operator/plan/model/manifest.ts";
import type { StoredFile } from "../../../operator/plan/model/manifest.ts";
import { planFences, planRemovals, withFences } from "../../../operator/plan/store/garbage.ts";
import type { InUse } from "../../../operator/plan/store/garbage.ts";
import { inventoryOf, manifestFolder, stateOf } from "../../../operator/plan/store/inventory.ts";
import type { Inventory, ReadManifest } from "../../../operator/plan/store/inventory.ts";
import { runs } from "../../propertyruns.ts";

const hour = 3_600_000;
const day = 24 * hour;
const now = 100 * day;
const clock = { now, olderThanMs: day };

interface Kept {
  readonly text: string;
  readonly atMs: number;
}
type Store = Map<string, Kept>;
const model = "models/ns/uid/";
const folderOf = (number: number): string => `${model}${String(number)}/`;

function lookAt(store: Store, textSha256 = ""): Inventory {
  const objects = [...store].map(([key, { text, atMs }]) => ({ key, sizeBytes: text.length, modifiedAtMs: atMs }));
  const manifests = new Map<string, ReadManifest>();
  for (const [key, { text }] of store) {
    const folder = manifestFolder(key);
    if (folder === undefined) continue;
    const manifest = parseManifest(text);
    if (text === removedText()) manifests.set(folder, { kind: "removed" });
    else
      manifests.set(
        folder,
        manifest ? { kind: "manifest", manifest, textSha256, record: undefined } : { kind: "damaged" },
      );
  }
  return inventoryOf(objects, [], manifests);
}

/** Content "aaaa" has the hash of its letter. */
const fileOf = (path: string, content: string, key: string): StoredFile => ({
  path,
  sizeBytes: content.length,
  sha256: (content[0] ?? "0").charCodeAt(0).toString(16).padStart(64, "0"),
  key,
});

function manifestAt(store: Store, number: number, files: readonly StoredFile[], atMs: number): void {
  store.set(`${folderOf(number)}MANIFEST.json`, { text: manifestText({ digest: `d${number}`, files }), atMs });
}

/** Every complete revision's objects are there, with the bytes that its manifest names. */
function assertWhole(store: Store): void {
  for (const [key, { text }] of store) {
    const manifest = manifestFolder(key) === undefined ? undefined : parseManifest(text);
    for (const file of manifest?.files ?? []) {
      const content = store.get(model + (file.key ?? "?"))?.text;
      assert.ok(content !== undefined, `${key} names ${String(file.key)}, which is gone`);
      assert.equal(fileOf("", content, "").sha256, file.sha256);
    }
  }
}

const statusNames = (...numbers: number[]): InUse => ({
  models: new Set([model]),
  revisions: new Set(numbers.map(folderOf)),
  digests: new Set(),
  importing: new Set(),
  unlisted: new Set(),
});

/** One request at a time, as plan/store decides: fences, a new look, removals. */
function* collector(store: Store, inUse: InUse): Generator {
  const first = lookAt(store);
  yield;
  for (const fence of planFences(first, inUse, clock)) {
    const key = `${fence.folder}MANIFEST.json`;
    if (fence.do === "retire" || !store.has(key)) store.set(key, { text: removedText(), atMs: now });
    yield;
  }
  const second = lookAt(store);
  yield;
  for (const { keys } of planRemovals(second, inUse, clock)) {
    for (const key of keys) {
      store.delete(key);
      yield;
    }
  }
}

/** An import that points at what earlier revisions hold, as transfer/import.ts goes about it; its writes are new. */
function* importer(store: Store, contents: readonly string[]): Generator {
  const numbers = (): number[] =>
    [...store.keys()].flatMap((key) => (manifestFolder(key) === undefined ? [] : [Number(key.split("/")[3])]));
  const number = Math.max(0, ...numbers()) + 1;
  yield;
  store.set(`${folderOf(number)}.berth/importing`, { text: "{}", atMs: now });
  yield;
  if (Math.max(0, ...numbers()) + 1 !== number) return;
  const held = new Map<string, string>();
  for (const [key, { text }] of [...store]) {
    for (const file of manifestFolder(key) === undefined ? [] : (parseManifest(text)?.files ?? []))
      held.set(file.sha256, file.key ?? "?");
  }
  yield;
  const files: StoredFile[] = [];
  for (const [at, content] of contents.entries()) {
    const place = `${String(number)}/f${String(at)}`;
    // Another state of the source has taken the place: the file gets one of its own.
    const isFree = [undefined, content].includes(store.get(model + place)?.text);
    const own = isFree ? place : `${String(number)}/.berth/objects/${content}/f${String(at)}`;
    const key = held.get(fileOf("", content, "").sha256) ?? own;
    if (key === own && !store.has(model + own)) store.set(model + own, { text: content, atMs: now });
    files.push(fileOf(`f${String(at)}`, content, key));
    yield;
  }
  if (!store.has(`${folderOf(number)}MANIFEST.json`)) manifestAt(store, number, files, now);
  yield;
  // Leftovers of its own folder, now that it is complete.
  const manifest = parseManifest(store.get(`${folderOf(number)}MANIFEST.json`)?.text ?? "");
  const kept = new Set(manifest?.files.map(({ key }) => model + (key ?? "?")));
  for (const key of manifest ? [...store.keys()] : [])
    if (key.startsWith(folderOf(number)) && !kept.has(key) && !key.endsWith("MANIFEST.json")) store.delete(key);
}

const letter = fc.constantFrom("a", "b", "c", "d");
/** Earlier revisions, old, some retired by nobody yet, and what attempts left behind. */
const pastArbitrary = fc.record({
  revisions: fc.array(fc.array(letter, { minLength: 1, maxLength: 3 }), { maxLength: 4 }),
  left: fc.array(letter, { maxLength: 2 }),
  named: fc.array(fc.integer({ min: 1, max: 4 }), { maxLength: 2 }),
});

function pastOf({ revisions, left }: { revisions: string[][]; left: string[] }): Store {
  const store: Store = new Map();
  for (const [at, contents] of revisions.entries()) {
    for (const step of importer(
      store,
      contents.map((one) => one.repeat(4)),
    ))
      void step;
    store.set(`${folderOf(at + 1)}left`, { text: "zzzz", atMs: now });
  }
  for (const [at, one] of left.entries())
    store.set(`${folderOf(revisions.length + 1)}f${String(at)}`, { text: one.repeat(4), atMs: now });
  return new Map([...store].map(([key, { text }]) => [key, { text, atMs: now - 3 * day }]));
}

function run(...works: Generator[]): void {
  for (const work of works) while (work.next().done !== true);
}

describe("collection", () => {
  test("however it is interleaved with imports and wherever it is killed, complete revisions are whole; run again it ends the same", () => {
    const arbitrary = fc.tuple(pastArbitrary, fc.array(letter, { minLength: 1, maxLength: 3 }), fc.array(fc.nat(2), { maxLength: 60 })); // prettier-ignore
    fc.assert(
      fc.property(arbitrary, ([past, contents, turns]) => {
        const store = pastOf(past);
        const inUse = statusNames(...past.named);
        const wanted = [...store].filter(([key]) => past.named.some((n) => key === `${folderOf(n)}MANIFEST.json`));
        const works = [
          collector(store, inUse),
          importer(store, contents.map((one) => one.repeat(4))),
          collector(store, inUse),
        ]; // prettier-ignore
        // Whoever has no turn left was killed there.
        for (const turn of turns) works[turn]?.next();
        assertWhole(store);
        for (const [key, { text }] of wanted) assert.equal(store.get(key)?.text, text, "a named revision stays");
        run(collector(store, inUse));
        assertWhole(store);
        const once = new Map(store);
        run(collector(store, inUse));
        assert.deepEqual([...store], [...once], "nothing is left for a second run");
        run(importer(store, contents.map((one) => one.repeat(4)))); // prettier-ignore
        assertWhole(store);
      }),
      { numRuns: runs(3_000) },
    );
  });

  test("what nothing names is gone in the end, and what is named takes no more room than it must", () => {
    fc.assert(
      fc.property(pastArbitrary, (past) => {
        const store = pastOf(past);
        const inUse = statusNames(...past.named);
        run(collector(store, inUse));
        const named = new Set<string>();
        for (const { text } of store.values())
          for (const { key = "" } of parseManifest(text)?.files ?? []) named.add(model + key);
        const rest = [...store.keys()].filter((key) => !named.has(key) && !key.endsWith("/MANIFEST.json"));
        assert.deepEqual(rest, []);
      }),
      { numRuns: runs(1_000) },
    );
  });
});

const old = now - 3 * day;
function threeRevisions(): Store {
  const store: Store = new Map();
  for (const number of [1, 2, 3]) {
    const text = String(number).repeat(4);
    store.set(`${folderOf(number)}f`, { text, atMs: old });
    manifestAt(store, number, [fileOf("f", text, `${String(number)}/f`)], old);
  }
  return store;
}
const fencesOf = (store: Store, inUse: InUse): string[] =>
  planFences(lookAt(store), inUse, clock).map(({ do: how, folder }) => `${how} ${folder.slice(model.length)}`);

test("without a cluster's word no complete revision goes; with it the newest and the named ones stay", () => {
  const store = threeRevisions();
  const nothing = {
    models: undefined,
    revisions: new Set(),
    digests: new Set(),
    importing: new Set(),
    unlisted: new Set(),
  } as InUse;
  assert.deepEqual(fencesOf(store, nothing), []);
  assert.deepEqual(fencesOf(store, statusNames(1)), ["retire 2/"]);
  assert.deepEqual(fencesOf(store, { ...statusNames(), digests: new Set(["d2"]) }), ["retire 1/"]);
  assert.deepEqual(fencesOf(store, { ...statusNames(), models: new Set(["x"]) }), ["retire 1/", "retire 2/", "retire 3/"]); // prettier-ignore
  assert.deepEqual(fencesOf(store, { ...statusNames(1), importing: new Set(["uid"]) }), []);
});

test("what was written to lately, and a model with a manifest that cannot be read, is left alone", () => {
  const store = threeRevisions();
  store.set(`${folderOf(4)}f`, { text: "4444", atMs: now - hour });
  const inUse = statusNames(3);
  assert.deepEqual(fencesOf(store, inUse), ["retire 1/", "retire 2/"]);
  const fenced = withFences(lookAt(store), planFences(lookAt(store), inUse, clock));
  assert.deepEqual(planRemovals(fenced, inUse, clock), [], "an import is under way, which may point at them");
  store.delete(`${folderOf(4)}f`);
  store.set(`${folderOf(3)}MANIFEST.json`, { text: "{", atMs: old });
  const damaged = withFences(lookAt(store), planFences(lookAt(store), inUse, clock));
  assert.deepEqual(planRemovals(damaged, inUse, clock), []);
  const states = lookAt(store).models.flatMap((one) => one.revisions.map((revision) => stateOf(one, revision)));
  assert.deepEqual(states, ["complete", "complete", "damaged"]);
});

test("records and signatures of imports that came second go, those of the manifest that stands stay", () => {
  const store: Store = new Map();
  store.set(`${folderOf(1)}f`, { text: "1111", atMs: old });
  const text = manifestText({ digest: "d1", files: [fileOf("f", "1111", "1/f")], record: "a".repeat(64) });
  store.set(`${folderOf(1)}MANIFEST.json`, { text, atMs: old });
  const [own, others] = ["a", "b"].map((letter) =>
    ["imports", "signatures"].map((name) => `${folderOf(1)}.berth/${name}/${letter.repeat(64)}.json`),
  );
  for (const key of [...(own ?? []), ...(others ?? [])]) store.set(key, { text: "{}", atMs: old });
  store.set(`${folderOf(1)}.berth/import.json`, { text: "{}", atMs: old });
  const [removal] = planRemovals(lookAt(store, "a".repeat(64)), statusNames(1), clock);
  assert.deepEqual(removal?.keys, [...(others ?? []), `${folderOf(1)}.berth/import.json`]);
});

test("what a shell imported stays, whatever the cluster says; keys of no model are none of ours", () => {
  const inUse = { ...statusNames(), models: new Set(["x"]) };
  const local = new Map([...threeRevisions()].map(([key, kept]) => [key.replace("/ns/", "/local/"), kept]));
  local.set("other/MANIFEST.json", { text: "", atMs: 0 });
  assert.deepEqual(planFences(lookAt(local), inUse, clock), []);
  assert.deepEqual(lookAt(local).foreign, ["other/MANIFEST.json"]);
});
