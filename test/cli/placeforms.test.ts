// Places in arguments of the commands that people run: what has another form is a wrong flag, with what to write, before anything is opened.
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Command } from "commander";
import { importerConfig } from "../../operator/config.ts";
import { exitCodeOf } from "../../operator/cli/exitcode.ts";
import { importCommand } from "../../operator/cli/import.ts";
import { inspectCommand } from "../../operator/cli/inspect.ts";
import { ledgerCommand } from "../../operator/cli/ledger.ts";
import { modelsCommand } from "../../operator/cli/models.ts";
import { sourcePlace, storeURL } from "../../operator/cli/placeforms.ts";
import { usageCommand } from "../../operator/cli/usage.ts";

interface IO {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly write: (text: string) => void;
  readonly complain: (text: string) => void;
  readonly read: () => Promise<string>;
}
type Make = (io: IO, end: (code: number) => void) => Command;

const commands: Readonly<Record<string, Make>> = {
  import: importCommand,
  inspect: inspectCommand,
  ledger: ledgerCommand,
  models: modelsCommand,
  usage: usageCommand,
};

/** Runs `berth` with these words. */
async function run([name = "", ...args]: readonly string[]): Promise<{ code: number; said: string }> {
  let said = "";
  const say = (text: string): void => void (said += text);
  const io = { env: {}, write: say, complain: say, read: () => Promise.resolve("") };
  const make = commands[name];
  assert.ok(make);
  const heard = (end: (code: number) => void): Command => {
    const command = make(io, end);
    for (const each of command.commands) each.configureOutput({ writeErr: say });
    return command;
  };
  return { code: await exitCodeOf(heard, args, io), said };
}

const to = "import --from /model --to";
const from = "import --to file:///store --from";
const storage = "write s3://bucket/prefix or file:///path";
const source = "write a folder, s3://bucket/prefix or hf://org/name";
const server = "write http://host:port or https://host";

for (const [words, why] of [
  [`${to} nonsense`, `is no URL: ${storage}`],
  [`${to} ftp://x`, `has another scheme: ${storage}`],
  [`${to} file://relative/x`, `names a host: ${storage}`],
  [`${to} s3:///x`, `names no bucket: ${storage}`],
  [`${to} s3://b/%zz`, `holds a % that begins no code, or the code of a slash: ${storage}`],
  [`${to} file:///a%2Fb`, `holds a % that begins no code, or the code of a slash: ${storage}`],
  [`${to} file:///models/c#`, `holds ? or #, which in a path are %3F and %23: ${storage}`],
  [`${to} s3://key:word@b/x`, `names more than a bucket before its path: ${storage}`],
  [`${to} s3://AKIAEXAMPLE:wJal/rXUtn@b/x`, `is no URL: ${storage}`],
  [`${to} s3://b/x --endpoint nonsense`, `is no http or https URL: ${server}`],
  [`${to} s3://b/x --endpoint ftp://key:wJal/rXUtn@h/`, `is no http or https URL: ${server}`],
  [`${to} s3://b/x --endpoint https://key:word@h/`, `names a user or a key before its host: ${server}`],
  [`${from} ftp://x`, `has another scheme: ${source}`],
  [`${from} file://relative/x`, `names a host, and no path from the root on: ${source}`],
  [`${from} s3:///x`, `names no bucket: ${source}`],
  [`${from} s3://key:word@b/x`, `names more than a bucket before its path: ${source}`],
  [`${from} s3://AKIAEXAMPLE:wJal/rXUtn@b/x`, `names more than a bucket before its path: ${source}`],
  [`${from} hf://`, `names no repository: ${source}`],
  ["inspect s3://", `names no bucket: ${source}`],
  ["models list --store nonsense", `is no URL: ${storage}`],
  ["models list --store s3://key:word@b/x", `names more than a bucket before its path: ${storage}`],
  ["models verify --store s3://b/%zz", `holds a % that begins no code, or the code of a slash: ${storage}`],
  ["models gc --store s3://b/x --endpoint b:9000", `is no http or https URL: ${server}`],
  ["ledger verify --ledger-url file://relative/x", `names a host: ${storage}`],
  ["ledger verify --ledger-url s3://b/x --endpoint nonsense", `is no http or https URL: ${server}`],
  ["usage --ledger-url nonsense", `is no URL: ${storage}`],
  ["usage --ledger-url s3://b/x --ledger-endpoint nonsense", `is no http or https URL: ${server}`],
  ["usage --server nonsense", `is no http or https URL: ${server}`],
] as const)
  test(`berth ${words} is a wrong flag that ${why.split(":")[0] ?? ""}`, async () => {
    const { code, said } = await run(words.split(" "));
    assert.equal(code, 2, said);
    assert.ok(said.includes(` It ${why}.`), said);
    assert.doesNotMatch(said, /key:|word|AKIA|wJal|rXUtn/);
  });

test("places of the right form are taken as they are", () => {
  const stores = ["s3://b", "s3://b/models/Llama%203/", "file:///var/lib/berth", "file:///a%20b", "s3://B_1.c/x"];
  assert.deepEqual(stores.map(storeURL), stores);
  const sources = [
    "models",
    "../x y",
    "/srv/a#b",
    "C:/x",
    "file:///srv/x",
    "s3://b/%zz#1",
    "hf://org/name@main",
    "hf://gpt2",
  ];
  assert.deepEqual(sources.map(sourcePlace), sources);
});

for (const [flags, words] of [
  [
    { storeUrl: "s3://b/%zz" },
    `--store-url "s3://b/%zz" holds a % that begins no code, or the code of a slash: ${storage}`,
  ],
  [{ storeUrl: "s3://key:word@b/x" }, `--store-url "s3://…@b/x" names more than a bucket before its path: ${storage}`],
  [{ storeEndpoint: "b:9000" }, `--store-endpoint "b:9000" is no http or https URL: ${server}`],
  [{ storeUrl: "s3://AKIAEXAMPLE:wJal/rXUtn@b/x" }, `--store-url "s3://…@b/x" is no URL: ${storage}`],
  [{ storeUrl: "ftp://AKIAEXAMPLE:wJal/rXUtn@b/x" }, `--store-url is "ftp://…@b/x": begin it with s3:// or file://`],
  [{ storeUrl: "AKIAEXAMPLE:wJal/rXUtn@b/x" }, `--store-url is "…@b/x": begin it with s3:// or file://`],
  [{ storeUrl: `s3://AKIAEXAMPLE:${"wJal/rXUtn".repeat(30)}@b/x` }, `--store-url "s3://…@b/x" is no URL: ${storage}`],
] as const)
  test(`a role that is started with ${Object.values(flags).join("").slice(0, 60)} says the same`, () => {
    assert.throws(
      () => importerConfig({ storeUrl: "file:///store", ...flags }, {}),
      (error: Error) => {
        assert.ok(error.message.includes(words), error.message);
        return true;
      },
    );
  });
