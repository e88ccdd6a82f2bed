// Plays the cloud's controller manager, as a process of its own: Karpenter leaves it to that program to delete the Node
// of an instance that was terminated before it had registered, and the kwok provider has no such program.
// Usage: node cloud.ts URL CA_FILE TOKEN_FILE
import { readFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { newApiClient } from "./client.ts";
import type { ApiClient, KubeObject } from "./client.ts";

const claims = "/apis/karpenter.sh/v1/nodeclaims";
const nodes = "/api/v1/nodes?labelSelector=karpenter.sh/nodepool";
/** Karpenter removes this finalizer of a NodeClaim when the instance is gone. */
const terminationFinalizer = "karpenter.sh/termination";

const hasInstance = ({ metadata }: KubeObject): boolean =>
  !metadata.deletionTimestamp || (metadata.finalizers ?? []).includes(terminationFinalizer);

/** Deletes Nodes without an instance. The provider gives a Node its NodeClaim's name as the label of its host name. */
async function deleteOrphans(client: ApiClient): Promise<void> {
  // Nodes first: a claim that is made in between has no Node in this list.
  const { items } = await client.list(nodes);
  const running = new Set((await client.list(claims)).items.filter(hasInstance).map(({ metadata }) => metadata.name));
  for (const { metadata } of items) {
    const claim = metadata.labels?.["kubernetes.io/hostname"];
    if (running.has(claim) || metadata.deletionTimestamp) continue;
    console.log(`deleting node ${metadata.name ?? ""}: its instance of claim ${claim ?? ""} is gone`);
    await client.remove(`/api/v1/nodes/${metadata.name ?? ""}`);
  }
}

/** Looks for orphans when a claim loses its instance, and when a node appears (late, maybe, for a claim that is gone). */
async function follow(
  client: ApiClient,
  path: string,
  matters: (type: string, object: KubeObject) => boolean,
): Promise<void> {
  for (;;) {
    try {
      for await (const { type, object } of client.watch(path)) {
        if (matters(type, object)) await deleteOrphans(client);
      }
    } catch (error) {
      console.log(`watch ${path}: ${error instanceof Error ? error.message : String(error)}`);
    }
    await delay(500);
  }
}

const [url = "", caFile = "", tokenFile = ""] = process.argv.slice(2);
const client = newApiClient(url, readFileSync(caFile, "utf8"), { token: readFileSync(tokenFile, "utf8") });
await Promise.all([
  follow(client, claims, (type, object) => type === "DELETED" || !hasInstance(object)),
  follow(client, nodes, (type) => type === "ADDED"),
]);
