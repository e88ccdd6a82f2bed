// What Karpenter's kwok provider offers in the test bed: instance types and the node class that its NodePools name.
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { parseAllDocuments } from "yaml";
import type { ApiClient, KubeObject } from "./client.ts";
import { crdDir } from "./paths.ts";

/** Name of the KWOKNodeClass that is always there. */
export const nodeClassName = "default";

interface Shape {
  readonly name: string;
  readonly vcpus: number;
  readonly memoryGi: number;
  readonly gpus: number;
  readonly price: number;
}

/** The shapes that can be bought, also for static nodes that should look alike. */
export const instanceShapes: readonly Shape[] = [
  { name: "cpu-4", vcpus: 4, memoryGi: 16, gpus: 0, price: 0.2 },
  { name: "gpu-l4-1", vcpus: 8, memoryGi: 32, gpus: 1, price: 0.8 },
  { name: "gpu-l4-4", vcpus: 48, memoryGi: 192, gpus: 4, price: 4 },
  { name: "gpu-h100-1", vcpus: 24, memoryGi: 240, gpus: 1, price: 3.5 },
  { name: "gpu-h100-8", vcpus: 192, memoryGi: 2000, gpus: 8, price: 28 },
];

/** Content of the file for `--instance-types-file-path`. */
export function instanceTypesFile(): string {
  const types = instanceShapes.map(({ name, vcpus, memoryGi, gpus, price }) => ({
    name,
    architecture: "amd64",
    operatingSystems: ["linux"],
    resources: {
      cpu: String(vcpus),
      memory: `${String(memoryGi)}Gi`,
      pods: "110",
      "ephemeral-storage": "1000Gi",
      ...(gpus > 0 && { "nvidia.com/gpu": String(gpus) }),
    },
    offerings: ["zone-a", "zone-b"].map((zone) => ({ capacityType: "on-demand", zone, price })),
  }));
  return JSON.stringify(types, undefined, 1);
}

/** Applies every CRD found in the YAML files of a folder and waits until the API server serves it. */
export async function applyCrds(admin: ApiClient, folder: string): Promise<void> {
  const files = readdirSync(folder).filter((name) => /\.ya?ml$/.test(name));
  const objects = files.flatMap((name) =>
    parseAllDocuments(readFileSync(join(folder, name), "utf8")).map((document) => document.toJS() as KubeObject | null),
  );
  const crds = objects.filter((object) => object?.kind === "CustomResourceDefinition");
  const base = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
  const established = async (crd: KubeObject): Promise<void> => {
    const path = `${base}/${crd.metadata.name ?? ""}`;
    await admin.apply(path, crd, "test-bed");
    const signal = AbortSignal.timeout(30_000);
    const single = `${base}?fieldSelector=metadata.name=${crd.metadata.name ?? ""}`;
    for await (const { object } of admin.watch(single, signal)) {
      const conditions = (object.status?.["conditions"] ?? []) as { type: string; status: string }[];
      if (conditions.some(({ type, status }) => type === "Established" && status === "True")) return;
    }
  };
  await Promise.all(crds.flatMap((crd) => (crd ? [established(crd)] : [])));
}

/** Karpenter's CRDs. */
export async function applyKarpenterCrds(admin: ApiClient): Promise<void> {
  await applyCrds(admin, crdDir());
}

/** The node class; `registrationDelay` (`20s`) plays a slow cloud. */
export async function applyNodeClass(
  admin: ApiClient,
  name = nodeClassName,
  registrationDelay?: string,
): Promise<void> {
  await admin.apply(`/apis/karpenter.kwok.sh/v1alpha1/kwoknodeclasses/${name}`, {
    apiVersion: "karpenter.kwok.sh/v1alpha1",
    kind: "KWOKNodeClass",
    metadata: { name },
    spec: registrationDelay ? { nodeRegistrationDelay: registrationDelay } : {},
  });
}
