// The hub's read side against a small local hub over real files.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test, type TestContext } from "node:test";
import { openHub } from "../../../operator/adapters/hub/source.ts";
import { RetryError, TerminalError } from "../../../operator/runtime/errors.ts";
import { tinyModel } from "../../models/tiny.ts";
import { COMMIT, startHub, TOKEN } from "./hubserver.ts";

function folderOf(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), "hub-"));
  t.after(() => rmSync(folder, { recursive: true }));
  for (const [name, content] of Object.entries(tinyModel())) writeFileSync(join(folder, name), content);
  return folder;
}

const isTerminal =
  (reason: string, says: RegExp) =>
  (error: unknown): boolean => {
    assert.ok(error instanceof TerminalError, String(error));
    assert.equal(error.reason, reason);
    assert.match(error.message, says);
    return true;
  };

describe("a hub", () => {
  test("pins a branch to its commit, lists with sizes over pages, and reads ranges", async (t) => {
    const hub = await startHub(t, { folder: folderOf(t), repo: "org/tiny", pageSize: 1 });
    const source = await openHub({ endpoint: hub.url, repo: "org/tiny" });
    assert.equal(source.commit, COMMIT);
    const first = await source.list("");
    assert.ok(first.next);
    const objects = [...first.objects];
    for (let next: string | undefined = first.next; next !== undefined;) {
      const page: Awaited<ReturnType<typeof source.list>> = await source.list("", next);
      objects.push(...page.objects);
      next = page.next;
    }
    assert.deepEqual(
      objects.map(({ key }) => key),
      Object.keys(tinyModel()).sort(),
    );
    const weights = objects.find(({ key }) => key === "model.safetensors");
    assert.ok(weights);
    assert.equal(weights.etag, "sha256-model.safetensors");
    const bytes = await source.read(weights, 8, 2);
    assert.equal(Buffer.from(bytes).toString(), '{"');
    assert.ok(hub.asked.every(({ authorized }) => !authorized));
  });

  test("says in its own words why a gated model is refused, and opens it with a token that no redirect carries away", async (t) => {
    const folder = folderOf(t);
    const network = await startHub(t, { folder, repo: "cdn/only" });
    const elsewhere = network.url.replace("127.0.0.1", "localhost");
    const hub = await startHub(t, { folder, repo: "org/gated", gated: true, redirectTo: elsewhere });
    await assert.rejects(
      openHub({ endpoint: hub.url, repo: "org/gated" }),
      isTerminal("AccessDenied", /Access to model org\/gated is restricted/),
    );
    const source = await openHub({ endpoint: hub.url, repo: "org/gated", token: TOKEN });
    const { objects } = await source.list("");
    const config = objects.find(({ key }) => key === "config.json");
    assert.ok(config);
    const bytes = await source.read(config, 0, config.sizeBytes);
    assert.match(Buffer.from(bytes).toString(), /LlamaForCausalLM/);
    assert.equal(network.asked.length, 1);
    assert.equal(network.asked[0]?.authorized, false);
  });

  test("names a repository that is not there, and refuses names that are none", async (t) => {
    const hub = await startHub(t, { folder: folderOf(t), repo: "org/tiny" });
    await assert.rejects(
      openHub({ endpoint: hub.url, repo: "org/other" }),
      isTerminal("RepoNotFound", /Repository not found/),
    );
    for (const repo of ["../../etc", "a/b/c", "", "org/..", "org/x?y", "org/\n"])
      await assert.rejects(openHub({ endpoint: hub.url, repo }), isTerminal("RepoInvalid", /write org\/name/));
    await assert.rejects(
      openHub({ endpoint: hub.url, repo: "a/b", revision: "../x" }),
      isTerminal("RepoInvalid", /org\/name/),
    );
  });

  test("that is away is a fault that passes", async () => {
    await assert.rejects(
      openHub({ endpoint: "http://127.0.0.1:1", repo: "a/b" }),
      (error) => error instanceof RetryError,
    );
  });

  test("whose file changed its size is not read on", async (t) => {
    const folder = folderOf(t);
    const hub = await startHub(t, { folder, repo: "org/tiny" });
    const source = await openHub({ endpoint: hub.url, repo: "org/tiny" });
    const { objects } = await source.list("");
    const config = objects.find(({ key }) => key === "config.json");
    assert.ok(config);
    writeFileSync(join(folder, "config.json"), "{}");
    await assert.rejects(source.read(config, 0, 2), isTerminal("SourceChanged", /has 2 bytes/));
  });
});
