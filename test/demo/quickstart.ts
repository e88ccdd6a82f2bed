// A copy of examples/quickstart/ for this run: the same files, with the bucket's real address and credentials in them.
import { mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { repoDir } from "../cluster/paths.ts";

export const quickstartDir = join(repoDir, "examples", "quickstart");

export interface Bucket {
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
export function substituted(files: Readonly<Record<string, string>>, bucket: Bucket): Record<string, string> {
  const replacements = [
    [placeholders.endpoint, bucket.endpoint],
    [placeholders.secretAccessKey, `secretAccessKey: ${JSON.stringify(bucket.secretAccessKey)}`],
    [placeholders.accessKeyId, `accessKeyId: ${JSON.stringify(bucket.accessKeyId)}`],
  ] as const;
  const texts = Object.values(files);
  for (const [from] of replacements) {
    if (!texts.some((text) => text.includes(from))) throw new Error(`examples/quickstart no longer holds "${from}"`);
  }
  const edit = (text: string): string => replacements.reduce((all, [from, to]) => all.replaceAll(from, to), text);
  return Object.fromEntries(Object.entries(files).map(([name, text]) => [name, edit(text)]));
}

/** Writes the copy into `folder`, readable by its owner alone, since it holds credentials. */
export function copyQuickstart(folder: string, bucket: Bucket): void {
  const names = readdirSync(quickstartDir).filter((name) => name.endsWith(".yaml"));
  const files = Object.fromEntries(names.map((name) => [name, readFileSync(join(quickstartDir, name), "utf8")]));
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  for (const [name, text] of Object.entries(substituted(files, bucket))) {
    writeFileSync(join(folder, name), text, { mode: 0o600 });
  }
}
