import assert from "node:assert/strict";
import { test } from "node:test";
import type { ClusterModel, Model, ModelStatus } from "../../../operator/api/model.ts";
import type { ModelDeployment } from "../../../operator/api/modeldeployment.ts";
import { wholeQuantity } from "../../../operator/plan/quantity.ts";
import { decideModel } from "../../../operator/plan/model/plan.ts";
import type { ModelDecision, ModelSnapshot } from "../../../operator/plan/model/plan.ts";
import { refusal } from "../../../operator/plan/model/problem.ts";
import { modelStatusOf, progressOf } from "../../../operator/plan/model/status.ts";
import type { ImportState } from "../../../operator/plan/model/status.ts";
import { usersOf } from "../../../operator/plan/model/users.ts";
import {
  digestText,
  manifestText,
  nextNumber,
  parseManifest,
  recordKey,
  revisionFolder,
} from "../../../operator/plan/model/manifest.ts";

const now = 1_800_000_000_000;
const delays = { retryMinMs: 1000, retryMaxMs: 60_000, secretMs: 30_000, refusedMs: 600_000 };
const place = { endpoint: "https://s3.example", region: "us-east-1", bucket: "models", prefix: "llama/" };
const source = { s3: { ...place, addressingStyle: "Path" as const, requesterPays: false } };

function statusAt(state: ImportState, extra: Partial<ModelStatus> = {}): ModelStatus {
  return { ...modelStatusOf({ current: undefined, generation: 1, now, state }), ...extra };
}

interface Change {
  readonly metadata?: Partial<Model["metadata"]>;
  readonly status?: ModelStatus;
  readonly importMode?: "OnDemand" | "Eager";
}
function model(change: Change = {}): Model | ClusterModel {
  const metadata = {
    name: "m",
    namespace: "team",
    uid: "u",
    generation: 1,
    finalizers: ["berth.dev/store"],
    ...change.metadata,
  };
  const spec = { source, maxSize: "2Ti" };
  if (!change.importMode) return { metadata, spec, status: change.status };
  return {
    metadata: { ...metadata, namespace: undefined },
    spec: { ...spec, import: change.importMode },
    status: change.status,
  };
}

function decide(change: Partial<ModelSnapshot>): string {
  const snapshot = {
    model: model(),
    now,
    users: [],
    running: undefined,
    lastAttempt: { endedAt: now, failures: 0 },
    delays,
    ...change,
  };
  return words(decideModel(snapshot));
}
function words(decision: ModelDecision): string {
  switch (decision.do) {
    case "nothing":
      return decision.requeueAfterMs === undefined ? "nothing" : `wait ${String(decision.requeueAfterMs)}`;
    case "start":
      return decision.purpose;
    case "hold":
      return `hold for ${decision.by.join()}`;
    case "stop":
      return "stop";
  }
}

const imported = statusAt({ kind: "imported" }, { digest: "sha256:a" });
const refused = statusAt({ kind: "failed", problem: refusal("NoFiles", "x") });
const unreadable = statusAt({ kind: "failed", problem: refusal("SecretNotFound", "x") });
const failing = statusAt({ kind: "failed", problem: { reason: "SourceUnreachable", message: "x", retryable: true } });
const deletionTimestamp = "2027-01-15T08:00:00Z";
const copying = { generation: 1, purpose: "copy" } as const;

test("what the importer does next", () => {
  assert.equal(decide({}), "copy", "a new model");
  assert.equal(decide({ model: model({ status: imported }) }), "nothing");
  assert.equal(decide({ model: model({ status: imported, metadata: { generation: 2 } }) }), "copy", "a changed spec");
  assert.equal(
    decide({ model: model({ status: imported, metadata: { annotations: { "berth.dev/refresh": "1" } } }) }),
    "copy",
  );
  assert.equal(decide({ model: model({ status: refused }) }), "wait 600000");
  assert.equal(decide({ model: model({ status: unreadable }) }), "wait 30000", "Secrets cannot be watched");
  assert.equal(decide({ model: model({ status: refused }), now: now + 600_000 }), "copy");
  assert.equal(decide({ model: model({ status: failing }) }), "copy", "a restarted importer goes on at once");
  assert.equal(decide({ model: model({ status: failing }), lastAttempt: { endedAt: now, failures: 3 } }), "wait 4000");
  assert.equal(
    decide({ model: model({ status: failing }), lastAttempt: { endedAt: now, failures: 99 } }),
    "wait 60000",
  );
  assert.equal(decide({ running: copying }), "nothing");
  assert.equal(decide({ model: model({ metadata: { generation: 2 } }), running: copying }), "stop");
});

test("a ClusterModel on demand is only inspected until somebody names it", () => {
  const status = statusAt({ kind: "inspected" });
  assert.equal(decide({ model: model({ importMode: "OnDemand" }) }), "inspect");
  assert.equal(decide({ model: model({ importMode: "OnDemand", status }) }), "nothing");
  assert.equal(decide({ model: model({ importMode: "OnDemand", status }), users: ["team/chat"] }), "copy");
  assert.equal(decide({ model: model({ importMode: "Eager" }) }), "copy");
});

test("deletion waits for users, then empties the store, and never touches what is not ours", () => {
  const deleted = model({ metadata: { deletionTimestamp } });
  assert.equal(decide({ model: deleted }), "empty");
  assert.equal(decide({ model: deleted, users: ["team/chat"] }), "hold for team/chat");
  assert.equal(decide({ model: deleted, running: copying }), "stop");
  assert.equal(decide({ model: deleted, running: { ...copying, purpose: "empty" } }), "nothing");
  assert.equal(decide({ model: deleted, lastAttempt: { endedAt: now, failures: 2 } }), "wait 2000");
  assert.equal(decide({ model: model({ metadata: { deletionTimestamp, finalizers: ["other"] } }) }), "nothing");
});

