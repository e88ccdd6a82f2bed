// What the values of metering become: retention, sinks, prices, keys that sign.
import assert from "node:assert/strict";
import { test } from "node:test";
import { stringify } from "yaml";
import { operatorConfig } from "../../operator/config.ts";
import { parsePriceList } from "../../operator/plan/rating/pricelist.ts";
import { parseSinks } from "../../operator/sinks.ts";
import { run } from "../cluster/cluster.ts";
import { aPriceList } from "../plan/rating/samples.ts";
import { bucket, chart, found, helmPath, objects, publicPem } from "./helmtemplate.ts";

test("retention is off by default; its job names every sink, and reads a bucket with the ledger's keys", async () => {
  assert.ok((await objects()).every(({ kind }) => kind !== "CronJob"));
  const startAt = "2026-11-22T00:00:00Z";
  const sinks = [{ name: "meter" }, { name: "other", startAt }].map((sink) => ({
    ...sink,
    type: "cloudevents",
    url: "https://meter.example.com",
  }));
  const earlierKeys = ["A", "B"].map(
    (one) => `-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA${one.repeat(43)}=\n-----END PUBLIC KEY-----\n`,
  );
  const { spec } = await found("CronJob", "berth-retention", {
    ledger: { ...bucket, endpoint: "https://s3.example.com" },
    metering: {
      sinks,
      signing: { existingSecret: "seal", earlierKeys },
      retention: { enabled: true, keepDays: 30, ignoredSinks: ["old"], existingSecret: "trimmer" },
    },
  });
  const [container] = spec?.jobTemplate?.spec.template.spec.containers ?? [];
  const flags = ["keep-days=30", "sink=meter", `sink=other=${startAt}`, "ignore-sink=old"].map((flag) => `--${flag}`);
  const place = ["--ledger-url=s3://ledger/berth", "--endpoint=https://s3.example.com", "--region=us-east-1"];
  const signing = "--signing-key=/etc/berth/signing/key.pem";
  assert.deepEqual(container?.args, ["ledger", "gc", ...place, ...flags, signing]);
  const trusted = JSON.stringify({ name: "BERTH_LEDGER_TRUSTED_KEYS", value: earlierKeys.join("\n") });
  assert.ok(JSON.stringify(container).includes(trusted), JSON.stringify(container));
  assert.match(JSON.stringify(container), /"valueFrom":\{"secretKeyRef":\{"name":"trimmer","key":"accessKeyId"\}\}/);
});

test("an install with retention and a signing key says what a rotation will ask for; one that knows earlier keys says nothing", async () => {
  const notes = async (signing: object) => {
    const args = ["install", "berth", chart, "-n", "berth-system", "--dry-run=client", "-f", "-"];
    const input = stringify({ metering: { signing, retention: { enabled: true } } });
    const { code, stdout, stderr } = await run(await helmPath(), args, { input });
    assert.equal(code, 0, stderr);
    return stdout;
  };
  const told = /list its old public half under metering\.signing\.earlierKeys/;
  assert.match(await notes({ existingSecret: "seal" }), told);
  assert.doesNotMatch(await notes({ existingSecret: "seal", earlierKeys: [publicPem()] }), told);
  assert.doesNotMatch(await notes({}), told);
});

test("sinks reach the operator as a file that it understands, secrets as mounts and never as values", async () => {
  const sinks = [
    { name: "meter", type: "cloudevents", url: "https://meter.example.com/api/v1/events", existingSecret: "meter" },
    {
      name: "erp",
      type: "webhook",
      url: "http://erp.erp.svc/usage",
      plainHttp: true,
      existingSecret: "erp",
      batchSize: 25,
    },
    { name: "files", type: "jsonl", url: "file:///var/lib/berth/usage", existingClaim: "usage" },
  ];
  const config = await found("ConfigMap", "berth-sinks", { metering: { sinks } });
  const parsed = parseSinks(JSON.parse(config.data?.["sinks.json"] ?? ""));
  assert.deepEqual(parsed.problems, []);
  assert.deepEqual(
    parsed.sinks.map((sink) =>
      "secretFile" in sink ? sink.secretFile : "tokenFile" in sink ? sink.tokenFile : sink.url,
    ),
    ["/etc/berth/sink-secrets/meter/token", "/etc/berth/sink-secrets/erp/secret", "file:///var/lib/berth/usage"],
  );
  const operator = await found("Deployment", "berth-operator", { metering: { sinks } });
  const pod = operator.spec?.template?.spec;
  assert.ok(pod?.containers[0]?.args.includes("--sinks-file=/etc/berth/sinks/sinks.json"));
  const mounts = pod?.containers[0]?.volumeMounts?.map(({ mountPath }) => mountPath) ?? [];
  for (const path of [
    "/etc/berth/sinks",
    "/etc/berth/sink-secrets/meter",
    "/etc/berth/sink-secrets/erp",
    "/var/lib/berth/usage",
  ])
    assert.ok(mounts.includes(path), path);
});

