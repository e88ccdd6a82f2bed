/**
 * Base of the CPU engine: Python and the libraries that vLLM's wheels link to. vLLM itself is not inside; the node mounts it
 * read-only at VLLM_MOUNT and says so in PYTHONPATH, as GPU nodes mount their drivers. Entry point and user are those of
 * the image vllm/vllm-openai, so that pods written for that one run unchanged.
 */
import { execFile } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { imageOf } from "./archive.ts";
import type { ImageArchive } from "./archive.ts";
import { lockPath, unpackedPackages } from "./debian.ts";
import { Missing } from "./missing.ts";
import type { Progress } from "./missing.ts";
import { mergeLinks, textFile, treeOf, union } from "./tree.ts";
import type { Tree } from "./tree.ts";
import { VLLM_VERSION, hostPython } from "./vllm.ts";

export const ENGINE_REFERENCE = `localhost/vllm-cpu-base:${VLLM_VERSION}`;
/** Where the node mounts the folder of `vllmInstallation()`. */
export const VLLM_MOUNT = "/opt/vllm";

const STANDARD_LIBRARY = "usr/lib/python3.11/";
const NOT_WANTED =
  /^usr\/share\/(man|locale|info|lintian|doc-base|bash-completion|bug|applications|pixmaps)\/|^usr\/sbin\/|^etc\/init\.d/;
const NO_COPYRIGHT = /^usr\/share\/doc\/(?!.*copyright$)/;

/**
 * The program that the image's entry point names; -P and no user site, so that nothing of the working folder is imported.
 * Guarded, since vLLM's engine process is spawned and imports this file again.
 */
const LAUNCHER = `#!/usr/bin/python3.11 -sP
import sys
if __name__ == "__main__":
    from vllm.entrypoints.cli.main import main
    sys.exit(main())
`;

function ownFiles(): Tree {
  const engine = { uid: 2000, gid: 0 };
  return new Map([
    ["usr/bin/python3", { kind: "link", target: "python3.11" }],
    // vLLM calls lscpu through a shell.
    ["usr/bin/sh", { kind: "link", target: "bash" }],
    ["usr/local/bin/vllm", textFile(LAUNCHER, 0o755)],
    ["etc/passwd", textFile("root:x:0:0:root:/root:/usr/sbin/nologin\nvllm:x:2000:0:vllm:/home/vllm:/bin/bash\n")],
    ["etc/group", textFile("root:x:0:\n")],
    ["etc/nsswitch.conf", textFile("passwd: files\ngroup: files\nhosts: files dns\n")],
    ["home/vllm", { kind: "folder", mode: 0o775, owner: engine }],
    [VLLM_MOUNT.slice(1), { kind: "folder", mode: 0o755 }],
    ["tmp", { kind: "folder", mode: 0o1777 }],
  ]);
}

/** Bytecode of the standard library, which Debian makes at installation; valid without a look at times of files. */
async function bytecodeOf(tree: Tree): Promise<Tree> {
  const python = hostPython("json");
  if (!python) throw new Missing("python 3.11 is missing: apt-get install python3.11 (Debian 12)");
  const work = mkdtempSync(join(tmpdir(), "berth-python-"));
  try {
    for (const [path, entry] of tree) {
      if (!path.startsWith(STANDARD_LIBRARY) || !path.endsWith(".py") || entry.kind !== "file") continue;
      mkdirSync(dirname(join(work, path)), { recursive: true });
      writeFileSync(join(work, path), entry.content);
    }
    const options = ["-q", "-j", "2", "--invalidation-mode", "unchecked-hash", "-s", work, "-p", "/"];
    await promisify(execFile)(python, ["-m", "compileall", ...options, join(work, STANDARD_LIBRARY)]);
    return new Map([...treeOf(work)].filter(([path]) => path.endsWith(".pyc")));
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

/** Assembles the base image from pinned Debian packages. Throws {@link Missing}. */
export async function engineImage(progress: Progress): Promise<ImageArchive> {
  const packages = await unpackedPackages(lockPath("engine"), progress);
  const all = union(...packages.map(({ files }) => files));
  const wanted: Tree = new Map([...all].filter(([path]) => !NOT_WANTED.test(path) && !NO_COPYRIGHT.test(path)));
  const tree = union(wanted, mergeLinks(wanted), await bytecodeOf(wanted), ownFiles());
  return imageOf({
    reference: ENGINE_REFERENCE,
    layers: [{ what: "Debian 12: Python and libraries for vLLM's CPU build", tree }],
    config: {
      User: "2000:0",
      Env: ["PATH=/usr/local/bin:/usr/bin", "LANG=C.UTF-8", "PYTHONDONTWRITEBYTECODE=1"],
      Entrypoint: ["vllm", "serve"],
      WorkingDir: "/home/vllm",
    },
  });
}
