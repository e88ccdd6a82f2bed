// The hub's read side against a small local hub over real files.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test, type TestContext } from "node:test";
import { openHub } from "../../../operator/adapters/hub/source.ts";
import type { ObjectSource, SourceObject } from "../../../operator/ports.ts";
import { RetryError, TerminalError } from "../../../operator/runtime/errors.ts";
import { tinyModel } from "../../models/tiny.ts";
import { COMMIT, startHub, TOKEN, type Faults } from "./hubserver.ts";

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

const isPassing =
  (reason: string, says: RegExp) =>
  (error: unknown): boolean => {
    assert.ok(error instanceof RetryError, String(error));
    return isTerminal(reason, says)(error.cause);
  };

async function fileOf(source: ObjectSource, key: string): Promise<SourceObject> {
  const { objects } = await source.list("");
  const found = objects.find((object) => object.key === key);
  assert.ok(found);
  return found;
}

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
    const sha256 = createHash("sha256")
      .update(tinyModel()["model.safetensors"] ?? "")
      .digest("hex");
    assert.equal(weights.sha256, sha256);
    assert.equal(weights.etag, sha256);
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
    await assert.rejects(
      openHub({ endpoint: hub.url, repo: "org/gated", token: "hf_wrong" }),
      isTerminal("AccessDenied", /^(?!.*hf_wrong).*is restricted/),
    );
    const redirectHosts = [new URL(elsewhere).host];
    const source = await openHub({ endpoint: hub.url, repo: "org/gated", token: TOKEN, redirectHosts });
    const { objects } = await source.list("");
    const config = objects.find(({ key }) => key === "config.json");
    assert.ok(config);
    const bytes = await source.read(config, 0, config.sizeBytes);
    assert.match(Buffer.from(bytes).toString(), /LlamaForCausalLM/);
    assert.equal(network.asked.length, 1);
    assert.equal(network.asked[0]?.authorized, false);
    // Where the file stands is known now: the next part costs one request.
    const before = hub.asked.length;
    await source.read(config, 1, 5);
    assert.deepEqual([hub.asked.length - before, network.asked.length], [0, 2]);
    assert.ok(network.asked.every(({ authorized }) => !authorized));
  });

  test("may redirect only to hosts that the administrator lists", async (t) => {
    const folder = folderOf(t);
    const network = await startHub(t, { folder, repo: "cdn/only" });
    const hub = await startHub(t, { folder, repo: "org/tiny", redirectTo: network.url });
    for (const redirectHosts of [[], ["*.hf.co"], ["127.0.0.1"]]) {
      const source = await openHub({ endpoint: hub.url, repo: "org/tiny", token: TOKEN, redirectHosts });
      const config = await fileOf(source, "config.json");
      await assert.rejects(source.read(config, 0, 1), isTerminal("EndpointRedirects", /does not list/));
    }
    assert.deepEqual(network.asked, []);
  });

  test("answers with faults that pass, and with refusals in its own words", async (t) => {
    const faults: Faults = {};
    const hub = await startHub(t, { folder: folderOf(t), repo: "org/tiny", faults });
    const open = () => openHub({ endpoint: hub.url, repo: "org/tiny" });
    const source = await open();
    const config = await fileOf(source, "config.json");
    faults.cutAfterBytes = 3;
    await assert.rejects(source.read(config, 0, 20), isPassing("SourceUnreachable", /./));
    delete faults.cutAfterBytes;
    faults.answeredCommit = "f".repeat(40);
    await assert.rejects(source.read(config, 0, 20), isPassing("SourceChanged", /commit f{40}/));
    for (const [status, body, expected] of [
      [429, "slow down", isPassing("SourceUnreachable", /slow down \(HTTP 429\)/)],
      [503, "maintenance", isPassing("SourceUnreachable", /maintenance/)],
      [
        403,
        "Ask for access on the page",
        isTerminal("AccessDenied", /Ask for access on the page; set spec.source.hugging/),
      ],
      [400, "odd", isTerminal("SourceError", /odd/)],
    ] as const) {
      faults.refuse = { status, body };
      await assert.rejects(open(), expected);
    }
  });

  test("names a revision that is not there, and keeps a commit that is asked for", async (t) => {
    const hub = await startHub(t, { folder: folderOf(t), repo: "org/tiny" });
    const open = (revision: string) => openHub({ endpoint: hub.url, repo: "org/tiny", revision });
    await assert.rejects(open("v9"), isTerminal("RevisionMissing", /no revision v9: .* Invalid rev id: v9/));
    await assert.rejects(open("e".repeat(40)), isTerminal("RevisionMissing", /Invalid rev id/));
    assert.equal((await open(COMMIT)).commit, COMMIT);
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
      isPassing("SourceUnreachable", /127\.0\.0\.1:1 cannot be reached/),
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
    await assert.rejects(source.read(config, 0, 2), isPassing("SourceChanged", /has 2 bytes/));
  });

  test("fills the caller's memory with the range, and touches nothing beside it", async (t) => {
    const faults: Faults = {};
    const hub = await startHub(t, { folder: folderOf(t), repo: "org/tiny", faults });
    const source = await openHub({ endpoint: hub.url, repo: "org/tiny" });
    const file = await fileOf(source, "model.safetensors");
    assert.ok(source.fill, "parts are not gathered first");
    const around = Buffer.alloc(8 + 16 + 8, 0xaa);
    assert.deepEqual(await source.fill(file, 4, around.subarray(8, 24)), { stated: {} });
    assert.ok(around.subarray(8, 24).equals(Buffer.from(await source.read(file, 4, 16))));
    assert.ok([...around.subarray(0, 8), ...around.subarray(24)].every((byte) => byte === 0xaa));
    faults.cutAfterBytes = 5;
    await assert.rejects(source.fill(file, 4, around.subarray(8, 24)), isPassing("SourceUnreachable", /./));
  });
});
