// 10,000 mutated answers to a listing (a million in `make soak`), as XML, in pieces, with statuses of success and of refusal: read or
// refused in bounded words, never a crash, a hang or memory without bound. They stand where a connection's answer would, below the
// client's own limits, XML reader and errors; 500 (50,000) come over real connections. The seed is printed; SEED= repeats it.
import assert from "node:assert/strict";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { Readable } from "node:stream";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { newS3Client } from "../../operator/adapters/s3/client.ts";
import { sourceError } from "../../operator/adapters/s3/errors.ts";
import { listPage } from "../../operator/adapters/s3/listpage.ts";
import { newS3Source } from "../../operator/adapters/s3/source.ts";
import { problemOf } from "../../operator/controllers/modelimport.ts";
import { pathFault } from "../../operator/plan/model/keynames.ts";
import { filesOf } from "../../operator/plan/model/listing.ts";
import { isProblem } from "../../operator/plan/model/problem.ts";
import type { ObjectSource } from "../../operator/ports.ts";
import { systemClock } from "../../operator/runtime/clock.ts";
import { listSource } from "../../operator/transfer/listing.ts";
import { chooser, fuzzRuns, fuzzSeed, mutated } from "./mutate.ts";
import type { Choose } from "./mutate.ts";

const encode = (text: string): Uint8Array => new TextEncoder().encode(text);

const entry = (path: string): string =>
  `<Contents><Key>m/${path}</Key><LastModified>2026-01-01T00:00:00Z</LastModified><ETag>&quot;e&quot;</ETag><Size>10</Size></Contents>`;
const listed = (head: string, paths: readonly string[]): Uint8Array =>
  encode(`<?xml version="1.0"?>\n<ListBucketResult>${head}${paths.map(entry).join("")}</ListBucketResult>`);
const refused = '<?xml version="1.0"?><Error><Code>SlowDown</Code><Message>later</Message></Error>';
const whole = ["config.json", "model.safetensors", "tokenizer.json"];
const seeds = [
  listed("<IsTruncated>false</IsTruncated>", whole),
  listed("<EncodingType>url</EncodingType><IsTruncated>false</IsTruncated>", [...whole, "a%20b.json", "%E2%80%AE.txt"]),
  listed("<IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>", whole),
  encode(refused),
];

const words = [
  "<", ">", "</", "/>", "&", ";", "&quot;", "&#0;", "&#x202e;", "&#1114112;", "&lol;", "<![CDATA[", "]]>", "<!--", "-->", "<?x?>",
  '<!DOCTYPE a [<!ENTITY lol "lol">]>', ' a="b"', ' xmlns="x"', "<Contents>", "</Contents>", "<Contents/>", "<Key/>", "<Key>", "</Key>",
  "<Size>-1</Size>", "<Size>1e999</Size>", "<Size>18446744073709551616</Size>", "<Size/>", "<ETag/>", "<IsTruncated>true</IsTruncated>",
  "<NextContinuationToken>t</NextContinuationToken>", "<EncodingType>url</EncodingType>", "<__proto__>", "<constructor>", "%", "%2e%2e%2f",
  "../", "\0", "\r", "\ufeff", "\u202e", "é",
].map(encode); // prettier-ignore

/** What an element may hold, whatever it should. */
const texts = [
  "", "-1", "0", "1e999", "NaN", "18446744073709551616", "true", "TRUE", "false", "url", "t", "m/", "m/../x", "m//x", "m/a.py", "n/config.json",
  "m/%2e%2e%2fx", "m/%E0%A4%A", "m/%00.json", "&#0;", "m/&#x202e;.json", "m/" + "a".repeat(300), "m/CONFIG.JSON", "&lt;Key&gt;", "__proto__", "&quot;f&quot;",
]; // prettier-ignore

/** One to three elements of an answer that is well formed hold something else. */
function heldOtherwise(choose: Choose): Uint8Array {
  let text = new TextDecoder().decode(seeds[choose(seeds.length)]);
  for (let steps = 1 + choose(3); steps > 0; steps -= 1) {
    const held = [...text.matchAll(/(?<=>)[^<]*(?=<\/)/g)];
    const one = held[choose(Math.max(1, held.length))];
    if (one)
      text = text.slice(0, one.index) + (texts[choose(texts.length)] ?? "") + text.slice(one.index + one[0].length);
  }
  return encode(text);
}

/** Mostly of success, for a server may put anything below any status. */
const statuses = [200, 200, 200, 200, 200, 200, 204, 206, 301, 403, 404, 503];

