// The chart as helm renders it, without a cluster.
import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { join } from "node:path";
import { parseAllDocuments, stringify } from "yaml";
import { run } from "../cluster/cluster.ts";
import type { CommandResult } from "../cluster/cluster.ts";
import { repoDir } from "../cluster/paths.ts";
import { ensureClients } from "../cluster/prebuilt.ts";

export const chart = join(repoDir, "charts", "berth");

let clients: ReturnType<typeof ensureClients> | undefined;

export async function helmPath(): Promise<string> {
  return (await (clients ??= ensureClients((line) => console.log(line)))).helm;
}

/** What helm says to these values, be it a refusal. */
export async function template(values: object = {}): Promise<CommandResult> {
  const args = ["template", "berth", chart, "-n", "berth-system", "-f", "-"];
  return run(await helmPath(), args, { input: stringify(values) });
}

export interface PodTemplate {
  spec: {
    serviceAccountName?: string;
    topologySpreadConstraints?: { topologyKey: string; labelSelector: { matchLabels: Record<string, string> } }[];
    securityContext?: { runAsNonRoot?: boolean; seccompProfile?: { type?: string } };
    volumes?: Record<string, unknown>[];
    containers: {
      name: string;
      args: string[];
      resources?: { requests?: object; limits?: { memory?: string } };
      securityContext?: {
        allowPrivilegeEscalation?: boolean;
        readOnlyRootFilesystem?: boolean;
        capabilities?: { drop?: string[] };
      };
      volumeMounts?: { mountPath: string }[];
    }[];
  };
}

export interface Rendered {
  kind: string;
  metadata: { name: string; annotations?: Record<string, string> };
  spec?: {
    replicas?: number;
    strategy?: { type: string };
    template?: PodTemplate;
    jobTemplate?: { spec: { template: PodTemplate } };
  };
  rules?: { apiGroups: string[]; resources: string[]; resourceNames?: string[]; verbs: string[] }[];
  data?: Record<string, string>;
}

export async function objects(object: object = {}): Promise<Rendered[]> {
  const { code, stdout, stderr } = await template(object);
  assert.equal(code, 0, stderr);
  return parseAllDocuments(stdout).flatMap((document) => (document.toJS() as Rendered | null) ?? []);
}

export async function found(kind: string, name: string, object: object = {}): Promise<Rendered> {
  const match = (await objects(object)).find((entry) => entry.kind === kind && entry.metadata.name === name);
  assert.ok(match, `${kind} ${name} is rendered`);
  return match;
}

/** A new public Ed25519 key in PEM. */
export const publicPem = (): string =>
  generateKeyPairSync("ed25519").publicKey.export({ type: "spki", format: "pem" }).toString();

export const bucket = { url: "s3://ledger/berth", existingSecret: "ledger" };
export const l4 = { gpu: { product: "NVIDIA L4", count: 1, memory: "23Gi" }, vcpus: 8, memory: "30Gi" };
export const karpenter = {
  karpenter: { nodeClassRef: { group: "example.com", kind: "NodeClass", name: "default" }, requirements: [] },
};
