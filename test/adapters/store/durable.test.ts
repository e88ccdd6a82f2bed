// What a crash of the machine may take from a store on a disk: every name between the root and an object must have been flushed, in the
// folder that holds it, before the write is told to have succeeded. Traced at Node's own file calls.
import assert from "node:assert/strict";
import { syncBuiltinESMExports } from "node:module";
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import fs from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join, relative } from "node:path";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { openStore } from "../../../operator/adapters/store/open.ts";
import type { ObjectStore } from "../../../operator/ports.ts";

/** Called before a flush of that path; what it returns is called after. */
type OnFlush = (path: string) => () => void;

/** Records the paths, as below `top`, of what is flushed and linked, until the test ends. */
async function trace(t: TestContext, top: string, onFlush: OnFlush = () => () => undefined): Promise<string[]> {
  const calls: string[] = [];
  const paths = new WeakMap<object, string>();
  const say = (what: string, path: string): void => void calls.push(`${what} ${relative(top, path) || "."}`);
  const { open, link, rename } = fs;
  fs.open = async (...args) => {
    const handle = await open(...args);
    paths.set(handle, String(args[0]));
    return handle;
  };
  fs.link = (from, to) => link(from, to).then(() => say("named", String(to)));
  fs.rename = (from, to) => rename(from, to).then(() => say("named", String(to)));
  const probe = await open(top, "r");
  await probe.close();
  const handles = Object.getPrototypeOf(probe) as { sync(this: object): Promise<void> };
  const { sync } = handles;
  handles.sync = async function (this: object) {
    const path = paths.get(this) ?? "?";
    const flushed = onFlush(path);
    await sync.call(this);
    flushed();
    say("flushed", path);
  };
  syncBuiltinESMExports();
  t.after(() => {
    Object.assign(fs, { open, link, rename });
    handles.sync = sync;
    syncBuiltinESMExports();
  });
  return calls;
}

function newPlace(t: TestContext): {
  readonly top: string;
  readonly root: string;
  readonly newStore: () => ObjectStore;
} {
  const top = mkdtempSync(join(tmpdir(), "berth-durable-"));
  t.after(() => rmSync(top, { recursive: true, force: true }));
  const root = join(top, "volume", "berth");
  return { top, root, newStore: () => openStore({ url: `file://${root}`, region: "us-east-1" }) };
}

const key = "models/ns/uid/1/weights.safetensors";
const bytes = new Uint8Array(9);

async function upload(store: ObjectStore): Promise<void> {
  const begun = await store.upload(key, { sizeBytes: 9, partBytes: 9, content: "x" });
  await begun.part(0, bytes, 0);
  await begun.commit(0);
}

const above = [
  ".",
  "volume",
  "volume/berth",
  "volume/berth/models",
  "volume/berth/models/ns",
  "volume/berth/models/ns/uid",
];
const folders = (calls: readonly string[]): string[] =>
  calls.filter((call) => /^flushed [\w./]*$/.test(call) && !call.includes(".incoming")).map((call) => call.slice(8));

for (const [what, write] of [
  ["a small object", (store: ObjectStore) => store.put(key, bytes)],
  ["one that is written once", (store: ObjectStore) => store.put(key, bytes, { ifAbsent: true })],
  ["a large one", upload],
] as const) {
  test(`${what}: the name of every folder that was made for it is flushed, the object's own last`, async (t) => {
    const { top, newStore } = newPlace(t);
    const calls = await trace(t, top);
    await write(newStore());
    const named = calls.indexOf(`named volume/berth/${key}`);
    assert.ok(named >= 0, calls.join("\n"));
    assert.deepEqual([...new Set(folders(calls.slice(0, named)))].sort(), [...above].sort());
    assert.deepEqual(folders(calls.slice(named)), [`volume/berth/${dirname(key)}`]);
    assert.ok(
      calls.findIndex((call) => /^flushed volume\/berth\/\.incoming\/.+/.test(call)) < named,
      "its bytes are flushed first",
    );
  });
}

test("an object that somebody else wrote first is flushed before it is called there", async (t) => {
  const { top, newStore } = newPlace(t);
  await newStore().put(key, bytes);
  const calls = await trace(t, top);
  assert.equal(await newStore().put(key, bytes, { ifAbsent: true }), "exists");
  assert.ok(calls.includes(`flushed volume/berth/${dirname(key)}`), calls.join("\n"));
});

test("names of many small objects, which a thread gives, are flushed before success is told, whoever was first", async (t) => {
  const { top, root, newStore } = newPlace(t);
  const folder = join(root, dirname(key));
  const flushed = new Set<string>();
  const calls = await trace(t, top, (path) => {
    const names = path === folder ? readdirSync(path) : [];
    return () => {
      for (const name of names) flushed.add(name);
    };
  });
  const shared = new Uint8Array(new SharedArrayBuffer(9));
  for (const outcome of ["written", "exists"]) {
    const store = newStore();
    const put = async (name: string): Promise<void> => {
      assert.equal(await store.put(`${dirname(key)}/${name}`, shared, { ifAbsent: true }), outcome);
      assert.ok(flushed.has(name), `the name of ${name} was not flushed`);
    };
    await Promise.all(Array.from({ length: 20 }, (_, n) => put(String(n))));
    const missing = above.filter((path) => outcome === "written" && !folders(calls).includes(path));
    assert.deepEqual(missing, []);
    flushed.clear();
  }
});

test("folders that another process made and may not have flushed are flushed once, and again where they were made anew", async (t) => {
  const { top, root, newStore } = newPlace(t);
  mkdirSync(join(root, dirname(key)), { recursive: true });
  const calls = await trace(t, top);
  const store = newStore();
  const flushedBy = async (work: () => Promise<unknown>): Promise<string[]> => {
    calls.length = 0;
    await work();
    return folders(calls);
  };
  const own = `volume/berth/${dirname(key)}`;
  // Above the root nothing is ours: who mounted the volume there answers for it.
  const first = await flushedBy(() => store.put(key, bytes));
  assert.deepEqual([...new Set(first)].sort(), [...above.slice(2), own].sort());
  assert.deepEqual(await flushedBy(() => store.put(`${key}.index.json`, bytes)), [own]);
  for (const one of [key, `${key}.index.json`]) await store.remove(one);
  const again = await flushedBy(() => store.put(key, bytes));
  assert.deepEqual([...new Set(again)].sort(), [...above.slice(2), own].sort());
});
