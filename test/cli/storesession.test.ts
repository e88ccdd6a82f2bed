// Temporary keys: the token of their session goes to the store with each request, and into no message.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { importCommand } from "../../operator/cli/import.ts";
import { modelsCommand } from "../../operator/cli/models.ts";
import { tinyModel } from "../models/tiny.ts";

function modelFolder(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), "berth-session-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  for (const [path, bytes] of Object.entries(tinyModel())) writeFileSync(join(folder, path), bytes);
  return folder;
}

interface Asked {
  readonly tokens: ReadonlySet<string | undefined>;
  readonly said: string;
}

/** Runs a command against a server that refuses everything and says again what it was sent. */
async function ask(t: TestContext, which: "import" | "models", env: Readonly<Record<string, string>>): Promise<Asked> {
  const tokens = new Set<string | undefined>();
  const server = createServer((request, response) => {
    const token = request.headers["x-amz-security-token"];
    tokens.add(token === undefined ? undefined : String(token));
    const message = `no: ${String(token)}`;
    response.writeHead(403).end(`<Error><Code>AccessDenied</Code><Message>${message}</Message></Error>`);
  });
  await new Promise<void>((resolve) => void server.listen(0, "127.0.0.1", resolve));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  const endpoint = `http://127.0.0.1:${String((server.address() as AddressInfo).port)}`;
  let said = "";
  const take = (text: string): void => void (said += text);
  const io = { env, write: take, complain: take, read: () => Promise.resolve("") };
  const place = ["--endpoint", endpoint];
  if (which === "models")
    await modelsCommand(io, () => undefined).parseAsync(["list", "--store", "s3://b/p", ...place], { from: "user" });
  else {
    const args = ["--from", modelFolder(t), "--to", "s3://b/p", ...place];
    await importCommand(io, () => undefined).parseAsync(args, { from: "user" });
  }
  return { tokens, said };
}

const aws = {
  AWS_ACCESS_KEY_ID: "key-of-source",
  AWS_SECRET_ACCESS_KEY: "secret",
  AWS_SESSION_TOKEN: "token-of-source",
};
const own = { BERTH_STORE_ACCESS_KEY_ID: "key-of-store", BERTH_STORE_SECRET_ACCESS_KEY: "secret-of-store" };

for (const which of ["import", "models"] as const) {
  test(`berth ${which} sends the session's token to the store and shows it to nobody`, async (t) => {
    const { tokens, said } = await ask(t, which, aws);
    assert.deepEqual([...tokens], ["token-of-source"]);
    assert.match(said, /no: \*\*\*/);
    assert.ok(!said.includes("token-of-source"), said);
    const session = { BERTH_STORE_SESSION_TOKEN: "token-of-store" };
    assert.deepEqual([...(await ask(t, which, { ...aws, ...own, ...session })).tokens], ["token-of-store"]);
  });

  test(`berth ${which} sends no token of another key`, async (t) => {
    assert.deepEqual([...(await ask(t, which, { ...aws, ...own })).tokens], [undefined]);
  });
}