test("files of charges: prices from the values or from a ConfigMap of the platform's, a bucket's keys from its Secret", async () => {
  const sinks = [
    {
      name: "focus",
      type: "focus",
      url: "s3://costs/berth",
      existingSecret: "costs",
      provider: "Example",
      version: "1.4",
    },
  ];
  const list = aPriceList();
  const prices = await found("ConfigMap", "berth-prices", { metering: { sinks, priceList: { list } } });
  assert.deepEqual(parsePriceList(JSON.parse(prices.data?.["prices.yaml"] ?? "")).list, list);
  const config = await found("ConfigMap", "berth-sinks", { metering: { sinks, priceList: { list } } });
  const parsed = parseSinks(JSON.parse(config.data?.["sinks.json"] ?? ""));
  assert.deepEqual(parsed.problems, []);
  const [sink] = parsed.sinks;
  assert.ok(sink?.type === "focus");
  assert.equal(sink.secretAccessKeyFile, "/etc/berth/sink-secrets/focus/secret-access-key");
  const theirs = { existingConfigMap: "price-list", key: "list.yaml" };
  const pod = (await found("Deployment", "berth-operator", { metering: { sinks, priceList: theirs } })).spec?.template
    ?.spec;
  assert.ok(pod?.containers[0]?.args.includes("--price-list-file=/etc/berth/prices/list.yaml"));
  assert.deepEqual(
    pod?.volumes?.find(({ name }) => name === "prices"),
    { name: "prices", configMap: { name: "price-list" } },
  );
});

test("the keys that sign sealed hours and manifests are mounted from their Secrets, as one file each, and only where named", async () => {
  const signing = { existingSecret: "the-key", key: "ed25519" };
  const cases = [
    ["berth-operator", { metering: { signing } }, "--ledger-signing-key-file"],
    ["berth-importer", { importer: { signing } }, "--manifest-signing-key-file"],
  ] as const;
  for (const [name, values, flag] of cases) {
    const pod = (await found("Deployment", name, values)).spec?.template?.spec;
    assert.ok(pod);
    assert.ok(pod.containers[0]?.args.includes(`${flag}=/etc/berth/signing/key.pem`));
    assert.deepEqual(
      pod.volumes?.find((volume) => volume.name === "signing"),
      { name: "signing", secret: { secretName: "the-key", items: [{ key: "ed25519", path: "key.pem" }] } },
    );
    const mounts = pod.containers[0]?.volumeMounts?.map(({ mountPath }) => mountPath);
    assert.ok(mounts?.includes("/etc/berth/signing"));
    const without = (await found("Deployment", name, {})).spec?.template?.spec;
    assert.ok(!without?.containers[0]?.args.some((arg) => arg.includes("signing")));
  }
});

test("public keys that models must be signed with reach the operator without their armour, and only where named", async () => {
  const pems = [publicPem(), publicPem()];
  const [first = "", second = ""] = pems.map((pem) => pem.split("\n")[1]);
  const signing = { existingSecret: "the-key", trustedKeys: [pems[0], second] };
  const argsOf = async (component: string, values: object): Promise<readonly string[]> =>
    (await found("Deployment", `berth-${component}`, values)).spec?.template?.spec.containers[0]?.args ?? [];
  const args = await argsOf("operator", { importer: { signing } });
  const own = args.filter((arg) => arg.includes("trusted"));
  assert.deepEqual(own, [`--trusted-model-keys=${first},${second}`]);
  const env = { POD_NAMESPACE: "berth-system" };
  const flags = { ledgerUrl: "file:///x", engineImages: '[{"version":"1","image":"x"}]', berthImage: "x" };
  const given = (trustedModelKeys: string) =>
    operatorConfig({ ...flags, storeService: "http://x", trustedModelKeys }, env).trustedModelKeys;
  assert.deepEqual(given(own[0]?.split("=").slice(1).join("=") ?? ""), [first, second]);
  assert.throws(() => given(`${first},bm9uZQ==`), /holds "bm9uZQ==", which is no Ed25519 public key/);
  for (const component of ["importer", "store"])
    assert.ok(!(await argsOf(component, { importer: { signing } })).some((arg) => arg.includes("trusted")));
  assert.ok(!(await argsOf("operator", {})).some((arg) => arg.includes("trusted")));
});
