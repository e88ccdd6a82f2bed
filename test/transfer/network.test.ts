// The ways to a bucket besides plain HTTP over IPv4 with keys: TLS with an authority of one's own, IPv6, buckets that anybody may
// read, that stand before the host, whose readers pay. Each on the real S3 server, the listing over the SDK, the bytes over plain sockets.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { networkInterfaces, tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import type { TestContext } from "node:test";
import { getCACertificates, setDefaultCACertificates } from "node:tls";
import { promisify } from "node:util";
import { PutBucketPolicyCommand } from "@aws-sdk/client-s3";
import { newEgressGuard } from "../../operator/adapters/egress/guard.ts";
import { newS3Source } from "../../operator/adapters/s3/source.ts";
import type { S3SourceOptions } from "../../operator/adapters/s3/source.ts";
import type { ObjectSource } from "../../operator/ports.ts";
import { RetryError, TerminalError } from "../../operator/runtime/errors.ts";
import { importModel } from "../../operator/transfer/import.ts";
import { newRawClient } from "../../operator/transfer/rawget.ts";
import { openStore } from "../../operator/adapters/store/open.ts";
import { startFaultProxy } from "../cluster/faultproxy.ts";
import type { FaultProxy } from "../cluster/faultproxy.ts";
import { startS3 } from "../cluster/s3.ts";
import type { S3Server } from "../cluster/s3.ts";
import { newAuthority, newServerCertificate } from "../cluster/x509.ts";
import { llamaFolder } from "../models/llama.ts";
import { filesBelow, uploadFolder } from "../models/upload.ts";
import { digestOf, jobFor, newStore } from "./bench.ts";

const main = join(import.meta.dirname, "../../operator/main.ts");
const wanted = (): string => digestOf(llamaFolder(), filesBelow(llamaFolder()));

/** A server with the model in the bucket `models`. */
async function startWithModel(options: Parameters<typeof startS3>[0]): Promise<S3Server> {
  const s3 = await startS3(options);
  await s3.createBucket("models");
  const client = s3.client();
  await uploadFolder(client, "models", "m/", llamaFolder());
  client.destroy();
  return s3;
}

/** A source as the importer role makes it, with what the test changes. */
function open(
  t: TestContext,
  s3: S3Server,
  allowedCidrs: readonly string[],
  change: Partial<S3SourceOptions> = {},
): ObjectSource {
  const { endpoint, region, accessKeyId, secretAccessKey } = s3;
  const guard = newEgressGuard({ allowedCidrs });
  const bulk = newRawClient({ silenceMs: 20_000, guard });
  const credentials = { accessKeyId, secretAccessKey };
  const source = newS3Source({ endpoint, region, bucket: "models", credentials, guard, bulk, ...change });
  t.after(() => source.close());
  return source;
}

async function imported(t: TestContext, source: ObjectSource): Promise<string | undefined> {
  const result = await importModel(jobFor({ source, store: await newStoreHere(t), prefix: "m" }));
  assert.ok(result.kind === "imported", JSON.stringify(result));
  return result.revisions.at(-1)?.digest;
}

const newStoreHere = (t: TestContext) => newStore(t, undefined as never, "file");

/** The reason of a refusal or of a fault that may pass, and its words. */
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

/** Reads 16 bytes of the weights the raw way, of an object that a listing over another endpoint showed. */
async function rawRead(source: ObjectSource, listed: ObjectSource): Promise<unknown> {
  const object = (await listed.list("m/")).objects.find(({ key }) => key.endsWith(".safetensors"));
  assert.ok(object);
  return source.fill?.(object, 0, new Uint8Array(16));
}

