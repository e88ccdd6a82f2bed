// Values that the chart refuses, each with the remedy.
import assert from "node:assert/strict";
import { test } from "node:test";
import { bucket, karpenter, l4, publicPem, template } from "./helmtemplate.ts";

const refused: Record<string, { values: object; words: RegExp }> = {
  "an unknown value": { values: { replicaCount: 2 }, words: /additional properties 'replicaCount' not allowed/ },
  "an unknown value of a part": { values: { operator: { replica: 2 } }, words: /'replica' not allowed/ },
  "no replica": { values: { operator: { replicas: 0 } }, words: /operator\/replicas.*minimum: got 0, want 1/s },
  "replicas as text": {
    values: { operator: { replicas: "2" } },
    words: /got string, want (null or integer|integer or null)/,
  },
  "a URL of another scheme": { values: { ledger: { url: "gs://b" } }, words: /ledger\/url.*does not match pattern/s },
  "a relative directory": { values: { ledger: { url: "file://ledger" } }, words: /ledger\/url/ },
  "a directory at the root": { values: { store: { url: "file:///store" } }, words: /store\/url/ },
  "a path out of the volume": { values: { store: { url: "file:///var/../../etc" } }, words: /leave the directory/ },
  "redirects to a directory": {
    values: { store: { redirectCIDRs: ["10.0.0.0/8"] } },
    words: /store.redirectCIDRs is set, but store.url is a directory/,
  },
  "redirects to everywhere": {
    values: { store: { ...bucket, redirectCIDRs: ["0.0.0.0/0"] } },
    words: /redirectCIDRs/,
  },
  "a password in a proxy's address": {
    values: { importer: { httpsProxy: "http://user:secret@proxy:3128" } },
    words: /importer\/httpsProxy/,
  },
  "a proxy that is spoken to with TLS": {
    values: { importer: { httpsProxy: "https://proxy:3128" } },
    words: /importer\/httpsProxy/,
  },
  "two proxies": {
    values: { importer: { httpsProxy: "http://proxy:3128", proxySecret: { existingSecret: "proxy" } } },
    words: /leave one out/,
  },
  "a bucket before an address": {
    values: { store: { ...bucket, endpoint: "https://[fd00::5]:9000", addressingStyle: "VirtualHost" } },
    words: /store.endpoint is an address/,
  },
  "a bucket with a dot before a host": {
    values: {
      store: {
        url: "s3://my.store",
        existingSecret: "s",
        endpoint: "https://s3.example.org",
        addressingStyle: "VirtualHost",
      },
    },
    words: /has a dot/,
  },
  "a style of the ledger's addresses": {
    values: { ledger: { ...bucket, addressingStyle: "Path" } },
    words: /ledger/,
  },
  "a trusted key that is none": {
    values: { importer: { signing: { existingSecret: "key", trustedKeys: ["MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8A"] } } },
    words: /importer\/signing\/trustedKeys\/0.*does not match pattern/s,
  },
  "a private key among the trusted ones": {
    values: {
      importer: { signing: { existingSecret: "key", trustedKeys: ["-----BEGIN PRIVATE KEY-----\nMC4CAQAw"] } },
    },
    words: /trustedKeys/,
  },
  "trusted keys while nothing is signed": {
    values: { importer: { signing: { trustedKeys: [publicPem()] } } },
    words: /importer.signing.existingSecret is empty, so no model that is imported could be served/,
  },
  "redirects of the ledger": { values: { ledger: { ...bucket, redirectCIDRs: ["10.0.0.0/8"] } }, words: /ledger/ },
  "an endpoint without scheme": { values: { store: { endpoint: "s3.local" } }, words: /store\/endpoint/ },
  "a log level that does not exist": { values: { logLevel: "loud" }, words: /logLevel.*must be one of/s },
  "a time below zero": { values: { timing: { drainGraceSeconds: -1 } }, words: /drainGraceSeconds/ },
  "a time that does not exist": { values: { timing: { graceSeconds: 1 } }, words: /'graceSeconds' not allowed/ },
  "a window that does not divide an hour": {
    values: { timing: { windowSeconds: 7 } },
    words: /timing.windowSeconds is 7: give a divisor of 3600/,
  },
  "no engine image": { values: { engineImages: [] }, words: /engineImages.*minItems/s },
  "an engine image without version": {
    values: { engineImages: [{ image: "x" }] },
    words: /missing property 'version'/,
  },
  "a node type without spec": { values: { nodeTypes: [{ name: "l4" }] }, words: /missing property 'spec'/ },
  "a node type twice": {
    values: { nodeTypes: [1, 2].map(() => ({ name: "l4", spec: { ...l4, provider: karpenter } })) },
    words: /nodeTypes lists l4 twice/,
  },
  "an entry of the catalogue that is no name": {
    values: { catalogue: { include: ["Phi 4"] } },
    words: /catalogue\/include/,
  },
  "a tenant namespace that is no name": { values: { tenantNamespaces: ["Team A"] }, words: /tenantNamespaces/ },
  "a break-glass group that could end a string of CEL": {
    values: { policies: { breakGlassGroup: "a' || true || '" } },
    words: /breakGlassGroup/,
  },
  "two operators on a directory": {
    values: { operator: { replicas: 2 } },
    words: /operator.replicas is 2, but ledger.url is a directory .* set operator.replicas=1, or ledger.url=s3:/,
  },
  "two importers on a volume of one node": {
    values: { importer: { replicas: 2 } },
    words: /importer.replicas is 2, but store.url is a directory .* without ReadWriteMany/,
  },
  "two store replicas on a volume of one node": {
    values: { storeService: { replicas: 2 } },
    words:
      /storeService.replicas is 2, but store.url is a directory .* without ReadWriteMany: set storeService.replicas=1/,
  },
  "a volume for one pod, which importer and store would share": {
    values: { store: { persistence: { accessModes: ["ReadWriteOncePod"] } } },
    words: /ReadWriteOncePod, but store.url is a directory .* that importer and store both mount/,
  },
  "a bucket without credentials": {
    values: { ledger: { url: "s3://ledger/berth" } },
    words: /ledger.existingSecret is empty: name a Secret in namespace berth-system with the keys accessKeyId and/,
  },
  "ledger and store in one directory": {
    values: { store: { url: "file:///var/lib/berth/ledger/" } },
    words: /ledger.url and store.url are the same directory/,
  },
  "retention that would take tiers their month": {
    values: {
      metering: {
        retention: { enabled: true, keepDays: 62 },
        sinks: [{ name: "a", type: "focus", url: "file:///x", existingClaim: "c", provider: "P" }],
      },
    },
    words: /metering.retention.keepDays: 62 is too few for the sink a of type focus.*write 63 or more/,
  },
  "force without the check": {
    values: { uninstall: { check: false, force: true } },
    words: /uninstall.force=true needs uninstall.check=true/,
  },
};

