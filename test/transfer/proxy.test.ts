// Sources behind a forward proxy: a real one of the tests, the real S3 server behind it. What the proxy is asked for, what it never
// hears of, and what its failures look like.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import type { TestContext } from "node:test";
import { getCACertificates, setDefaultCACertificates } from "node:tls";
import { promisify } from "node:util";
import { newEgressGuard } from "../../operator/adapters/egress/guard.ts";
import { newProxyChoice, proxyFault } from "../../operator/adapters/egress/proxy.ts";
import { newProxiedFetch } from "../../operator/adapters/egress/proxyfetch.ts";
import type { ProxySettings } from "../../operator/adapters/egress/proxy.ts";
import { newTunnels } from "../../operator/adapters/egress/tunnel.ts";
import { newS3Source } from "../../operator/adapters/s3/source.ts";
import { importerConfig } from "../../operator/config.ts";
import type { ObjectSource } from "../../operator/ports.ts";
import { RetryError, TerminalError } from "../../operator/runtime/errors.ts";
import { importModel } from "../../operator/transfer/import.ts";
import { newRawClient } from "../../operator/transfer/rawget.ts";
import { startConnectProxy } from "../cluster/connectproxy.ts";
import type { ConnectProxy } from "../cluster/connectproxy.ts";
import { eventually } from "../cluster/eventually.ts";
import { startS3 } from "../cluster/s3.ts";
import type { S3Server } from "../cluster/s3.ts";
import { newAuthority, newServerCertificate } from "../cluster/x509.ts";
import { llamaFolder } from "../models/llama.ts";
import { filesBelow, uploadFolder } from "../models/upload.ts";
import { digestOf, jobFor, newStore } from "./bench.ts";

const main = join(import.meta.dirname, "../../operator/main.ts");
/** A public address by its form: here it is this machine, which only the proxy knows. */
const PUBLIC = "52.216.0.1";
const NAME = "s3.example.org";
const authority = newAuthority();
const known = getCACertificates("default");
let plain: S3Server;
let secure: S3Server;
before(async () => {
  setDefaultCACertificates([authority.certPem]);
  [plain, secure] = await Promise.all([startS3(), startS3({ tls: newServerCertificate(authority, [NAME]) })]);
  for (const server of [plain, secure]) {
    await server.createBucket("models");
    const client = server.client();
    await uploadFolder(client, "models", "m/", llamaFolder());
    client.destroy();
  }
});
after(async () => {
  setDefaultCACertificates(known);
  await Promise.all([plain.stop(), secure.stop()]);
});

async function startProxy(
  t: TestContext,
  options: Parameters<typeof startConnectProxy>[0] = {},
): Promise<ConnectProxy> {
  const places = { [NAME]: "127.0.0.1", [PUBLIC]: "127.0.0.1", "only.example.org": "127.0.0.1" };
  const proxy = await startConnectProxy({ places, ...options });
  t.after(() => proxy.close());
  return proxy;
}

interface Way extends Partial<ProxySettings> {
  readonly proxy: string;
  /** The addresses of a name by the cluster's own resolver; a name that is not here has none. */
  readonly names?: Readonly<Record<string, string>>;
  readonly allowed?: readonly string[];
  readonly host?: string;
}

function open(t: TestContext, server: S3Server, way: Way): ObjectSource {
  const { proxy, names = { [NAME]: PUBLIC }, allowed = [], host = NAME, ...change } = way;
  const { region, accessKeyId, secretAccessKey } = server;
  const guard = newEgressGuard({
    allowedCidrs: allowed,
    resolve: (name) => {
      const address = names[name];
      if (address === undefined) return Promise.reject(Object.assign(new Error(name), { code: "ENOTFOUND" }));
      return Promise.resolve([{ address, family: address.includes(":") ? 6 : 4 }]);
    },
  });
  const tunnels = newTunnels({ https: proxy, http: proxy, connectBy: "address", ...change }, guard);
  const { protocol, port } = new URL(server.endpoint);
  const bulk = newRawClient({ silenceMs: 20_000, guard, tunnels });
  const credentials = { accessKeyId, secretAccessKey };
  const endpoint = `${protocol}//${host}:${port}`;
  const source = newS3Source({ endpoint, region, bucket: "models", credentials, guard, tunnels, bulk });
  t.after(() => source.close());
  return source;
}

