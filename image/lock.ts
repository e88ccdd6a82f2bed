// Writes the pins of image/debian/*.lock anew from the versions that the host's apt index has now: `node image/lock.ts`.
// For Debian 12 on x86-64; what an image takes from these packages is decided in operator.ts and engine.ts.
import { execFile } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { download, lockPath, sha256Of } from "./debian.ts";

/** Only these: the image takes single files out of them. */
const OPERATOR = ["base-files", "ca-certificates", "gcc-12-base", "libc6", "libgcc-s1", "libstdc++6"];
/** With all that they depend on: Python, what vLLM's libraries link to, and lscpu, which vLLM calls. */
const ENGINE = ["bash", "coreutils", "libgomp1", "libnuma1", "libstdc++6", "python3.11", "util-linux"];
/** Depended on for installing or logging in, never for running. */
const NOT_NEEDED = ["debconf", "dpkg", "tar", "mawk", "libaudit-common", "util-linux-extra", "debianutils"];

/** What apt would install into an empty system. */
async function closureOf(names: readonly string[]): Promise<string[]> {
  const empty = ["-o", "Dir::State::status=/dev/null", "-o", "Debug::NoLocking=1"];
  const { stdout } = await promisify(execFile)("apt-get", [
    "--simulate",
    ...empty,
    "--no-install-recommends",
    "install",
    ...names,
  ]);
  const found = [...stdout.matchAll(/^Inst (\S+)/gm)].map(([, name = ""]) => name);
  return found.filter((name) => !NOT_NEEDED.includes(name));
}

async function write(lock: "operator" | "engine", names: readonly string[]): Promise<void> {
  const work = mkdtempSync(join(tmpdir(), "berth-lock-"));
  try {
    await download(names, work);
    const lines = readdirSync(work).map((file) => {
      const [name = "", version = ""] = file.split("_");
      return `${name} ${decodeURIComponent(version)} ${sha256Of(join(work, file))}`;
    });
    const head = "# Debian 12 (bookworm), amd64: name, version, SHA-256 of the .deb. Written by image/lock.ts.\n";
    writeFileSync(lockPath(lock), `${head}${lines.sort().join("\n")}\n`);
    process.stdout.write(`${lockPath(lock)}: ${String(lines.length)} packages\n`);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

await write("operator", OPERATOR);
await write("engine", await closureOf(ENGINE));
