/** Node types to compare: those of a file, or common shapes of GPU nodes where none is given. */
import { readFile } from "node:fs/promises";
import { parseAllDocuments } from "yaml";
import { nodeTypeSpec, type NodeType } from "../api/nodetype.ts";
import { TerminalError } from "../runtime/errors.ts";

/** Usable memory as drivers report it, rounded down to whole GiB (see plan/sizing/gpu.ts). */
const SHAPES: readonly (readonly [name: string, product: string, memory: string, counts: readonly number[]])[] = [
  ["l4", "NVIDIA L4", "22Gi", [1, 4]],
  ["a10g", "NVIDIA A10G", "22Gi", [1, 4]],
  ["l40s", "NVIDIA L40S", "44Gi", [1, 4]],
  ["a100-80", "NVIDIA A100 80GB", "79Gi", [1, 4, 8]],
  ["h100", "NVIDIA H100 80GB", "79Gi", [1, 2, 4, 8]],
  ["h200", "NVIDIA H200", "139Gi", [1, 8]],
  ["b200", "NVIDIA B200", "178Gi", [8]],
  ["mi300x", "AMD MI300X", "191Gi", [8]],
];

export function commonNodeTypes(): NodeType[] {
  return SHAPES.flatMap(([name, product, memory, counts]) =>
    counts.map((count) =>
      nodeType(`${name}-${String(count)}`, {
        gpu: { product, count, memory, ...(product.startsWith("AMD") ? { resourceName: "amd.com/gpu" } : {}) },
        vcpus: 12 * count,
        memory: `${String(128 * count)}Gi`,
        provider: { static: { nodeSelector: { "example.com/gpu": name } } },
      }),
    ),
  );
}

/** NodeType objects (also a List of them), or entries {name, spec} as in the chart's values; "-" reads the input. TerminalError names the entry. */
export async function nodeTypesOf(file: string, readInput?: () => Promise<string>): Promise<NodeType[]> {
  const isInput = file === "-" && readInput !== undefined;
  const path = isInput ? "standard input" : file;
  const text = await (isInput ? readInput() : readFile(file, "utf8")).catch((error: Error) => {
    throw new TerminalError("NodeTypesInvalid", `${path} cannot be read: ${error.message}`);
  });
  const entries = parseAllDocuments(text).flatMap((document) => {
    if (document.errors.length > 0)
      throw new TerminalError("NodeTypesInvalid", `${path} is no YAML: ${document.errors[0]?.message ?? ""}`);
    return entriesIn(document.toJS() as unknown);
  });
  if (entries.length === 0) throw new TerminalError("NodeTypesInvalid", `${path} holds no NodeType`);
  return entries.map(([name, spec], i) => nodeType(name ?? `entry ${String(i + 1)} of ${path}`, spec));
}

type Loose = Readonly<Record<string, unknown>>;

function entriesIn(value: unknown): [name: string | undefined, spec: unknown][] {
  if (Array.isArray(value)) return value.flatMap(entriesIn);
  if (typeof value !== "object" || value === null) return [];
  const { kind, items, nodeTypes, metadata, name, spec } = value as Loose;
  if (Array.isArray(items ?? nodeTypes)) return entriesIn(items ?? nodeTypes);
  if (kind !== undefined && kind !== "NodeType") return [];
  const own = typeof metadata === "object" && metadata !== null ? (metadata as Loose)["name"] : name;
  return [[typeof own === "string" ? own : undefined, spec]];
}

function nodeType(name: string, spec: unknown): NodeType {
  if (spec === undefined)
    throw new TerminalError(
      "NodeTypesInvalid",
      `${name} has no spec: write NodeTypes as kubectl get nodetypes -o yaml prints them, or {name, spec} as in the chart's values`,
    );
  const parsed = nodeTypeSpec.safeParse(spec);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    throw new TerminalError(
      "NodeTypesInvalid",
      `${name}: spec.${issue?.path.join(".") ?? ""}: ${issue?.message ?? ""}`,
    );
  }
  return { apiVersion: "berth.dev/v1alpha1", kind: "NodeType", metadata: { name }, spec: parsed.data } as NodeType;
}
