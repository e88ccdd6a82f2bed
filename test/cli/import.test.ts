// `berth import` as a process: what it prints, how it ends, and that a killed one goes on. The engine's own faults: test/transfer.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { after, before, test } from "node:test";
import type { TestContext } from "node:test";
import { PutObjectCommand } from "@aws-sdk/client-s3";
import { newS3Client } from "../../operator/adapters/s3/client.ts";
import { defaultName } from "../../operator/cli/import.ts";
import { eventually } from "../cluster/eventually.ts";
import { startFaultProxy } from "../cluster/faultproxy.ts";
import type { FaultProxy, SeenRequest } from "../cluster/faultproxy.ts";
import { startS3 } from "../cluster/s3.ts";
import type { S3Server } from "../cluster/s3.ts";
import { llamaFolder } from "../models/llama.ts";
import { safetensors, tinyModel, uploadFiles } from "../models/tiny.ts";
import { filesBelow, uploadFolder } from "../models/upload.ts";
import { journaledBytes } from "../transfer/journaled.ts";
import { RECORD, digestOf, hashesOf, withoutHash } from "../transfer/bench.ts";
import { chooser, fuzzSeed } from "../transfer/mutate.ts";

const main = join(import.meta.dirname, "../../operator/main.ts");
let s3: S3Server;
let proxy: FaultProxy;
before(async () => {
  s3 = await startS3();
  proxy = await startFaultProxy({ target: s3.endpoint, dialect: "s3" });
  await s3.createBucket("models");
  const client = s3.client();
  await uploadFolder(client, "models", "llama/", llamaFolder());
  await uploadFiles(client, "models", "pickle/", tinyModel({ "pytorch_model.bin": "x" }));
  client.destroy();
});
after(async () => {
  await proxy.close();
  await s3.stop();
});

function newFolder(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), "berth-import-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

interface Ended {
  readonly code: number | null;
  readonly out: string;
  readonly said: string;
}

/** Runs the command; the environment carries the keys, never an argument. */
function start(args: readonly string[], change: Readonly<Record<string, string>> = {}) {
  const { accessKeyId, secretAccessKey } = s3;
  const keys = { AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey };
  const env = { ...process.env, AWS_ENDPOINT_URL_S3: proxy.url, ...keys, ...change };
  const child = spawn(process.execPath, [main, "import", ...args], { env, stdio: ["ignore", "pipe", "pipe"] });
  const text = { out: "", said: "" };
  child.stdout.on("data", (chunk: Buffer) => (text.out += chunk.toString()));
  child.stderr.on("data", (chunk: Buffer) => (text.said += chunk.toString()));
  const ended = new Promise<Ended>((resolve) => child.on("close", (code) => resolve({ code, ...text })));
  return { ended, kill: (signal: NodeJS.Signals) => child.kill(signal) };
}
const run = (args: readonly string[], change?: Readonly<Record<string, string>>): Promise<Ended> =>
  start(args, change).ended;

const bytesOf = (folder: string): number =>
  filesBelow(folder).reduce((sum, path) => sum + statSync(join(folder, path)).size, 0);
const wanted = (): string => digestOf(llamaFolder(), filesBelow(llamaFolder()));

test("a model goes from a bucket into a folder; the digest is the only output, and a second run copies nothing", async (t) => {
  const to = `file://${newFolder(t)}`;
  const first = await run(["--from", "s3://models/llama", "--to", to]);
  assert.deepEqual([first.code, first.out], [0, `${wanted()}\n`], first.said);
  assert.match(
    first.said,
    /100% 36\.1 MB of 36\.1 MB, 11\/11 files, .*\nimported: revision 1 in file:\/\/.*\/models\/local\/llama\/1\/\nway: Directory \(the store is a directory\)\n$/,
  );
  const stored = new Map([...hashesOf(join(to.slice(7), "models/local/llama/1"))].filter(([path]) => !/^MANIFEST|^\.berth/.test(path))); // prettier-ignore
  assert.deepEqual(stored, hashesOf(llamaFolder()));
  const second = await run(["--from", "s3://models/llama", "--to", to, "-o", "json"]);
  const { copied, revision } = JSON.parse(second.out) as { copied: boolean; revision: { digest: string } };
  assert.deepEqual([second.code, copied, revision.digest], [0, false, wanted()]);
});

