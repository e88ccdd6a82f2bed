// `berth import` from a folder: which files it takes for the ones that it knows, and what it says of those that somebody writes to.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { chmodSync, chownSync, linkSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, statSync, symlinkSync, unlinkSync, utimesSync, writeFileSync } from "node:fs"; // prettier-ignore
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { openStore } from "../../operator/adapters/store/open.ts";
import { etagOf } from "../../operator/cli/foldersource.ts";
import type { FileFacts } from "../../operator/cli/foldersource.ts";
import { importCommand } from "../../operator/cli/import.ts";
import { openPlace } from "../../operator/cli/inspectplace.ts";
import { modelsCommand } from "../../operator/cli/models.ts";
import { problemOf } from "../../operator/controllers/modelimport.ts";
import { RetryError } from "../../operator/runtime/errors.ts";
import { importModel } from "../../operator/transfer/import.ts";
import { safetensors, tinyModel } from "../models/tiny.ts";
import type { Files } from "../models/tiny.ts";
import { filesBelow } from "../models/upload.ts";
import { digestOf, jobFor } from "../transfer/bench.ts";

function newFolder(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), "berth-folder-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** As a reproducible archive unpacks: every file of the same age. */
function write(folder: string, files: Files): string {
  for (const [path, content] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    writeFileSync(join(folder, path), content);
    utimesSync(join(folder, path), 1, 1);
  }
  return folder;
}

const weights = (fill: number, dataBytes = 256): Uint8Array => {
  const file = safetensors({ w: { dtype: "U8", shape: [dataBytes], data_offsets: [0, dataBytes] } }, dataBytes);
  return file.fill(fill, file.length - dataBytes);
};
const tuned = (fill: number): Files => tinyModel({ "model.safetensors": weights(fill) });
const digest = (folder: string): string => digestOf(folder, filesBelow(folder));

async function runImport(from: string, to: string) {
  let [code, out, said] = [-1, "", ""];
  const io = { env: {}, write: (text: string) => void (out += text), complain: (text: string) => void (said += text) };
  const command = importCommand(io, (ended) => (code = ended));
  await command.parseAsync(["--from", from, "--to", `file://${to}`, "--name", "chat"], { from: "user" });
  return { code, out: out.trim(), end: said.split("\n").find((line) => /^(imported|already there|berth)/.test(line)) };
}

test("two folders whose files are alike in name, size and age are two states of the model", async (t) => {
  const [one, other, to] = [write(newFolder(t), tuned(1)), write(newFolder(t), tuned(2)), newFolder(t)];
  const where = `file://${to}/models/local/chat`;
  const imported = (n: number): string => `imported: revision ${String(n)} in ${where}/${String(n)}/`;
  assert.deepEqual(await runImport(one, to), { code: 0, out: digest(one), end: imported(1) });
  assert.deepEqual(await runImport(other, to), { code: 0, out: digest(other), end: imported(2) });
  const again = { code: 0, out: digest(other), end: `already there: revision 2 in ${where}/2/` };
  assert.deepEqual(await runImport(other, to), again);
  let listed = "";
  const list = modelsCommand({ env: {}, write: (text) => void (listed += text), read: () => Promise.resolve("") }, () => undefined); // prettier-ignore
  await list.parseAsync(["list", "--store", `file://${to}`], { from: "user" });
  for (const folder of [one, other]) assert.ok(listed.includes(`file://${folder}`), listed);
});

test("a link that leads elsewhere now is another folder, and another way to the same is none", async (t) => {
  const [one, other, links, to] = [write(newFolder(t), tuned(1)), write(newFolder(t), tuned(2)), newFolder(t), newFolder(t)];
  const current = join(links, "current");
  symlinkSync(one, current);
  assert.equal((await runImport(current, to)).out, digest(one));
  assert.match((await runImport(one, to)).end ?? "", /^already there/);
  unlinkSync(current);
  symlinkSync(other, current);
  assert.equal((await runImport(current, to)).out, digest(other));
}); // prettier-ignore

