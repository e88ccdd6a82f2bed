// What must be on the machine after a run as it was before: interfaces, addresses, routes, packet filters, mounts, cgroup
// folders, processes, kernel settings and the folders that containerd, CNI and kubelets like to write to.
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { controllers } from "./cgroups.ts";

const watchedFolders = [
  "/run",
  "/var/lib",
  "/var/lib/cni",
  "/var/lib/kubelet",
  "/var/log",
  "/usr/libexec",
  "/etc/cni",
  "/opt",
];
const programs = /\/(kubelet|kube-proxy|coredns|containerd-shim\S*|kube-apiserver|etcd) .*(\/run\/berth|realnodes)/;

/** One text per aspect; two looks are equal when nothing was left behind. */
export type HostLook = Readonly<Record<string, string>>;

function output(name: string, ...args: string[]): string {
  const { stdout, error } = spawnSync(name, args, { encoding: "utf8" });
  return error ? "" : stdout;
}

function ruleset(): string {
  // Counters move by themselves.
  return output("nft", "list", "ruleset").replace(/counter packets \d+ bytes \d+/g, "counter");
}

function kernelSettings(): string {
  const names = ["vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops"];
  const more = ["kernel/keys/root_maxkeys", "kernel/keys/root_maxbytes", "net/ipv4/ip_forward"];
  return [...names, ...more]
    .map((name) => `${name} ${readFileSync(join("/proc/sys", name), "utf8").trim()}`)
    .join("\n");
}

const list = (path: string): string => (existsSync(path) ? readdirSync(path).sort().join(" ") : "(not there)");

/** Looks at the machine from where this process is. */
export function lookAtHost(): HostLook {
  const processes = output("ps", "-eo", "args=").split("\n");
  return {
    addresses: output("ip", "-oneline", "address").replace(/(valid|preferred)_lft \S+/g, ""),
    routes: output("ip", "route"),
    filters: ruleset(),
    mounts: readFileSync("/proc/self/mounts", "utf8"),
    cgroups: controllers()
      .map(
        (path) =>
          `${path}: ${readdirSync(path, { withFileTypes: true })
            .filter((entry) => entry.isDirectory())
            .map((entry) => entry.name)
            .sort()
            .join(" ")}`,
      )
      .join("\n"),
    processes: processes.filter((line) => programs.test(line)).join("\n"),
    "kernel settings": kernelSettings(),
    folders: watchedFolders.map((path) => `${path}: ${list(path)}`).join("\n"),
  };
}

/** The aspects that differ, each with its first differing lines; empty when nothing was left. */
export function differences(before: HostLook, after: HostLook): string[] {
  return Object.keys(before).flatMap((aspect) => {
    const [old, now] = [before[aspect] ?? "", after[aspect] ?? ""];
    if (old === now) return [];
    const gone = old.split("\n").filter((line) => !now.includes(line));
    const come = now.split("\n").filter((line) => !old.includes(line));
    return [`${aspect}: gone ${JSON.stringify(gone.slice(0, 3))}, new ${JSON.stringify(come.slice(0, 3))}`];
  });
}
