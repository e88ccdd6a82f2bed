// Server-side request forgery: nothing that is no public address is connected to unless the platform lists it.
import assert from "node:assert/strict";
import type { LookupAddress } from "node:dns";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { describe, test } from "node:test";
import type { TestContext } from "node:test";
import { kindOf, networksOf } from "../../../operator/adapters/egress/address.ts";
import { newEgressGuard } from "../../../operator/adapters/egress/guard.ts";
import { newS3Source } from "../../../operator/adapters/s3/source.ts";
import { TerminalError } from "../../../operator/runtime/errors.ts";

const kinds: readonly (readonly [string, string])[] = [
  ["1.1.1.1", "public"], ["52.216.0.1", "public"], ["2600:1f18::1", "public"], ["172.32.0.1", "public"],
  ["127.0.0.1", "loopback"], ["127.255.0.9", "loopback"], ["::1", "loopback"], ["::ffff:127.0.0.1", "loopback"],
  ["10.0.0.1", "private"], ["172.16.0.1", "private"], ["172.31.255.255", "private"], ["192.168.1.1", "private"],
  ["100.64.0.1", "private"], ["fd12::1", "private"], ["fec0::1", "private"], ["::ffff:10.96.0.1", "private"],
  ["169.254.1.1", "linkLocal"], ["fe80::1", "linkLocal"], ["fe80::1%eth0", "linkLocal"],
  ["169.254.169.254", "metadata"], ["169.254.170.2", "metadata"], ["169.254.170.23", "metadata"], ["168.63.129.16", "metadata"],
  ["100.100.100.200", "metadata"], ["192.0.0.192", "metadata"], ["fd00:ec2::254", "metadata"], ["::ffff:169.254.169.254", "metadata"],
  ["::ffff:a9fe:a9fe", "metadata"], ["0.0.0.0", "reserved"], ["0.1.2.3", "reserved"], ["::", "reserved"], ["224.0.0.1", "reserved"],
  ["255.255.255.255", "reserved"], ["64:ff9b::a9fe:a9fe", "reserved"], ["2002:7f00:1::", "reserved"], ["2001::1", "reserved"],
  ["::7f00:1", "reserved"], ["ff02::1", "reserved"], ["not an address", "reserved"],
  // IPv6: the edges of the networks, every way to write an IPv4 address into one, and what nobody has been given.
  ["0:0:0:0:0:0:0:1", "loopback"], ["::ffff:7f00:1", "loopback"], ["0:0:0:0:0:ffff:127.0.0.1", "loopback"], ["::ffff:1.1.1.1", "public"],
  ["fc00::", "private"], ["fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "private"], ["fe00::1", "reserved"], ["fe80::", "linkLocal"],
  ["febf:ffff::1", "linkLocal"], ["fd00:ec2::23", "metadata"], ["fd00:ec2:0:0:0:0:0:254", "metadata"], ["::ffff:168.63.129.16", "metadata"],
  ["64:ff9b::7f00:1", "reserved"], ["64:ff9b::10.0.0.1", "reserved"], ["64:ff9b::1.1.1.1", "reserved"], ["64:ff9b:1::a00:1", "reserved"],
  ["::ffff:0:127.0.0.1", "reserved"], ["::ffff:0:a9fe:a9fe", "reserved"], ["::10.0.0.1", "reserved"], ["::fffe:10.0.0.1", "reserved"],
  ["2002:a00:1::1", "reserved"], ["2001:0:4136:e378:8000:63bf:3fff:fdd2", "reserved"], ["2001:db8::1", "reserved"], ["3fff::1", "reserved"],
  ["4000::1", "reserved"], ["1fff::1", "reserved"], ["5f00::1", "reserved"], ["100::1", "reserved"], ["8000::1", "reserved"],
  ["2a00:1450:4001:810::200e", "public"], ["2000::1", "public"], ["3ffe:ffff::1", "public"], ["1::1%lo", "linkLocal"],
]; // prettier-ignore

describe("kinds of addresses", () => {
  for (const [address, kind] of kinds) test(`${address} is ${kind}`, () => assert.equal(kindOf(address), kind));
  test("a list with something that is no network is none", () => {
    for (const cidr of ["10.0.0.0", "10.0.0.0/33", "::/129", "x/8", "fe80::1%eth0/64", "/8", "10.0.0.0/"])
      assert.equal(networksOf([cidr]), undefined, cidr);
  });
});

type Rules = Parameters<typeof newEgressGuard>[0];
const reasonOf = (work: () => unknown): string => {
  try {
    work();
    return "allowed";
  } catch (error) {
    return error instanceof TerminalError ? error.reason : String(error);
  }
};
const literal = (host: string, allowedCidrs: readonly string[] = [], more: Partial<Rules> = {}): string =>
  reasonOf(() => newEgressGuard({ allowedCidrs, ...more }).check(host));

test("an address that hands out credentials, and the API server's, need an entry of their own", () => {
  assert.equal(literal("10.1.2.3", ["10.0.0.0/8"]), "allowed");
  assert.equal(literal("[fd12::1]", ["fd12::/16"]), "allowed");
  assert.equal(literal("169.254.169.254", ["0.0.0.0/0"]), "EndpointNotAllowed");
  assert.equal(literal("169.254.169.254", ["169.254.169.254/32"]), "allowed");
  const api = { guarded: ["10.96.0.1"] };
  for (const mapped of ["[::ffff:10.96.0.1]", "[::ffff:a60:1]", "[0:0:0:0:0:ffff:a60:1]"])
    assert.equal(literal(mapped, ["10.0.0.0/8"], api), "EndpointNotAllowed", mapped);
  const api6 = { guarded: ["fd12:0:0::1"] };
  for (const written of ["[fd12::1]", "[fd12:0:0:0:0:0:0:1]", "[FD12::0001]"])
    assert.equal(literal(written, ["fd00::/8"], api6), "EndpointNotAllowed", written);
  assert.equal(literal("[fd12::1]", ["fd12::1/128"], api6), "allowed");
  assert.equal(literal("[::ffff:169.254.169.254]", ["0.0.0.0/0", "::/0"]), "EndpointNotAllowed");
  assert.equal(literal("[fd00:ec2::254]", ["::/0"]), "EndpointNotAllowed");
  assert.equal(literal("10.96.0.1", ["10.0.0.0/8"], api), "EndpointNotAllowed");
  assert.equal(literal("10.96.0.1", ["10.96.0.1/32"], api), "allowed");
});

function looked(host: string, answer: readonly string[], allowedCidrs: readonly string[] = []): Promise<string> {
  const resolve = async (): Promise<LookupAddress[]> =>
    answer.map((address) => ({ address, family: address.includes(":") ? 6 : 4 }));
  const { lookup } = newEgressGuard({ allowedCidrs, resolve });
  return new Promise((done) =>
    lookup(host, { all: true }, (error, found) =>
      done(error instanceof TerminalError ? error.message : JSON.stringify(found)),
    ),
  );
}

test("a name is judged by every address that it has in the moment of the connection", async () => {
  assert.match(await looked("s3.example.org", ["1.1.1.1"]), /1\.1\.1\.1/);
  assert.match(
    await looked("s3.example.org", ["1.1.1.1", "127.0.0.1"]),
    /^s3\.example\.org resolves to a loopback address: name/,
  );
  assert.match(await looked("metadata.example.org", ["169.254.169.254"]), /an address that hands out credentials/);
  assert.doesNotMatch(await looked("db.internal.example.org", ["10.1.2.3"]), /10\.1\.2\.3/);
});

test("names of the cluster are internal whatever their addresses look like", async () => {
  for (const host of ["minio", "minio.storage.svc", "minio.storage.svc.cluster.local", "kubernetes.default.svc."])
    assert.match(await looked(host, ["44.0.0.1"]), /inside of the cluster/, host);
  assert.match(await looked("minio.storage.svc", ["44.0.0.1"], ["44.0.0.0/8"]), /44\.0\.0\.1/);
});

async function listener(t: TestContext): Promise<{ readonly port: number; connections(): number }> {
  let connections = 0;
  const server = createServer((socket) => {
    connections++;
    socket.destroy();
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => server.close());
  return { port: (server.address() as AddressInfo).port, connections: () => connections };
}

test("no connection is made to what is refused: by address, by name, by a name that changes its mind", async (t) => {
  const { port, connections } = await listener(t);
  let answers = 0;
  // A public address at the first look, the loopback one at the second: only what is dialled counts.
  const rebinding = async (): Promise<LookupAddress[]> => [
    { address: answers++ > 0 ? "1.1.1.1" : "127.0.0.1", family: 4 },
  ];
  const places: [string, Rules][] = [
    ["127.0.0.1", { allowedCidrs: [] }],
    ["[::1]", { allowedCidrs: [] }],
    ["[0:0:0:0:0:0:0:1]", { allowedCidrs: ["::/128", "fc00::/7"] }],
    ["[::ffff:127.0.0.1]", { allowedCidrs: [] }],
    ["[::ffff:7f00:1]", { allowedCidrs: ["10.0.0.0/8"] }],
    ["2130706433", { allowedCidrs: [] }],
    ["0x7f.1", { allowedCidrs: [] }],
    ["localhost", { allowedCidrs: [] }],
    ["bucket.attacker.example", { allowedCidrs: [], resolve: rebinding }],
  ];
  for (const [host, rules] of places) {
    for (const scheme of ["http", "https"]) {
      answers = 0;
      const { origin } = new URL(`${scheme}://${host}:${String(port)}`);
      const guard = newEgressGuard(rules);
      const source = newS3Source({ endpoint: origin, region: "us-east-1", bucket: "b", guard });
      await assert.rejects(source.list(""), (error: unknown) => {
        assert.ok(error instanceof TerminalError, String(error));
        assert.equal(error.reason, "EndpointNotAllowed");
        assert.match(error.message, /loopback address: .*allowedEndpointCIDRs/);
        return true;
      });
      source.close();
    }
  }
  assert.equal(connections(), 0);
  const open = newS3Source({ endpoint: `http://127.0.0.1:${String(port)}`, region: "us-east-1", bucket: "b", guard: newEgressGuard({ allowedCidrs: ["127.0.0.0/8"] }) }); // prettier-ignore
  await assert.rejects(open.list(""));
  open.close();
  assert.ok(connections() > 0, "what the platform lists is connected to");
});