/** One or a few pieces, cut anywhere. */
function pieces(bytes: Uint8Array, choose: Choose): Uint8Array[] {
  const cut = choose(bytes.length + 1);
  return choose(3) === 0 ? [bytes.subarray(0, cut), bytes.subarray(cut)] : [bytes];
}

/** Counts its answers; each is another one. */
function newAnswers() {
  const choose = chooser(fuzzSeed);
  const answers = {
    given: 0,
    next() {
      answers.given++;
      const bytes = choose(3) === 0 ? heldOtherwise(choose) : mutated(seeds, choose, words);
      return { statusCode: statuses[choose(statuses.length)] ?? 200, body: pieces(bytes, choose) };
    },
  };
  return answers;
}

/** Lists until `count` answers were given, and holds each outcome to what the importer relies upon; resolves with the models served. */
async function listThrough(
  t: TestContext,
  source: Pick<ObjectSource, "list">,
  answers: { readonly given: number },
  count: number,
): Promise<number> {
  const retry = { clock: systemClock, tries: 1, baseMs: 1 };
  const before = process.memoryUsage.rss();
  const startedMs = performance.now();
  let [halfway, slowestMs, read, served] = [before, 0, 0, 0];
  while (answers.given < count) {
    const isEarly = answers.given < count / 2;
    const beganMs = performance.now();
    try {
      const objects = await listSource(source as ObjectSource, "m", retry);
      read++;
      const listing = filesOf(objects, "m", 1e12);
      if (!isProblem(listing)) {
        served++;
        for (const { path } of listing.files) assert.equal(pathFault(path), undefined);
      } else assert.ok(listing.message.length < 1_000 && !/\p{Cc}/u.test(listing.message), listing.message);
    } catch (error) {
      const problem = problemOf(error);
      const where = `seed ${String(fuzzSeed)} answer ${String(answers.given)}: ${String(error)}`;
      assert.ok(problem && problem.message.length < 1_000 && !/\p{Cc}/u.test(problem.message), where);
    }
    slowestMs = Math.max(slowestMs, performance.now() - beganMs);
    if (isEarly) halfway = process.memoryUsage.rss();
  }
  const [grownMiB = 0, lateMiB = 0] = [before, halfway].map((then) => (process.memoryUsage.rss() - then) / 2 ** 20);
  t.diagnostic(`seed ${String(fuzzSeed)}: ${String(answers.given)} answers, ${String(read)} listings read, ${String(served)} served, slowest ${slowestMs.toFixed(1)} ms, ${((performance.now() - startedMs) / 1000).toFixed(1)} s`); // prettier-ignore
  assert.ok(slowestMs < 5_000, `a listing took ${slowestMs.toFixed(0)} ms`);
  assert.ok(grownMiB < 512 && lateMiB < 128, `memory grew by ${grownMiB.toFixed(0)} MiB, ${lateMiB.toFixed(0)} late`);
  assert.ok(served < read && read < count, "mutations reach every side of the reader");
  return served;
}

test("mutated answers to a listing are read or refused", async (t) => {
  const endpoint = "http://127.0.0.1:9";
  const client = newS3Client({ endpoint, region: "us-east-1", maxAttempts: 1 });
  t.after(() => client.destroy());
  const answers = newAnswers();
  client.config.requestHandler.handle = () => {
    const { statusCode, body } = answers.next();
    return Promise.resolve({ response: { statusCode, headers: {}, body: Readable.from(body) } } as never);
  };
  const place = { endpoint, bucket: "b", hidden: [] };
  const list: ObjectSource["list"] = (prefix, next, signal) =>
    listPage({ client, bucket: "b" }, prefix, next, signal).catch((error: unknown) => {
      throw sourceError(error, place);
    });
  assert.ok((await listThrough(t, { list }, answers, fuzzRuns)) > 0, "some are still models");
});

test("so they are where they come over connections", async (t) => {
  const answers = newAnswers();
  const server = createServer((_request, response) => {
    const { statusCode, body } = answers.next();
    response.writeHead(statusCode);
    for (const piece of body) response.write(piece);
    response.end();
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const endpoint = `http://127.0.0.1:${String((server.address() as AddressInfo).port)}`;
  const source = newS3Source({ endpoint, region: "us-east-1", bucket: "b" });
  t.after(() => {
    source.close();
    server.closeAllConnections();
    server.close();
  });
  await listThrough(t, source, answers, fuzzRuns / 20);
});