async function failure(work: Promise<unknown>): Promise<readonly [string, string]> {
  try {
    await work;
  } catch (error) {
    const cause = error instanceof RetryError ? error.cause : error;
    assert.ok(cause instanceof TerminalError, String(error));
    return [cause.reason, cause.message];
  }
  return ["none", ""];
}

/** The listing and the bytes of an object, which come on different ways. */
const object = { key: "m/config.json", sizeBytes: 100, etag: '"x"' };
const both = (source: ObjectSource): readonly (() => Promise<unknown>)[] => [
  () => source.list("m/"),
  () => source.fill?.(object, 0, new Uint8Array(10)) ?? Promise.resolve(),
];

const portOf = (server: S3Server): string => new URL(server.endpoint).port;

test("a model comes through the proxy, with TLS and without, and nothing is asked but the judged address", async (t) => {
  const wanted = digestOf(llamaFolder(), filesBelow(llamaFolder()));
  for (const server of [secure, plain]) {
    const proxy = await startProxy(t);
    const source = open(t, server, { proxy: proxy.url });
    const result = await importModel(jobFor({ source, store: await newStore(t, server, "file"), prefix: "m" }));
    assert.ok(result.kind === "imported", JSON.stringify(result));
    assert.equal(result.revisions.at(-1)?.digest, wanted);
    assert.deepEqual([...new Set(proxy.asked)], [`${PUBLIC}:${portOf(server)}`]);
    assert.ok(proxy.asked.length < 40, `${String(proxy.asked.length)} connections: they are used again`);
    source.close();
    await eventually(() => Promise.resolve(proxy.open === 0), {
      what: "no connection is left open",
      deadlineMs: 5_000,
    });
  }
});

test("the proxy is told the name where the platform says so, also one that the cluster does not know", async (t) => {
  for (const host of [NAME, "only.example.org"]) {
    const proxy = await startProxy(t);
    const source = open(t, plain, { proxy: proxy.url, connectBy: "name", host });
    assert.ok((await source.list("m/")).objects.length > 0);
    assert.deepEqual(proxy.asked, [`${host}:${portOf(plain)}`]);
  }
  const proxy = await startProxy(t);
  const [reason, words] = await failure(open(t, plain, { proxy: proxy.url, host: "only.example.org" }).list("m/"));
  assert.deepEqual([reason, proxy.asked], ["SourceUnreachable", []]);
  assert.match(words, /does not resolve/);
});

test("what is judged to be inside never reaches the proxy, by address or by name", async (t) => {
  const inside = [
    "127.0.0.1",
    "10.0.0.5",
    "169.254.169.254",
    "[::1]",
    "[::ffff:10.0.0.5]",
    "[64:ff9b::a00:5]",
    "[fd00::5]",
  ];
  const names = { "rebound.example.org": "10.0.0.5", "meta.example.org": "169.254.169.254", "six.example.org": "fd00::5", "minio.storage.svc": PUBLIC }; // prettier-ignore
  for (const connectBy of ["address", "name"] as const) {
    const proxy = await startProxy(t);
    for (const host of [...inside, ...Object.keys(names)]) {
      for (const server of [plain, secure]) {
        for (const work of both(open(t, server, { proxy: proxy.url, host, names, connectBy })))
          assert.equal((await failure(work()))[0], "EndpointNotAllowed", `${host} ${connectBy}`);
      }
    }
    for (const work of both(open(t, plain, { proxy: proxy.url, host: "minio.svc", names, connectBy })))
      assert.equal(
        (await failure(work()))[0],
        "SourceUnreachable",
        "a name of the cluster that has no address is not passed on",
      );
    assert.deepEqual(proxy.asked, []);
  }
});

test("what the platform lists goes through the proxy by its address, and directly where NO_PROXY names it", async (t) => {
  const proxy = await startProxy(t);
  const names = { [NAME]: "127.0.0.1" };
  const allowed = ["127.0.0.0/8"];
  assert.ok((await open(t, plain, { proxy: proxy.url, names, allowed }).list("m/")).objects.length > 0);
  assert.deepEqual(proxy.asked, [`127.0.0.1:${portOf(plain)}`]);
  const direct = open(t, plain, { proxy: proxy.url, names, allowed, none: "localhost, .example.org" });
  assert.ok((await direct.list("m/")).objects.length > 0);
  const refused = open(t, plain, { proxy: proxy.url, names, none: NAME });
  assert.equal(
    (await failure(refused.list("m/")))[0],
    "EndpointNotAllowed",
    "without the proxy the guard judges as ever",
  );
  assert.equal(proxy.asked.length, 1);
});

