/** Verification of a ledger in a directory: intact as sealed; each kind of damage is named. */
import assert from "node:assert/strict";
import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { pathToFileURL } from "node:url";
import { gunzipSync, gzipSync } from "node:zlib";

import { openLedger } from "../../operator/adapters/ledger/open.ts";
import { putClosing } from "../../operator/controllers/closing.ts";
import { verifyLedger } from "../../operator/controllers/verify.ts";
import { gone, sealerAt } from "./sealerrig.ts";

let root = "";
let copies = 0;
before(async () => {
  root = await mkdtemp(join(tmpdir(), "berth-verify-"));
  const ledger = openLedger({ url: pathToFileURL(join(root, "sealed")).href });
  await putClosing(ledger, gone);
  await sealerAt({ ledger, at: "12:06:00" }).sealer.pass();
});
after(() => rm(root, { recursive: true, force: true }));

const open = (place: string) => openLedger({ url: pathToFileURL(place).href });
const at = (h: string, file: string) => `v1/dt=2026-11-21/hr=${h}/${file}`;
const segment = (h: string) => at(h, "segment-r0.ndjson.gz");
const manifest = (h: string) => at(h, "manifest.json");

async function damaged(harm: (path: (key: string) => string) => Promise<void>, head?: string): Promise<string[]> {
  const place = join(root, `copy-${copies++}`);
  await cp(join(root, "sealed"), place, { recursive: true });
  await harm((key) => join(place, key));
  const { findings } = await verifyLedger(open(place), head === undefined ? {} : { head });
  return findings.map(({ key, line, problem }) => `${key}:${line ?? ""} ${problem}`);
}

async function edit(path: string, change: (text: string) => string): Promise<void> {
  await writeFile(path, gzipSync(change(gunzipSync(await readFile(path)).toString())));
}

test("a sealed ledger is intact and chained, and its head stands in it", async () => {
  const ledger = open(join(root, "sealed"));
  const { windows, unchained, head, findings } = await verifyLedger(ledger);
  assert.deepEqual({ windows, unchained, findings }, { windows: 3, unchained: 0, findings: [] });
  assert.deepEqual((await verifyLedger(ledger, { head: head?.sha256 ?? "" })).findings, []);
});

test("an edited, doubled, reordered or missing line is named", async () => {
  const edited = await damaged((path) =>
    edit(path(segment("10")), (text) => text.replace(/"billableNodeSeconds":2740/, '"billableNodeSeconds":2741')),
  );
  assert.ok(
    edited.some((one) => one.startsWith(`${segment("10")}:2 does not add up`)),
    edited.join("\n"),
  );
  const reordered = await damaged((path) =>
    edit(path(segment("10")), (text) => `${text.trim().split("\n").reverse().join("\n")}\n`),
  );
  assert.ok(
    reordered.some((one) => one.startsWith(`${segment("10")}:3 is doubled or out of order`)),
    reordered.join("\n"),
  );
  const missing = await damaged((path) => edit(path(segment("10")), (text) => text.slice(text.indexOf("\n") + 1)));
  assert.ok(
    missing.some((one) => one.includes("holds 3 lines, its manifest says 4")),
    missing.join("\n"),
  );
});

test("a segment that is cut off, or gone, is named", async () => {
  const cut = await damaged(async (path) =>
    writeFile(path(segment("11")), (await readFile(path(segment("11")))).subarray(0, 40)),
  );
  assert.ok(cut[0]?.startsWith(segment("11")), cut.join("\n"));
  assert.deepEqual(await damaged((path) => rm(path(segment("11")))), [`${segment("11")}: is missing`]);
});

test("a manifest that is edited or removed breaks the chain after it; a tail that was cut off is known by the head", async () => {
  const edited = await damaged(async (path) => {
    const text = await readFile(path(manifest("09")), "utf8");
    await writeFile(path(manifest("09")), text.replace(/"cluster":"./, '"cluster":"x'));
  });
  assert.ok(
    edited.some((one) => one.startsWith(`${manifest("10")}: is chained to another`)),
    edited.join("\n"),
  );
  const removed = await damaged((path) => rm(path(manifest("10"))));
  assert.ok(
    removed.some((one) => one.startsWith(`${manifest("11")}: follows the window`)),
    removed.join("\n"),
  );
  const { head } = await verifyLedger(open(join(root, "sealed")));
  const tail = await damaged((path) => rm(path(manifest("11"))), head?.sha256);
  assert.ok(
    tail.some((one) => one.includes("the tail was cut off or rewritten")),
    tail.join("\n"),
  );
});

test("a place without any sealed window is not called intact", async () => {
  const { findings, head } = await verifyLedger(open(join(root, "nowhere")));
  assert.equal(head, undefined);
  assert.match(findings[0]?.problem ?? "", /holds no sealed window/);
});
