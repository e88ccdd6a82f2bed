/**
 * A thread that writes whole small files. Each of the six calls that a file takes would go from the event loop through Node's pool and
 * back by itself, which costs more than most of the calls: here one message goes there and one comes back. Files are flushed side by
 * side, in the pool. The thread ends when nothing was written for a while.
 */
import { Worker } from "node:worker_threads";

export interface WholeFile {
  /** A new name below `.incoming/`. */
  readonly path: string;
  readonly target: string;
  /** They lie in a SharedArrayBuffer and stay as they are until it is written. */
  readonly bytes: Uint8Array;
  readonly ifAbsent: boolean;
}

/** "unnamed": flushed and still at its path, since the target's folder is not there. */
export type Put = "written" | "exists" | "unnamed";

interface Reply {
  readonly call: number;
  readonly put?: Put;
  readonly fault?: { readonly message: string; readonly code?: string };
}

/** Plain CommonJS in a string: a bundle has no second file that a thread could start from. `fs` is node:fs. */
export const PUT_PROGRAM = `
const { dirname } = require("node:path");
// Level by level: Node's own recursive one has no end where a folder that is there takes none (../makefolders.ts).
function make(fs, folder) {
  const made = () => {
    try {
      fs.mkdirSync(folder);
      return true;
    } catch (error) {
      if (error.code === "EEXIST") return true;
      if (error.code !== "ENOENT") throw error;
      return false;
    }
  };
  if (made() || dirname(folder) === folder) return;
  make(fs, dirname(folder));
  made();
}
function opened(fs, path) {
  for (let tries = 1; ; tries++) {
    try {
      return fs.openSync(path, "wx", 0o640);
    } catch (error) {
      // Who sweeps may take the folder away beside us.
      if (error.code !== "ENOENT" || tries === 4) throw error;
      make(fs, dirname(path));
    }
  }
}
function named(fs, { path, target, ifAbsent }) {
  let put = "written";
  try {
    if (ifAbsent) fs.linkSync(path, target);
    else fs.renameSync(path, target);
  } catch (error) {
    if (error.code === "ENOENT") return "unnamed";
    if (error.code !== "EEXIST") throw error;
    put = "exists";
  }
  if (ifAbsent) fs.unlinkSync(path);
  return put;
}
// Leaves nothing where it fails. Calls back with an error or how it ended.
function putWhole(fs, file, done) {
  let open;
  const step = (work) => {
    try {
      work();
    } catch (error) {
      for (const tidy of [() => open !== undefined && fs.closeSync(open), () => fs.unlinkSync(file.path)])
        try {
          tidy();
        } catch {}
      done(error);
    }
  };
  step(() => {
    open = opened(fs, file.path);
    for (let at = 0; at < file.bytes.length; ) at += fs.writeSync(open, file.bytes, at, file.bytes.length - at, at);
    fs.fsync(open, (fault) =>
      step(() => {
        if (fault) throw fault;
        const whole = open;
        open = undefined;
        fs.closeSync(whole);
        done(undefined, named(fs, file));
      }),
    );
  });
}
`;

const LOOP = `
${PUT_PROGRAM}
const fs = require("node:fs");
const { parentPort } = require("node:worker_threads");
parentPort.on("message", ({ call, file }) =>
  putWhole(fs, file, (error, put) =>
    parentPort.postMessage({ call, put, fault: error && { message: error.message, code: error.code } }),
  ),
);
`;

const IDLE_MS = 2_000;
const SMALL_HEAP = { maxYoungGenerationSizeMb: 2, maxOldGenerationSizeMb: 32 };

interface Thread {
  /** Keeps the process until it is done. */
  put(file: WholeFile): Promise<Put>;
  /** The process may end. */
  rest(): void;
  end(): void;
}

function newThread(onFault: () => void): Thread {
  const worker = new Worker(LOOP, { eval: true, resourceLimits: SMALL_HEAP });
  const waiting = new Map<number, PromiseWithResolvers<Put>>();
  let calls = 0;
  worker.on("message", ({ call, put, fault }: Reply) => {
    const asked = waiting.get(call);
    waiting.delete(call);
    if (fault) asked?.reject(Object.assign(new Error(fault.message), { code: fault.code }));
    else if (put) asked?.resolve(put);
  });
  worker.on("error", (error) => {
    onFault();
    for (const { reject } of waiting.values()) reject(error);
    waiting.clear();
  });
  return {
    put(file) {
      const call = calls++;
      const asked = Promise.withResolvers<Put>();
      waiting.set(call, asked);
      worker.ref();
      worker.postMessage({ call, file });
      return asked.promise;
    },
    rest: () => worker.unref(),
    end: () => void worker.terminate(),
  };
}

/** Resolves when the bytes are flushed and the file has its name; the name itself is not flushed. */
export function newPutThread(): (file: WholeFile) => Promise<Put> {
  let thread: Thread | undefined;
  let underway = 0;
  let idle: NodeJS.Timeout | undefined;
  const end = (): void => {
    thread?.end();
    thread = undefined;
  };
  return async (file) => {
    underway++;
    clearTimeout(idle);
    thread ??= newThread(() => (thread = undefined));
    try {
      return await thread.put(file);
    } finally {
      if (--underway === 0) {
        thread?.rest();
        idle = setTimeout(end, IDLE_MS).unref();
      }
    }
  };
}