for (const [what, { values: given, words }] of Object.entries(refused)) {
  test(`the chart refuses ${what}`, async () => {
    const { code, stderr } = await template(given);
    assert.notEqual(code, 0, "accepted");
    assert.match(stderr, words);
  });
}

test("earlier keys without a key that signs are refused where retention needs one", async () => {
  const earlierKeys = [publicPem()];
  const { stderr } = await template({ metering: { signing: { earlierKeys }, retention: { enabled: true } } });
  assert.match(stderr, /signing\.existingSecret is empty, so that nobody could sign the checkpoint: name the Secret/);
  assert.equal((await template({ metering: { signing: { earlierKeys } } })).code, 0);
});

test("sinks that cannot be meant are refused with the remedy", async () => {
  const https = "https://meter.example.com";
  const bad: readonly [object, RegExp][] = [
    [{ name: "a", type: "webhook", url: https }, /webhook a has no existingSecret/],
    [{ name: "a", type: "jsonl", url: "file:///x" }, /no existingClaim/],
    [{ name: "a", type: "jsonl", url: https, existingClaim: "c" }, /cannot have the url/],
    [{ name: "a", type: "jsonl", url: "s3://bucket" }, /writes to a bucket and has no existingSecret/],
    [{ name: "a", type: "focus", url: "s3://bucket", existingSecret: "s" }, /has no provider/],
    [{ name: "a", type: "focus", url: "s3://b", existingSecret: "s", provider: "Example" }, /needs prices/],
    [{ name: "a", type: "cloudevents", url: "http://meter" }, /no TLS/],
    [{ name: "a", type: "cloudevents", url: https, token: "secret" }, /token/],
  ];
  for (const [sink, message] of bad) {
    const { code, stderr } = await template({ metering: { sinks: [sink] } });
    assert.notEqual(code, 0);
    assert.match(stderr, message);
  }
  const twice = { name: "a", type: "cloudevents", url: https };
  assert.match((await template({ metering: { sinks: [twice, twice] } })).stderr, /lists a twice/);
});
