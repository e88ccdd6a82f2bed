// The journey on somebody's own cluster (BERTH_TEST_KUBECONFIG): what it must offer, what is asked of it before anything is
// made there, and how all of it is taken away again.
import { existsSync } from "node:fs";
import { GROUP } from "../../operator/api/keys.ts";
import { apiPath } from "../cluster/client.ts";
import type { KubeObject } from "../cluster/client.ts";
import type { Cluster } from "../cluster/cluster.ts";
import { eventually } from "../cluster/eventually.ts";
import type { Ability } from "../realnodes/cluster.ts";
import { berthReference, engineReference, gpuLabel, gpuNodes, nextReference, release } from "./names.ts";
import { otherTeam, systemNamespace, team } from "./names.ts";
import { deleteDeployment, paths } from "./objects.ts";
import type { Stage } from "./stage.ts";
import type { Step } from "./steps.ts";

export const kubeconfigElsewhere = (): string | undefined => process.env["BERTH_TEST_KUBECONFIG"] || undefined;

/** Address of this machine as that cluster's pods reach it: the S3 server listens there. */
export const addressElsewhere = (): string => process.env["BERTH_TEST_HOST_ADDRESS"] ?? "";

const namespaces = [systemNamespace, team, otherTeam];
const crdPath = (name?: string): string =>
  apiPath("apiextensions.k8s.io/v1", "customresourcedefinitions", name === undefined ? {} : { name });

/** One line for each thing that is missing on this side. */
export function missingElsewhere(kubeconfig: string): string[] {
  const file = existsSync(kubeconfig) ? [] : [`BERTH_TEST_KUBECONFIG=${kubeconfig}: there is no such file`];
  const address = addressElsewhere()
    ? []
    : [
        "BERTH_TEST_HOST_ADDRESS is missing: this machine's address as pods of that cluster reach it (kind: the gateway of Docker's network); an S3 server will listen there",
      ];
  return [...file, ...address];
}

interface NodeWithImages extends KubeObject {
  readonly status: {
    readonly allocatable?: Readonly<Record<string, string>>;
    readonly images?: readonly { readonly names?: readonly string[] }[];
  };
}

/** Throws where Berth is or was, whose objects this would take away, and where no node has the images. */
export async function inspectElsewhere({ admin }: Cluster, archives: readonly string[]): Promise<void> {
  const crds = await ownCrds(admin);
  const present = await Promise.all(
    namespaces.map(async (name) => ((await admin.find(apiPath("v1", "namespaces", { name }))) ? [name] : [])),
  );
  const taken = [...crds.map((name) => `CRD ${name}`), ...present.flat().map((name) => `namespace ${name}`)];
  if (taken.length > 0)
    throw new Error(
      `the cluster has ${taken.join(", ")}: the journey makes and removes them, so it takes only a cluster without`,
    );
  const { items } = await admin.list<NodeWithImages>(paths.nodes);
  const loaded = new Set(items.flatMap(({ status }) => (status.images ?? []).flatMap(({ names = [] }) => names)));
  const wanted = [berthReference(), nextReference()].filter(
    (name) => name.startsWith("localhost/") && !loaded.has(name),
  );
  if (wanted.length > 0)
    throw new Error(
      `no node has ${wanted.join(" and ")}: load ${archives.join(" and ")}, or push them under another name and say it, BERTH_TEST_IMAGES=registry.example.com/berth-test`,
    );
}

/** Nodes that may serve: labelled, with a GPU to give. */
export async function servingNodes({ admin }: Cluster): Promise<number> {
  const [[key, value] = ["", ""]] = Object.entries(gpuLabel);
  const { items } = await admin.list<NodeWithImages>(
    `${paths.nodes}?labelSelector=${encodeURIComponent(`${key}=${value}`)}`,
  );
  return items.filter(({ status }) => Number(status.allocatable?.["nvidia.com/gpu"] ?? 0) > 0).length;
}

async function ownCrds(admin: Cluster["admin"]): Promise<string[]> {
  const { items } = await admin.list(crdPath());
  return items.flatMap(({ metadata: { name = "" } }) => (name.endsWith(`.${GROUP}`) ? [name] : []));
}

const deeds: Readonly<Record<Ability, string>> = {
  "kill-node": "kills containers and nodes past Kubernetes",
  "control-plane": "restarts the API server",
  "load-images": "loads images into nodes",
  audit: "reads the API server's audit log",
  "device-plugin": "changes what the device plugin gives",
};

/** Why the step cannot run here, or undefined. */
export function unfit({ real, servers }: Stage, { abilities, serves }: Step): string | undefined {
  const missing = abilities.filter((ability) => !real.can(ability));
  if (missing.length > 0)
    return `it ${missing.map((ability) => deeds[ability]).join(", ")}, which nobody does to another's cluster`;
  const [[key, value] = ["", ""]] = Object.entries(gpuLabel);
  if (serves && servers < gpuNodes)
    return `it needs ${String(gpuNodes)} nodes with the label ${key}=${value}, nvidia.com/gpu to give and ${engineReference}; here are ${String(servers)}`;
  return undefined;
}

/** Said after a run that failed, for whoever looks into it. */
export const leftElsewhere = `What the journey made stays: release ${release} in ${systemNamespace}, namespaces ${namespaces.join(", ")}, CRDs of ${GROUP}; it begins again only when they are gone`;

/** After a run that passed: deployments, release, namespaces and CRDs go; the cluster is as before. */
export async function clearElsewhere(stage: Stage): Promise<void> {
  const { cluster, tour } = stage;
  const { admin } = cluster;
  const crds = await ownCrds(admin);
  if (crds.length > 0) {
    const { items } = await admin.list(paths.deployments);
    await Promise.all(items.map(({ metadata }) => deleteDeployment(stage, metadata.name ?? "")));
  }
  await cluster.helm(["uninstall", release, "-n", systemNamespace, "--ignore-not-found", "--timeout", "120s"], {
    timeoutMs: 180_000,
  });
  // Nobody is left who would take the finalizers of imported models away.
  if (crds.length > 0)
    for (const { metadata } of (await admin.list(apiPath(`${GROUP}/v1alpha1`, "models"))).items)
      await admin.patch(paths.model(metadata.name), { metadata: { finalizers: null } });
  for (const name of namespaces) await admin.remove(apiPath("v1", "namespaces", { name }));
  for (const name of crds) await admin.remove(crdPath(name));
  await eventually(
    async () => {
      const left = await Promise.all(namespaces.map((name) => admin.find(apiPath("v1", "namespaces", { name }))));
      return left.every((one) => one === undefined) && (await ownCrds(admin)).length === 0;
    },
    { what: "namespaces and CRDs of the journey are gone", deadlineMs: 180_000, recheckMs: 1000 },
  );
  tour.say("the cluster is as before: no namespace, release or CRD of the journey is left");
}
