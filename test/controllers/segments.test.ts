import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { pathToFileURL } from "node:url";
import { openLedger } from "../../operator/adapters/ledger/open.ts";
import { readSealed } from "../../operator/controllers/ledgerreads.ts";

test("an hour whose object has gone from the ledger is named", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "berth-ledger-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const ledger = openLedger({ url: pathToFileURL(folder).href });
  const key = "v1/dt=2026-01-01/hr=10/manifest.json";
  await assert.rejects(readSealed(ledger, key), { reason: "LedgerObjectMissing", message: new RegExp(key) });
});
