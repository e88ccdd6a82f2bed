// `make e2e-setup`: what `make e2e` needs and does not install by itself. Debian's packages go onto the host (this is the only
// place that installs any); vLLM and the images go into the cache folder. What is there already is left as it is.
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { cacheDir } from "../test/cluster/paths.ts";
import { ensureImages } from "./cached.ts";
import { programs } from "../test/realnodes/packages.ts";
import { Missing } from "./missing.ts";
import { installVllm, vllmObstacles } from "./vllm.ts";

const say = (line: string): void => void process.stdout.write(`${line}\n`);

function obstacles(wanted: readonly string[]): string[] {
  const root = process.getuid?.() === 0;
  const list = wanted.join(" ");
  const apt = spawnSync("apt-get", ["--version"]).status === 0;
  return [
    ...(wanted.length > 0 && !apt ? [`apt-get is missing: install ${list} by your distribution's means`] : []),
    ...(wanted.length > 0 && apt && !root ? [`installing ${list} needs root: run "sudo make e2e-setup"`] : []),
    ...vllmObstacles(),
  ];
}

function installPackages(names: readonly string[]): void {
  if (names.length === 0) return say("Debian packages: all there");
  say(`installing ${names.join(", ")} …`);
  const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
  spawnSync("apt-get", ["update", "-q"], { env });
  const run = spawnSync("apt-get", ["install", "-y", "-q", "--no-install-recommends", ...names], {
    env,
    encoding: "utf8",
  });
  if (run.status !== 0)
    throw new Missing(`apt-get install ${names.join(" ")} failed: ${run.stderr.trim().slice(-400)}`);
}

async function main(): Promise<void> {
  const start = Date.now();
  const missing = programs.filter(({ path }) => !existsSync(path));
  const names = [...new Set(missing.map((program) => program.package))];
  const found = obstacles(names);
  if (found.length > 0) throw new Missing(found.join("\n"));
  installPackages(names);
  const { sitePackagesDir } = await installVllm(say);
  say(`vLLM: ${sitePackagesDir}`);
  for (const [name, path] of Object.entries(await ensureImages(say))) say(`image ${name}: ${path}`);
  say(
    `set up in ${((Date.now() - start) / 1000).toFixed(0)} s; everything but Debian's packages lies in ${join(cacheDir())}`,
  );
}

main().catch((error: unknown) => {
  const text = error instanceof Missing ? error.message : error instanceof Error ? error.stack : String(error);
  process.stderr.write(`${text ?? ""}\n`);
  process.exitCode = 1;
});
