// `make image`: assembles the operator's image and its SBOM in dist/images without Docker; prints path, digest and size.
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { repoDir } from "../test/cluster/paths.ts";
import { writeArchive } from "./archive.ts";
import { Missing } from "./missing.ts";
import { operatorImage } from "./operator.ts";
import { sbomOf } from "./sbom.ts";

const say = (line: string): void => void process.stdout.write(`${line}\n`);
const folder = join(repoDir, "dist", "images");

async function main(): Promise<void> {
  const image = await operatorImage(say);
  mkdirSync(folder, { recursive: true });
  const paths = { archive: join(folder, "berth.tar"), sbom: join(folder, "berth.cdx.json") };
  writeArchive(image, paths.archive);
  writeFileSync(paths.sbom, `${JSON.stringify(sbomOf(image), undefined, 1)}\n`);
  say(`image   ${image.reference}`);
  say(`digest  ${image.digest}`);
  say(`size    ${(image.sizeBytes / 1e6).toFixed(1)} MB in ${String(image.layers.length)} layers`);
  say(`archive ${paths.archive}`);
  say(`SBOM    ${paths.sbom}`);
}

main().catch((error: unknown) => {
  process.stderr.write(
    `${error instanceof Missing ? error.message : error instanceof Error ? (error.stack ?? "") : String(error)}\n`,
  );
  process.exitCode = 1;
});
