// `make bench-import`: what importing costs, each figure beside its peer on the same S3 server with the same files, which lie in the page
// cache. RUNS= sets the runs of a median, LARGE=1 adds the 16 GiB model, LINES="directory small" selects.
import { mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startS3 } from "../cluster/s3.ts";
import type { S3Server } from "../cluster/s3.ts";
import { say } from "./figures.ts";
import { checksumLines } from "./importchecksums.ts";
import { directoryLines } from "./importdirectory.ts";
import { memoryLines } from "./importmemory.ts";
import { resumeLine } from "./importresume.ts";
import { serverCopyLines } from "./importservercopy.ts";
import { smallLines } from "./importsmall.ts";
import { streamLines } from "./importstream.ts";
import { ensurePeers } from "./peers.ts";
import type { Peers } from "./peers.ts";

export interface Bench {
  readonly s3: S3Server;
  readonly peers: Peers | undefined;
  readonly runs: number;
  /** An empty folder on the disk of the cache, removed with the rest. */
  newFolder(): string;
}

const lines: Readonly<Record<string, (bench: Bench) => Promise<void>>> = {
  directory: directoryLines,
  stream: streamLines,
  servercopy: serverCopyLines,
  checksums: checksumLines,
  small: smallLines,
  memory: memoryLines,
  resume: resumeLine,
};

const wanted = (process.env["LINES"] ?? Object.keys(lines).join(" ")).split(" ").filter((name) => name in lines);
const root = mkdtempSync(join(tmpdir(), "berth-bench-import-"));
const s3 = await startS3({ runDir: root, name: "s3" });
let made = 0;
const bench: Bench = {
  s3,
  peers: ensurePeers(),
  runs: Number(process.env["RUNS"] ?? "5"),
  newFolder: () => mkdtempSync(join(root, `folder-${String(made++)}-`)),
};
try {
  for (const name of wanted) await lines[name]?.(bench);
} finally {
  await s3.stop();
  if (statSync(root, { throwIfNoEntry: false })) rmSync(root, { recursive: true, force: true });
  say("done");
}
process.exit(0);