test("conditions follow kstatus: Stalled for refusals, Reconciling for what goes on, neither when done", () => {
  const types = (status: ModelStatus): string[] =>
    (status.conditions ?? []).map((c) => `${c.type}=${c.status} ${c.reason}`);
  assert.deepEqual(types(imported), ["Ready=True Imported"]);
  assert.deepEqual(types(refused), ["Ready=False NoFiles", "Stalled=True NoFiles"]);
  assert.deepEqual(types(failing), ["Ready=False SourceUnreachable", "Reconciling=True SourceUnreachable"]);
  const inUse = statusAt({ kind: "inUse", by: Array.from({ length: 12 }, (_, n) => `t/d${String(n)}`) });
  assert.match(inUse.conditions?.[0]?.message ?? "", /t\/d9 and 2 more$/);
});

test("facts and digest of a served revision stay while a new source is on its way", () => {
  const revisions = [
    { number: 1, digest: `sha256:${"a".repeat(64)}`, sizeBytes: 1, importedAt: "2027-01-15T08:00:00Z" },
  ];
  const current = modelStatusOf({
    current: undefined,
    generation: 1,
    now,
    state: { kind: "imported" },
    facts: { weightBytes: 7 },
    revisions,
  });
  const state = { kind: "importing", phase: "Copying", message: "x" } as const;
  const next = modelStatusOf({ current, generation: 2, now: now + 5000, state, facts: { weightBytes: 9 } });
  assert.deepEqual([next.weightBytes, next.digest, next.phase], [7, revisions[0]?.digest, "Downloading"]);
  const first = modelStatusOf({ current: undefined, generation: 1, now, state, facts: { weightBytes: 9 } });
  assert.equal(first.weightBytes, 9, "a first import shows what it has found");
});

test("progress speaks in whole numbers and has an ETA only with a rate", () => {
  const at = { phase: "Copying", bytes: 25, totalBytes: 100, files: { done: 1, all: 4 }, startedAtMs: now } as const;
  assert.deepEqual(progressOf({ ...at, bytesPerSecond: 10.9 }), {
    phase: "Copying",
    bytes: 25,
    totalBytes: 100,
    bytesPerSecond: 10,
    etaSeconds: 8,
    files: "1/4",
    startedAt: "2027-01-15T08:00:00Z",
  });
  assert.equal(progressOf({ ...at, bytesPerSecond: undefined }).etaSeconds, undefined);
  assert.equal(progressOf({ ...at, bytesPerSecond: 0 }).etaSeconds, undefined);
});

test("users are who names the model, and who still serves bytes that no other named model holds", () => {
  const deployment = (name: string, digest?: string): ModelDeployment =>
    ({
      metadata: { name, namespace: "t" },
      spec: {},
      status: digest ? { model: { digest } } : {},
    }) as unknown as ModelDeployment;
  const status = { ...imported, revisions: [{ number: 1, digest: "sha256:a", sizeBytes: 1, importedAt: "" }] };
  const seen = {
    model: model({ status }),
    naming: [deployment("names")],
    reachable: [deployment("names"), deployment("serves", "sha256:a"), deployment("other", "sha256:b")],
  };
  assert.deepEqual(usersOf({ ...seen, digestsNamedBy: () => undefined }), ["t/names", "t/serves"]);
  assert.deepEqual(usersOf({ ...seen, digestsNamedBy: () => new Set(["sha256:a"]) }), ["t/names"]);
});

test("a manifest is a function of its files, whatever their order, and survives its text", () => {
  const files = [
    { path: "b", sizeBytes: 2, sha256: "22" },
    { path: "a", sizeBytes: 1, sha256: "11" },
  ];
  const digest = "sha256:x";
  assert.equal(manifestText({ digest, files }), manifestText({ digest, files: [...files].reverse() }));
  assert.equal(digestText(files), '[["a",1,"11"],["b",2,"22"]]');
  assert.deepEqual(parseManifest(manifestText({ digest, files }))?.files, [...files].reverse());
  for (const text of ["", "{}", "[]", '{"format":"berth.dev/manifest/v1","digest":"x","files":[{}]}'])
    assert.equal(parseManifest(text), undefined);
});

test("places in the store carry UIDs, and records of files and folders never meet", () => {
  assert.equal(revisionFolder({ namespaceUID: "n", modelUID: "m" }, 3), "models/n/m/3/");
  assert.equal(revisionFolder({ namespaceUID: undefined, modelUID: "m" }, 1), "models/cluster/m/1/");
  assert.notEqual(`${recordKey("a")}/`, recordKey("a/b").slice(0, recordKey("a").length + 1));
  assert.equal(nextNumber([]), 1);
  assert.equal(nextNumber([4, 2]), 5);
});

test("sizes are read as Kubernetes writes them", () => {
  const sizes: readonly [string, number | undefined][] = [
    ["100", 100],
    ["2Ti", 2 * 2 ** 40],
    ["1.5G", 1.5e9],
    ["10k", 10_000],
    ["3Ki", 3072],
    ["x", undefined],
  ];
  for (const [text, bytes] of sizes) assert.equal(wholeQuantity(text), bytes, text);
});
