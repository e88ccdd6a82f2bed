// One file that runs with nothing beside it: dist/berth.mjs. Kept out of the type-checked tree, since it is a build step.
import { build } from "esbuild";
import { chmod } from "node:fs/promises";

await build({
  entryPoints: ["operator/main.ts"],
  outfile: "dist/berth.mjs",
  bundle: true,
  platform: "node",
  target: "node24",
  format: "esm",
  minify: true,
  keepNames: true,
  sourcemap: "linked",
  splitting: false,
  legalComments: "external",
  // Some dependencies are CommonJS and ask for require, __filename and __dirname.
  banner: {
    js: '#!/usr/bin/env node\nimport { createRequire as __createRequire } from "node:module"; import { fileURLToPath as __toPath } from "node:url"; const require = __createRequire(import.meta.url); const __filename = __toPath(import.meta.url); const __dirname = __toPath(new URL(".", import.meta.url));',
  },
  logLevel: "warning",
});
await chmod("dist/berth.mjs", 0o755);
