// The store role's own routes over a real store of one model with one file, and a fault proxy in front of them.
import { join } from "node:path";
import type { TestContext } from "node:test";
import { newFileStore } from "../../operator/adapters/store/file.ts";
import { serve } from "../../operator/http/serve.ts";
import { createStoreApp } from "../../operator/http/store.ts";
import { newRevisions } from "../../operator/storerevisions.ts";
import { newSender } from "../../operator/storesend.ts";
import { sha256Hex } from "../../operator/transfer/hash.ts";
import { commitRevision } from "../../operator/transfer/revisions.ts";
import { startFaultProxy } from "../cluster/faultproxy.ts";
import type { FaultProxy } from "../cluster/faultproxy.ts";
import { newMemoryLog } from "../runtime/rig.ts";

/** Serves `weights` as `weights.safetensors` to every token. */
export async function startRole(
  t: Pick<TestContext, "after">,
  folder: string,
  weights: Uint8Array,
): Promise<{ readonly proxy: FaultProxy; readonly digest: string }> {
  const store = newFileStore(join(folder, "store"));
  const at = "models/ns/uid/1/";
  await store.put(`${at}weights.safetensors`, weights);
  const files = [{ path: "weights.safetensors", sizeBytes: weights.length, sha256: sha256Hex(weights) }];
  const record = { fingerprint: "sha256:0", importedAt: "2026-01-01T00:00:00Z", version: "0" } as never;
  const { digest } = (await commitRevision(store, at, files, record)).manifest;
  const app = createStoreApp({
    log: newMemoryLog(),
    authorize: () => Promise.resolve({ grant: { folder: at, digest }, podUID: "pod" }),
    revision: newRevisions(store),
    send: newSender(store).send,
    enter: () => Promise.resolve(() => undefined),
    onReport: () => undefined,
    onAnswer: () => undefined,
    onBytes: () => undefined,
    leaving: () => false,
  });
  const serving = await serve(app, 0, "127.0.0.1");
  t.after(() => serving.stop());
  const proxy = await startFaultProxy({ target: `http://127.0.0.1:${String(serving.port)}` });
  t.after(() => proxy.close());
  return { proxy, digest };
}
