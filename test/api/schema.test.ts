// Every node of every schema, and the bytes that are committed.
import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { z } from "zod";
import { customResourceDefinitions } from "../../operator/api/crd.ts";
import { generatedFiles, generatedFolders } from "../../operator/api/generate.ts";
import { kinds } from "../../operator/api/kinds.ts";
import { fieldsOf } from "../../operator/api/reference.ts";
import type { Field } from "../../operator/api/reference.ts";
import { samples } from "../../operator/api/samples.ts";
import { matching, rules } from "../../operator/api/schema.ts";
import { structural } from "../../operator/api/structural.ts";

const repository = join(import.meta.dirname, "../..");
const MAX_CRD_BYTES = 60_000;

function fieldsOfKind(kind: string): Field[] {
  const crd = customResourceDefinitions().find((one) => one.spec.names.kind === kind);
  const root = crd?.spec.versions[0]?.schema.openAPIV3Schema;
  assert.ok(root, `no CRD of ${kind}`);
  return fieldsOf(root);
}

/** Letters of a name or sentence, so that "Node type." is seen to say no more than nodeType. */
function letters(text: string): string {
  return text
    .toLowerCase()
    .replaceAll(/\b(the|a|an|of|this)\b/g, "")
    .replaceAll(/[^a-z]/g, "");
}

for (const { resource } of kinds) {
  describe(`schema of ${resource.kind}`, () => {
    const fields = fieldsOfKind(resource.kind);

    test("every node is described by a sentence that says more than its name", () => {
      for (const { path, node } of fields) {
        const description = node.description ?? "";
        const name = path.split(/[.[]/).at(-1) ?? "";
        assert.ok(description.length >= 20, `${path}: '${description}' is too short`);
        assert.match(description, /^[A-Zv].*\.$/, `${path}: write a sentence`);
        assert.notEqual(letters(description), letters(name), `${path}: the description repeats the name`);
      }
    });

    test("every list says how it merges, and has a bound", () => {
      for (const { path, node } of fields.filter((field) => field.node.type === "array")) {
        const type = node["x-kubernetes-list-type"];
        assert.ok(type === "map" || type === "set" || type === "atomic", `${path}: list type ${String(type)}`);
        assert.ok(node.maxItems, `${path}: maxItems is missing`);
        for (const key of node["x-kubernetes-list-map-keys"] ?? []) {
          assert.ok(node.items?.required?.includes(key), `${path}: key ${key} must be required`);
        }
      }
    });

    test("every string and map has a bound", () => {
      for (const { path, node } of fields) {
        if (node.type === "string") assert.ok(node.maxLength ?? node.enum, `${path}: maxLength is missing`);
        if (node.additionalProperties) assert.ok(node.maxProperties, `${path}: maxProperties is missing`);
        assert.ok(!(node.properties && node.additionalProperties), `${path}: properties beside additionalProperties`);
      }
    });

    test("every integer has the width that its bound needs and, in spec, a bound", () => {
      for (const { path, node } of fields.filter((field) => field.node.type === "integer")) {
        assert.ok(node.minimum !== undefined, `${path}: minimum is missing`);
        assert.equal(node.format, node.maximum === undefined || node.maximum >= 2 ** 31 ? "int64" : "int32", path);
        if (path.startsWith("spec")) assert.ok(node.maximum !== undefined, `${path}: maximum is missing`);
      }
    });

    test("every rule has a message that says what to do", () => {
      for (const { path, node } of fields) {
        for (const { rule, message } of node["x-kubernetes-validations"] ?? []) {
          assert.ok(message.length >= 30, `${path}: '${message}' is too short for ${rule}`);
        }
      }
    });

    test("there is a sample", () => assert.ok(samples[resource.kind]));
  });
}

test("a construct without structural counterpart is refused with its path", () => {
  const schema = z.object({ either: z.union([z.string(), z.int()]) });
  assert.throws(() => structural(schema, "spec"), /^Error: spec\.either: 'anyOf' has no structural counterpart$/);
});

test("rules add up over all the ways in which a schema is refined", () => {
  const schema = rules(matching(z.string().max(9), "^a", "begins with a"), { rule: "self != 'ab'", message: "not ab" });
  const list = structural(z.object({ it: schema.optional().describe("Something.") }), "spec").properties?.["it"];
  assert.deepEqual(
    list?.["x-kubernetes-validations"]?.map(({ message }) => message),
    ["begins with a", "not ab"],
  );
});

test("kinds and short names are called once", () => {
  for (const key of ["plural", "kind"] as const) {
    assert.equal(new Set(kinds.map(({ resource }) => resource[key])).size, kinds.length);
  }
  assert.deepEqual(
    kinds.map(({ shortName }) => shortName),
    ["mdep", "mdl", "cmdl", "nt", "gnp", "cc", "ldg"],
  );
});

describe("generated files", () => {
  const files = generatedFiles();

  test("are committed as `make generate` writes them", () => {
    for (const [path, text] of files) {
      assert.ok(readFileSync(join(repository, path), "utf8") === text, `${path} is stale: run make generate`);
    }
  });

  test("are all that lies in their folders", () => {
    for (const folder of generatedFolders) {
      for (const name of readdirSync(join(repository, folder))) {
        assert.ok(files.has(`${folder}/${name}`), `${folder}/${name} is not generated: remove it`);
      }
    }
  });

  test("are CRDs of less than 60 kB", () => {
    for (const [path, text] of files) {
      if (path.endsWith(".yaml")) assert.ok(Buffer.byteLength(text) < MAX_CRD_BYTES, `${path}: ${text.length} bytes`);
    }
  });

  test("are the same for the same sources", () => assert.deepEqual(generatedFiles(), files));

  test("leave no template of their own to helm but the switch", () => {
    for (const [path, text] of files) {
      if (!path.startsWith("charts/")) continue;
      const open = text.split("\n").filter((line) => line.includes("{{"));
      assert.deepEqual(open, ["{{- if .Values.crds.enabled }}", "{{- end }}"], path);
    }
  });
});