describe("TLS", () => {
  const authority = newAuthority();
  const folder = mkdtempSync(join(tmpdir(), "berth-network-"));
  let good: S3Server;
  let elsewhere: S3Server;
  let over: S3Server;
  const known = getCACertificates("default");
  before(async () => {
    writeFileSync(join(folder, "ca.pem"), authority.certPem);
    const certificate = (names: readonly string[], days?: number) => newServerCertificate(authority, names, days);
    [good, elsewhere, over] = await Promise.all([
      startWithModel({ tls: certificate(["127.0.0.1"]) }),
      startS3({ tls: certificate(["s3.example.org", "127.0.0.2"]) }),
      startS3({ tls: certificate(["127.0.0.1"], -1) }),
    ]);
  });
  after(async () => {
    setDefaultCACertificates(known);
    await Promise.all([good, elsewhere, over].map((server) => server.stop()));
    rmSync(folder, { recursive: true, force: true });
  });
  const loopback = ["127.0.0.0/8"];

  test("behind an authority of one's own a model is imported whole; without it nothing is asked", async (t) => {
    setDefaultCACertificates(known);
    const stranger = open(t, good, loopback);
    const [reason, words] = await failure(stranger.list("m/"));
    assert.equal(reason, "SourceUnreachable");
    assert.match(words, /cannot be reached: .*(UNABLE_TO_VERIFY_LEAF_SIGNATURE|UNABLE_TO_GET_ISSUER_CERT|SELF_SIGNED)/);
    setDefaultCACertificates([authority.certPem]);
    const friend = open(t, good, loopback);
    setDefaultCACertificates(known);
    assert.match(
      (await failure(rawRead(stranger, friendly(t)))).join(" "),
      /SourceUnreachable .*(VERIFY|ISSUER|SELF_SIGNED)/,
    );
    setDefaultCACertificates([authority.certPem]);
    assert.equal(await imported(t, friend), wanted());
    assert.match(readFileSync(good.logPath, "utf8"), /GET/);
  });

  test("the bundle that NODE_EXTRA_CA_CERTS names is the authority of the program", async (t) => {
    const to = mkdtempSync(join(tmpdir(), "berth-network-store-"));
    t.after(() => rmSync(to, { recursive: true, force: true }));
    const { accessKeyId, secretAccessKey, endpoint } = good;
    const keys = {
      AWS_ACCESS_KEY_ID: accessKeyId,
      AWS_SECRET_ACCESS_KEY: secretAccessKey,
      AWS_ENDPOINT_URL_S3: endpoint,
    };
    const args = [main, "import", "--from", "s3://models/m", "--to", `file://${to}`];
    const run = (more: Readonly<Record<string, string>>) =>
      promisify(execFile)(process.execPath, args, { env: { PATH: process.env["PATH"], ...keys, ...more } });
    await assert.rejects(run({}), (error: { readonly code?: number; readonly stderr?: string }) => {
      assert.equal(error.code, 1);
      assert.match(error.stderr ?? "", /cannot be reached: .*UNABLE_TO_VERIFY_LEAF_SIGNATURE/);
      return true;
    });
    assert.equal((await run({ NODE_EXTRA_CA_CERTS: join(folder, "ca.pem") })).stdout, `${wanted()}\n`);
  });

  /** The listing of an object, whatever the certificates. */
  function friendly(t: TestContext): ObjectSource {
    const source = open(t, good, loopback);
    const list: ObjectSource["list"] = async (prefix, next) => {
      setDefaultCACertificates([authority.certPem]);
      try {
        return await source.list(prefix, next);
      } finally {
        setDefaultCACertificates(known);
      }
    };
    return { ...source, list };
  }

  test("a certificate of another name or one that is over is refused, listing and bytes, and no request is sent", async (t) => {
    setDefaultCACertificates([authority.certPem]);
    for (const [server, code] of [
      [elsewhere, "ERR_TLS_CERT_ALTNAME_INVALID"],
      [over, "CERT_HAS_EXPIRED"],
    ] as const) {
      const before = readFileSync(server.logPath, "utf8").length;
      const source = open(t, server, loopback);
      for (const work of [source.list("m/"), rawRead(source, open(t, good, loopback))]) {
        const [reason, words] = await failure(work);
        assert.equal(reason, "SourceUnreachable", words);
        assert.match(words, new RegExp(code));
      }
      assert.doesNotMatch(readFileSync(server.logPath, "utf8").slice(before), /GET|HEAD/);
    }
  });
});

/** Machines without IPv6 have no ::1. */
const loopback6 = Object.values(networkInterfaces()).some((all) => all?.some(({ address }) => address === "::1"));

