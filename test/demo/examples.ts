// Copies of folders of examples/ for this run: the same files, with the object storage's real address and credentials.
import { mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { repoDir } from "../cluster/paths.ts";

export interface ObjectStorage {
  readonly endpoint: string;
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
}

/** What stands in the committed files for what only a run knows. */
const placeholders = {
  endpoint: "http://127.0.0.1:9000",
  accessKeyId: "accessKeyId: example",
  secretAccessKey: "secretAccessKey: example-secret",
} as const;

/** Replaces the placeholders in the files' texts; throws when one of them is nowhere, since the copy would then not work. */
export function substituted(files: Readonly<Record<string, string>>, storage: ObjectStorage): Record<string, string> {
  const replacements = [
    [placeholders.endpoint, storage.endpoint],
    [placeholders.secretAccessKey, `secretAccessKey: ${JSON.stringify(storage.secretAccessKey)}`],
    [placeholders.accessKeyId, `accessKeyId: ${JSON.stringify(storage.accessKeyId)}`],
  ] as const;
  const texts = Object.values(files);
  for (const [from] of replacements) {
    if (!texts.some((text) => text.includes(from))) throw new Error(`the example no longer holds "${from}"`);
  }
  const edit = (text: string): string => replacements.reduce((all, [from, to]) => all.replaceAll(from, to), text);
  return Object.fromEntries(Object.entries(files).map(([name, text]) => [name, edit(text)]));
}

/** Copies `examples/<name>` into `folder`, readable by its owner alone, since it holds credentials; returns `folder`. */
export function copyExample(name: string, folder: string, storage: ObjectStorage): string {
  const source = join(repoDir, "examples", name);
  const names = readdirSync(source).filter((file) => file.endsWith(".yaml"));
  const files = Object.fromEntries(names.map((file) => [file, readFileSync(join(source, file), "utf8")]));
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  for (const [file, text] of Object.entries(substituted(files, storage))) {
    writeFileSync(join(folder, file), text, { mode: 0o600 });
  }
  return folder;
}