test("refusals, faults and wrong flags have codes and words of their own, and no secret is told", async (t) => {
  const to = `file://${newFolder(t)}`;
  const cases: readonly (readonly [readonly string[], Readonly<Record<string, string>>, number, RegExp])[] = [
    [["--from", "s3://models/pickle", "--to", to], {}, 4, /^berth import: UnsafeFormat: .*remove pytorch_model\.bin/m],
    [["--from", "s3://models/none", "--to", to], {}, 4, /NoFiles/],
    [["--from", "s3://models/llama", "--to", to, "--max-size", "0.01"], {}, 4, /TooLarge/],
    [["--from", "s3://models/llama", "--to", to], { AWS_SECRET_ACCESS_KEY: "wrong-secret" }, 4, /SignatureDoesNotMatch/],
    [["--from", "s3://models/llama", "--to", to], { AWS_ENDPOINT_URL_S3: "nonsense" }, 4, /AWS_ENDPOINT_URL_S3 "nonsense" is no http or https URL: write/],
    [["--from", "/no/such/folder", "--to", to], {}, 4, /is no folder/],
    [["--from", "s3://models/llama", "--to", to], { AWS_ENDPOINT_URL_S3: "http://127.0.0.1:9" }, 1, /cannot be reached/],
    [["--from", "s3://models/llama", "--to", to], { AWS_ENDPOINT_URL_S3: "", AWS_ENDPOINT_URL: "http://127.0.0.1:9" }, 1, /127\.0\.0\.1:9 cannot be reached/],
    [["--from", "s3://models/llama"], {}, 2, /required option '--to <store>' not specified/],
    [["--from", "x", "--to", to, "--name", "../up"], {}, 2, /Write letters/],
    [["--from", "x", "--to", to, "--max-size", "-1"], {}, 2, /number of GiB/],
    [["--from", "s3://models/模型", "--to", to], {}, 2, /the last part of s3:\/\/models\/模型 makes no name in the store: give --name/],
    [["--help"], {}, 0, /^$/],
  ]; // prettier-ignore
  for (const [args, env, code, words] of cases) {
    const ended = await run(args, env);
    assert.equal(ended.code, code, `${args.join(" ")}: ${ended.said}`);
    assert.match(ended.said, words);
    for (const secret of [s3.secretAccessKey, "wrong-secret"]) assert.ok(!`${ended.out}${ended.said}`.includes(secret));
  }
  assert.match((await run(["--help"])).out, /Exit codes: 0 complete in the store, 1 failed/);
});

test("an empty variable is as good as none, for where a model is read and for what is recorded of it", async (t) => {
  const folder = newFolder(t);
  const env = { AWS_ENDPOINT_URL_S3: "", AWS_ENDPOINT_URL: proxy.url };
  const { code, said } = await run(["--from", "s3://models/llama", "--to", `file://${folder}`], env);
  assert.equal(code, 0, said);
  const path = filesBelow(folder).find((name) => /\/\.berth\/import(s\/[^/]+)?\.json$/.test(name)) ?? "";
  const record = JSON.parse(readFileSync(join(folder, path), "utf8")) as { source: { endpoint: string } };
  assert.equal(record.source.endpoint, proxy.url);
});

test("a dry run inspects and copies nothing", async (t) => {
  const folder = newFolder(t);
  const { code, out } = await run(["--from", "s3://models/llama", "--to", `file://${folder}`, "--dry-run"]);
  assert.deepEqual(
    [code, out],
    [0, `good: LlamaForCausalLM, ${String(bytesOf(llamaFolder()))} bytes; nothing was copied\n`],
  );
  assert.deepEqual(filesBelow(folder), []);
});

/** Two requests of 64 KiB for the headers of two files. */
const headerReads = 2 * 65_536;

function rangeBytes({ headers }: SeenRequest): number {
  const [, from, to] = /^bytes=(\d+)-(\d+)$/.exec(headers.range ?? "") ?? [];
  return Number(to ?? 0) - Number(from ?? 0) + 1;
}

/** Of the command as it is; the engine dies more often in ../transfer/kills.test.ts. */
const rounds = process.env["BERTH_SOAK"] === "1" ? 20 : 3;
test(`kill -9 ${String(rounds)} times: the same digest, nothing of the journal read again, nothing left behind`, async (t) => {
  t.diagnostic(`seed ${String(fuzzSeed)} (SEED= repeats it)`);
  const choose = chooser(fuzzSeed);
  const isWeight = ({ method, path }: SeenRequest): boolean => method === "GET" && path.endsWith(".safetensors");
  const model = llamaFolder({ weightBytes: 72e6, shards: 2 });
  const client = s3.client();
  await uploadFolder(client, "models", "large/", model);
  client.destroy();
  const digest = digestOf(model, filesBelow(model));
  const all = [...filesBelow(model), RECORD, "MANIFEST.json"].sort();
  let killed = 0;
  for (let round = 0; round < rounds; round++) {
    const folder = newFolder(t);
    const args = ["--from", "s3://models/large", "--to", `file://${folder}`];
    // Somewhere inside of the answer to one of the reads: there the connection falls silent, and the process dies once so much
    // of the other file is safe.
    // Of each of the two files the header is read, and then the whole of it.
    const skip = choose(4);
    let seen = 0;
    let safeBytes = 0;
    const silent = Promise.withResolvers<void>();
    const fault = { kind: "stall-after" as const, afterBytes: 0, onSilent: silent.resolve };
    const match = (request: SeenRequest): boolean => {
      const isHit = isWeight(request) && seen++ === skip;
      if (!isHit) return false;
      fault.afterBytes = choose(rangeBytes(request));
      // Without its headers no file is begun.
      safeBytes = rangeBytes(request) > 65_536 ? choose(36e6) : 0;
      return true;
    };
    const rule = proxy.add({ match, fault });
    const first = start(args);
    await Promise.race([silent.promise, first.ended]);
    const isSafe = eventually(() => journaledBytes(folder) >= safeBytes, {
      what: "other parts are safe",
      recheckMs: 10,
    });
    await Promise.race([isSafe, first.ended]);
    if (first.kill("SIGKILL")) killed++;
    await first.ended;
    rule.remove();
    const journaled = journaledBytes(folder);
    const before = proxy.seen.length;
    const { code, out, said } = await run(args);
    const again = proxy.seen
      .slice(before)
      .filter(isWeight)
      .map(rangeBytes)
      .reduce((sum, bytes) => sum + bytes, 0);
    assert.ok(
      again <= bytesOf(model) + headerReads - journaled,
      `${String(again)} bytes were read, although ${String(journaled)} were there`,
    );
    assert.deepEqual([code, out], [0, `${digest}\n`], `seed ${String(fuzzSeed)} round ${String(round)}: ${said}`);
    assert.deepEqual(filesBelow(join(folder, "models/local/large/1")).map(withoutHash).sort(), all);
    assert.deepEqual(filesBelow(folder).length, all.length, "nothing stands beside the model");
  }
  assert.equal(killed, rounds, "each was killed");
});

