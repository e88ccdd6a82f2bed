/** I7: whatever is done to a sealed ledger, verify names the object. */
import assert from "node:assert/strict";
import { cp, mkdtemp, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { after, before, test } from "node:test";
import { pathToFileURL } from "node:url";
import { gunzipSync, gzipSync } from "node:zlib";
import fc from "fast-check";

import { openLedger } from "../../operator/adapters/ledger/open.ts";
import { putClosing } from "../../operator/controllers/closing.ts";
import { verifyLedger } from "../../operator/controllers/verify.ts";
import { runs } from "../propertyruns.ts";
import { gone, sealerAt } from "./sealerrig.ts";

let root = "";
let files: readonly string[] = [];
let head = "";
const sealed = () => join(root, "sealed");

before(async () => {
  root = await mkdtemp(join(tmpdir(), "berth-tamper-"));
  const ledger = openLedger({ url: pathToFileURL(sealed()).href });
  await putClosing(ledger, gone);
  // Into the next day, so that a day root is among the objects.
  await sealerAt({ ledger, at: "2026-11-22T02:06:00Z", shards: 2 }).sealer.pass();
  const found = await verifyLedger(ledger);
  assert.deepEqual(found.findings, []);
  head = found.head?.sha256 ?? "";
  const entries = await readdir(sealed(), { recursive: true, withFileTypes: true });
  files = entries
    .filter((entry) => entry.isFile())
    .map((entry) => relative(sealed(), join(entry.parentPath, entry.name)))
    .sort();
});
after(() => rm(root, { recursive: true, force: true }));

type Harm = { readonly kind: "flip" | "cut" | "drop" | "double" | "swap" | "delete"; readonly where: number };

async function harmed(file: string, { kind, where }: Harm): Promise<boolean> {
  const path = join(root, "harmed", file);
  const packed = file.endsWith(".gz");
  const stored = await readFile(path);
  if (kind === "delete") return rm(path).then(() => true);
  const body = packed ? gunzipSync(stored) : stored;
  const changed = change(body, kind, where);
  await writeFile(path, packed ? gzipSync(changed) : changed);
  return !changed.equals(body);
}

function change(body: Buffer, kind: Harm["kind"], where: number): Buffer {
  const at = where % body.length;
  if (kind === "flip")
    return Buffer.concat([body.subarray(0, at), Buffer.from([(body[at] ?? 0) ^ 1]), body.subarray(at + 1)]);
  if (kind === "cut") return body.subarray(0, at);
  const lines = body.toString().split(/(?<=\n)/);
  const line = where % lines.length;
  if (kind === "drop") lines.splice(line, 1);
  if (kind === "double") lines.splice(line, 0, lines[line] ?? "");
  if (kind === "swap") lines.push(...lines.splice(line, 1));
  return Buffer.from(lines.join(""));
}

test("I7: a changed bit, a cut, a line dropped, doubled or moved, an object deleted: always named by its key", async () => {
  const harm = fc.record({
    file: fc.nat(),
    kind: fc.constantFrom<Harm["kind"]>("flip", "cut", "drop", "double", "swap", "delete"),
    where: fc.nat(),
  });
  await fc.assert(
    fc.asyncProperty(harm, async ({ file, kind, where }) => {
      await rm(join(root, "harmed"), { recursive: true, force: true });
      await cp(sealed(), join(root, "harmed"), { recursive: true });
      const chosen = files[file % files.length] ?? "";
      if (!(await harmed(chosen, { kind, where }))) return;
      const { findings } = await verifyLedger(openLedger({ url: pathToFileURL(join(root, "harmed")).href }), { head });
      // A root that is gone is no more than one that was never written.
      if (kind === "delete" && chosen.endsWith("root.json")) return;
      assert.ok(findings.length > 0, `${kind} ${chosen} at ${where} went unseen`);
      const about = findings.some(({ key }) => key === chosen || key === "v1/" || key.endsWith("/manifest.json"));
      assert.ok(about, `${kind} ${chosen}: ${JSON.stringify(findings)}`);
    }),
    { numRuns: runs(60) },
  );
});