test("a password goes to the proxy alone, and no failure tells it or where the proxy stands", async (t) => {
  const authorization = `Basic ${Buffer.from("berth:s3cret word").toString("base64")}`;
  const proxy = await startProxy(t, { authorization });
  const url = (user: string): string => proxy.url.replace("//", `//${user}@`);
  const source = open(t, plain, { proxy: url("berth:s3cret%20word") });
  assert.ok((await source.list("m/")).objects.length > 0);
  assert.ok(proxy.heads.every((head) => head.includes(`Proxy-Authorization: ${authorization}\r\n`)));
  for (const work of both(open(t, plain, { proxy: url("berth:wrongword") }))) {
    const [reason, words] = await failure(work());
    assert.equal(reason, "SourceUnreachable");
    assert.match(
      words,
      /the platform's proxy answers 407; the platform's administrator looks after importer\.httpsProxy/,
    );
    for (const secret of ["wrongword", String(proxy.port), authorization]) assert.ok(!words.includes(secret), words);
  }
});

describe("a proxy that fails", () => {
  const answers: readonly (readonly [string, RegExp])[] = [
    ["HTTP/1.1 403 Forbidden\r\n\r\n", /answers 403/],
    ["SSH-2.0-x\r\n\r\n", /does not speak HTTP/],
    ["HTTP/1.1 200 ok\r\n\r\nHTTP/1.1 200 OK\r\n", /bytes that nobody asked for/],
    [`HTTP/1.1 200 ok\r\nx: ${"a".repeat(10_000)}`, /without an end/],
  ];
  for (const [answer, words] of answers)
    test(`says so: ${String(words)}`, async (t) => {
      const proxy = await startProxy(t, { answer });
      for (const work of both(open(t, secure, { proxy: proxy.url }))) {
        const [reason, said] = await failure(work());
        assert.equal(reason, "SourceUnreachable");
        assert.match(said, words);
      }
    });

  test("that is away, and a place that it cannot reach, may pass", async (t) => {
    for (const work of both(open(t, plain, { proxy: "http://127.0.0.1:9" })))
      assert.match(
        (await failure(work())).join(" "),
        /SourceUnreachable .*the platform's proxy is away \(ECONNREFUSED\)/,
      );
    const proxy = await startProxy(t, { places: { [PUBLIC]: "127.0.0.2" } });
    for (const work of both(open(t, plain, { proxy: proxy.url })))
      assert.match((await failure(work())).join(" "), /SourceUnreachable .*answers 502/);
  });

  test("that shows a certificate of its own is not believed", async (t) => {
    const other = await startS3({ tls: newServerCertificate(authority, ["proxy.example.org"]) });
    t.after(() => other.stop());
    const proxy = await startProxy(t);
    for (const work of both(open(t, other, { proxy: proxy.url })))
      assert.match((await failure(work())).join(" "), /SourceUnreachable .*ERR_TLS_CERT_ALTNAME_INVALID/);
  });
});

