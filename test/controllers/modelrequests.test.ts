// What is asked of an importer (berth.dev/refresh, berth.dev/reimport) while it is at work: answered by the next look, never taken off before.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { PutObjectCommand } from "@aws-sdk/client-s3";
import { annotations } from "../../operator/api/keys.ts";
import { models } from "../../operator/api/resources.ts";
import { answer } from "../../operator/controllers/modelmarks.ts";
import type { AnyModel } from "../../operator/controllers/modelstatus.ts";
import type { Resource } from "../../operator/ports.ts";
import { eventually } from "../cluster/eventually.ts";
import { startFaultProxy } from "../cluster/faultproxy.ts";
import type { FaultProxy, RuleHandle } from "../cluster/faultproxy.ts";
import { tinyModel, uploadFiles } from "../models/tiny.ts";
import { newRig } from "../runtime/rig.ts";
import {
  importerHere,
  modelUntil,
  newBed,
  newTenant,
  putModel,
  putSecret,
  readyOf,
  untilReason,
} from "./importbench.ts";
import type { Bed } from "./importbench.ts";

const cleanups: (() => unknown)[] = [];
const scope = { after: (run: () => unknown) => void cleanups.unshift(run) };
let bed: Bed;
let proxy: FaultProxy;
before(async () => {
  bed = await newBed(scope);
  proxy = await startFaultProxy({ target: bed.s3.endpoint, dialect: "s3" });
  scope.after(() => proxy.close());
});
after(async () => {
  for (const cleanup of cleanups) await cleanup();
});

const annotate = (path: string, words: Readonly<Record<string, string>>): Promise<unknown> =>
  bed.cluster.admin.patch(path, { metadata: { annotations: words } });

/** A source of its own that a test may hold up: its config.json answers 503 until the rule is removed. */
async function newSource(name: string) {
  const client = bed.s3.client();
  scope.after(() => client.destroy());
  await uploadFiles(client, "source", `${name}/`, tinyModel({ LICENSE: "one" }));
  const namespace = await newTenant(bed);
  await putSecret(bed, namespace, { endpoints: proxy.url });
  const match = ({ method, path }: { method: string; path: string }): boolean =>
    method === "GET" && path.endsWith(`/${name}/config.json`);
  return {
    change: () => client.send(new PutObjectCommand({ Bucket: "source", Key: `${name}/LICENSE`, Body: "two" })),
    put: () => putModel(bed, namespace, { prefix: name, endpoint: proxy.url }),
    holdUp: (): RuleHandle => proxy.add({ match, fault: { kind: "status", code: 503 } }),
  };
}

const isHeld = (rule: RuleHandle): Promise<unknown> =>
  eventually(() => Promise.resolve(rule.hits > 0), { what: "the importer is at work on the source" });

const isDone = ({ status, metadata }: AnyModel, revisions: number): boolean =>
  status?.revisions?.length === revisions &&
  readyOf(status)?.reason === "Imported" &&
  [annotations.refresh, annotations.reimport].every((key) => metadata.annotations?.[key] === undefined);

test("berth.dev/reimport that is asked for during an import is served after it", async (t) => {
  const source = await newSource("anew");
  const rule = source.holdUp();
  await importerHere(t, bed);
  const path = await source.put();
  await isHeld(rule);
  await annotate(path, { [annotations.reimport]: "now" });
  rule.remove();
  await modelUntil(bed, path, "has two revisions and no request", (model) => isDone(model, 2));
});

test("of two requests the one that came during the work stays until it is served", async (t) => {
  const source = await newSource("looked");
  await importerHere(t, bed);
  const path = await source.put();
  await untilReason(bed, path, "Imported");
  const rule = source.holdUp();
  await annotate(path, { [annotations.refresh]: "first" });
  await isHeld(rule);
  await source.change();
  await annotate(path, { [annotations.refresh]: "second" });
  rule.remove();
  await modelUntil(bed, path, "has two revisions and no request", (model) => isDone(model, 2));
});

test("a request that comes between the last look at the model and the answer stays; who changed something else holds up nothing", async (t) => {
  const source = await newSource("late");
  const path = await source.put();
  const { kube } = newRig(t, bed.cluster);
  const resource = models as Resource<AnyModel>;
  const read = (): Promise<AnyModel> => bed.cluster.admin.get<AnyModel>(path);
  const words = { [annotations.refresh]: "first", [annotations.reimport]: "first" };
  await annotate(path, words);
  const looked = await read();
  await annotate(path, { [annotations.reimport]: "second", "example.org/note": "x" });
  await answer(kube, resource, looked, { begun: looked, isImported: true });
  assert.deepEqual((await read()).metadata.annotations, { [annotations.reimport]: "second", "example.org/note": "x" });
});
