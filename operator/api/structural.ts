/** zod schema → structural OpenAPI v3 schema as apiextensions.k8s.io/v1 takes it. Pure; used when generating only. */
import { z } from "zod";
import type { CelRule } from "./schema.ts";

/** One node of a structural schema; keys stand in the order in which people read them. */
export interface SchemaNode {
  description?: string;
  type?: string;
  format?: string;
  default?: unknown;
  enum?: unknown[];
  pattern?: string;
  minLength?: number;
  maxLength?: number;
  minimum?: number;
  maximum?: number;
  minItems?: number;
  maxItems?: number;
  maxProperties?: number;
  required?: string[];
  properties?: Record<string, SchemaNode>;
  additionalProperties?: SchemaNode;
  items?: SchemaNode;
  "x-kubernetes-list-type"?: string;
  "x-kubernetes-list-map-keys"?: string[];
  "x-kubernetes-map-type"?: string;
  "x-kubernetes-validations"?: CelRule[];
}

const COPIED = [
  "description",
  "type",
  "format",
  "default",
  "enum",
  "pattern",
  "minLength",
  "maxLength",
  "minimum",
  "maximum",
  "minItems",
  "maxItems",
  "maxProperties",
  "required",
  "x-kubernetes-list-type",
  "x-kubernetes-list-map-keys",
  "x-kubernetes-map-type",
  "x-kubernetes-validations",
] as const;
/** Recursed into, or without a counterpart in a structural schema: zod's check of a record's keys is a CEL rule of ours. */
const HANDLED = new Set(["$schema", "properties", "additionalProperties", "items", "propertyNames", ...COPIED]);
const INT32_MAX = 2 ** 31 - 1;

/**
 * The structural schema of `schema` as a user writes it (defaults are optional).
 * Throws with the path for a construct that has no structural counterpart: unions, references, tuples.
 */
export function structural(schema: z.ZodType, path: string): SchemaNode {
  return nodeOf(z.toJSONSchema(schema, { target: "openapi-3.0", io: "input" }) as Record<string, unknown>, path);
}

function nodeOf(raw: Record<string, unknown>, path: string): SchemaNode {
  for (const key of Object.keys(raw)) {
    if (!HANDLED.has(key)) throw new Error(`${path}: '${key}' has no structural counterpart`);
  }
  const node: Record<string, unknown> = {};
  for (const key of COPIED) if (raw[key] !== undefined) node[key] = raw[key];
  if (node["type"] === "integer") boundInteger(node);
  if (typeof node["pattern"] === "string") node["pattern"] = node["pattern"].replaceAll("\\/", "/");
  if (Array.isArray(node["x-kubernetes-validations"]) && node["x-kubernetes-validations"].length === 0) {
    delete node["x-kubernetes-validations"];
  }
  addChildren(node, raw, path);
  return node;
}

/** zod bounds every integer by what a double holds exactly; the API server wants a width instead. */
function boundInteger(node: Record<string, unknown>): void {
  if (node["minimum"] === Number.MIN_SAFE_INTEGER) delete node["minimum"];
  if (node["maximum"] === Number.MAX_SAFE_INTEGER) delete node["maximum"];
  const maximum = node["maximum"];
  node["format"] = typeof maximum === "number" && maximum <= INT32_MAX ? "int32" : "int64";
}

function addChildren(node: Record<string, unknown>, raw: Record<string, unknown>, path: string): void {
  const { properties, additionalProperties, items } = raw;
  if (isObject(properties)) {
    node["properties"] = Object.fromEntries(
      Object.entries(properties).map(([name, child]) => [name, nodeOf(asObject(child, path), `${path}.${name}`)]),
    );
  } else if (isObject(additionalProperties)) {
    node["additionalProperties"] = nodeOf(additionalProperties, `${path}.*`);
  }
  if (isObject(items)) node["items"] = nodeOf(items, `${path}[]`);
}

function asObject(value: unknown, path: string): Record<string, unknown> {
  if (!isObject(value)) throw new Error(`${path}: not a schema`);
  return value;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
