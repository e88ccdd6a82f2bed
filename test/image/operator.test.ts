// The operator's image: the same bytes each time, nothing inside but what the bundle needs, and it runs as it will in a pod.
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { lstatSync, mkdtempSync, readFileSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { writeArchive } from "../../image/archive.ts";
import { Missing } from "../../image/missing.ts";
import { operatorImage } from "../../image/operator.ts";
import { sbomOf } from "../../image/sbom.ts";
import { unpacked } from "./unpacked.ts";

const folder = mkdtempSync(join(tmpdir(), "berth-image-"));
after(() => rmSync(folder, { recursive: true, force: true }));

/** The image, or why it cannot be made here (no Debian 12 apt, not x86-64): the tests then say so and end. */
async function assembled() {
  try {
    return { image: await operatorImage(() => undefined) };
  } catch (error) {
    if (error instanceof Missing) return { missing: error.message };
    throw error;
  }
}

const first = await assembled();
const archive = join(folder, "berth.tar");
if (first.image) writeArchive(first.image, archive);
const read = first.image && unpacked(archive, folder);
const notRun = `NOT RUN: the image was not assembled: ${first.missing ?? ""}`;

test("two assemblies of the same files have the same digest, archive and SBOM", async (t) => {
  if (!first.image) return t.diagnostic(notRun);
  const again = await operatorImage(() => undefined);
  writeArchive(again, join(folder, "again.tar"));
  assert.equal(again.digest, first.image.digest);
  const sum = (path: string): string => createHash("sha256").update(readFileSync(path)).digest("hex");
  assert.equal(sum(join(folder, "again.tar")), sum(archive));
  assert.deepEqual(sbomOf(again), sbomOf(first.image));
});

test("every blob is what its digest says, and both manifests name the same layers", (t) => {
  if (!first.image || !read) return t.diagnostic(notRun);
  const { digest, manifest, configuration, saved, blobPath } = read;
  assert.equal(digest, first.image.digest);
  for (const name of [digest, manifest.config.digest, ...manifest.layers.map((layer) => layer.digest)]) {
    assert.equal(
      `sha256:${createHash("sha256")
        .update(readFileSync(blobPath(name)))
        .digest("hex")}`,
      name,
    );
  }
  const layers = manifest.layers.map((layer) => layer.digest);
  assert.deepEqual(configuration.rootfs.diff_ids, layers);
  assert.deepEqual(
    saved[0]?.Layers.map((path) => path.replace(/^blobs\/sha256\//, "sha256:")),
    layers,
  );
  assert.deepEqual(saved[0]?.RepoTags, [first.image.reference]);
});

test("there is no shell, no second program, nothing setuid, nothing of a builder, and at most 200 MB", (t) => {
  if (!first.image || !read) return t.diagnostic(notRun);
  const { rootDir } = read;
  const paths = readdirSync(rootDir, { recursive: true, encoding: "utf8" });
  const files = paths.filter((path) => lstatSync(join(rootDir, path)).isFile());
  const mode = (path: string): number => lstatSync(join(rootDir, path)).mode;
  const programs = files.filter((path) => (mode(path) & 0o111) !== 0 && !path.includes(".so"));
  assert.deepEqual(programs.sort(), ["app/berth.mjs", "nodejs/bin/node"]);
  assert.deepEqual(
    files.filter((path) => (mode(path) & 0o6022) !== 0),
    [],
  );
  assert.deepEqual(
    paths.filter((path) => /(^|\/)(ba|da|a)?sh$|busybox|node_modules|\.map$/.test(path)),
    [],
  );
  assert.ok(first.image.sizeBytes <= 200e6, `${String(first.image.sizeBytes)} bytes`);
  assert.match(read.configuration.config.User, /^[1-9]\d*:[1-9]\d*$/);
});

test("the certificates are there as one file that OpenSSL reads", (t) => {
  if (!read) return t.diagnostic(notRun);
  const pem = readFileSync(join(read.rootDir, "etc/ssl/certs/ca-certificates.crt"), "utf8");
  const count = pem.match(/-----BEGIN CERTIFICATE-----\n/g)?.length ?? 0;
  assert.ok(count > 100, `${String(count)} certificates`);
  assert.equal(pem.match(/-----END CERTIFICATE-----\n/g)?.length, count);
});

test("it runs as its user in its own root file system, read-only", (t) => {
  if (!read) return t.diagnostic(notRun);
  const { rootDir, configuration } = read;
  const { User, Entrypoint } = configuration.config;
  const steps = `mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec chroot --userspec="$1" "$0" "\${@:2}"`;
  const unshare = ["--mount", "bash", "--norc", "-c"];
  const privileged = spawnSync("unshare", [...unshare, "chroot / true"]).status === 0;
  if (!privileged) return t.diagnostic("NOT RUN: the image's program was not started: needs root with CAP_SYS_ADMIN");
  const run = (...args: string[]): string =>
    execFileSync("unshare", [...unshare, steps, rootDir, User, ...args], {
      encoding: "utf8",
      env: { PATH: process.env["PATH"] },
    });
  assert.match(run(...Entrypoint, "--help"), /Usage: berth/);
  const script = `const fs = require("node:fs"); let wrote = "wrote";
    try { fs.writeFileSync("/tmp/x", ""); } catch (error) { wrote = error.code; }
    console.log(process.getuid(), process.getgid(), wrote, fs.readdirSync("/app").length)`;
  assert.equal(run(Entrypoint[0] ?? "", "-e", script).trim(), "65532 65532 EROFS 3");
});

test("the SBOM names what is inside, with licences and package URLs", (t) => {
  if (!first.image) return t.diagnostic(notRun);
  const sbom = sbomOf(first.image) as {
    specVersion: string;
    serialNumber: string;
    components: { name: string; purl: string; "bom-ref": string; licenses?: { expression: string }[] }[];
    dependencies: { ref: string; dependsOn: string[] }[];
  };
  assert.equal(sbom.specVersion, "1.6");
  assert.match(sbom.serialNumber, /^urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  const purls = sbom.components.map(({ purl }) => purl);
  for (const wanted of [
    /^pkg:npm\/undici@8/,
    /^pkg:npm\/zod@/,
    /^pkg:generic\/node@24/,
    /^pkg:deb\/debian\/libc6@2\.36/,
  ]) {
    assert.ok(
      purls.some((purl) => wanted.test(purl)),
      String(wanted),
    );
  }
  assert.deepEqual(
    purls.filter((purl) => /\/(eslint|esbuild|typescript|fast-check)@/.test(purl)),
    [],
  );
  assert.deepEqual(
    sbom.components.filter(({ licenses }) => !licenses?.[0]?.expression).map(({ name }) => name),
    [],
  );
  const refs = sbom.components.map((component) => component["bom-ref"]);
  assert.equal(new Set(refs).size, refs.length);
  const known = new Set(refs);
  assert.deepEqual(
    sbom.dependencies.flatMap(({ dependsOn }) => dependsOn).filter((ref) => !known.has(ref)),
    [],
  );
});
