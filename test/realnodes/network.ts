// Addresses inside our network namespace: one bridge carries the harness's and the nodes' addresses; each node's pods
// have a subnet and are joined by routed pairs (CNI ptp), so that Services work between pods of one node as well.
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { command } from "./command.ts";

/** The harness: API server, S3 server and whatever a test listens on for pods. */
export const hostAddress = "10.77.0.1";
export const dnsAddress = "10.77.0.10";
/** Within kube-apiserver's --service-cluster-ip-range of test/cluster. */
export const dnsServiceAddress = "10.0.0.10";
export const clusterDomain = "cluster.local";
export const podRange = "10.78.0.0/16";

const link = "berth0";

/** Address of the node of this index (0, 1, …). */
export const nodeAddress = (index: number): string => `10.77.0.${String(11 + index)}`;
const podSubnet = (index: number): string => `10.78.${String(index + 1)}.0/24`;

/** Makes the interfaces and routes; does nothing where they are there. */
export async function setUpNetwork(nodes: number): Promise<void> {
  const present = await command("ip", ["-brief", "link"]);
  if (present.split("\n").some((line) => line.startsWith(`${link} `))) return;
  await command("ip", ["link", "set", "lo", "up"]);
  await command("ip", ["link", "add", link, "type", "bridge"]);
  const addresses = [hostAddress, dnsAddress, ...Array.from({ length: nodes }, (_, index) => nodeAddress(index))];
  for (const address of addresses) await command("ip", ["addr", "add", `${address}/24`, "dev", link]);
  await command("ip", ["link", "set", link, "up"]);
  // The kubelet, the API server and kube-proxy look for the interface of the default route.
  await command("ip", ["route", "add", "default", "dev", link, "src", hostAddress]);
  writeFileSync("/proc/sys/net/ipv4/ip_forward", "1");
}

/** Writes a node's CNI configuration into `dir`. */
export function writeCni(dir: string, dataDir: string, index: number): void {
  mkdirSync(dir, { recursive: true });
  const configuration = {
    cniVersion: "0.4.0",
    name: "pods",
    plugins: [
      {
        type: "ptp",
        ipMasq: false,
        mtu: 1500,
        ipam: { type: "host-local", dataDir, subnet: podSubnet(index), routes: [{ dst: "0.0.0.0/0" }] },
      },
    ],
  };
  writeFileSync(join(dir, "10-pods.conflist"), JSON.stringify(configuration, undefined, 1));
}
