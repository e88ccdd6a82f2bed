// The catalogue's data: every entry satisfies the schema, names are unique, and what is said has an address.
import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { catalogueEntry, catalogueTasks } from "../../operator/catalogue/schema.ts";
import { entries as bundled } from "../../operator/catalogue/index.ts";
import type { CatalogueEntry } from "../../operator/catalogue/schema.ts";

const root = join(import.meta.dirname, "..", "..");
const folder = join(root, "operator", "catalogue", "entries");
const files = readdirSync(folder).filter((name) => name !== "README.md");

function raw(file: string): unknown {
  return JSON.parse(readFileSync(join(folder, file), "utf8"));
}

const entries: CatalogueEntry[] = files.map((file) => catalogueEntry.parse(raw(file)));

function addresses(value: unknown): string[] {
  if (typeof value === "string") return /^https?:/.test(value) ? [value] : [];
  return typeof value === "object" && value !== null ? Object.values(value).flatMap(addresses) : [];
}

describe("the catalogue's entries", () => {
  test("satisfy the schema and are named as their file", () => {
    for (const file of files) {
      const parsed = catalogueEntry.safeParse(raw(file));
      assert.ok(parsed.success, `${file}: ${JSON.stringify(parsed.error?.issues)}`);
      assert.equal(`${parsed.data.name}.json`, file);
    }
  });

  test("are all in the bundle's list", () => {
    assert.deepEqual(bundled.map(({ name }) => name).toSorted(), entries.map(({ name }) => name).toSorted());
  });

  test("are at least 25, with unique names and sources", () => {
    assert.ok(entries.length >= 25, String(entries.length));
    assert.equal(new Set(entries.map((entry) => entry.name)).size, entries.length);
    assert.equal(new Set(entries.map((entry) => entry.source.huggingFace)).size, entries.length);
  });

  test("cover every task", () => {
    for (const task of catalogueTasks) {
      assert.ok(
        entries.some((entry) => entry.tasks.includes(task)),
        task,
      );
    }
  });

  test("name only https addresses", () => {
    for (const entry of entries) {
      for (const address of addresses(entry)) assert.match(address, /^https:\/\//, entry.name);
    }
  });

  test("carry an architecture, and no code of the model's own", () => {
    for (const { name, facts } of entries) {
      assert.ok(Array.isArray(facts.config["architectures"]) && facts.config["architectures"].length === 1, name);
      assert.ok(!("auto_map" in facts.config), name);
    }
  });
});

describe("the catalogue's schema", () => {
  const [first] = entries;
  assert.ok(first);

  test("refuses a revision without its address, and a branch as a revision", () => {
    const pinned = { huggingFace: first.source.huggingFace, revision: "0".repeat(40) };
    assert.ok(!catalogueEntry.safeParse({ ...first, source: pinned }).success);
    const branch = { ...pinned, revision: "main", revisionSource: "https://example.org" };
    assert.ok(!catalogueEntry.safeParse({ ...first, source: branch }).success);
  });

  test("refuses an unknown field, a plain-text address and tools without a parser", () => {
    assert.ok(!catalogueEntry.safeParse({ ...first, price: 1 }).success);
    assert.ok(!catalogueEntry.safeParse({ ...first, contextSource: "http://example.org" }).success);
    const tools = { calling: true, structuredOutput: true };
    assert.ok(!catalogueEntry.safeParse({ ...first, tools }).success);
  });
});