describe("IPv6", { skip: loopback6 ? false : "this machine has no ::1" }, () => {
  let plain: S3Server;
  let secure: S3Server;
  const authority = newAuthority();
  const known = getCACertificates("default");
  before(async () => {
    [plain, secure] = await Promise.all([
      startWithModel({ address: "::1" }),
      startWithModel({ address: "::1", tls: newServerCertificate(authority, ["::1"]) }),
    ]);
    setDefaultCACertificates([authority.certPem]);
  });
  after(async () => {
    setDefaultCACertificates(known);
    await Promise.all([plain.stop(), secure.stop()]);
  });

  test("a model is imported from a literal address, with TLS and without", async (t) => {
    for (const server of [plain, secure]) {
      assert.match(server.endpoint, /\/\/\[::1\]:/);
      assert.equal(await imported(t, open(t, server, ["::1/128"])), wanted());
    }
  });

  test("it is refused where the platform does not list it, listing and bytes", async (t) => {
    const listed = open(t, plain, ["::1/128"]);
    for (const cidrs of [[], ["127.0.0.0/8"], ["fc00::/7", "fe80::/10"]]) {
      const source = open(t, plain, cidrs);
      assert.equal((await failure(source.list("m/")))[0], "EndpointNotAllowed");
      assert.equal((await failure(rawRead(source, listed)))[0], "EndpointNotAllowed");
    }
  });

  test("a name that has only an IPv6 address is asked there", async (t) => {
    const { port } = new URL(plain.endpoint);
    const guard = newEgressGuard({
      allowedCidrs: ["::1/128"],
      resolve: () => Promise.resolve([{ address: "::1", family: 6 }]),
    });
    const bulk = newRawClient({ silenceMs: 20_000, guard });
    const source = open(t, plain, [], { endpoint: `http://s3.example.org:${port}`, guard, bulk });
    assert.equal(await imported(t, source), wanted());
  });
});

test("a bucket that anybody may read is imported without a signature, listing and bytes; one that is not is refused", async (t) => {
  const s3 = await startWithModel({});
  t.after(() => s3.stop());
  const proxy = await startFaultProxy({ target: s3.endpoint, dialect: "s3" });
  t.after(() => proxy.close());
  const change = { endpoint: proxy.url, credentials: undefined };
  const source = open(t, s3, ["127.0.0.0/8"], change);
  assert.equal((await failure(source.list("m/")))[0], "AccessDenied");
  const listed = open(t, s3, ["127.0.0.0/8"]);
  assert.equal((await failure(rawRead(source, listed)))[0], "AccessDenied");
  const Statement = [
    { Effect: "Allow", Principal: "*", Action: ["s3:ListBucket"], Resource: ["arn:aws:s3:::models"] },
    { Effect: "Allow", Principal: "*", Action: ["s3:GetObject"], Resource: ["arn:aws:s3:::models/*"] },
  ];
  const Policy = JSON.stringify({ Version: "2012-10-17", Statement });
  const client = s3.client();
  await client.send(new PutBucketPolicyCommand({ Bucket: "models", Policy }));
  client.destroy();
  const before = proxy.seen.length;
  assert.equal(await imported(t, source), wanted());
  const seen = proxy.seen.slice(before);
  assert.ok(seen.some(({ query }) => query.get("list-type") === "2"));
  assert.ok(seen.some(({ path }) => path.endsWith(".safetensors")));
  for (const { url, headers } of seen) {
    assert.equal(headers.authorization, undefined, url);
    assert.doesNotMatch(url, /X-Amz-(Signature|Credential)/i);
    assert.equal(headers["x-amz-security-token"], undefined, url);
  }
});

