// No credential leaves by any door: importers at their most talkative meet every kind of answer, one of them with an echo of what
// they sent; then everything that anybody could read is searched.
import assert from "node:assert/strict";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { before, test } from "node:test";
import { apiPath } from "../cluster/client.ts";
import { tinyModel, uploadFiles } from "../models/tiny.ts";
import { fileScope, importerProcess, newBed, newTenant, putModel, putSecret, untilReason } from "./importbench.ts";
import type { Bed } from "./importbench.ts";

const scope = fileScope();
let bed: Bed;
before(async () => {
  bed = await newBed(scope);
});

const wrong = { accessKeyId: "AKIAWRONGWRONG", secretAccessKey: "wrong/secret+key-0123456789", sessionToken: "session-token-9876543210" }; // prettier-ignore

interface Case {
  readonly name: string;
  readonly reason: string;
  readonly prefix?: string;
  readonly endpoint?: string;
  readonly data?: Readonly<Record<string, string>>;
}

/** A server that tells back whatever was sent to it, in the words of S3, or breaks off. */
async function echoing(): Promise<string> {
  const server = createServer((request, response) => {
    const said = JSON.stringify([request.url, request.headers]).replace(/[<&]/g, " ");
    if (request.url?.includes("breaks")) return void response.destroy();
    response.writeHead(request.url?.includes("fails") ? 500 : 400, { "content-type": "application/xml" });
    response.end(`<Error><Code>Odd${wrong.accessKeyId}</Code><Message>${said} ${wrong.sessionToken}</Message></Error>`);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  scope.after(() => server.close());
  return `http://127.0.0.1:${String((server.address() as AddressInfo).port)}`;
}

/** Everything in the cluster that is no Secret, as text. */
async function cluster(): Promise<string> {
  const kinds = "models.berth.dev,clustermodels.berth.dev,events,events.events.k8s.io,leases,configmaps,namespaces";
  const { code, stdout, stderr } = await bed.cluster.kubectl([
    "get",
    kinds,
    "-A",
    "-o",
    "yaml",
    "--show-managed-fields",
  ]);
  assert.equal(code, 0, stderr);
  return stdout;
}

test("no secret is in a log, an event, a status, an argument, a metric or an address that was logged", async () => {
  const echo = await echoing();
  const child = importerProcess(scope, bed, {}, "trace");
  const client = bed.s3.client();
  await uploadFiles(client, "source", "good/", tinyModel());
  await uploadFiles(client, "source", "pickle/", tinyModel({ "x.bin": "x" }));
  client.destroy();
  const endpoints = `${bed.s3.endpoint} ${echo}`;
  const cases: readonly Case[] = [
    { name: "good", prefix: "good", reason: "Imported" },
    { name: "refused", prefix: "pickle", reason: "UnsafeFormat" },
    { name: "wrong-key", data: wrong, reason: "AccessDenied" },
    { name: "wrong-secret", data: { accessKeyId: bed.s3.accessKeyId, secretAccessKey: wrong.secretAccessKey }, reason: "AccessDenied" },
    { name: "echoes", data: wrong, endpoint: echo, reason: "SourceError" },
    { name: "fails", prefix: "fails", data: wrong, endpoint: echo, reason: "SourceError" },
    { name: "breaks", prefix: "breaks", data: wrong, endpoint: echo, reason: "SourceUnreachable" },
    { name: "half", data: { accessKeyId: wrong.accessKeyId }, reason: "SecretInvalid" },
    { name: "unlisted", data: wrong, endpoint: "http://127.0.0.1:1", reason: "EndpointNotAllowed" },
  ]; // prettier-ignore
  const paths = await Promise.all(
    cases.map(async ({ data, name, prefix = "any", endpoint }) => {
      const namespace = await newTenant(bed);
      await putSecret(bed, namespace, { endpoints, ...(data ? { data } : {}) });
      return putModel(bed, namespace, { name, prefix, ...(endpoint === undefined ? {} : { endpoint }) });
    }),
  );
  for (const [at, { reason }] of cases.entries()) await untilReason(bed, paths[at] ?? "", reason, 60_000);
  const events = await bed.cluster.admin.list(apiPath("events.k8s.io/v1", "events", {}));
  const gathered = {
    log: readFileSync(join(bed.cluster.logDir, "importer.log"), "utf8"),
    cluster: await cluster(),
    events: JSON.stringify(events),
    arguments: readFileSync(`/proc/${String(child.pid)}/cmdline`, "utf8"),
  };
  assert.ok(gathered.log.length > 0 && gathered.cluster.includes("UnsafeFormat"), "there is something to search");
  const secrets = [bed.s3.secretAccessKey, bed.s3.accessKeyId, ...Object.values(wrong)];
  const spellings = (secret: string) => [secret, encodeURIComponent(secret), Buffer.from(secret).toString("base64").replace(/=+$/, "")]; // prettier-ignore
  for (const [where, text] of Object.entries(gathered)) {
    for (const secret of secrets.flatMap(spellings)) assert.ok(!text.includes(secret), `${where} tells ${secret}`);
    for (const signed of [/X-Amz-Signature=/i, /X-Amz-Credential=/i, /authorization"?:/i, /Signature=[0-9a-f]{16}/])
      assert.doesNotMatch(text, signed, where);
  }
});