test("told to stop, it says how to go on", async (t) => {
  const stalled = Promise.withResolvers<void>();
  const match = ({ path }: SeenRequest): boolean => path.endsWith(".safetensors") && (stalled.resolve(), true);
  const rule = proxy.add({ match, fault: { kind: "stall" } });
  t.after(() => rule.remove());
  const importing = start(["--from", "s3://models/llama", "--to", `file://${newFolder(t)}`]);
  await stalled.promise;
  importing.kill("SIGINT");
  const { code, said } = await importing.ended;
  assert.deepEqual([code, /stopped; run it again to go on/.test(said)], [1, true], said);
});

test("the name in the store comes from the place, and is one", () => {
  const names = [
    "s3://b/models/Llama 3/",
    "s3://b",
    "/srv/x/",
    "hf://org/Qwen-3@main",
    "hf://org/Qwen-3",
    "hf://o/q@refs/pr/1",
  ];
  assert.deepEqual(names.map(defaultName), ["Llama-3", "b", "x", "Qwen-3", "Qwen-3", "q"]);
  const at = [
    "/data/me@host/llama",
    "s3://b/team@v1/llama",
    "s3://b/team@v1/mistral",
    "/data/llama@v1",
    "file:///a@b/x",
  ];
  assert.deepEqual(at.map(defaultName), ["llama", "llama", "mistral", "llama-v1", "x"]);
  assert.deepEqual([".", "../x/."].map(defaultName), [basename(process.cwd()), "x"]);
  assert.equal(defaultName(`/m/${"n".repeat(63)}`), "n".repeat(63));
});

test("no name is made of a place whose letters or end would get lost: two models became revisions of one", () => {
  const long = `/m/${"n".repeat(64)}`;
  const places = [
    "/m/模型甲",
    "/m/模型乙",
    "/m/модель-7B",
    "s3://b/Mod\u0065\u0301le",
    "s3://b/…",
    "/",
    long,
    `${long}-int4`,
  ];
  assert.deepEqual(
    places.map(defaultName),
    places.map(() => undefined),
  );
});

test("with --server-side-copy the service of both buckets copies, and the closing lines say so", async () => {
  const large = 17 << 20;
  const weights = safetensors({ w: { dtype: "U8", shape: [large], data_offsets: [0, large] } }, large);
  const client = s3.client();
  // Without a checksum of its own: this server repeats an equal one for every part.
  const owner = newS3Client({ endpoint: s3.endpoint, region: s3.region, credentials: s3 });
  await uploadFiles(client, "models", "copying/", tinyModel({ "model.safetensors": "" }));
  await owner.send(new PutObjectCommand({ Bucket: "models", Key: "copying/model.safetensors", Body: weights }));
  await s3.createBucket("copied");
  owner.destroy();
  client.destroy();
  const places = ["--from", "s3://models/copying", "--to", "s3://copied/p", "--endpoint", proxy.url];
  const { code, said } = await run([...places, "--server-side-copy"]);
  assert.equal(code, 0, said);
  const way = "way: ServerSideCopy (source and store are buckets of one service)";
  assert.ok(said.endsWith(`imported: revision 1 in s3://copied/p/models/local/copying/1/\n${way}\n`), said);
  const second = await run([...places, "--name", "sent", "-o", "json"]);
  const { way: sent } = JSON.parse(second.out) as { way: unknown };
  assert.deepEqual(sent, { way: "StreamedUpload", because: "server-side copy is not enabled" });
});
