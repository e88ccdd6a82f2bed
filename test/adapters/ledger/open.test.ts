// Which ledger URLs are taken, before any request is made.
import assert from "node:assert/strict";
import { test } from "node:test";
import { openLedger } from "../../../operator/adapters/ledger/open.ts";

for (const [url, why] of [
  ["ledger", "is no URL"],
  ["https://s3.example.org/ledger", "has another scheme"],
  ["file://host/var/lib/ledger", "names a host"],
  ["s3:///ledger", "names no bucket"],
] as const) {
  test(`${url} is refused: it ${why}`, () => {
    assert.throws(() => openLedger({ url }), {
      name: "TerminalError",
      reason: "LedgerURLInvalid",
      message: `--ledger-url "${url}" ${why}: write s3://bucket/prefix or file:///path`,
    });
  });
}

test("an S3 ledger without credentials says which variables to set", () => {
  assert.throws(() => openLedger({ url: "s3://ledger/berth" }), {
    name: "TerminalError",
    reason: "LedgerCredentialsMissing",
    message: /BERTH_LEDGER_ACCESS_KEY_ID and BERTH_LEDGER_SECRET_ACCESS_KEY/,
  });
});