for (const [what, spoil, words] of [
  [
    "a link whose file is gone",
    (folder: string) => symlinkSync("/nowhere/at/all", join(folder, "generation_config.json")),
    /generation_config\.json is a link to \/nowhere\/at\/all, which is not there: bring the file there, or take the link away$/,
  ],
  [
    "a linked folder",
    (folder: string) => symlinkSync(write(join(folder, ".elsewhere"), { "a.json": "{}" }), join(folder, "tokenizer")),
    /tokenizer is a link to \/\S+\/\.elsewhere, a folder, and only links to files are followed: put the folder itself there, or/,
  ],
  [
    "a link in a circle",
    (folder: string) => symlinkSync("merges.txt", join(folder, "merges.txt")),
    /merges\.txt cannot be read \(ELOOP\): let this user read it, or take it away$/,
  ],
  [
    "a pipe",
    (folder: string) => void spawnSync("mkfifo", [join(folder, "vocab.txt")]),
    /vocab\.txt is neither a file nor a folder: take it away$/,
  ],
] as const)
  test(`a folder with ${what} is refused by its path: without it a part would pass for the whole model`, async (t) => {
    const [from, to] = [write(newFolder(t), tuned(1)), newFolder(t)];
    spoil(from);
    const { code, out, end } = await runImport(from, to);
    assert.deepEqual([code, out], [4, ""], end);
    assert.match(end ?? "", words);
    assert.deepEqual(filesBelow(to), []);
  });

test("links to files are followed, as in a hub's cache, and what hidden links lead to is left out", async (t) => {
  const [cache, plain, to] = [newFolder(t), write(newFolder(t), tuned(1)), newFolder(t)];
  const snapshot = join(cache, "snapshots", "0123");
  const files = Object.entries(tuned(1));
  write(join(cache, "blobs"), Object.fromEntries(files.map(([, content], n) => [String(n), content])));
  mkdirSync(snapshot, { recursive: true });
  for (const [n, [path]] of files.entries()) symlinkSync(`../../blobs/${String(n)}`, join(snapshot, path));
  symlinkSync("somebody@host.4711", join(snapshot, ".#config.json"));
  assert.deepEqual(await runImport(snapshot, to).then(({ code, out }) => [code, out]), [0, digest(plain)]);
});

/** Until a change of a file has another time than this one's: clocks of file systems tick some hundred times a second. */
function tick(path: string): void {
  const { ctimeNs } = statSync(path, { bigint: true });
  const probe = `${path}.tick`;
  const endMs = Date.now() + 5_000;
  do {
    assert.ok(Date.now() < endMs, "the file system's clock stands");
    writeFileSync(probe, "x");
  } while (statSync(probe, { bigint: true }).ctimeNs <= ctimeNs);
  unlinkSync(probe);
}

for (const [how, replace] of [
  ["written over in its place", (path: string, bytes: Uint8Array) => writeFileSync(path, bytes)],
  [
    "replaced by a file of the same age",
    (path: string, bytes: Uint8Array) => {
      writeFileSync(`${path}.new`, bytes);
      utimesSync(`${path}.new`, 1, 1);
      renameSync(`${path}.new`, path);
    },
  ],
  [
    "removed and unpacked anew, of the same age and maybe the same inode",
    (path: string, bytes: Uint8Array) => {
      tick(path);
      unlinkSync(path);
      writeFileSync(path, bytes);
      utimesSync(path, 1, 1);
    },
  ],
] as const) {
  test(`weights of the same size that were ${how} are noticed`, async (t) => {
    const [from, to] = [write(newFolder(t), tuned(1)), newFolder(t)];
    await runImport(from, to);
    replace(join(from, "model.safetensors"), weights(2));
    const { out, end } = await runImport(from, to);
    assert.equal(out, digest(from));
    assert.match(end ?? "", /^imported: revision 2/);
  });
}