test("the role takes the usual variables, and says what is wrong with them without a password", () => {
  const flags = { storeUrl: "file:///var/lib/berth/store" };
  const env = { HTTPS_PROXY: "http://u:secret@proxy:3128", no_proxy: ".svc" };
  const { proxy } = importerConfig(flags, env);
  assert.deepEqual(proxy, { https: env.HTTPS_PROXY, http: undefined, none: ".svc", connectBy: "address" });
  assert.equal(importerConfig({ ...flags, proxyConnectBy: "name" }, env).proxy.connectBy, "name");
  const wrong = { HTTPS_PROXY: "https://u:secret@proxy", HTTP_PROXY: "proxy:3128" };
  assert.throws(
    () => importerConfig({ ...flags, proxyConnectBy: "both" }, wrong),
    (error: Error) => {
      assert.match(error.message, /HTTPS_PROXY is no proxy's URL: write http:\/\/host:port/);
      assert.match(error.message, /HTTP_PROXY is no/);
      assert.match(error.message, /--proxy-connect-by is "both": give address or name/);
      assert.ok(!error.message.includes("secret"));
      return true;
    },
  );
});

test("berth import takes the proxy of its environment", async (t) => {
  const proxy = await startProxy(t);
  const to = mkdtempSync(join(tmpdir(), "berth-proxy-"));
  t.after(() => rmSync(to, { recursive: true, force: true }));
  const { accessKeyId, secretAccessKey } = plain;
  const endpoint = `http://${NAME}:${portOf(plain)}`;
  const keys = {
    AWS_ACCESS_KEY_ID: accessKeyId,
    AWS_SECRET_ACCESS_KEY: secretAccessKey,
    AWS_ENDPOINT_URL_S3: endpoint,
  };
  const env = { PATH: process.env["PATH"], ...keys, HTTP_PROXY: proxy.url };
  const args = [main, "import", "--from", "s3://models/m", "--to", `file://${to}`, "--dry-run"];
  const { stdout } = await promisify(execFile)(process.execPath, args, { env });
  assert.match(stdout, /^good: LlamaForCausalLM/);
  assert.deepEqual([...new Set(proxy.asked)], [`${NAME}:${portOf(plain)}`]);
});

test("fetch takes the proxy too, for what the administrator names", async (t) => {
  const proxy = await startProxy(t);
  const get = newProxiedFetch({ http: proxy.url, none: "direct.example.org", connectBy: "name" });
  assert.ok(get);
  const port = portOf(plain);
  assert.equal((await get(new URL(`http://${NAME}:${port}/models`))).status, 403);
  assert.deepEqual(proxy.asked, [`${NAME}:${port}`]);
  await assert.rejects(get(new URL(`http://direct.example.org:${port}/`)), TypeError);
  assert.equal(proxy.asked.length, 1);
  assert.equal(newProxiedFetch({ connectBy: "name" }), undefined);
});

test("NO_PROXY is read as everywhere", () => {
  const is = (none: string, host: string, port = 443): boolean =>
    newProxyChoice({ https: "http://proxy:3128", none, connectBy: "name" })({ secure: true, host, port }) === undefined;
  const cases: readonly (readonly [string, string, boolean, number?])[] = [
    ["", NAME, false], ["*", NAME, true], ["example.org", NAME, true], [".example.org", NAME, true], ["*.example.org", NAME, true],
    [".example.org", "example.org", false], ["example.org", "example.org", true], ["example.org", "badexample.org", false],
    ["S3.Example.ORG", NAME, true], ["s3.example.org:443", NAME, true], ["s3.example.org:9000", NAME, false],
    ["s3.example.org:9000", NAME, true, 9000], [".svc,.cluster.local", "minio.storage.svc", true], ["localhost 10.0.0.0/8", "10.1.2.3", true],
    ["10.0.0.0/8", "11.0.0.1", false], ["10.0.0.0/8", NAME, false], ["10.1.2.3", "10.1.2.3", true], ["fd00::/8", "fd00::5", true],
    ["fd00::5", "fd00:0::5", true], ["[fd00::5]:9000", "fd00::5", true, 9000], ["[fd00::5]:9000", "fd00::5", false], ["rg", NAME, false],
    ["s3.example.org", "s3.example.org.", true], ["1.2.3.4/99", "1.2.3.4", false], [",, ,", NAME, false],
  ]; // prettier-ignore
  for (const [none, host, expected, port] of cases) assert.equal(is(none, host, port), expected, `${none} ${host}`);
  assert.equal(
    newProxyChoice({ https: "http://p:1", connectBy: "name" })({ secure: false, host: NAME, port: 80 }),
    undefined,
  );
});

test("a proxy's URL is http, a host and a port", () => {
  for (const good of [
    "http://proxy:3128",
    "http://proxy.example.org",
    "http://user:pa%20ss@10.0.0.1:8080/",
    "http://[fd00::1]:3128",
  ])
    assert.equal(proxyFault(good), undefined, good);
  for (const bad of [
    "proxy:3128",
    "https://proxy:3128",
    "socks5://proxy",
    "http://proxy/path",
    "http://user:secret@proxy/?x",
    "",
  ]) {
    assert.match(proxyFault(bad) ?? "", /write http:\/\/host:port/, bad);
    assert.ok(!proxyFault(bad)?.includes("secret"));
  }
});
