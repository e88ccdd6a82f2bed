// One file that runs with nothing beside it: dist/berth.mjs. Kept out of the type-checked tree, since it is a build step.
import { build } from "esbuild";
import { chmod, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";

const require = createRequire(import.meta.url);
const folderOf = (name) => dirname(require.resolve(`${name}/package.json`));

/** Memory is a figure that operators of clusters look at: what is never used is not loaded (some 20 MB at start). */
const lean = {
  name: "lean",
  setup(bundle) {
    // Of client-node only kubeconfig loading is used; its 2,700 generated API classes hang on to it.
    const clientNode = import.meta
      .resolve("@kubernetes/client-node")
      .replace(/^file:\/\//, "")
      .replace(/\/index\.js$/, "");
    bundle.onResolve({ filter: /^@kubernetes\/client-node$/ }, () => ({ path: join(clientNode, "config.js") }));
    // CommonJS, so that every name that is imported from it exists and is undefined.
    bundle.onResolve({ filter: /gen\// }, ({ importer }) =>
      importer.includes("client-node/dist/") ? { path: "generated", namespace: "lean-none" } : undefined,
    );
    bundle.onLoad({ filter: /.*/, namespace: "lean-none" }, () => ({ contents: "module.exports = {};" }));
    // Of undici the runtime uses the connection pool; the index, which only the way through a proxy needs, also loads WebSocket,
    // caches and mocks.
    bundle.onResolve({ filter: /^undici$/ }, ({ importer }) =>
      importer.includes("/operator/runtime/") ? { path: "undici-pool", namespace: "lean" } : undefined,
    );
    bundle.onLoad({ filter: /^undici-pool$/, namespace: "lean" }, () => ({
      contents: 'export { default as Pool } from "./lib/dispatcher/pool.js";',
      resolveDir: folderOf("undici"),
    }));
  },
};

const { metafile } = await build({
  entryPoints: ["operator/main.ts"],
  outfile: "dist/berth.mjs",
  bundle: true,
  platform: "node",
  target: "node24",
  format: "esm",
  minify: true,
  keepNames: true,
  sourcemap: "linked",
  legalComments: "external",
  metafile: true,
  plugins: [lean],
  // Some dependencies are CommonJS and ask for require, __filename and __dirname.
  banner: {
    js: '#!/usr/bin/env node\nimport { createRequire as __createRequire } from "node:module"; import { fileURLToPath as __toPath } from "node:url"; const require = __createRequire(import.meta.url); const __filename = __toPath(import.meta.url); const __dirname = __toPath(new URL(".", import.meta.url));',
  },
  logLevel: "warning",
});
await chmod("dist/berth.mjs", 0o755);
// What went in: the image's bill of materials is made of it.
await writeFile("dist/berth.meta.json", JSON.stringify({ inputs: metafile.outputs["dist/berth.mjs"].inputs }));
