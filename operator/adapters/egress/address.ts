/**
 * Networks that are nobody's public object storage: IANA's special-purpose address registries (RFC 6890 and its successors),
 * and the addresses at which clouds hand credentials to whoever asks.
 */
import { BlockList, isIP } from "node:net";

export type AddressKind = "public" | "loopback" | "private" | "linkLocal" | "metadata" | "reserved";

const networks: Readonly<Record<Exclude<AddressKind, "public">, readonly string[]>> = {
  // AWS (also of ECS tasks and EKS pods), Azure's wire server, Alibaba, Oracle; AWS over IPv6.
  metadata: ["169.254.169.254/32", "169.254.170.2/32", "169.254.170.23/32", "168.63.129.16/32", "100.100.100.200/32", "192.0.0.192/32", "fd00:ec2::254/128", "fd00:ec2::23/128"],
  loopback: ["127.0.0.0/8", "::1/128"],
  linkLocal: ["169.254.0.0/16", "fe80::/10"],
  // Pods and Services of a cluster are here too.
  private: ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7", "fec0::/10"],
  // Not addresses of one host, or tunnels that would hide an IPv4 address inside of an IPv6 one.
  reserved: ["0.0.0.0/8", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4", "::/96", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20", "5f00::/16", "ff00::/8"],
}; // prettier-ignore

const order = ["metadata", "loopback", "linkLocal", "private", "reserved"] as const;

const familyOf = (address: string): "ipv4" | "ipv6" => (isIP(address) === 6 ? "ipv6" : "ipv4");

/** A set of networks; undefined where an entry is none. Prefix lengths are checked, host bits are not. */
export function networksOf(cidrs: readonly string[]): BlockList | undefined {
  const list = new BlockList();
  for (const cidr of cidrs) {
    const [address = "", bits = ""] = cidr.split("/");
    const most = isIP(address) === 4 ? 32 : isIP(address) === 6 ? 128 : -1;
    if (address.includes("%") || !/^\d{1,3}$/.test(bits) || Number(bits) > most) return undefined;
    list.addSubnet(address, Number(bits), familyOf(address));
  }
  return list;
}

/** All IPv6 addresses that were ever given to anybody (IANA, RFC 4291 section 2.4), and IPv4 as IPv6 writes it. */
const global6 = new BlockList();
global6.addSubnet("2000::", 3, "ipv6");
global6.addSubnet("::ffff:0:0", 96, "ipv6");

const lists = order.map((kind) => [kind, networksOf(networks[kind]) ?? new BlockList()] as const);

/** IPv4 inside of IPv6 (::ffff:10.0.0.1) counts as what is inside; an address with a zone belongs to a link. */
export function kindOf(address: string): AddressKind {
  if (address.includes("%")) return "linkLocal";
  if (isIP(address) === 0) return "reserved";
  const kind = lists.find(([, list]) => list.check(address, familyOf(address)))?.[0];
  const isUnknown = kind === undefined && isIP(address) === 6 && !global6.check(address, "ipv6");
  return isUnknown ? "reserved" : (kind ?? "public");
}

/** The addresses alone, however each is written; what is no address is left out. */
export function addressesOf(addresses: readonly string[]): BlockList {
  const list = new BlockList();
  for (const address of addresses) if (isIP(address) !== 0) list.addAddress(address, familyOf(address));
  return list;
}

/** Whether the address lies in one of the networks. */
export function isWithin(list: BlockList, address: string): boolean {
  return !address.includes("%") && isIP(address) !== 0 && list.check(address, familyOf(address));
}
