// What is mounted inside our mount namespace, so that nothing is written to the host's folders: fixed paths of
// containerd, its shims and the kubelet lead into the run's own state.
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { command } from "./command.ts";
import type { State } from "./state.ts";

/** The run's folder under a name short enough for Unix sockets (at most 107 bytes). */
export const shortDir = "/run/berth";

/** Where every kubelet has its socket for device plugins, whatever its `--root-dir` (deviceplugin/v1beta1/constants.go). */
export const kubeletDir = "/var/lib/kubelet";

/** Fixed paths: go-cni's result cache, the kubelet's links to container logs, its socket for device plugins. */
const redirected = ["/var/lib/cni", "/var/log/containers", "/var/log/pods", kubeletDir] as const;

/** Folders of the host that must exist to be mounted on. */
export const mountPoints: readonly string[] = redirected;

/**
 * What the kubelet wants of the kernel (component-helpers/node/util/sysctl); it writes only where it reads another
 * value. These are the whole machine's, so it is shown files with the wanted values instead.
 */
const kernelSettings = {
  "vm/overcommit_memory": "1",
  "vm/panic_on_oom": "0",
  "kernel/panic": "10",
  "kernel/panic_on_oops": "1",
  "kernel/keys/root_maxkeys": "1000000",
  "kernel/keys/root_maxbytes": "25000000",
} as const;

/** Mounts everything. `/run` becomes a memory file system: shims keep their sockets below it at a fixed path. */
export async function mountAll(state: State): Promise<void> {
  const own = join(state.path, "state");
  mkdirSync(own, { recursive: true });
  const resolver = existsSync("/etc/resolv.conf") ? readFileSync("/etc/resolv.conf") : "";
  await command("mount", ["-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run"]);
  mkdirSync(shortDir);
  await command("mount", ["--bind", own, shortDir]);
  // Volumes that a kubelet mounts in its own mount namespace must reach its containerd.
  await command("mount", ["--make-shared", shortDir]);
  for (const path of redirected) {
    const source = join(own, "redirected", path);
    mkdirSync(source, { recursive: true });
    await command("mount", ["--bind", source, path]);
    await command("mount", ["--make-private", path]);
  }
  for (const [name, value] of Object.entries(kernelSettings)) {
    const source = join(own, "kernel", name);
    mkdirSync(dirname(source), { recursive: true });
    writeFileSync(source, `${value}\n`);
    await command("mount", ["--bind", source, join("/proc/sys", name)]);
  }
  writeFileSync(join(own, "host-resolv.conf"), resolver);
}