for (const [how, touch] of [
  ["another mode", (path: string) => chmodSync(path, 0o600)],
  ["another group", (path: string) => chownSync(path, -1, process.getuid?.() === 0 ? 12 : -1)],
  ["another link", (path: string) => linkSync(path, `${path}.txt`)],
] as const) {
  test(`a file that got ${how} is the same: nothing is imported anew, and an import that died goes on`, async (t) => {
    const size = 40 << 20;
    const [from, to] = [write(newFolder(t), tinyModel({ "model.safetensors": weights(1, size) })), newFolder(t)];
    const path = join(from, "model.safetensors");
    const { source } = await openPlace(from, {});
    const offsets: number[] = [];
    const read = async (isLast: boolean): Promise<unknown> => {
      offsets.length = 0;
      const watched: typeof source = {
        ...source,
        async read(object, offset, lengthBytes, signal) {
          const isPart = object.key === "model.safetensors" && lengthBytes > 1 << 20;
          if (isPart) offsets.push(offset);
          if (isPart && offset > 0 && !isLast) throw new RetryError(new Error("killed"));
          return source.read(object, offset, lengthBytes, signal);
        },
      };
      const store = openStore({ url: `file://${to}`, region: "us-east-1" });
      return importModel(jobFor({ source: watched, store, prefix: "" }));
    };
    await assert.rejects(read(false), /killed/);
    assert.ok(offsets.includes(0));
    tick(path);
    touch(path);
    rmSync(`${path}.txt`, { force: true });
    await read(true);
    assert.ok(offsets.length > 0 && !offsets.includes(0), offsets.join(" "));
    const shell = newFolder(t);
    await runImport(from, shell);
    tick(path);
    touch(path);
    rmSync(`${path}.txt`, { force: true });
    assert.match((await runImport(from, shell)).end ?? "", /^already there: revision 1/);
  });
}

test("where a file system tells no time of birth, any change of a file makes it another: a time that cannot be set is needed", (t) => {
  const path = join(write(newFolder(t), { file: "weights" }), "file");
  const { ino, size, mtimeNs, ctimeNs, birthtimeNs } = statSync(path, { bigint: true });
  const facts = { ino, size, mtimeNs, ctimeNs, birthtimeNs };
  const changed = (known: FileFacts): string => etagOf({ ...known, ctimeNs: ctimeNs + 1n });
  assert.equal(changed({ ...facts, birthtimeNs: 1n }), etagOf({ ...facts, birthtimeNs: 1n }));
  assert.notEqual(changed({ ...facts, birthtimeNs: 0n }), etagOf({ ...facts, birthtimeNs: 0n }));
});

for (const [how, disturb] of [
  ["written to", (path: string) => writeFileSync(path, weights(7, 24 << 20))],
  [
    "written to in its place and set back to its age",
    (path: string) => {
      writeFileSync(path, weights(7, 24 << 20));
      utimesSync(path, 1, 1);
    },
  ],
  ["cut short", (path: string) => writeFileSync(path, readFileSync(path).subarray(0, -1))],
  ["taken away", (path: string) => unlinkSync(path)],
] as const) {
  test(`a file that is ${how} in the middle makes no mixture`, async (t) => {
    const [from, to] = [write(newFolder(t), tinyModel({ "model.safetensors": weights(1, 24 << 20) })), newFolder(t)];
    const path = join(from, "model.safetensors");
    tick(path);
    const { source } = await openPlace(from, {});
    let parts = 0;
    const disturbed: typeof source = {
      ...source,
      async read(object, offset, lengthBytes, signal) {
        if (object.key === "model.safetensors" && lengthBytes > 1 << 20 && ++parts === 2) disturb(path);
        return source.read(object, offset, lengthBytes, signal);
      },
    };
    const store = openStore({ url: `file://${to}`, region: "us-east-1" });
    const failure = await importModel(jobFor({ source: disturbed, store, prefix: "" })).catch(problemOf);
    assert.ok(failure && "reason" in failure, JSON.stringify(failure));
    assert.deepEqual([failure.reason, failure.retryable], ["SourceChanged", true], failure.message);
    assert.match(
      failure.message,
      /^model\.safetensors changed while it was read: run it again when nobody writes there/,
    );
    assert.equal(await store.head("models/ns-uid/model-uid/1/MANIFEST.json"), undefined);
    write(from, tuned(3));
    const { code, out } = await runImport(from, to);
    assert.deepEqual([code, out], [0, digest(from)]);
  });
}
