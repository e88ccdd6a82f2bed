// What a machine needs for real nodes beyond Go and Node: Debian's package of each program. `make e2e-setup` installs these.

/** A program that real nodes run or call, and where Debian keeps it. `path` is looked for as it stands. */
export interface Program {
  readonly path: string;
  readonly package: string;
}

export const programs: readonly Program[] = [
  { path: "/usr/bin/containerd", package: "containerd" },
  { path: "/usr/bin/ctr", package: "containerd" },
  { path: "/usr/sbin/runc", package: "runc" },
  { path: "/usr/lib/cni/ptp", package: "containernetworking-plugins" },
  { path: "/usr/lib/cni/host-local", package: "containernetworking-plugins" },
  { path: "/usr/sbin/nft", package: "nftables" },
  { path: "/usr/sbin/conntrack", package: "conntrack" },
  { path: "/sbin/ip", package: "iproute2" },
  { path: "/usr/bin/openssl", package: "openssl" },
  { path: "/usr/bin/unshare", package: "util-linux" },
  { path: "/usr/bin/setpriv", package: "util-linux" },
];

/** Names of the Debian packages, each once. */
export const debianPackages: readonly string[] = [...new Set(programs.map((program) => program.package))];
