/** Custom resource definitions of the seven kinds, made from the zod schemas. Pure; used when generating and by tests. */
import { GROUP, VERSION } from "./keys.ts";
import { kinds } from "./kinds.ts";
import type { Column, KindDefinition } from "./kinds.ts";
import type { SchemaNode } from "./structural.ts";
import { structural } from "./structural.ts";

interface PrinterColumn {
  readonly name: string;
  readonly type: string;
  readonly jsonPath: string;
  readonly description: string;
  readonly priority?: number;
}

/** The fields of an apiextensions.k8s.io/v1 CustomResourceDefinition that Berth sets. */
export interface CustomResourceDefinition {
  readonly apiVersion: "apiextensions.k8s.io/v1";
  readonly kind: "CustomResourceDefinition";
  readonly metadata: {
    readonly name: string;
    readonly labels: Readonly<Record<string, string>>;
    readonly annotations?: Readonly<Record<string, string>>;
  };
  readonly spec: {
    readonly group: string;
    readonly scope: "Namespaced" | "Cluster";
    readonly names: {
      readonly kind: string;
      readonly listKind: string;
      readonly plural: string;
      readonly singular: string;
      readonly shortNames: readonly string[];
      readonly categories: readonly string[];
    };
    readonly conversion: { readonly strategy: "None" };
    readonly versions: readonly CustomResourceVersion[];
  };
}

interface CustomResourceVersion {
  readonly name: string;
  readonly served: boolean;
  readonly storage: boolean;
  readonly schema: { readonly openAPIV3Schema: SchemaNode };
  readonly subresources: { readonly status: object; readonly scale?: KindDefinition["scale"] };
  readonly additionalPrinterColumns: readonly PrinterColumn[];
}

/** All seven definitions, in the order of `kinds`. */
export function customResourceDefinitions(): CustomResourceDefinition[] {
  return kinds.map(customResourceDefinition);
}

export function customResourceDefinition(kind: KindDefinition): CustomResourceDefinition {
  const { resource } = kind;
  return {
    apiVersion: "apiextensions.k8s.io/v1",
    kind: "CustomResourceDefinition",
    metadata: {
      name: `${resource.plural}.${GROUP}`,
      labels: { "app.kubernetes.io/name": "berth", "app.kubernetes.io/part-of": "berth" },
    },
    spec: {
      group: GROUP,
      scope: resource.namespaced ? "Namespaced" : "Cluster",
      names: {
        kind: resource.kind,
        listKind: `${resource.kind}List`,
        plural: resource.plural,
        singular: resource.kind.toLowerCase(),
        shortNames: [kind.shortName],
        categories: ["berth"],
      },
      conversion: { strategy: "None" },
      versions: [versionOf(kind)],
    },
  };
}

function versionOf(kind: KindDefinition): CustomResourceVersion {
  return {
    name: VERSION,
    served: true,
    storage: true,
    schema: { openAPIV3Schema: rootSchema(kind) },
    subresources: { status: {}, ...(kind.scale ? { scale: kind.scale } : {}) },
    additionalPrinterColumns: kind.columns.map(printerColumn),
  };
}

/** The whole object's schema; `metadata` stays bare: the API server describes and checks it itself. */
export function rootSchema(kind: KindDefinition): SchemaNode {
  const root: SchemaNode = {
    description: kind.description,
    type: "object",
    required: ["spec"],
    properties: {
      apiVersion: {
        description: `Group and version of this representation: ${GROUP}/${VERSION}.`,
        type: "string",
      },
      kind: { description: `Kind of this object: always ${kind.resource.kind}.`, type: "string" },
      metadata: { type: "object", properties: { name: { type: "string" } } },
      spec: structural(kind.spec, "spec"),
      status: structural(kind.status, "status"),
    },
  };
  if (kind.rules.length > 0) root["x-kubernetes-validations"] = [...kind.rules];
  return root;
}

function printerColumn({ name, type, jsonPath, description, wide }: Column): PrinterColumn {
  return { name, type, jsonPath, description, ...(wide ? { priority: 1 } : {}) };
}
