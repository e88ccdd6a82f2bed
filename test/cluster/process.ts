// One program of the test bed as a part that can be killed, stopped and started again under the same flags.
// A part dies with its harness: on Linux the kernel kills it (setpriv --pdeathsig), elsewhere the next start reaps it.
import { spawn, spawnSync } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { closeSync, openSync, readFileSync } from "node:fs";
import { createServer } from "node:net";
import { setTimeout as delay } from "node:timers/promises";

/** What a part is started with. `ready` is asked until it says true, at most `readyMs`. */
export interface PartSpec {
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly logPath: string;
  readonly ready?: () => Promise<boolean>;
  readonly readyMs?: number;
  readonly onPid?: (name: string, pid: number | undefined) => void;
}

/** A running (or stopped) program. Every method returns when its effect is complete. */
export interface Part {
  readonly name: string;
  readonly logPath: string;
  pid(): number | undefined;
  start(): Promise<void>;
  /** SIGKILL. */
  kill(): Promise<void>;
  /** SIGTERM, SIGKILL after `graceMs` (5 s). */
  stop(graceMs?: number): Promise<void>;
  /** Kill and start with the same flags, ports and data. */
  restart(): Promise<void>;
  /** SIGSTOP: connections stay open and nothing answers. */
  freeze(): void;
  thaw(): void;
  /** SIGKILL without waiting, for exit handlers. */
  killNow(): void;
  /** How it ended: `ended with code 3`, `ended with SIGKILL`; undefined while it runs or was never started. */
  outcome(): string | undefined;
}

// Below the ports that systems give to clients (Linux: 32768 on), so that no outgoing connection takes one before its
// server starts. Every process walks through them from a place of its own: two harnesses that start together would else
// be given the same one, and the loser's readiness probe would be answered by the winner's server.
const firstPort = 16_384;
const portCount = 16_384;
let portsTaken = 0;

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(false));
    server.listen(port, "127.0.0.1", () => server.close(() => resolve(true)));
  });
}

/** A port of the loopback interface that was free a moment ago, and that this process gave to nobody else lately. */
export async function freePort(): Promise<number> {
  for (let tries = 0; tries < portCount; tries += 1) {
    const port = firstPort + ((process.pid * 127 + portsTaken) % portCount);
    portsTaken += 1;
    if (await isFree(port)) return port;
  }
  throw new Error(`no port from ${String(firstPort)} to ${String(firstPort + portCount - 1)} is free`);
}

let setprivWorks: boolean | undefined;

/** Whether util-linux's setpriv can bind a child's life to ours. */
function canBindLife(): boolean {
  setprivWorks ??= spawnSync("setpriv", ["--pdeathsig", "KILL", "true"], { stdio: "ignore" }).status === 0;
  return setprivWorks;
}

/** The last lines of a log, for error messages; empty when it cannot be read. */
export function logTail(path: string, lines = 8): string {
  try {
    return readFileSync(path, "utf8").trimEnd().split("\n").slice(-lines).join("\n");
  } catch {
    return "";
  }
}

/** Thrown where a part ended or did not become ready; the message names its log and shows its end. */
export class PartFailed extends Error {
  readonly logPath: string;

  constructor(name: string, what: string, logPath: string) {
    super(`${name} ${what}; its log is ${logPath} and ends with:\n${logTail(logPath)}`);
    this.name = "PartFailed";
    this.logPath = logPath;
  }
}

function spawnPart(spec: PartSpec): ChildProcess {
  const log = openSync(spec.logPath, "a");
  const bound = canBindLife();
  const command = bound ? "setpriv" : spec.command;
  const args = bound ? ["--pdeathsig", "KILL", spec.command, ...spec.args] : [...spec.args];
  // A process group of its own: Ctrl-C in a terminal must not end etcd before the API server.
  const child = spawn(command, args, {
    detached: true,
    stdio: ["ignore", log, log],
    env: { PATH: process.env["PATH"], HOME: process.env["HOME"], ...spec.env },
  });
  closeSync(log);
  child.unref();
  return child;
}

async function untilReady(spec: PartSpec, ended: () => string | undefined): Promise<void> {
  const deadline = Date.now() + (spec.readyMs ?? 60_000);
  for (;;) {
    const reason = ended();
    if (reason) throw new PartFailed(spec.name, reason, spec.logPath);
    if (!spec.ready || (await spec.ready().catch(() => false))) return;
    if (Date.now() > deadline) throw new PartFailed(spec.name, "did not become ready in time", spec.logPath);
    await delay(50);
  }
}

/** Makes a part; nothing runs before `start()`. */
export function newPart(spec: PartSpec): Part {
  let child: ChildProcess | undefined;
  let ended: string | undefined;
  let exit: Promise<void> = Promise.resolve();

  const signal = (name: NodeJS.Signals): void => {
    if (child?.pid !== undefined && !ended) child.kill(name);
  };
  async function start(): Promise<void> {
    if (child && !ended) return;
    ended = undefined;
    const started = spawnPart(spec);
    child = started;
    exit = new Promise((resolve) => {
      const end = (reason: string): void => {
        ended ??= reason;
        spec.onPid?.(spec.name, undefined);
        resolve();
      };
      started.once("error", (error) => end(`could not be started: ${error.message}`));
      started.once("exit", (code, by) => end(`ended with ${by ?? `code ${String(code)}`}`));
    });
    spec.onPid?.(spec.name, started.pid);
    await untilReady(spec, () => ended);
  }
  // Parts do not keep the harness's process alive, but a wait for their end must.
  async function gone(): Promise<void> {
    if (!ended) child?.ref();
    await exit;
  }
  async function kill(): Promise<void> {
    signal("SIGKILL");
    await gone();
  }
  async function stop(graceMs = 5000): Promise<void> {
    signal("SIGTERM");
    const timer = setTimeout(() => signal("SIGKILL"), graceMs);
    await gone();
    clearTimeout(timer);
  }
  return {
    name: spec.name,
    logPath: spec.logPath,
    pid: () => (ended ? undefined : child?.pid),
    start,
    kill,
    stop,
    restart: async () => {
      await kill();
      await start();
    },
    freeze: () => signal("SIGSTOP"),
    thaw: () => signal("SIGCONT"),
    killNow: () => signal("SIGKILL"),
    outcome: () => ended,
  };
}
