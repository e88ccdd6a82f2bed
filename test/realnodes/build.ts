// Builds kubelet, kube-proxy and CoreDNS from the Go modules of this folder, once per content of go.mod and go.sum.
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { ensureModuleTools } from "../cluster/build.ts";
import type { Progress } from "../cluster/build.ts";

const here = dirname(fileURLToPath(import.meta.url));

/** Paths of the programs that nodes run. */
export interface NodeTools {
  readonly kubelet: string;
  readonly kubeProxy: string;
  readonly coredns: string;
}

/** Makes sure that they are there (3 minutes when nothing is cached). Throws MissingPrerequisite where Go is missing. */
export async function ensureNodeTools(progress: Progress = () => undefined): Promise<NodeTools> {
  const kubernetes = await ensureModuleTools(
    here,
    [
      { name: "kubelet", package: "k8s.io/kubernetes/cmd/kubelet", usual: "2 min" },
      { name: "kube-proxy", package: "k8s.io/kubernetes/cmd/kube-proxy", usual: "20 s" },
    ],
    progress,
  );
  const dns = await ensureModuleTools(
    join(here, "coredns"),
    [{ name: "coredns", package: "github.com/coredns/coredns", usual: "2 min" }],
    progress,
  );
  return {
    kubelet: join(kubernetes, "kubelet"),
    kubeProxy: join(kubernetes, "kube-proxy"),
    coredns: join(dns, "coredns"),
  };
}
