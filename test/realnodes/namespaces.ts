// Runs this program again inside network, mount, PID, IPC and UTS namespaces of its own. They die with their first
// process, which dies with us (setpriv --pdeathsig, unshare --kill-child): so after a kill -9 no process, no mount, no
// interface and no packet filter is left on the machine, only folders, which the next start removes (state.ts).
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { mountPoints } from "./mounts.ts";
import { newState, removeState, stateOf } from "./state.ts";
import type { State } from "./state.ts";

const variable = "BERTH_REALNODES_RUN";

/** The state of the run whose namespaces this process lives in; undefined outside. */
export function insideRun(): State | undefined {
  const run = process.env[variable];
  return run ? stateOf(run) : undefined;
}

export interface OutsideOptions {
  /** Arguments of node: the script and its own (default: those of this process). */
  readonly argv?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

/**
 * Runs the script inside, waits for its end and removes all that it left. Resolves with its exit code (logs are kept
 * unless that is 0). SIGINT, SIGTERM and SIGHUP are passed on; the program inside gets them as its own.
 */
export async function runInside(options: OutsideOptions = {}): Promise<{ code: number; logs: string }> {
  const state = await newState(mountPoints);
  const argv = options.argv ?? [...process.execArgv, ...process.argv.slice(1)];
  const namespaces = ["--net", "--mount", "--pid", "--ipc", "--uts", "--fork", "--mount-proc", "--kill-child=KILL"];
  // A shell is the first process: it waits for every orphan, which Node would not.
  const init = ["sh", "-c", '"$@"; exit $?', "sh"];
  const child = spawn(
    "setpriv",
    ["--pdeathsig", "KILL", "unshare", ...namespaces, "--propagation=private", ...init, process.execPath, ...argv],
    {
      // A group of its own, so that the terminal's Ctrl-C comes through us only.
      detached: true,
      stdio: ["inherit", "inherit", "inherit", "ipc"],
      env: { ...process.env, ...options.env, [variable]: state.run, BERTH_TEST_RUNS_DIR: join(state.path, "run") },
    },
  );
  const passOn = (signal: NodeJS.Signals): void => {
    if (child.connected) child.send({ signal });
  };
  const signals = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
  for (const signal of signals) process.on(signal, passOn);
  const code = await new Promise<number>((resolve, reject) =>
    child.once("error", reject).once("exit", (status) => resolve(status ?? 137)),
  );
  for (const signal of signals) process.off(signal, passOn);
  await removeState(state, { keepLogs: code !== 0 && existsSync(state.logs) });
  return { code, logs: state.logs };
}

/** Inside: turns what the process outside passes on into signals of this process. */
export function listenForSignals(): void {
  process.on("message", (message: { signal?: NodeJS.Signals }) => {
    if (message.signal && !process.emit(message.signal)) process.exit(130);
  });
  process.channel?.unref();
}
