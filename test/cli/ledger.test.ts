/** `berth ledger` as an auditor runs it over a directory; OpenSSL makes the keys and checks one signature without Berth. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { pathToFileURL } from "node:url";
import { gunzipSync, gzipSync } from "node:zlib";

import { openLedger } from "../../operator/adapters/ledger/open.ts";
import { ledgerCommand } from "../../operator/cli/ledger.ts";
import { putClosing } from "../../operator/controllers/closing.ts";
import { signerOf } from "../../operator/adapters/ledger/signing.ts";
import { gone, sealerAt } from "../controllers/sealerrig.ts";

let root = "";
const at = (name: string) => join(root, name);
const openssl = (...args: string[]) => execFileSync("openssl", args, { stdio: ["ignore", "pipe", "pipe"] });
const hour = "v1/dt=2026-11-21/hr=10";

before(async () => {
  root = await mkdtemp(join(tmpdir(), "berth-audit-"));
  for (const name of ["key", "other"]) {
    openssl("genpkey", "-algorithm", "ed25519", "-out", at(`${name}.pem`));
    openssl("pkey", "-in", at(`${name}.pem`), "-pubout", "-out", at(`${name}.pub`));
  }
  const ledger = openLedger({ url: pathToFileURL(at("sealed")).href });
  await putClosing(ledger, gone);
  const signer = signerOf(await readFile(at("key.pem"), "utf8"), "key.pem");
  await sealerAt({ ledger, at: "12:06:00", signer }).sealer.pass();
});
after(() => rm(root, { recursive: true, force: true }));

async function berth(...args: string[]) {
  let [code, out, err] = [-1, "", ""];
  const io = { env: {}, write: (text: string) => void (out += text), complain: (text: string) => void (err += text) };
  const command = ledgerCommand(io, (ended) => (code = ended));
  await command.parseAsync(args, { from: "user" });
  return { code, out, err };
}
const verify = (place: string, ...rest: string[]) =>
  berth("verify", "--ledger-url", pathToFileURL(at(place)).href, ...rest);

test("intact: 0, the head is printed and can be given back; without keys it says that signatures were not checked", async () => {
  const plain = await verify("sealed");
  assert.equal(plain.code, 0);
  assert.match(plain.out, /signatures were not checked/);
  const head = /^head ([0-9a-f]{64})/m.exec(plain.out)?.[1] ?? "";
  const trusted = await verify("sealed", "--trust", at("other.pub"), at("key.pub"), "--head", head);
  assert.equal(trusted.code, 0, trusted.out);
  assert.match(trusted.out, /3 windows signed with a trusted key, 0 before them by the chain\n/);
  assert.match(trusted.out, /intact\n$/);
});

test("an edited line is named by key and line: 3, in words and as JSON", async () => {
  await cp(at("sealed"), at("edited"), { recursive: true });
  const file = join(at("edited"), hour, "segment-r0.ndjson.gz");
  const text = gunzipSync(await readFile(file)).toString();
  await writeFile(file, gzipSync(text.replace('"billableNodeSeconds":2740', '"billableNodeSeconds":2741')));
  const { code, out } = await verify("edited", "--trust", at("key.pub"));
  assert.equal(code, 3);
  assert.match(out, new RegExp(`^${hour}/segment-r0\\.ndjson\\.gz:2 does not add up`, "m"));
  const { code: again, out: json } = await verify("edited", "-o", "json");
  const { findings } = JSON.parse(json) as { findings: { key: string; line?: number }[] };
  assert.equal(again, 3);
  assert.ok(findings.some(({ key, line }) => key === `${hour}/segment-r0.ndjson.gz` && line === 2));
});

test("a foreign key, a wrong head: 3; a file without keys: 1", async () => {
  assert.equal((await verify("sealed", "--trust", at("other.pub"))).code, 3);
  assert.equal((await verify("sealed", "--head", "0".repeat(64))).code, 3);
  const { code, err } = await verify("sealed", "--trust", at("key.pem"));
  assert.equal(code, 1);
  assert.match(err, /holds no public key in PEM/);
});

test("show prints every record, one document a line", async () => {
  const { code, out } = await berth("show", "--ledger-url", pathToFileURL(at("sealed")).href);
  const lines = out.trimEnd().split("\n");
  assert.equal(code, 0);
  assert.ok(lines.length > 3);
  for (const line of lines) assert.equal((JSON.parse(line) as { kind: string }).kind, "usage");
});

test("OpenSSL alone finds the signature good, over bytes put together by hand", async () => {
  const manifest = await readFile(join(at("sealed"), hour, "manifest.json"));
  const envelope = JSON.parse(await readFile(join(at("sealed"), hour, "manifest.sig.json"), "utf8")) as {
    payloadType: string;
    signatures: { keyid: string; sig: string }[];
  };
  const [first] = envelope.signatures;
  const type = envelope.payloadType;
  await writeFile(
    at("signed"),
    Buffer.concat([Buffer.from(`DSSEv1 ${type.length} ${type} ${manifest.length} `), manifest]),
  );
  await writeFile(at("sig"), Buffer.from(first?.sig ?? "", "base64"));
  const said = openssl(
    "pkeyutl",
    "-verify",
    "-rawin",
    "-pubin",
    "-inkey",
    at("key.pub"),
    "-in",
    at("signed"),
    "-sigfile",
    at("sig"),
  );
  assert.match(said.toString(), /Signature Verified Successfully/);
});