describe("buckets that stand before the host", () => {
  const domain = "s3.berth.test";
  let s3: S3Server;
  let proxy: FaultProxy;
  before(async () => {
    s3 = await startWithModel({ virtualDomain: domain });
    proxy = await startFaultProxy({ target: s3.endpoint, dialect: "s3" });
  });
  after(async () => {
    await proxy.close();
    await s3.stop();
  });
  const asked: string[] = [];
  /** The names of the domain are on this machine, and nowhere else. */
  const guardFor = (allowedCidrs: readonly string[]) =>
    newEgressGuard({
      allowedCidrs,
      resolve: (host) => {
        asked.push(host);
        return host.endsWith(domain)
          ? Promise.resolve([{ address: "127.0.0.1", family: 4 }])
          : Promise.reject(Object.assign(new Error(host), { code: "ENOTFOUND" }));
      },
    });
  function openVirtual(t: TestContext, allowedCidrs: readonly string[], change: Partial<S3SourceOptions> = {}) {
    const guard = guardFor(allowedCidrs);
    const bulk = newRawClient({ silenceMs: 20_000, guard });
    const endpoint = `http://${domain}:${String(proxy.port)}`;
    return open(t, s3, [], { addressing: "VirtualHost", endpoint, guard, bulk, ...change });
  }

  test("a model is imported: listing and bytes name the bucket in the host and nowhere else", async (t) => {
    const before = proxy.seen.length;
    assert.equal(await imported(t, openVirtual(t, ["127.0.0.0/8"])), wanted());
    const seen = proxy.seen.slice(before);
    assert.ok(seen.length > 10);
    for (const { headers, path } of seen) {
      assert.equal(headers.host, `models.${domain}:${String(proxy.port)}`);
      assert.ok(!path.startsWith("/models"), path);
    }
    assert.deepEqual([...new Set(asked)], [`models.${domain}`]);
  });

  test("the host with the bucket is what is judged and what a failure names", async (t) => {
    const refused = await failure(openVirtual(t, []).list("m/"));
    assert.deepEqual([refused[0], refused[1].startsWith(`models.${domain} resolves to a loopback address`)], ["EndpointNotAllowed", true]); // prettier-ignore
    const endpoint = "http://nowhere.example:1";
    const missing = await failure(openVirtual(t, ["127.0.0.0/8"], { endpoint }).list("m/"));
    assert.deepEqual(missing, ["SourceUnreachable", "http://models.nowhere.example:1 cannot be reached: its name does not resolve (ENOTFOUND)"]); // prettier-ignore
    const other = await failure(openVirtual(t, ["127.0.0.0/8"], { bucket: "no-such-bucket" }).list("m/"));
    assert.equal(other[0], "BucketNotFound");
  });

  test("a signed address of the store names the bucket in the host, and its bytes come over a plain socket", async (t) => {
    const { region, accessKeyId, secretAccessKey } = s3;
    const credentials = { accessKeyId, secretAccessKey };
    const { port } = new URL(s3.endpoint);
    const endpoint = `http://${domain}:${port}`;
    const path = openStore({ url: "s3://models", endpoint: s3.endpoint, region, credentials });
    const store = openStore({ url: "s3://models", endpoint, region, addressing: "VirtualHost", credentials });
    t.after(() => (path.close(), store.close()));
    await path.put("a b/ü.txt", Buffer.from("hello"));
    const url = new URL((await store.presign?.("a b/ü.txt", 60)) ?? "");
    assert.equal(url.origin, `http://models.${domain}:${port}`);
    const raw = newRawClient({ silenceMs: 20_000, guard: guardFor(["127.0.0.0/8"]) });
    t.after(() => raw.close());
    let text = "";
    let status = 0;
    const onBytes = (piece: Uint8Array): void => void (text += Buffer.from(piece).toString());
    const onHead = (head: { readonly status: number }): void => void (status = head.status);
    await raw.get({ url, headers: { range: "bytes=1-3" }, onHead, onBytes }, new AbortController().signal);
    assert.deepEqual([status, text], [206, "ell"]);
  });
});

test("who reads pays where the source says so: each request says it, and it is signed", async (t) => {
  const s3 = await startWithModel({});
  t.after(() => s3.stop());
  const proxy = await startFaultProxy({ target: s3.endpoint, dialect: "s3" });
  t.after(() => proxy.close());
  const source = open(t, s3, ["127.0.0.0/8"], { endpoint: proxy.url, requesterPays: true });
  assert.equal(await imported(t, source), wanted());
  const [object] = (await source.list("m/")).objects;
  assert.ok(object);
  await source.stated?.(object);
  assert.deepEqual([...new Set(proxy.seen.map(({ method }) => method))].sort(), ["GET", "HEAD"]);
  assert.ok(proxy.seen.some(({ query }) => query.get("list-type") === "2"));
  assert.ok(
    proxy.seen.some(({ headers }) => headers.range !== undefined),
    "bytes of ranges",
  );
  for (const { method, url, headers } of proxy.seen) {
    assert.equal(headers["x-amz-request-payer"], "requester", `${method} ${url}`);
    assert.match(headers.authorization ?? "", /SignedHeaders=[^,]*x-amz-request-payer/, `${method} ${url}`);
  }
  const before = proxy.seen.length;
  await open(t, s3, ["127.0.0.0/8"], { endpoint: proxy.url }).list("m/");
  assert.equal(proxy.seen[before]?.headers["x-amz-request-payer"], undefined);
});
