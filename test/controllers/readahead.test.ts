/** Reading ahead changes when objects are read, never what the reader gets. */
import assert from "node:assert/strict";
import { text as textFrom } from "node:stream/consumers";
import { test } from "node:test";

import { readingAhead } from "../../operator/controllers/readahead.ts";
import type { Ledger } from "../../operator/ports.ts";

const keys = ["a", "b", "c", "d", "e"];

function store(answer: (key: string) => string | undefined) {
  const asked: string[] = [];
  const ledger: Pick<Ledger, "read"> = {
    read(key) {
      asked.push(key);
      const text = answer(key);
      if (text === "away") return Promise.reject(new Error(`${key} cannot be reached`));
      const pieces = async function* () {
        yield await Promise.resolve(Buffer.from(text ?? ""));
      };
      return Promise.resolve(text === undefined ? undefined : pieces());
    },
  };
  return { asked, ledger };
}

async function textOf(ledger: Pick<Ledger, "read">, key: string): Promise<string | undefined> {
  const pieces = await ledger.read(key);
  return pieces && textFrom(pieces);
}

test("the next two are asked for with each, and each of them once", async () => {
  const { asked, ledger } = store((key) => `text of ${key}`);
  const ahead = readingAhead(ledger, keys);
  assert.equal(await textOf(ahead, "a"), "text of a");
  assert.deepEqual(asked, ["a", "b", "c"]);
  for (const key of keys.slice(1)) assert.equal(await textOf(ahead, key), `text of ${key}`);
  assert.deepEqual(asked, keys);
});

test("what is skipped, asked for again or not in the list is read as without it", async () => {
  const { asked, ledger } = store((key) => `text of ${key}`);
  const ahead = readingAhead(ledger, keys);
  for (const key of ["a", "d", "a", "z", "d"]) assert.equal(await textOf(ahead, key), `text of ${key}`);
  assert.deepEqual(asked, ["a", "b", "c", "d", "e", "a", "b", "c", "z", "d"]);
});

test("a failure is told to whoever asks for that key, and to nobody else", async () => {
  const { ledger } = store((key) => ({ a: "text", b: "away" })[key]);
  const ahead = readingAhead(ledger, keys);
  assert.equal(await textOf(ahead, "a"), "text");
  await assert.rejects(textOf(ahead, "b"), /b cannot be reached/);
  assert.equal(await textOf(ahead, "c"), undefined);
});
