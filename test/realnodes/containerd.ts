// One node's containerd: an instance of our own with its folders and socket, never the machine's service.
import { execFile } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { Client, credentials } from "@grpc/grpc-js";
import { newPart } from "../cluster/process.ts";
import type { Part } from "../cluster/process.ts";
import { command } from "./command.ts";

/** Name that the pause image has in its archive; there is no registry to take another from. */
const pauseImage = "localhost/pause:1";

/** Configuration file, version 2 (containerd 1.6). TOML strings are written as JSON strings, which are valid TOML. */
function configuration(dir: string): string {
  const text = (value: string): string => JSON.stringify(value);
  return `version = 2
root = ${text(join(dir, "root"))}
state = ${text(join(dir, "state"))}
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs"]
[grpc]
  address = ${text(socketOf(dir))}
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = ${text(pauseImage)}
  disable_apparmor = true
  # Where lowering oom_score_adj is not permitted, runc would end with "can't get final child's PID from pipe: EOF".
  restrict_oom_score_adj = true
  stream_server_address = "127.0.0.1"
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = ${text(join(dir, "cni"))}
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = false
`;
}

/** Path of the socket that an instance in this folder listens on. */
export function socketOf(dir: string): string {
  return join(dir, "containerd.sock");
}

function accepts(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once("error", () => resolve(false)).once("connect", () => resolve(true));
    socket.unref();
    socket.once("connect", () => socket.destroy());
  });
}

const noBytes = (): Buffer => Buffer.alloc(0);

/**
 * Whether the part that kubelets speak to (CRI) has found its containers again: the socket takes connections before, and a
 * kubelet without a service manager that meets "server is not initialized yet" ends for good.
 */
function answers(path: string): Promise<boolean> {
  const client = new Client(`unix://${path}`, credentials.createInsecure());
  return new Promise((resolve) => {
    const deadline = Date.now() + 2000;
    client.makeUnaryRequest("/runtime.v1.RuntimeService/Version", noBytes, noBytes, {}, { deadline }, (error) => {
      client.close();
      resolve(error === null);
    });
  });
}

/** Makes the instance of a folder; nothing runs before `start()`. */
export function newContainerd(name: string, dir: string, logDir: string): Part {
  mkdirSync(dir, { recursive: true });
  const path = join(dir, "containerd.toml");
  writeFileSync(path, configuration(dir));
  return newPart({
    name: `containerd of ${name}`,
    command: "/usr/bin/containerd",
    args: ["--config", path, "--log-level", "warn"],
    logPath: join(logDir, "containerd.log"),
    ready: async () => (await accepts(socketOf(dir))) && (await answers(socketOf(dir))),
  });
}

/** containerd's own client in the kubelet's namespace; returns what it printed. */
export function ctr(dir: string, args: readonly string[], timeoutMs = 300_000): Promise<string> {
  return command("/usr/bin/ctr", ["--address", socketOf(dir), "--namespace", "k8s.io", ...args], timeoutMs);
}

/** Loads an OCI or Docker archive. */
export async function loadImage(dir: string, archive: string): Promise<void> {
  await ctr(dir, ["images", "import", archive]);
}

/** Process ids of the shims of an instance: each keeps containers alive without their containerd. */
export async function shimsOf(dir: string): Promise<number[]> {
  const list = await new Promise<string>((resolve, reject) => {
    execFile("ps", ["-eo", "pid=,args="], { maxBuffer: 1 << 26 }, (error, out) =>
      error ? reject(error) : resolve(out),
    );
  });
  return list
    .split("\n")
    .filter((line) => line.includes("containerd-shim") && line.includes(socketOf(dir)))
    .map((line) => Number.parseInt(line.trim(), 10));
}
