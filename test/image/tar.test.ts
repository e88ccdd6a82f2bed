// Archives as the host's tar reads them, and what ELF files say about themselves.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { linkingOf } from "../../image/elf.ts";
import { tarOf } from "../../image/tar.ts";
import { textFile } from "../../image/tree.ts";
import type { Tree } from "../../image/tree.ts";

const deep = `${"folder/".repeat(30)}${"n".repeat(120)}.txt`;

test("names, owners, modes, links and long paths arrive; order of insertion does not matter", (t) => {
  const entries: Tree = new Map([
    ["z", textFile("last", 0o600)],
    ["bin/run", textFile("#!", 0o755)],
    [deep, textFile("deep")],
    ["link", { kind: "link", target: deep }],
    ["empty", { kind: "folder", mode: 0o1777, owner: { uid: 65532, gid: 3 } }],
  ]);
  const bytes = Buffer.concat(tarOf(entries));
  assert.ok(bytes.equals(Buffer.concat(tarOf(new Map([...entries].reverse())))));
  const folder = mkdtempSync(join(tmpdir(), "berth-tar-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const path = join(folder, "a.tar");
  writeFileSync(path, bytes);
  const listed = execFileSync("tar", ["-tvf", path, "--numeric-owner", "--utc", "--full-time"], { encoding: "utf8" });
  assert.match(listed, /^drwxrwxrwt 65532\/3 +0 1970-01-01 00:00:00 empty\/$/m);
  assert.match(listed, /^-rwxr-xr-x 0\/0 +2 1970-01-01 00:00:00 bin\/run$/m);
  assert.match(listed, /^-rw------- 0\/0 +4 1970-01-01 00:00:00 z$/m);
  assert.ok(listed.includes(` link -> ${deep}\n`));
  execFileSync("tar", ["-xf", path, "-C", folder, deep]);
  assert.equal(readFileSync(join(folder, deep), "utf8"), "deep");
});

test("Node.js' own file names its interpreter and its libraries", { timeout: 20_000 }, (t) => {
  if (process.platform !== "linux" || process.arch !== "x64") return t.diagnostic("NOT RUN: needs Linux on x86-64");
  const { interpreter, needed } = linkingOf(readFileSync(process.execPath));
  assert.equal(interpreter, "/lib64/ld-linux-x86-64.so.2");
  for (const name of ["libc.so.6", "libm.so.6", "libstdc++.so.6"]) assert.ok(needed.includes(name), name);
  assert.throws(() => linkingOf(Buffer.from("#!/bin/sh\n".repeat(10))), /not a 64-bit ELF file/);
});
